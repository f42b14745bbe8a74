"""What a target is known to have, folded from the records of its ledger. Pure. FORMAT.md section 18."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from localtrack.format.jsonlines import decode_json

LEDGER: Final = "Ledger"
LEDGER_FORMAT: Final = 1

Positions = dict[str, tuple[int, int]]
"""Per writer: bytes of its log, points."""


class LedgerRecord(NamedTuple):
    """One record, in the order in which records are folded."""

    stamp: int
    writer: str
    order: int
    kind: str
    payload: Any
    boot: str
    """Boot id of the host that wrote it."""


@dataclass(slots=True)
class RunEntry:
    """What the ledger says of one run."""

    remote_id: str | None = None
    remote_experiment: str = ""
    thin: str = ""
    """Which points are left out, as `Thinning.fingerprint`: the positions count only with the same choice."""
    is_claimed: bool = False
    """A push began on it and did not say that it is done: the target may have more than the ledger knows."""
    claim_boot: str = ""
    sent: dict[str, int] = field(default_factory=dict)
    """Per writer up to which point number something was sent, answered or not."""
    acked: dict[str, int] = field(default_factory=dict)
    """Per writer up to which point number everything was received."""
    done: dict[str, Any] = field(default_factory=dict)
    """The last `done` record; empty if there is none."""


@dataclass(slots=True)
class LedgerState:
    """What all records of a target's ledger add up to."""

    runs: dict[str, RunEntry] = field(default_factory=dict)
    experiments: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Local experiment id → the last `experiment` record."""
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Local model id → the last `model` record."""
    greatest_stamp: int = 0
    records_count: int = 0
    is_damaged: bool = False


def read_ledger(data: bytes, *, writer: str) -> tuple[list[LedgerRecord], bool]:
    """Return the records of one ledger file, and whether some of it could not be read.

    Bytes after the last line break were never acknowledged.
    """
    records: list[LedgerRecord] = []
    lines = data[: data.rfind(b"\n") + 1].splitlines()
    boot, is_damaged = "", False
    for order, line in enumerate(lines):
        try:
            record = decode_json(line)
        except ValueError:
            is_damaged = True
            continue
        if order == 0:
            if not _is_header(record):
                return [], True
            boot = str(record[1].get("boot", ""))
            continue
        if type(record) is not list or len(record) != 3 or type(record[0]) is not str or type(record[1]) is not int:
            is_damaged |= type(record) is not list or not record or record[0] not in ("torn", "c")
            continue
        records.append(LedgerRecord(record[1], writer, order, record[0], record[2], boot))
    return records, is_damaged


def fold_ledger(records: Iterable[LedgerRecord], *, is_damaged: bool = False) -> LedgerState:
    """Return what records add up to, in whichever order they come.

    A ledger of which a part is damaged may lack a claim: then every run counts as claimed, so that the remote is asked.
    """
    state = LedgerState(is_damaged=is_damaged)
    for record in sorted(records, key=lambda record: record[:3]):
        state.greatest_stamp = max(state.greatest_stamp, record.stamp)
        state.records_count += 1
        _apply(state, record)
    if is_damaged:
        for entry in state.runs.values():
            entry.is_claimed, entry.claim_boot = True, ""
    return state


def _apply(state: LedgerState, record: LedgerRecord) -> None:
    kind, payload = record.kind, record.payload
    if kind == "claim":
        for run_id in payload:
            entry = state.runs.setdefault(run_id, RunEntry())
            if entry.is_claimed and entry.claim_boot != record.boot:
                entry.claim_boot = ""  # two hosts: which of their records reached the disk cannot be told
            else:
                entry.claim_boot = record.boot
            entry.is_claimed = True
    elif kind == "run":
        entry = state.runs.setdefault(payload["run"], RunEntry())
        if entry.remote_id != payload["remote"]:
            entry.sent, entry.acked, entry.done = {}, {}, {}
        if entry.thin != payload["thin"]:
            entry.sent, entry.acked = {}, {}
        entry.remote_id, entry.remote_experiment = payload["remote"], payload["experiment"]
        entry.thin = payload["thin"]
    elif kind in ("sending", "points"):
        entry = state.runs.setdefault(payload["run"], RunEntry())
        marks = entry.sent if kind == "sending" else entry.acked
        for writer, number in payload["positions"].items():
            marks[writer] = max(marks.get(writer, 0), number)
    elif kind == "done":
        entry = state.runs.setdefault(payload["run"], RunEntry())
        entry.remote_id, entry.remote_experiment = payload["remote"], payload["experiment"]
        entry.is_claimed, entry.claim_boot = False, ""
        entry.done = payload
        entry.thin = payload["thin"]
        entry.acked = {writer: position[1] for writer, position in payload["positions"].items()}
        entry.sent = dict(entry.acked)
    elif kind == "experiment":
        state.experiments[payload["id"]] = payload
    elif kind == "model":
        state.models[payload["model"]] = payload
    elif kind == "forget":
        for run_id in payload:
            state.runs.pop(run_id, None)


def compact_ledger(state: LedgerState) -> list[tuple[str, Any]]:
    """Return records that fold to the same state."""
    records: list[tuple[str, Any]] = [("experiment", payload) for payload in state.experiments.values()]
    records += [("model", payload) for payload in state.models.values()]
    for run_id, entry in state.runs.items():
        if entry.done and not entry.is_claimed:
            records.append(("done", entry.done))
            continue
        if entry.remote_id is not None:
            payload = {"run": run_id, "remote": entry.remote_id, "experiment": entry.remote_experiment}
            if entry.done:
                records.append(("done", entry.done))
            records.append(("run", {**payload, "thin": entry.thin}))
        if entry.is_claimed:
            records.append(("claim", [run_id]))
        for kind, marks in (("sending", entry.sent), ("points", entry.acked)):
            if marks:
                records.append((kind, {"run": run_id, "positions": dict(marks)}))
    return records


def _is_header(record: Any) -> bool:
    return (
        type(record) is list
        and len(record) == 2
        and record[0] == LEDGER
        and isinstance(record[1], Mapping)
        and record[1].get("format") == LEDGER_FORMAT
    )
