"""The same calls on MLflow's SQL store and on the plugin: what each gives back, in words that do not name either's ids.

A case is a function of a `World`: it makes experiments and runs under names of its own, calls the store, and notes what
comes back. A refused call is noted as its error code and text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import sqlalchemy
from mlflow.entities import (
    Experiment,
    LoggedModel,
    LoggedModelParameter,
    LoggedModelTag,
    Metric,
    Param,
    Run,
    RunInfo,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from localtrack.mlflow_plugin.tracking_store import LocaltrackStore

Case = Callable[["World"], None]

_NOW_MS = 10**12
"""Times after this are those of the clock: no case gives so late a time."""
FIRST_EXPERIMENT_ID = 7_000_000_000
_SQL_NOISE = re.compile(r"(already exists\.).*", re.DOTALL)


class World:
    """One store, and what one case made in it.

    Args:
        store: The store.
        name: Of the case; what it makes bears it.
    """

    def __init__(self, store: Any, name: str) -> None:
        self.store = store
        self.name = name
        self.notes: list[Any] = []
        self._symbols: dict[str, str] = {}

    # -- making

    def experiment(self, suffix: str = "", **more: Any) -> str:
        experiment_id: str = self.store.create_experiment(f"{self.name}{suffix}", **more)
        self._symbols.setdefault(experiment_id, f"<experiment {len(self._symbols)}>")
        return experiment_id

    def run(
        self,
        experiment_id: str | None = None,
        *,
        name: str = "run",
        start: int = 1000,
        tags: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
        metrics: Iterable[tuple[str, float, int, int]] = (),
        user: str = "ada",
    ) -> str:
        if experiment_id is None:
            experiment_id = self.experiment(f"-{len(self._symbols)}")
        run_tags = [RunTag(key, value) for key, value in (tags or {}).items()]
        run = self.store.create_run(experiment_id, user, start, run_tags, name)
        self._symbols[run.info.run_id] = f"<run {len(self._symbols)}>"
        if params or metrics:
            points = [Metric(*point) for point in metrics]
            self.store.log_batch(run.info.run_id, points, [Param(*item) for item in (params or {}).items()], [])
        return str(run.info.run_id)

    def run_named(self, experiment_id: str, name: str, tags: list[RunTag]) -> Any:
        """Begin a run and return it."""
        run = self.store.create_run(experiment_id, "eve", 1500, tags, name)
        self._symbols[run.info.run_id] = f"<run {len(self._symbols)}>"
        return run

    def model(self, experiment_id: str | None = None, *, name: str = "model", **more: Any) -> str:
        """Make a logged model and return its id."""
        if experiment_id is None:
            experiment_id = self.experiment(f"-{len(self._symbols)}")
        tags = [LoggedModelTag(*item) for item in more.pop("tags", {}).items()]
        params = [LoggedModelParameter(*item) for item in more.pop("params", {}).items()]
        model = self.store.create_logged_model(experiment_id, name, tags=tags, params=params, **more)
        self._symbols[model.model_id] = f"<model {len(self._symbols)}>"
        return str(model.model_id)

    # -- noting

    def note(self, call: Callable[[], Any]) -> Any:
        """Call something; write down what it returns or raises; return what it returns."""
        try:
            result = call()
        except MlflowException as error:
            self.notes.append(["error", error.error_code, self._plain(_SQL_NOISE.sub(r"\1", error.message))])
            return None
        except Exception as error:
            self.notes.append(["raised", type(error).__name__])
            return None
        self.notes.append(self._plain(result))
        return result

    def note_run(self, run_id: str) -> None:
        self.note(lambda: self.store.get_run(run_id))

    def note_history(self, run_id: str, key: str) -> None:
        self.note(lambda: list(self.store.get_metric_history(run_id, key)))

    def _plain(self, value: Any) -> Any:
        if isinstance(value, str):
            for identity, symbol in self._symbols.items():
                value = value.replace(identity, symbol)
            return value.replace(self.name, "<case>")
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int):
            return "<now>" if value > _NOW_MS else value
        if isinstance(value, float):
            return repr(value + 0.0) if math.isfinite(value) else repr(value)
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, dict):
            return {self._plain(key): self._plain(item) for key, item in sorted(value.items())}
        if isinstance(value, Metric):
            return ["metric", value.key, self._plain(float(value.value)), value.step, value.timestamp]
        if isinstance(value, Experiment):
            times = self._plain([value.creation_time, value.last_update_time])
            plain = [value.experiment_id, value.name, value.lifecycle_stage, value.tags, times]
            return ["experiment", *map(self._plain, plain)]
        if isinstance(value, RunInfo):
            plain = [value.run_id, value.experiment_id, value.run_name, value.user_id, value.status]
            times = [value.start_time, value.end_time]
            return ["info", *map(self._plain, [*plain, value.lifecycle_stage, times])]
        if isinstance(value, Run):
            data = [value.data.metrics, value.data.params, value.data.tags]
            latest = sorted(value.data._metric_objs, key=lambda metric: metric.key)
            links = [self._links(value.inputs), self._links(value.outputs)]
            return ["run", self._plain(value.info), *map(self._plain, data), self._plain(latest), links]
        if isinstance(value, LoggedModel):
            return self._model(value)
        if isinstance(value, tuple | list):
            plain_items = [self._plain(item) for item in value]
            token = getattr(value, "token", None)
            return plain_items if token is None else [*plain_items, "and more"]
        if hasattr(value, "run_id") and hasattr(value, "metric"):
            return [self._plain(value.run_id), self._plain(value.metric)]
        if hasattr(value, "run_id") and hasattr(value, "step"):
            return [self._plain(value.run_id), ["metric", value.key, repr(value.value), value.step, value.timestamp]]
        raise TypeError(f"no plain form of {value!r}")

    def _links(self, links: Any) -> list[Any]:
        """Return inputs or outputs of a run: sets, of which MLflow's store gives no order."""
        found: list[Any] = []
        for item in getattr(links, "dataset_inputs", ()):
            dataset = item.dataset
            fields = [
                dataset.name,
                dataset.digest,
                dataset.source_type,
                dataset.source,
                dataset.schema,
                dataset.profile,
            ]
            found.append(["dataset", *fields, sorted([tag.key, tag.value] for tag in item.tags)])
        found += [["model read", self._plain(item.model_id)] for item in getattr(links, "model_inputs", None) or ()]
        made = getattr(links, "model_outputs", None) or ()
        found += [["model made", self._plain(item.model_id), item.step] for item in made]
        return sorted(found, key=repr)

    def _model(self, model: LoggedModel) -> list[Any]:
        metrics = [
            [m.key, repr(m.value), m.timestamp, m.step, self._plain(m.run_id), m.dataset_name, m.dataset_digest]
            for m in model.metrics or ()
        ]
        times = self._plain([model.creation_timestamp, model.last_updated_timestamp])
        fields = [model.model_id, model.experiment_id, model.name, model.model_type, model.source_run_id]
        plain = [*map(self._plain, fields), model.status.value, model.status_message, times]
        return ["model", *plain, self._plain(model.tags), self._plain(model.params), sorted(metrics, key=repr)]


