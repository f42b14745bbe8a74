"""Several logs of one run to one state, the same whichever order they come in. FORMAT.md section 12."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from localtrack.format.runlog import RunLog
from localtrack.format.state_records import Change, FolderState, order_logs

RUN_NAME_TAG: Final = "mlflow.runName"


@dataclass(slots=True, kw_only=True)
class RunState(FolderState):
    """What the state records of a run's logs add up to."""

    run_id: str
    start_ms: int
    status: str = "RUNNING"
    user: str = ""
    name: str = ""
    end_ms: int | None = None
    datasets: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """Per (name, digest) the payload of the lowest `dataset` record."""
    model_inputs: dict[str, None] = field(default_factory=dict)
    """Ids of models, in the order of their lowest records."""
    model_outputs: dict[tuple[str, int], None] = field(default_factory=dict)
    """Pairs of model id and step, in the order of their lowest records."""


def fold_run(logs: Iterable[RunLog]) -> RunState:
    """Return the state of a run from its logs, of which there must be one.

    The experiment is that of the lowest `run` record's log, else of the log with the least base time.
    """
    ordered = order_logs(logs, creation_kind="run")
    header = ordered.owner.header
    state = RunState(
        run_id=header["run"],
        experiment_id=header["experiment_id"],
        experiment_name=header["experiment_name"],
        generation=header["generation"],
        start_ms=ordered.logs[0].header["base_ms"],
        greatest_stamp=ordered.greatest_stamp,
    )
    if ordered.creation is None:
        state.problems.append("the record of its creation is missing")
    else:
        creation = ordered.creation.payload
        state.start_ms, state.status = creation["start_ms"], creation["status"]
        state.user = str(creation.get("user", ""))
    for change in ordered.changes:
        _apply(state, change)
    return state


def _apply(state: RunState, change: Change) -> None:
    payload = change.payload
    if state.apply_shared(change):
        if change.kind == "tag" and payload.get(RUN_NAME_TAG) is not None:
            state.name = payload[RUN_NAME_TAG]
    elif change.kind == "info":
        state.status = payload.get("status", state.status)
        state.end_ms = payload.get("end_ms", state.end_ms)
        state.start_ms = payload.get("start_ms", state.start_ms)
    elif change.kind == "dataset":
        state.datasets.setdefault((payload["name"], payload["digest"]), payload)
    elif change.kind == "input":
        state.model_inputs.setdefault(payload["model"])
    elif change.kind == "output":
        state.model_outputs.setdefault((payload["model"], payload["step"]))
