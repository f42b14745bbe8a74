"""What MLflow itself writes, into its file backend and into SQLite, and what MLflow itself reads of it.

Shares no code with the importer. What is read has the shape that `tests.independent.reader` gives, so that the two can
be compared point by point.
"""

from __future__ import annotations

import atexit
import math
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelParameter,
    LoggedModelStatus,
    LoggedModelTag,
    Metric,
    Param,
    RunStatus,
    RunTag,
    ViewType,
)
from mlflow.entities.experiment_tag import ExperimentTag
from mlflow.store.tracking.file_store import FileStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from tests.independent.words import to_json

KINDS = ("mlruns", "sqlite")
T = 1_700_000_000_000
LONG_COUNT = 4_000
"""Points of the long run: enough that they leave the run log and are sealed."""
VALUES = [0.5, 1.0, math.nan, math.inf, -math.inf, 1e-320, 0.1 + 0.2, -0.0, 1e308, 123456789.125]
INFINITY_IN_SQL = sys.float_info.max


@cache
def _empty_database() -> str:
    """Return a database as MLflow makes it, made once: it takes a second."""
    folder = tempfile.mkdtemp(prefix="localtrack-test-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    store = SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", f"{folder}/artifacts")
    store.engine.dispose()
    return f"{folder}/mlflow.db"


def copy_source(template: MlflowData, folder: Path) -> MlflowData:
    """Return a copy of a source in another folder, in which it names itself."""
    shutil.copytree(template.folder, folder)
    old, new = str(template.folder), str(folder)
    if template.kind == "mlruns":
        for path in folder.rglob("meta.yaml"):
            path.write_text(path.read_text().replace(old, new))
    else:
        with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
            for table, column in _LOCATIONS:
                database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (old, new))
    return MlflowData(template.kind, folder)


_LOCATIONS = ("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location")


@contextmanager
def file_store_allowed() -> Iterator[None]:
    """Let MLflow open its file backend, which it has withdrawn."""
    before = os.environ.get("MLFLOW_ALLOW_FILE_STORE")
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    try:
        yield
    finally:
        del os.environ["MLFLOW_ALLOW_FILE_STORE"]
        if before is not None:
            os.environ["MLFLOW_ALLOW_FILE_STORE"] = before


