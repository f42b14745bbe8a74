"""Brings one logged model: what is new in the source is added to the store, the rest is left alone."""

from __future__ import annotations

from typing import Any

from localtrack.errors import FormatError
from localtrack.format.documents import ExperimentDocument
from localtrack.format.edits import EditsState
from localtrack.format.ids import parse_model_id
from localtrack.format.layout import model_folder
from localtrack.format.modellog import fold_model
from localtrack.importing.artifacts import ArtifactImport
from localtrack.importing.changes import NOTHING, judge, plan_tags
from localtrack.importing.source import FROM, SourceModel
from localtrack.importing.target import Target
from localtrack.store.artifacts import iter_files
from localtrack.store.model_reading import ModelReading, read_model_folder
from localtrack.store.model_writer import ModelWriter
from localtrack.types import LoggedModelStatus


def is_model_removed_for_good(target: Target, model_id: str, edits: EditsState) -> bool:
    """Return whether a logged model was removed for good here, so that an import is not to bring it back."""
    tombstone = edits.model_tombstones.get(model_id)
    if tombstone is None or tombstone.is_undone:
        return False
    reading = read_model_folder(target.site.storage, model_folder(parse_model_id(model_id)))
    return reading is None or reading.is_removed(edits)


class ModelImport:
    """Brings one logged model of a source into a store.

    Order: as with runs what makes the model is written first, and its status last.
    """

    def __init__(self, target: Target, there: SourceModel, experiment: ExperimentDocument) -> None:
        self._target = target
        self._there = there
        self._experiment = experiment
        self._folder = model_folder(parse_model_id(there.model_id))
        self._reading = self._read()
        self._here = None if self._reading is None else self._reading.state
        imported = [] if self._reading is None else [log for log in self._reading.logs.values() if log.is_imported]
        self._base = fold_model(imported) if imported else None
        self._writer: ModelWriter | None = None
        self._is_changed = False

    def bring(self) -> None:
        """Bring it, and count what that was."""
        try:
            if self._here is None:
                self._begin()
            self._bring_state()
            self._bring_artifacts()
            info = self._plan_info()
            if info:
                writer = self._begin()
                if writer is not None:
                    writer.change(info=info)
        finally:
            if self._writer is not None:
                self._writer.close()
        report = self._target.report
        if self._here is None:
            report.models_added += 1
        elif self._is_changed:
            report.models_extended += 1
        else:
            report.models_unchanged += 1

    def _read(self) -> ModelReading | None:
        reading = read_model_folder(self._target.site.storage, self._folder)
        if reading is None:
            return None
        if reading.is_newer:
            raise FormatError("it is here as a newer version of localtrack wrote it")
        if not reading.has_logs:
            raise FormatError(f"it is here, and cannot be read ({reading.findings[0].what})")
        return reading

    def _begin(self) -> ModelWriter | None:
        """Return the writer, begun with the first call; None in a dry run."""
        self._is_changed = True
        if self._writer is None and not self._target.is_dry:
            there = self._there
            records: list[list[Any]] = [["imported", {"from": FROM}]]
            experiment = self._experiment
            if self._here is None:
                creation = {
                    "name": there.name,
                    "source_run": there.source_run,
                    "model_type": there.model_type,
                    "status": LoggedModelStatus.PENDING.value,
                    "created_ms": self._created_ms,
                }
                records.insert(0, ["model", creation])
            else:
                experiment = ExperimentDocument(
                    self._here.experiment_id, self._here.experiment_name, self._here.generation
                )
            self._writer = ModelWriter(self._target.site, there.model_id, experiment, self._here)
            self._writer.begin(*records)
        return self._writer

    @property
    def _created_ms(self) -> int:
        return self._target.site.clock() if self._there.created_ms is None else self._there.created_ms

    def _bring_state(self) -> None:
        there, here, report = self._there, self._here, self._target.report
        known = {} if here is None else here.params
        for key in [key for key, value in there.params.items() if known.get(key, value) != value]:
            there.findings.note(f"params/{key}", "it has another value here, which stays")
        params = {key: value for key, value in there.params.items() if key not in known}
        tags, conflicts = plan_tags(
            there.tags,
            {} if here is None else here.tags,
            {} if self._base is None else self._base.tags,
            is_whole=there.are_tags_whole,
        )
        for key in conflicts:
            there.findings.note(f"tags/{key}", "it has another value here, which stays", severity="info")
        seen = set() if here is None else {metric.identity() for metric in here.metrics}
        metrics = []
        for metric in there.metrics:
            if metric.identity() not in seen:
                seen.add(metric.identity())
                metrics.append(metric)
        if params or tags or metrics:
            writer = self._begin()
            if writer is not None:
                writer.change(params=params, tags=tags, metrics=metrics)
            report.params_added += len(params)
            report.tags_changed += 0 if here is None else len(tags)
            report.model_metrics_added += len(metrics)

    def _plan_info(self) -> dict[str, Any]:
        there, here, base = self._there, self._here, self._base
        wanted = {"status": there.status, "status_message": there.status_message}
        if there.updated_ms is not None:
            wanted["updated_ms"] = there.updated_ms  # type: ignore[assignment]
        made = {"status": "PENDING", "status_message": None, "updated_ms": self._created_ms}
        info: dict[str, Any] = {}
        for name, value in wanted.items():
            verdict = judge(
                value,
                made[name] if here is None else getattr(here, name),
                made[name] if here is None else NOTHING if base is None else getattr(base, name),
            )
            if verdict == "take":
                info[name] = value
            elif verdict == "conflict" and name != "updated_ms":
                there.findings.note("", f"its {name} is another one here, which stays", severity="info")
        return info

    def _bring_artifacts(self) -> None:
        storage = self._target.site.storage
        here = {} if self._here is None else self._here.artifacts
        unrecorded: frozenset[str] = frozenset()
        if self._here is not None:
            unrecorded = frozenset(f.path for f in iter_files(storage, self._folder, "") if f.path not in here)
        base = {} if self._base is None else self._base.artifacts
        task = ArtifactImport(self._begin, self._folder, here, base, unrecorded)
        locations = self._there.artifact_folders
        for file in self._target.places.iter_files(locations, is_needed=False, findings=self._there.findings):
            task.bring(file, storage, self._there.findings, self._target.report)
