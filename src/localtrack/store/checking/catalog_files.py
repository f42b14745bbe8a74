"""Looks at what lies outside of the run folders: experiments, edits, notices, names at the top. FORMAT.md 4, 9, 10."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from localtrack.errors import ErrorCode, FormatError
from localtrack.format.documents import ExperimentDocument, encode_experiment, parse_experiment
from localtrack.format.edits import Edit, EditsState, fold_edits, read_edits
from localtrack.format.ids import encode_experiment_id, is_safe_id
from localtrack.format.layout import (
    COVERED_SUFFIX,
    EDITS,
    EXPERIMENTS,
    INBOX,
    RESERVED,
    TEMPORARY_PREFIX,
    TOP,
    edits_key,
    experiment_key,
    parse_run_file,
)
from localtrack.format.lines import INBOX as INBOX_HEADER
from localtrack.format.lines import read_lines
from localtrack.storage.base import Storage
from localtrack.store.checking.report import Findings, Severity
from localtrack.store.checking.run_folders import DAY_MS
from localtrack.store.logparts import gather_logs, read_log
from localtrack.types import DEFAULT_EXPERIMENT_ID, DEFAULT_EXPERIMENT_NAME

_FROM_COPY: Final = "Merge a sound copy of the store, if there is one; what can be read of the file still counts."
_REPAIR: Final = "`localtrack check --repair` writes it anew."
_NO_RULE: Final = "no rule of the format gives this name; nobody reads it"


@dataclass(slots=True)
class KnownExperiments:
    """What is said of experiments anywhere: id → (original name, generation)."""

    documents: dict[str, ExperimentDocument] = field(default_factory=dict)
    """The sound ones."""
    told: dict[str, set[tuple[str, int]]] = field(default_factory=lambda: defaultdict(set))
    """What edits and the headers of run logs say."""
    with_runs: set[str] = field(default_factory=set)

    def rebuild(self, experiment_id: str) -> ExperimentDocument | None:
        """Return the document of an experiment as others know it; None if they do not, or not for certain."""
        if experiment_id == DEFAULT_EXPERIMENT_ID:
            return ExperimentDocument(DEFAULT_EXPERIMENT_ID, DEFAULT_EXPERIMENT_NAME)
        told = self.told.get(experiment_id, set())
        certain = [it for it in told if encode_experiment_id(*it) == experiment_id] or list(told)
        return ExperimentDocument(experiment_id, *certain[0]) if len(certain) == 1 else None


def check_top(storage: Storage, findings: Findings, *, now_ms: int) -> None:
    """Look at the names at the top, and for unfinished files there and beside experiments, edits and notices."""
    for folder in ("", EXPERIMENTS, EDITS, INBOX):
        for entry in storage.entries(folder):
            key = f"{folder}/{entry.name}".lstrip("/")
            if entry.name.startswith(TEMPORARY_PREFIX):
                if now_ms - entry.mtime_ms > DAY_MS:
                    what, remedy = "a process that died has left it, unfinished", "`localtrack gc` removes it."
                    findings.add(key, what, "S1", severity="info", remedy=remedy)
            elif not folder and entry.name not in TOP | RESERVED:
                findings.add(key, _NO_RULE, "M7", severity="info", remedy="Move it out of the store.")


def check_edits(storage: Storage, findings: Findings) -> list[Edit]:
    """Look at all edits, and return those that can be read."""
    edits: list[Edit] = []
    entries = storage.entries(EDITS)
    logs = gather_logs(entries)
    for name in logs:
        file = parse_run_file(name)
        if file is None or file.kind != "log":
            continue
        found, lines = read_edits(read_log(storage, f"{EDITS}/{name}"), writer=file.writer)
        edits += found
        if lines.closed is not None and lines.closed["points"] != 0:
            lines.problems.append("it holds 0 points where its end counts some")
        for problem in lines.problems:
            code = ErrorCode.NEWER_FORMAT if lines.newer else ErrorCode.DAMAGED
            findings.add(f"{EDITS}/{name}", problem, remedy=_FROM_COPY, code=code)
    _check_log_names(EDITS, [entry.name for entry in entries], findings)
    return edits


def check_inbox(storage: Storage, findings: Findings) -> dict[tuple[str, str], int]:
    """Look at the notices, and return per (run, writer) how long a closed log is, as they say."""
    closed_bytes: dict[tuple[str, str], int] = {}
    entries = storage.entries(INBOX)
    for name in gather_logs(entries):
        key = f"{INBOX}/{name}"
        try:
            lines = read_lines(read_log(storage, key), INBOX_HEADER)
        except FileNotFoundError:
            continue  # taken in by an index since it was listed
        if lines.problems:
            findings.add(
                key,
                lines.problems[0],
                severity="info",
                remedy="Notices can be done without; `localtrack check --repair` sets the file aside.",
                is_repairable=True,
            )
            continue
        for record in lines.records:
            if record[0] == "close" and len(record) == 5 and type(record[3]) is int:
                closed_bytes[str(record[1]), str(record[2])] = record[3]
    _check_log_names(INBOX, [entry.name for entry in entries], findings)
    return closed_bytes


def _check_log_names(folder: str, names: list[str], findings: Findings) -> None:
    for name in names:
        file = parse_run_file(name)
        is_marker = folder == INBOX and name.endswith(COVERED_SUFFIX)
        if not name.startswith(TEMPORARY_PREFIX) and not is_marker and (file is None or file.kind != "log"):
            findings.add(f"{folder}/{name}", _NO_RULE, "M7", severity="info", remedy="Move it out of the store.")


def read_experiments(storage: Storage, findings: Findings, edits: list[Edit]) -> KnownExperiments:
    """Read all documents of experiments, and what edits say of them."""
    known = KnownExperiments()
    for edit in edits:
        payload = edit.payload
        if edits_key(edit.writer) in findings:
            continue  # what a damaged file says may be wrong
        if edit.kind == "experiment" and payload["op"] == "created":
            known.told[payload["id"]].add((payload["name"], payload["generation"]))
    for entry in storage.entries(EXPERIMENTS):
        experiment_id, _, extension = entry.name.rpartition(".")
        key = f"{EXPERIMENTS}/{entry.name}"
        if entry.name.startswith(TEMPORARY_PREFIX):
            continue
        if entry.is_folder or extension != "json" or not is_safe_id(experiment_id):
            findings.add(key, _NO_RULE, "M7", severity="info", remedy="Move it out of the store.")
            continue
        data = storage.read(key)
        try:
            document = parse_experiment(data, where=key)
        except FormatError as error:
            findings.add(key, error.message.removeprefix(f"{key} "), "M7", remedy=_REPAIR, is_repairable=True)
            continue
        if document.experiment_id != experiment_id:
            what = f"it names another experiment, {document.experiment_id!r}"
            findings.add(key, what, "M7", remedy=_REPAIR, is_repairable=True)
        elif data != encode_experiment(document):
            findings.add(key, "its bytes are not those that everybody writes", "M7", remedy=_REPAIR, is_repairable=True)
        else:
            known.documents[experiment_id] = document
    return known


def check_experiments(findings: Findings, known: KnownExperiments, state: EditsState) -> None:
    """Hold documents, edits and runs against each other. All runs have to be in `known` by now."""
    for experiment_id, document in known.documents.items():
        told = known.told.get(experiment_id, set())
        own = document.name, document.generation
        is_derived = encode_experiment_id(*own) == experiment_id or (
            experiment_id == DEFAULT_EXPERIMENT_ID and own == (DEFAULT_EXPERIMENT_NAME, 0)
        )
        if not is_derived and (experiment_id == DEFAULT_EXPERIMENT_ID or (told and own not in told)):
            what = f"it names the experiment {document.name!r}, and everything else another name"
            findings.add(experiment_key(experiment_id), what, "M7", remedy=_REPAIR, is_repairable=True)
    for experiment_id in sorted(state.experiments.keys() | known.with_runs | {DEFAULT_EXPERIMENT_ID}):
        key = experiment_key(experiment_id)
        if experiment_id in known.documents or key in findings:
            continue
        severity: Severity = "info"
        what = "only edits know the experiment"
        if experiment_id in known.with_runs:
            what, severity = "the experiment has runs and no document", "warning"
        elif experiment_id == DEFAULT_EXPERIMENT_ID:
            what, severity = "the document of the experiment Default is missing", "warning"
        findings.add(
            key,
            what,
            "S4",
            severity=severity,
            remedy=_REPAIR if known.rebuild(experiment_id) else "Merge a copy of the store that has it.",
            is_repairable=known.rebuild(experiment_id) is not None,
        )
    for experiment_id in sorted(state.removed_experiments.keys() & known.documents.keys()):
        what = "the experiment was removed for good, and its document is still there"
        findings.add(experiment_key(experiment_id), what, "S3", severity="info", remedy="`localtrack gc` removes it.")
    for experiment in state.experiments.values():
        if experiment.name.startswith(f"{_wanted_name(state, experiment.experiment_id)}~"):
            what = f"an older experiment has its name; it is shown as {experiment.name!r}"
            remedy = "Rename one of the two."
            findings.add(experiment_key(experiment.experiment_id), what, "S5", severity="info", remedy=remedy)


def _wanted_name(state: EditsState, experiment_id: str) -> str:
    """Return the name that an experiment would have if it were alone."""
    shown = state.experiments[experiment_id].name
    for chars in (6, len(experiment_id)):
        wanted, found, _ = shown.rpartition(f"~{experiment_id[:chars]}")
        if found and any(other.name == wanted for other in state.experiments.values()):
            return wanted
    return "\0"


def fold_known(edits: list[Edit], known: KnownExperiments, *, store_created_ms: int) -> EditsState:
    """Return what edits and documents add up to."""
    documents: Mapping[str, ExperimentDocument] = known.documents
    return fold_edits(edits, documents, store_created_ms=store_created_ms, inhabited=known.with_runs)
