"""`mlflow.log_metric` through the plugin, beside MLflow on SQLite and beside a store that does nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from random import Random
from typing import Any

from tools.bench import mlflow_peer, values
from tools.bench.harness import Calls, Setting, Side, map_turns, run_in_turns, time_calls
from tools.bench.results import Bound, Result

NAME = "plugin"
SUMMARY = "mlflow.log_metric through the plugin, over MLflow's own client"
BOUND = Bound(1.2)


def run(setting: Setting) -> Result:
    """Measure one metric a call, with MLflow's fluent function."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    result = Result(NAME, SUMMARY)
    points = values.make_values("full-entropy doubles", setting.choose(1_000, 20), Random(setting.seed))
    with contextlib.ExitStack() as stack:
        sides = [
            _side("does nothing", stack.enter_context(_nothing()), points),
            _side("localtrack", f"localtrack://{setting.folder}/store", points),
        ]
        if mlflow_peer.use_mlflow(setting, result):
            mlflow_peer.open_client(setting.folder / "mlflow")
            few = points[: setting.choose(20, 2)]
            sides.append(_side("sqlite", f"sqlite:///{setting.folder}/mlflow/mlflow.db", few))
        for side in sides:
            side.turn()  # the first calls make files and load modules
        medians = map_turns(run_in_turns(sides, setting.round_count(15)), lambda calls: calls.quantile_s(0.5))
    result.add_turns("median a call", "s", medians)
    result.add_ratio("median a call", medians, "localtrack", "does nothing", BOUND)
    result.add_ratio("median a call", medians, "localtrack", "sqlite")
    _let_go()
    return result


@contextlib.contextmanager
def _nothing() -> Iterator[str]:
    """Give MLflow a store that keeps nothing of what is logged, and yield its URI."""
    from mlflow.entities import Experiment, Run, RunData, RunInfo
    from mlflow.store.tracking.abstract_store import AbstractStore
    from mlflow.tracking._tracking_service import utils

    class Nothing(AbstractStore):
        def __init__(self, store_uri: str, artifact_uri: str | None = None) -> None:
            super().__init__()
            self.info = RunInfo("f" * 32, "0", "nobody", "RUNNING", 1, None, "active", "/nowhere", "run")

        def get_experiment(self, experiment_id: str) -> Experiment:
            return Experiment("0", "Default", "/nowhere", "active")

        def create_run(self, *_: Any, **__: Any) -> Run:
            return Run(self.info, RunData())

        def get_run(self, run_id: str) -> Run:
            return Run(self.info, RunData())

        def update_run_info(self, *_: Any, **__: Any) -> RunInfo:
            return self.info

        def log_metric(self, *_: Any, **__: Any) -> None:
            return None

    utils._tracking_store_registry.register("does-nothing", Nothing)
    yield "does-nothing://"


def _side(name: str, uri: str, points: list[float]) -> Side[Calls]:
    def turn() -> Calls:
        import mlflow

        mlflow.set_tracking_uri(uri)
        with mlflow.start_run():
            return time_calls(lambda value, step: mlflow.log_metric("loss", value, step=step), points)

    return Side(name, turn)


def _let_go() -> None:
    """Close what the plugin holds open, before the folder goes."""
    import mlflow

    import localtrack.mlflow_plugin.opened as opened

    mlflow.set_tracking_uri(None)
    for found in opened._opened.values():
        found.writers.close()
        found.store.flush()
