"""A server or workspace as a source of an import: what `Store.pull` reads. It is only read."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any, Final

from localtrack.errors import ErrorCode, InvalidInputError, NotFoundError
from localtrack.format.layout import run_folder
from localtrack.format.modellog import ModelMetric
from localtrack.format.names import validate_key
from localtrack.importing.database_models import restore_infinity
from localtrack.importing.report import Findings
from localtrack.importing.source import (
    SourceExperiment,
    SourceModel,
    SourcePoints,
    SourceRun,
    to_dataset,
    to_model_status,
    to_status,
    to_time_ms,
)
from localtrack.storage.base import Storage
from localtrack.store.history import read_history
from localtrack.store.run_reading import RunReading, read_folder
from localtrack.sync.asking import remote_metrics
from localtrack.sync.claims import CLAIM_TAG_PREFIX
from localtrack.sync.model_push import CREATED_TAG, MODEL_ID_TAG
from localtrack.sync.remote_runs import choose_remote, local_id_of
from localtrack.sync.run_push import last_points
from localtrack.sync.tracking import Tracking
from localtrack.sync.translation import MLFLOW_PARENT_TAG, PARENT_ID_TAG, STORE_ID_TAG, USER_TAG
from localtrack.types import TERMINAL_STATUSES

_OURS: Final = "localtrack."
"""Beginning of tags that a push has added. A run that comes back from there does without those that speak of that."""


class RemoteSource:
    """The chosen runs of a target. See `importing.source.Source`.

    Runs that were pushed from a store come back under the ids that they had there, so that they meet the originals.

    Args:
        tracking: The target.
        uri: What it is called.
        storage: The store that is brought to: what it has whole is not fetched again.
        experiment_names: Only these experiments.
        run_ids: Only these runs, by their ids on the target.
    """

    def __init__(
        self,
        tracking: Tracking,
        uri: str,
        storage: Storage,
        *,
        experiment_names: Collection[str] | None = None,
        run_ids: Collection[str] | None = None,
    ) -> None:
        self.uri = uri
        self.path = ""
        self.findings = Findings("")
        self.base_folders: list[str] = []
        self.changed: list[tuple[str, dict[str, Any]]] = []
        """Local id, and the run of the target, of those that may have something new."""
        self.models: dict[str, dict[str, Any]] = {}
        """Local id → the logged model of the target."""
        self._tracking = tracking
        self._storage = storage
        self._experiment_names = experiment_names
        self._run_ids = run_ids
        self._runs: dict[str, dict[str, Any]] = {}
        self._local_ids: dict[str, str] = {}
        self._model_ids: dict[str, str] = {}

    def list_experiments(self) -> list[SourceExperiment]:
        """Return the chosen experiments that are not deleted, with their runs.

        Raises:
            NotFoundError: One that was named is not there.
        """
        found = [self._read_experiment(experiment) for experiment in self._choose_experiments()]
        missing = set(self._run_ids or ()) - set(self._local_ids)
        if missing:
            raise NotFoundError(f"The target has no run {min(missing)}.", code=ErrorCode.RUN_NOT_FOUND)
        return [one for one in found if self._run_ids is None or one.run_keys]

    def run_id(self, run_key: str) -> str:
        """Return the id that a run has in the store."""
        return run_key

    def read_run(self, run_key: str) -> SourceRun:
        """Return a run."""
        remote = self._runs[run_key]
        info, data = remote["info"], remote.get("data", {})
        findings = Findings(f"runs/{info['run_id']}")
        run = SourceRun(run_key, findings)
        run.user = str(info.get("user_id") or "")
        run.status = to_status(info.get("status"), findings)
        run.start_ms = to_time_ms(_to_int(info.get("start_time")), "start_time", findings)
        run.end_ms = to_time_ms(_to_int(info.get("end_time")), "end_time", findings)
        run.params = self._read_rows(data.get("params", []), "param", findings)
        run.tags = self._read_tags(remote, findings)
        run.user = run.user or run.tags.get("mlflow.user", "")
        reading = read_folder(self._storage, run_folder(run_key))
        if _is_whole(reading, remote, run):
            self._take_inputs(remote, run, findings)
        else:
            # A search shows no models that a run read.
            self._take_inputs(self._tracking.get_run(str(info["run_id"])) or remote, run, findings)
            self.changed.append((run_key, remote))
            keys = sorted(remote_metrics(remote))
            run.iter_points = partial(self._iter_points, str(info["run_id"]), keys, reading, findings)
        return run

    def read_model(self, model_key: str) -> SourceModel:
        """Return a logged model."""
        remote = self.models[model_key]
        info, data = remote["info"], remote.get("data", {})
        findings = Findings(f"models/{info['model_id']}")
        tags = self._read_rows(info.get("tags", []), "tag", findings)
        made_ms = tags.get(CREATED_TAG) if MODEL_ID_TAG in tags else None
        model = SourceModel(model_key, findings, name=str(info.get("name") or ""))
        model.model_type = info.get("model_type") or None
        source_run = info.get("source_run_id") or None
        model.source_run = self._local_ids.get(source_run, source_run) if source_run else None
        status = str(info.get("status") or "").removeprefix("LOGGED_MODEL_").removeprefix("STATUS_")
        model.status = to_model_status(status, findings)
        created = made_ms if made_ms and made_ms.isdigit() else info.get("creation_timestamp_ms")
        model.created_ms = to_time_ms(_to_int(created), "creation_timestamp_ms", findings)
        model.updated_ms = to_time_ms(_to_int(info.get("last_updated_timestamp_ms")), "last_updated", findings)
        model.params = {str(row["key"]): str(row.get("value", "")) for row in data.get("params", [])}
        model.tags = {key: value for key, value in tags.items() if not key.startswith(_OURS)}
        for row in data.get("metrics", []):
            run_id = row.get("run_id")
            dataset = (row["dataset_name"], row["dataset_digest"]) if row.get("dataset_name") else None
            model.metrics.append(
                ModelMetric(
                    str(row["key"]),
                    restore_infinity(float(row.get("value") or 0)),
                    int(row.get("timestamp") or 0),
                    int(row.get("step") or 0),
                    self._local_ids.get(run_id, run_id),
                    dataset,
                )
            )
        return model

    def close(self) -> None:
        """Nothing is open: the connection belongs to the caller."""

    # -- reading

    def _choose_experiments(self) -> Iterator[dict[str, Any]]:
        if self._experiment_names is None:
            yield from self._tracking.search_experiments()
            return
        for name in self._experiment_names:
            experiment = self._tracking.find_experiment(name)
            if experiment is None or experiment.get("lifecycle_stage") == "deleted":
                raise NotFoundError(f"The target has no experiment {name!r}.", code=ErrorCode.EXPERIMENT_NOT_FOUND)
            yield experiment

    def _read_experiment(self, experiment: Mapping[str, Any]) -> SourceExperiment:
        experiment_id = str(experiment["experiment_id"])
        findings = Findings(f"experiments/{experiment_id}")
        candidates: dict[str, list[dict[str, Any]]] = {}
        for run in self._tracking.search_runs(experiment_id, view_type="ACTIVE_ONLY"):
            remote_id = str(run["info"]["run_id"])
            local_id = local_id_of(run) or remote_id
            self._local_ids[remote_id] = local_id
            if self._run_ids is None or remote_id in self._run_ids:
                candidates.setdefault(local_id, []).append(run)
        doubled = candidates.keys() & self._runs.keys()
        for local_id in doubled:
            # A store was pushed twice, under other names of experiments.
            findings.note(f"runs/{local_id}", "it is in another experiment, too, and came from there", severity="info")
            del candidates[local_id]
        for local_id, runs in candidates.items():
            chosen = choose_remote(runs)
            if chosen is not None:
                self._runs[local_id] = chosen
        models = self._list_models(experiment_id) if self._run_ids is None else []
        tags = self._read_rows(experiment.get("tags", []), "experiment tag", findings)
        return SourceExperiment(
            source_id=experiment_id,
            name=str(experiment["name"]),
            created_ms=to_time_ms(_to_int(experiment.get("creation_time")), "creation_time", findings),
            updated_ms=to_time_ms(_to_int(experiment.get("last_update_time")), "last_update_time", findings),
            is_deleted=False,
            tags={key: value for key, value in tags.items() if not key.startswith(_OURS)},
            run_keys=list(candidates),
            model_keys=models,
            findings=findings,
        )

    def _list_models(self, experiment_id: str) -> list[str]:
        keys: list[str] = []
        for model in self._tracking.search_models(experiment_id):
            tags = {row["key"]: row.get("value", "") for row in model["info"].get("tags", [])}
            remote_id = str(model["info"]["model_id"])
            local_id = tags.get(MODEL_ID_TAG) or remote_id
            self._model_ids[remote_id] = local_id
            if local_id not in self.models:
                keys.append(local_id)
            self.models[local_id] = model
        return keys

    def _read_rows(self, rows: list[dict[str, Any]], kind: str, findings: Findings) -> dict[str, str]:
        values: dict[str, str] = {}
        for row in rows:
            try:
                values[validate_key(row.get("key"), kind)] = str(row.get("value", ""))
            except InvalidInputError as error:
                findings.note("", error.message.rstrip("."))
        return values

    def _read_tags(self, remote: Mapping[str, Any], findings: Findings) -> dict[str, str]:
        tags = self._read_rows(remote.get("data", {}).get("tags", []), "tag", findings)
        parent = tags.get(MLFLOW_PARENT_TAG)
        if parent is not None:
            tags[MLFLOW_PARENT_TAG] = self._local_ids.get(parent, parent)
        if local_id_of(remote):
            # It comes from a store, and there it has none of what a push has added.
            if PARENT_ID_TAG in tags:
                tags[MLFLOW_PARENT_TAG] = tags[PARENT_ID_TAG]
            added = ("localtrack.run_id", STORE_ID_TAG, PARENT_ID_TAG, USER_TAG)
            tags = {k: v for k, v in tags.items() if k not in added and not k.startswith(CLAIM_TAG_PREFIX)}
        return tags

    def _take_inputs(self, remote: Mapping[str, Any], run: SourceRun, findings: Findings) -> None:
        inputs = remote.get("inputs", {})
        for row in inputs.get("dataset_inputs", []):
            tags = {tag["key"]: tag.get("value", "") for tag in row.get("tags", [])}
            dataset = to_dataset(row.get("dataset", {}), tags, "datasets", findings)
            if dataset is not None:
                run.datasets.append(dataset)
        for row in inputs.get("model_inputs", []):
            run.model_inputs.append(self._model_ids.get(row["model_id"], row["model_id"]))
        for row in remote.get("outputs", {}).get("model_outputs", []):
            model_id = self._model_ids.get(row["model_id"], row["model_id"])
            run.model_outputs.append((model_id, int(row.get("step") or 0)))

    def _iter_points(
        self, remote_id: str, keys: list[str], reading: RunReading | None, findings: Findings
    ) -> Iterator[SourcePoints]:
        for key in keys:
            try:
                validate_key(key, "metric")
            except InvalidInputError as error:
                findings.note("metrics", error.message.rstrip("."))
                continue
            negative = _negative_zeros(reading, key)
            for page in self._tracking.iter_history(remote_id, key):
                points = SourcePoints(key, array("q"), array("q"), array("d"))
                for row in page:
                    at = int(row.get("timestamp") or 0), int(row.get("step") or 0)
                    value = restore_infinity(float(row.get("value") or 0))
                    # Databases have one zero: of a point that is here as -0.0 it is no other one.
                    value = -0.0 if value == 0.0 and at in negative else value
                    points.timestamp_ms.append(at[0])
                    points.step.append(at[1])
                    points.value.append(value)
                yield points


def _is_whole(reading: RunReading | None, remote: Mapping[str, Any], run: SourceRun) -> bool:
    """Return whether a run that has ended on both sides shows the same last points on both."""
    if reading is None or not reading.is_run or reading.is_newer or run.status not in TERMINAL_STATUSES:
        return False
    state = reading.state
    return (state.status, state.end_ms) == (run.status, run.end_ms) and last_points(reading) == remote_metrics(remote)


def _negative_zeros(reading: RunReading | None, key: str) -> set[tuple[int, int]]:
    """Return where the store has -0.0 for a metric."""
    if reading is None or not reading.is_run or key not in reading.folds:
        return set()
    table = reading.steadily(lambda run: read_history(run, key))
    columns: list[list[Any]] = [table.column(name).to_pylist() for name in ("timestamp_ms", "step", "value")]
    return {(time_ms, step) for time_ms, step, value in zip(*columns, strict=True) if str(value) == "-0.0"}


def _to_int(value: Any) -> Any:
    """Return what some servers write as text as the number that it is; anything else as it is."""
    return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value
