"""Brings one run: what is new in the source is added to the store, the rest is left alone."""

from __future__ import annotations

from typing import Any, Final

from localtrack.errors import FormatError
from localtrack.format.documents import ExperimentDocument
from localtrack.format.edits import EditsState
from localtrack.format.ids import parse_run_id
from localtrack.format.layout import run_folder
from localtrack.importing.artifacts import ArtifactImport
from localtrack.importing.changes import NOTHING, Base, fold_base, judge, plan_tags
from localtrack.importing.points import KnownPoints, NewPoints
from localtrack.importing.source import FROM, SourceRun
from localtrack.importing.target import Target
from localtrack.store.artifacts import iter_files
from localtrack.store.run_reading import RunReading, read_run
from localtrack.store.run_writer import RunWriter

_POINTS_AT_ONCE: Final = 1_000
"""Points in one record: a line of some 30 KiB."""
_INFO: Final = ("status", "start_ms", "end_ms")


def is_removed_for_good(target: Target, run_id: str, edits: EditsState) -> bool:
    """Return whether a run was brought before, and removed for good since: then it stays away."""
    tombstone = edits.tombstones.get(run_id)
    if tombstone is None or tombstone.is_undone:
        return False
    reading = read_run(target.site.storage, run_id)
    return reading is None or (reading.is_run and tombstone.covers(reading.positions))


