"""Fifty metrics in one call."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from random import Random
from typing import TextIO

from tools.bench import mlflow_peer
from tools.bench.harness import Calls, Setting, Side, map_turns, run_in_turns, time_calls
from tools.bench.results import Bound, Result

NAME = "batch50"
SUMMARY = "log_metrics of 50 keys a call"
MEDIAN_BOUND = Bound(0.35)
KEY_COUNT = 50

LogSet = Callable[[dict[str, float], int], object]


def open_floor(file: TextIO) -> LogSet:
    """Return the floor: one JSON object of all metrics, written and flushed; its timestamp costs it nothing."""
    now_ms = time.time_ns() // 1_000_000

    def log(metrics: dict[str, float], step: int) -> None:
        file.write(json.dumps({"metrics": metrics, "step": step, "timestamp": now_ms}) + "\n")
        file.flush()

    return log


def run(setting: Setting) -> Result:
    """Measure logging of fifty metrics a call."""
    from localtrack import Store

    result = Result(NAME, SUMMARY)
    random = Random(setting.seed)
    keys = [f"layer{number // 5}/weight.{number % 5}" for number in range(KEY_COUNT)]
    sets = [{key: random.random() for key in keys} for _ in range(setting.choose(600, 20))]
    with ExitStack() as stack:
        file = stack.enter_context(open(setting.folder / "floor.jsonl", "a", encoding="utf-8"))
        store = stack.enter_context(Store.open(str(setting.folder / "store"), create=True))
        stack.callback(store.flush)  # else the folder is gone before the library has synced it
        ours = stack.enter_context(store.start_run("bench"))
        sides = [
            _side("floor", open_floor(file), sets),
            _side("localtrack", lambda metrics, step: ours.log_metrics(metrics, step=step), sets),
        ]
        if mlflow_peer.use_mlflow(setting, result):
            from mlflow.entities import Metric

            client = mlflow_peer.open_client(setting.folder / "mlflow")
            run_id = mlflow_peer.start_run(client)

            def mlflow_log(metrics: dict[str, float], step: int) -> None:
                now_ms = time.time_ns() // 1_000_000
                client.log_batch(run_id, metrics=[Metric(key, value, now_ms, step) for key, value in metrics.items()])

            sides.append(_side("mlflow", mlflow_log, sets[: setting.choose(5, 2)]))
        for side in sides:
            side.turn()  # the first calls make files and load modules
        medians = map_turns(run_in_turns(sides, setting.round_count(15)), lambda calls: calls.quantile_s(0.5))
    result.add_turns("median a call", "s", medians)
    result.add_ratio("median a call", medians, "localtrack", "floor", MEDIAN_BOUND)
    result.add_ratio("median a call", medians, "localtrack", "mlflow")
    return result


def _side(name: str, log: LogSet, sets: list[dict[str, float]]) -> Side[Calls]:
    next_step = 0

    def turn() -> Calls:
        nonlocal next_step
        calls = time_calls(log, sets, first_step=next_step)
        next_step += len(sets)
        return calls

    return Side(name, turn)
