"""The runs of a store as a push sees them: cheaply, to tell what is new, and whole, one at a time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from localtrack.format.edits import EditsState
from localtrack.format.layout import ARTIFACTS, parse_run_file
from localtrack.format.modellog import ModelState
from localtrack.format.run_fold import RunState
from localtrack.storage.once import once
from localtrack.store.artifacts import iter_files
from localtrack.store.catalog import Catalog
from localtrack.store.liveness import judge_run
from localtrack.store.model_reading import list_model_folders, read_model_folder
from localtrack.store.run_reading import RunReading, list_run_folders, read_folder
from localtrack.store.site import Site
from localtrack.sync.options import PushOptions
from localtrack.sync.translation import MLFLOW_PARENT_TAG
from localtrack.types import TERMINAL_STATUSES, Finding


@dataclass(frozen=True, slots=True)
class LocalRun:
    """What a plan needs to know of a run of the store."""

    run_id: str
    folder: str
    signature: str
    """Changes when something in the run's folder, or its life cycle, changes. Taken before the rest was read."""
    experiment_id: str
    status: str
    start_ms: int
    parent_id: str | None
    needs: tuple[str, ...]
    """Runs that must be on the target before: its parent, and those that made the models that it read."""
    is_dead: bool
    """It is to be reported as KILLED."""
    is_deleted: bool
    points_count: int
    keys_count: int
    infinite_keys: tuple[str, ...]
    """Metrics that have infinite values."""
    colon_keys: tuple[str, ...]
    """Metrics whose key holds a colon, which older servers do not take."""
    params_count: int
    params_bytes: int
    tags_count: int
    artifacts_count: int
    """Of those that are chosen, and that the target takes."""
    artifacts_bytes: int
    too_large_artifacts: tuple[str, ...]
    """Chosen ones that are larger than the target takes."""
    state: RunState


class Source:
    """One store, only read."""

    def __init__(self, site: Site, catalog: Catalog) -> None:
        self.site = site
        self.catalog = catalog
        self.edits: EditsState = catalog.read()
        self.findings: list[Finding] = []

    def iter_folders(self) -> Iterator[str]:
        """Yield the folders that may hold a run, oldest day first."""
        yield from list_run_folders(self.site.storage)

    def signature(self, folder: str) -> str:
        """Return a text that changes when a file of the run grows, comes or goes."""
        parts = []
        for entry in self.site.storage.entries(folder):
            if entry.name == ARTIFACTS:
                parts.append(f"{entry.name}:{entry.mtime_ms}")
            elif parse_run_file(entry.name) is not None:
                parts.append(f"{entry.name}:{entry.size}")
        return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:20]

    def is_deleted(self, run_id: str, experiment_id: str) -> bool:
        """Return whether a run, or its experiment, is deleted here."""
        return self.edits.is_run_deleted(run_id, experiment_id)

    def read(self, folder: str) -> tuple[RunReading, str] | None:
        """Return a run and its signature; None if there is none that can be read. What is damaged is noted."""
        signature = self.signature(folder)
        reading = read_folder(self.site.storage, folder)
        if reading is None:
            return None
        if not reading.is_run or reading.is_newer:
            self.findings += reading.findings
            return None
        run_id = reading.state.run_id
        if run_id in self.edits.tombstones and self.edits.is_removed(run_id, reading.positions):
            return None
        return reading, signature

    def is_dead(self, reading: RunReading, options: PushOptions) -> bool:
        """Return whether a run is to be reported as KILLED although nobody recorded its end."""
        if options.dead_runs == "leave" or reading.state.status in TERMINAL_STATUSES:
            return False
        now_ms = self.site.clock()
        return options.takes_for_dead(*judge_run(reading, now_ms=now_ms), now_ms=now_ms)

    def describe(self, folder: str, options: PushOptions, *, max_artifact_bytes: int | None = None) -> LocalRun | None:
        """Return what a plan needs to know of the run in a folder; None if there is none that can be read.

        Args:
            folder: Of the run.
            options: Which artifacts are to be sent, and when a run counts as dead.
            max_artifact_bytes: Of an artifact that the target takes.
        """
        artifacts = options.artifacts
        found = self.read(folder)
        if found is None:
            return None
        reading, signature = found
        state = reading.state
        files = [] if artifacts.is_skipped else list(iter_files(self.site.storage, folder))
        sizes = {f.path: f.file_size or 0 for f in files if artifacts.reason_against(f.path, f.file_size or 0) is None}
        too_large = {
            path for path, size in sizes.items() if max_artifact_bytes is not None and size > max_artifact_bytes
        }
        folds = reading.folds
        self.findings += reading.findings
        return LocalRun(
            run_id=state.run_id,
            folder=folder,
            signature=signature,
            experiment_id=state.experiment_id,
            status=state.status,
            start_ms=state.start_ms,
            parent_id=state.tags.get(MLFLOW_PARENT_TAG) or None,
            needs=self._needs(state),
            is_dead=self.is_dead(reading, options),
            is_deleted=self.is_deleted(state.run_id, state.experiment_id),
            points_count=sum(fold.count for fold in folds.values()),
            keys_count=len(folds),
            colon_keys=tuple(key for key in folds if ":" in key),
            infinite_keys=tuple(key for key, f in folds.items() if math.inf in (f.max, -f.min)),
            params_count=len(state.params),
            params_bytes=sum(len(key) + len(value) for key, value in state.params.items()),
            tags_count=len(state.tags),
            artifacts_count=len(sizes) - len(too_large),
            artifacts_bytes=sum(size for path, size in sizes.items() if path not in too_large),
            too_large_artifacts=tuple(sorted(too_large)),
            state=_slim(state),
        )

    def _needs(self, state: RunState) -> tuple[str, ...]:
        parent = state.tags.get(MLFLOW_PARENT_TAG)
        makers = [self.models[m].source_run for m in state.model_inputs if m in self.models]
        return tuple({run_id for run_id in [parent, *makers] if run_id and run_id != state.run_id})

    @once
    def models(self) -> dict[str, ModelState]:
        """The logged models of the store by id, as they were when they were first asked for."""
        found: dict[str, ModelState] = {}
        for folder in list_model_folders(self.site.storage):
            reading = read_model_folder(self.site.storage, folder)
            if reading is None or not reading.has_logs or reading.is_newer:
                continue
            if not reading.is_removed(self.edits):
                found[reading.state.model_id] = reading.state
                self.findings += reading.findings
        return found

    @once
    def models_of_runs(self) -> dict[str, list[ModelState]]:
        """Run id → the models that it made or logged metrics of."""
        found: dict[str, list[ModelState]] = {}
        for state in self.models.values():
            for run_id in {state.source_run, *(metric.run_id for metric in state.metrics)} - {None}:
                found.setdefault(str(run_id), []).append(state)
        return found

    def experiment_names(self) -> Mapping[str, str]:
        """Return the shown name of each experiment."""
        return {e.experiment_id: e.name for e in self.edits.experiments.values()}


def _slim(state: RunState) -> RunState:
    """Leave out what a plan does not look at, since it holds many runs at once."""
    state.artifacts = {}
    return state


def state_digest(document: Any) -> str:
    """Return a text that is equal for equal JSON documents."""
    import orjson

    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()[:20]