class RunImport:
    """Brings one run of a source into a store.

    Order: what makes the run is written first, its status and end last, so that a run whose import was cut off is
    shown as one that has not ended. Whatever was written until then the next import finds, and adds the rest.
    """

    def __init__(self, target: Target, there: SourceRun, experiment: ExperimentDocument) -> None:
        self._target = target
        self._there = there
        self._experiment = experiment
        self._reading = self._read()
        self._base = Base() if self._reading is None else fold_base(self._reading.logs)
        self._writer: RunWriter | None = None
        self._tags = self._plan_tags()
        self._is_changed = False

    def bring(self) -> None:
        """Bring it, and count what that was."""
        report = self._target.report
        if self._is_new or self._tags:
            self._begin()
        if not self._is_new:
            report.tags_changed += len(self._tags)
        self._bring_params()
        self._bring_inputs()
        self._bring_points()
        self._bring_artifacts()
        info = self._plan_info()
        if info:
            self._begin()
        if self._writer is not None:
            self._target.runs.end(self._writer, info or None)
        if self._is_new:
            report.runs_added += 1
        elif self._is_changed:
            report.runs_extended += 1
        else:
            report.runs_unchanged += 1

    @property
    def _is_new(self) -> bool:
        return self._reading is None

    def _read(self) -> RunReading | None:
        run_id = parse_run_id(self._there.run_id)
        reading = read_run(self._target.site.storage, run_id)
        if reading is None:
            return None
        if reading.is_newer:
            raise FormatError("it is here as a newer version of localtrack wrote it")
        if not reading.is_run:
            raise FormatError(f"it is here, and cannot be read ({reading.findings[0].what})")
        return reading

    # -- writing

    def _begin(self) -> RunWriter | None:
        """Return the writer, begun with the first call; None in a dry run."""
        self._is_changed = True
        if self._writer is None and not self._target.is_dry:
            records: list[list[Any]] = [["imported", {"from": FROM}]]
            if self._reading is None:
                created = {
                    "start_ms": self._start_ms,
                    "status": "RUNNING",
                    "user": self._there.user,
                }
                records.insert(0, ["run", created])
            if self._tags:
                records.append(["tag", self._tags])
            known = None if self._reading is None else self._reading.state
            experiment = self._experiment
            if known is not None:
                experiment = ExperimentDocument(known.experiment_id, known.experiment_name, known.generation)
            self._writer = self._target.runs.open_writer(self._there.run_id, experiment, known, *records)
        return self._writer

    @property
    def _start_ms(self) -> int:
        return self._target.site.clock() if self._there.start_ms is None else self._there.start_ms

    # -- planning and bringing, part by part

    def _plan_tags(self) -> dict[str, str | None]:
        here = {} if self._reading is None else self._reading.state.tags
        tags, conflicts = plan_tags(self._there.tags, here, self._base.tags, is_whole=self._there.are_tags_whole)
        for key in conflicts:
            self._there.findings.note(f"tags/{key}", "it has another value here, which stays", severity="info")
        return tags

    def _plan_info(self) -> dict[str, Any]:
        there = {"status": self._there.status, "start_ms": self._there.start_ms, "end_ms": self._there.end_ms}
        if self._reading is None:
            here = base = {"status": "RUNNING", "start_ms": self._start_ms, "end_ms": None}
        else:
            state = self._reading.state
            here = {"status": state.status, "start_ms": state.start_ms, "end_ms": state.end_ms}
            base = self._base.info
        info: dict[str, Any] = {}
        for name in _INFO:
            if name == "start_ms" and there[name] is None:
                continue
            verdict = judge(there[name], here[name], base.get(name, NOTHING))
            if verdict == "take":
                info[name] = there[name]
            elif verdict == "conflict":
                self._there.findings.note("", f"its {name} is another one here, which stays", severity="info")
        return info

    def _bring_params(self) -> None:
        here = {} if self._reading is None else self._reading.state.params
        new: dict[str, str] = {}
        for key, value in self._there.params.items():
            if key not in here:
                new[key] = value
            elif here[key] != value:
                self._there.findings.note(f"params/{key}", "it has another value here, which stays")
        if new:
            writer = self._begin()
            if writer is not None:
                writer.set_params(new)
            self._target.report.params_added += len(new)

    def _bring_inputs(self) -> None:
        there, state = self._there, None if self._reading is None else self._reading.state
        datasets = {(dataset["name"], dataset["digest"]): dataset for dataset in reversed(there.datasets)}
        inputs, outputs = dict.fromkeys(there.model_inputs), dict.fromkeys(there.model_outputs)
        if state is not None:
            datasets = {key: dataset for key, dataset in datasets.items() if key not in state.datasets}
            inputs = {model_id: None for model_id in inputs if model_id not in state.model_inputs}
            outputs = {pair: None for pair in outputs if pair not in state.model_outputs}
        if datasets or inputs or outputs:
            writer = self._begin()
            if writer is not None:
                writer.log_inputs(list(datasets.values()), list(inputs))
                writer.log_outputs(list(outputs))
            self._target.report.inputs_added += len(datasets) + len(inputs) + len(outputs)

    def _bring_points(self) -> None:
        picker = NewPoints(KnownPoints(self._reading))
        for block in self._there.iter_points():
            new = picker.pick(block)
            if not new:
                continue
            writer = self._begin()
            self._target.report.points_added += len(new)
            if writer is not None:
                for start in range(0, len(new), _POINTS_AT_ONCE):
                    writer.log_batch(new[start : start + _POINTS_AT_ONCE], {}, {})
        if picker.repeated_count:
            self._target.report.points_repeated += picker.repeated_count
            self._there.findings.note(
                "metrics",
                f"{picker.repeated_count} of its points stand there more than once; each is one here",
                severity="info",
            )

    def _bring_artifacts(self) -> None:
        folder = run_folder(self._there.run_id)
        storage = self._target.site.storage
        here: dict[str, dict[str, Any]] = {}
        unrecorded: frozenset[str] = frozenset()
        if self._reading is not None:
            here = self._reading.state.artifacts
            unrecorded = frozenset(file.path for file in iter_files(storage, folder, "") if file.path not in here)
        task = ArtifactImport(self._begin, folder, here, self._base.artifacts, unrecorded)
        for file in self._target.places.iter_files(
            self._there.artifact_folders, is_needed=self._there.has_artifacts, findings=self._there.findings
        ):
            task.bring(file, storage, self._there.findings, self._target.report)