class Pair:
    """Both stores, side by side in one folder."""

    def __init__(self, folder: Path) -> None:
        uri = f"sqlite:///{folder}/mlflow.db"
        # What the comparison does not need is waiting for the disk at each call.
        if hasattr(SqlAlchemyStore, "_get_or_create_engine"):  # not in 3.6, but in 3.11
            sqlalchemy.event.listen(
                SqlAlchemyStore._get_or_create_engine(uri),
                "connect",
                lambda connection, _: connection.execute("PRAGMA synchronous = OFF"),
            )
        self.sql = SqlAlchemyStore(uri, str(folder / "mlruns"))
        with self.sql.engine.begin() as connection:
            # Ids count up from the greatest: none of ours is a number that a case might use.
            columns, values = "experiment_id, name, lifecycle_stage", f"{FIRST_EXPERIMENT_ID}, 'first', 'deleted'"
            if any(
                column["name"] == "workspace" for column in sqlalchemy.inspect(connection).get_columns("experiments")
            ):
                columns, values = f"{columns}, workspace", f"{values}, 'default'"
            connection.execute(sqlalchemy.text(f"INSERT INTO experiments ({columns}) VALUES ({values})"))
        self.localtrack = LocaltrackStore(f"localtrack://{folder}/store")

    def notes(self, name: str, case: Case) -> tuple[list[Any], list[Any]]:
        """Return what a case notes on MLflow's store and on the plugin."""
        worlds = World(self.sql, name), World(self.localtrack, name)
        for world in worlds:
            case(world)
        return worlds[0].notes, worlds[1].notes

    def close(self) -> None:
        self.sql._dispose_engine()
        self.localtrack.writers.close()
        self.localtrack.store.close()


__all__ = ["Case", "Pair", "ViewType", "World"]