class MlflowData:
    """A source that MLflow has written."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "mlruns":
            with file_store_allowed():
                self.store: Any = FileStore(str(folder / "mlruns"), str(folder / "mlruns"))
            self.location = str(folder / "mlruns")
        else:
            if not (folder / "mlflow.db").exists():
                shutil.copyfile(_empty_database(), folder / "mlflow.db")
            self.store = SqlAlchemyStore(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts"))
            self.location = f"sqlite:///{folder / 'mlflow.db'}"

    def close(self) -> None:
        if self.kind == "sqlite":
            self.store.engine.dispose()

    # -- writing

    def add_run(
        self,
        experiment_id: str,
        name: str,
        *,
        user: str = "ada",
        start_ms: int = T,
        status: str | None = "FINISHED",
        params: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
        points: list[tuple[str, float, int, int]] = [],  # noqa: B006  # never changed
        artifacts: dict[str, bytes] | None = None,
    ) -> str:
        """Make a run; points are (key, value, timestamp, step). A status of None leaves it running."""
        run = self.store.create_run(experiment_id, user, start_ms, [], name)
        run_id: str = run.info.run_id
        for start in range(0, len(points), 1_000):
            batch = [Metric(*point) for point in points[start : start + 1_000]]
            self.store.log_batch(run_id, batch, [], [])
        self.store.log_batch(
            run_id,
            [],
            [Param(key, value) for key, value in (params or {}).items()],
            [RunTag(key, value) for key, value in (tags or {}).items()],
        )
        root = Path(run.info.artifact_uri.removeprefix("file://"))
        for path, data in (artifacts or {}).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        if status is not None:
            self.store.update_run_info(run_id, RunStatus.from_string(status), start_ms + 5_000, None)
        return run_id

    def fill(self, long_count: int = LONG_COUNT) -> dict[str, str]:
        """Write a bit of everything, and return the ids of runs by name."""
        store = self.store
        main = store.create_experiment("/Shared/téam/churn", tags=[ExperimentTag("owner", "ada\nlovelace")])
        ids = {
            "values": self.add_run(
                main,
                "values näme",
                params={"lr": "0.1", "deep/er/key": "two\nlines ", "empty": "", "long": "x" * 6_000, "ü": "ß"},
                tags={"a/b": "c", "note": "", "mlflow.source.name": "train.py", "emoji": "🦊"},
                points=[
                    *(("all kinds", value, T + n, n - 3) for n, value in enumerate(VALUES)),
                    *(("same/time", float(n), T, 7) for n in range(5)),
                    ("steps", 1.0, T, -(2**40)),
                    ("steps", 2.0, T, 2**40),
                    ("old", 3.0, 0, 0),
                ],
                artifacts={"a.txt": b"text", "model/deep/weights.bin": bytes(range(256)) * 300, "empty.txt": b""},
            ),
            "long": self.add_run(
                main, "long", points=[("loss", 1 / (n + 1), T + n * 10, n) for n in range(long_count)], user="bob"
            ),
            "running": self.add_run(main, "running", status=None, points=[("loss", 0.5, T, 0)]),
            "failed": self.add_run(main, "failed", status="FAILED", user=""),
            "killed": self.add_run(main, "killed", status="KILLED"),
            "scheduled": self.add_run(main, "scheduled", status="SCHEDULED"),
            "deleted": self.add_run(main, "deleted", params={"p": "1"}, artifacts={"kept.txt": b"kept"}),
        }
        ids["child"] = self.add_run(main, "child", tags={"mlflow.parentRunId": ids["values"]})
        store.delete_run(ids["deleted"])
        gone = store.create_experiment("gone")
        ids["in gone"] = self.add_run(gone, "in gone", points=[("m", 1.0, T, 0)])
        store.delete_experiment(gone)
        renamed = store.create_experiment("first name")
        ids["in renamed"] = self.add_run(renamed, "in renamed")
        store.rename_experiment(renamed, "second name")
        ids["in default"] = self.add_run("0", "in default", points=[("m", 2.0, T, 1)])
        return ids

    def fill_models(self, ids: dict[str, str]) -> dict[str, str]:
        """Add data sets and logged models to what `fill` wrote, and return the ids of models by name."""
        store, run_id = self.store, ids["values"]
        experiment_id = store.get_run(run_id).info.experiment_id
        datasets = [
            DatasetInput(
                Dataset("iris", "d1", "local", '{"uri": "/data"}', '{"a": 1}', '{"rows": 3}'),
                [InputTag("mlflow.data.context", "train"), InputTag("note", "ü")],
            ),
            DatasetInput(Dataset("plain", "d2", "code", "{}", None, None), []),
        ]
        store.log_inputs(run_id, datasets)
        store.log_inputs(ids["long"], datasets[:1])
        models = {}
        for name in ("ready", "failed", "pending", "deleted"):
            model = store.create_logged_model(
                experiment_id,
                name,
                run_id if name == "ready" else None,
                [LoggedModelTag("t", "two\nlines")],
                [LoggedModelParameter("p", "ü")],
                "agent" if name == "ready" else None,
            )
            models[name] = model.model_id
            root = Path(model.artifact_location.removeprefix("file://"))
            root.mkdir(parents=True)
            (root / "MLmodel").write_text(f"name: {name}")
        store.finalize_logged_model(models["ready"], LoggedModelStatus.READY)
        store.finalize_logged_model(models["failed"], LoggedModelStatus.FAILED)
        self.log_model_metrics(run_id, models["ready"], [("acc", 0.5, 1), ("with data", math.inf, 2)])
        store.log_inputs(ids["long"], models=[LoggedModelInput(models["ready"])])
        store.log_outputs(run_id, [LoggedModelOutput(models["ready"], 3), LoggedModelOutput(models["failed"], 0)])
        store.delete_logged_model(models["deleted"])
        return models

    def log_model_metrics(self, run_id: str, model_id: str, metrics: list[tuple[str, float, int]]) -> None:
        """Log metrics of a model: key, value and step; those whose key says so with a data set."""
        for key, value, step in metrics:
            data = {"dataset_name": "iris", "dataset_digest": "d1"} if "data" in key else {}
            metric = Metric(key, value, T + step, step, model_id=model_id, run_id=run_id, **data)
            self.store.log_batch(run_id, [metric], [], [])

    # -- reading

    def read(self) -> dict[str, Any]:
        """Return all that MLflow knows, as `tests.independent.reader` gives it."""
        experiments = {}
        runs = {}
        for experiment in self.store.search_experiments(view_type=ViewType.ALL):
            experiments[experiment.name] = {
                "lifecycle": experiment.lifecycle_stage,
                "tags": dict(experiment.tags),
                "creation_ms": experiment.creation_time,
                "last_update_ms": experiment.last_update_time,
            }
            for run in self.store.search_runs([experiment.experiment_id], "", ViewType.ALL, max_results=50_000):
                runs[run.info.run_id] = self._read_run(run, experiment.name)
        return {"experiments": experiments, "runs": runs}

    def read_models(self, model_ids: list[str]) -> dict[str, Any]:
        """Return logged models, deleted ones too, by id."""
        return {model_id: self._read_model(model_id) for model_id in model_ids}

    def _read_model(self, model_id: str) -> dict[str, Any]:
        model = self.store.get_logged_model(model_id, allow_deleted=True)
        root = Path(model.artifact_location.removeprefix("file://"))
        metrics = set()
        for metric in model.metrics or []:
            value = metric.value
            if self.kind == "sqlite" and abs(value) == INFINITY_IN_SQL:
                value = math.copysign(math.inf, value)
            data = None if metric.dataset_name is None else (metric.dataset_name, metric.dataset_digest)
            metrics.add((metric.key, metric.timestamp, metric.step, to_json(value), metric.run_id, data))
        return {
            "name": model.name,
            "source_run": model.source_run_id,
            "model_type": model.model_type,
            "status": str(model.status),
            "status_message": model.status_message,
            "created_ms": model.creation_timestamp,
            "updated_ms": model.last_updated_timestamp,
            "params": dict(model.params),
            "tags": dict(model.tags),
            "metrics": metrics,
            "artifacts": {path.name: path.read_bytes() for path in root.rglob("*") if path.is_file()},
        }

    def read_links(self, run_id: str) -> dict[str, Any]:
        """Return what a run read and made."""
        run = self.store.get_run(run_id)
        return {
            "datasets": {
                (it.dataset.name, it.dataset.digest): {
                    **{key: value for key, value in it.dataset.to_dictionary().items() if value is not None},
                    "tags": {tag.key: tag.value for tag in it.tags},
                }
                for it in run.inputs.dataset_inputs
            },
            "model_inputs": {it.model_id for it in run.inputs.model_inputs},
            "model_outputs": {(it.model_id, it.step) for it in run.outputs.model_outputs},
        }

    def _read_run(self, run: Any, experiment: str) -> dict[str, Any]:
        points = set()
        for key in run.data.metrics:
            for point in self.store.get_metric_history(run.info.run_id, key):
                value = point.value
                if self.kind == "sqlite" and abs(value) == INFINITY_IN_SQL:
                    value = math.copysign(math.inf, value)  # MLflow stores infinity so, and the import takes it back
                points.add((key, point.timestamp, point.step, to_json(value + 0.0)))
        root = Path(run.info.artifact_uri.removeprefix("file://"))
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return {
            "experiment": experiment,
            "name": run.info.run_name,
            "user": run.info.user_id,
            "status": run.info.status,
            "start_ms": run.info.start_time,
            "end_ms": run.info.end_time,
            "lifecycle": run.info.lifecycle_stage,
            "params": dict(run.data.params),
            "tags": dict(run.data.tags),
            "points": points,
            "artifacts": {path.relative_to(root).as_posix(): path.read_bytes() for path in files},
        }
