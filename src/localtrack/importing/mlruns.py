"""MLflow's file backend as a source: an `mlruns` folder.

    <experiment id>/meta.yaml, tags/, datasets/, models/, and for each run
    <experiment id>/<run id>/meta.yaml, params/, metrics/, tags/, inputs/, outputs/, artifacts/
    .trash/<experiment id>/         deleted experiments
    models/                         the model registry

Source: `mlflow/store/tracking/file_store.py` of MLflow 3.17.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from localtrack.errors import ErrorCode, FormatError, InvalidInputError, NotFoundError
from localtrack.format.names import validate_key
from localtrack.format.run_fold import RUN_NAME_TAG
from localtrack.importing.meta_files import META_FILE, printable_name, read_meta, read_values, require_yaml, walk_keys
from localtrack.importing.metric_lines import read_metric_file
from localtrack.importing.mlruns_models import read_inputs, read_model
from localtrack.importing.report import Findings
from localtrack.importing.source import (
    SourceExperiment,
    SourceModel,
    SourcePoints,
    SourceRun,
    add_old_source_tags,
    to_status,
    to_time_ms,
)
from localtrack.storage.failures import show_path

TRASH: Final = ".trash"
REGISTRY: Final = "models"
_NO_RUNS: Final = frozenset(["tags", "datasets", "traces", "models"])
"""Folders of an experiment that are no runs."""
_RUN_PARTS: Final = ("metrics", "params", "tags")
_ARTIFACT_TAGS: Final = ("mlflow.log-model.history", "mlflow.loggedArtifacts", "mlflow.loggedImages")
"""A run that has one of them has artifacts."""


class MlrunsFolder:
    """An `mlruns` folder. See `Source`."""

    def __init__(self, path: str) -> None:
        """Look whether the folder is there, and whether it can be read.

        Raises:
            NotFoundError: There is no such folder.
            FormatError: It holds no experiments.
            InvalidInputError: PyYAML is missing.
        """
        self.path = os.path.abspath(path)
        self.uri = self.path
        self.findings = Findings("")
        self.base_folders = [os.path.dirname(self.path), os.getcwd()]
        if not os.path.isdir(self.path):
            raise NotFoundError(
                f"There is no folder {show_path(self.path)}.", code=ErrorCode.STORE_NOT_FOUND, hint="Check the path."
            )
        require_yaml()
        self._folders = self._list_experiment_folders()
        if not self._folders:
            raise FormatError(
                f"{show_path(self.path)} holds no experiments of MLflow.",
                hint="Give the folder that MLflow calls mlruns. One that holds artifacts only belongs to a database: "
                "import that, as sqlite:///mlflow.db.",
            )
        _count_what_is_left(self.path, self._folders, self.findings)

    def list_experiments(self) -> list[SourceExperiment]:
        """Return all experiments, deleted ones too."""
        return [self._read_experiment(folder) for folder in self._folders]

    def run_id(self, run_key: str) -> str:
        """Return the id of a run: the name of its folder."""
        return os.path.basename(run_key)

    def read_run(self, run_key: str) -> SourceRun:
        """Return the run in a folder."""
        folder = os.path.join(self.path, run_key)
        run = SourceRun(os.path.basename(run_key), Findings(printable_name(run_key)))
        run.params, _ = read_values(os.path.join(folder, "params"), "param", "params", run.findings)
        run.tags, run.are_tags_whole = read_values(os.path.join(folder, "tags"), "tag", "tags", run.findings)
        meta = read_meta(folder, META_FILE, run.findings)
        if meta is None:
            run.findings.note("", "what it said is guessed: the run counts as RUNNING since its first point")
            run.are_tags_whole = False
        else:
            _take_meta(run, meta, os.path.basename(os.path.dirname(run_key)))
        run.start_ms = run.start_ms if run.start_ms is not None else self._guess_start_ms(folder, run)
        run.artifact_folders.insert(0, os.path.join(folder, "artifacts"))
        run.has_artifacts = any(key in run.tags for key in _ARTIFACT_TAGS)
        run.iter_points = partial(self._iter_points, folder, run.findings)
        read_inputs(run, folder, os.path.dirname(folder))
        return run

    def read_model(self, model_key: str) -> SourceModel:
        """Return the logged model in a folder."""
        return read_model(os.path.join(self.path, model_key), Findings(printable_name(model_key)))

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _list_experiment_folders(self) -> list[str]:
        found: list[str] = []
        for above in ("", TRASH):
            for name in self._list_folders(above):
                if not above and name in (TRASH, REGISTRY):
                    continue
                folder = os.path.join(above, name)
                if os.path.lexists(os.path.join(self.path, folder, META_FILE)) or self._list_runs(folder):
                    found.append(folder)
        return found

    def _list_folders(self, folder: str) -> list[str]:
        try:
            with os.scandir(os.path.join(self.path, folder)) as listing:
                return sorted(item.name for item in listing if item.is_dir())
        except FileNotFoundError:
            return []
        except OSError as error:
            self.findings.note(printable_name(folder), f"it cannot be listed ({error.strerror})")
            return []

    def _list_runs(self, folder: str) -> list[str]:
        """Return the runs, or models, in a folder: without `meta.yaml` it is one if it has points, params or tags."""
        return [
            os.path.join(folder, name)
            for name in self._list_folders(folder)
            if name not in _NO_RUNS
            and any(os.path.lexists(os.path.join(self.path, folder, name, part)) for part in (META_FILE, *_RUN_PARTS))
        ]

    def _read_experiment(self, folder: str) -> SourceExperiment:
        path, experiment_id = os.path.join(self.path, folder), os.path.basename(folder)
        findings = Findings(printable_name(folder))
        meta = read_meta(path, META_FILE, findings)
        tags, is_whole = read_values(os.path.join(path, "tags"), "experiment tag", "tags", findings)
        name = "" if meta is None or meta.get("name") is None else str(meta["name"])
        meta = meta or {}
        if not name:
            name = f"mlflow {printable_name(experiment_id)}"
            findings.note("", f"its name is not known; it is called {name!r}")
        # What counts in the file backend is the folder that it lies in.
        is_deleted = folder.startswith(TRASH + os.sep)
        return SourceExperiment(
            source_id=experiment_id,
            name=name,
            created_ms=to_time_ms(meta.get("creation_time"), "creation_time", findings),
            updated_ms=to_time_ms(meta.get("last_update_time"), "last_update_time", findings),
            is_deleted=is_deleted,
            tags=tags,
            run_keys=self._list_runs(folder),
            model_keys=self._list_runs(os.path.join(folder, "models")),
            findings=findings,
            are_tags_whole=is_whole,
        )

    def _iter_points(self, folder: str, findings: Findings) -> Iterator[SourcePoints]:
        for path, key in walk_keys(os.path.join(folder, "metrics"), "metrics", findings):
            name = f"metrics/{printable_name(key)}"
            try:
                validate_key(key, "metric")
                with open(path, "rb") as file:
                    yield from read_metric_file(file, key, name, findings)
            except InvalidInputError as error:
                findings.note(name, error.message.rstrip("."))
            except OSError as error:
                findings.note(name, f"it cannot be read ({error.strerror})")

    def _guess_start_ms(self, folder: str, run: SourceRun) -> int:
        silent = Findings("")  # the same is reported when the points are brought
        earliest = min((min(points.timestamp_ms) for points in self._iter_points(folder, silent)), default=None)
        if earliest is not None:
            return earliest
        try:
            return os.stat(folder).st_mtime_ns // 1_000_000
        except OSError as error:
            run.findings.note("", f"it cannot be looked at ({error.strerror})")
            return 0


def _take_meta(run: SourceRun, meta: dict[str, Any], experiment_id: str) -> None:
    findings = run.findings
    for name, wanted in (("run_id", run.run_id), ("experiment_id", experiment_id)):
        there = meta.get(name, wanted)
        if str(there) != wanted:
            findings.note(META_FILE, f"it says {name} {str(there)[:80]!r}; the folder that it lies in counts")
    run.user = "" if meta.get("user_id") is None else str(meta["user_id"])
    run.status = to_status(meta.get("status"), findings)
    run.start_ms = to_time_ms(meta.get("start_time"), "start_time", findings)
    run.end_ms = to_time_ms(meta.get("end_time"), "end_time", findings)
    run.is_deleted = meta.get("lifecycle_stage", "active") == "deleted"
    run.deleted_ms = to_time_ms(meta.get("deleted_time"), "deleted_time", findings) if run.is_deleted else None
    if isinstance(meta.get("artifact_uri"), str):
        run.artifact_folders.append(meta["artifact_uri"])
    run_name = meta.get("run_name") or meta.get("name")
    if isinstance(run_name, str) and run.tags.setdefault(RUN_NAME_TAG, run_name) != run_name:
        findings.note(META_FILE, f"it says run_name {run_name[:80]!r}; the tag {RUN_NAME_TAG} counts", severity="info")
    add_old_source_tags(run.tags, meta)


def _count_what_is_left(root: str, folders: list[str], findings: Findings) -> None:
    """Say what a store of runs has no place for."""
    registered_count = _count_folders(os.path.join(root, REGISTRY), findings)
    if registered_count:
        findings.note(
            REGISTRY, f"the registry with {registered_count} registered models is not imported", severity="info"
        )
    traces_count = sum(_count_folders(os.path.join(root, folder, "traces"), findings) for folder in folders)
    if traces_count:
        findings.note("traces", f"{traces_count} traces are not imported", severity="info")


def _count_folders(folder: str, findings: Findings) -> int:
    try:
        with os.scandir(folder) as listing:
            return sum(item.is_dir() for item in listing)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        findings.note(printable_name(os.path.basename(folder)), f"it cannot be listed ({error.strerror})")
        return 0
