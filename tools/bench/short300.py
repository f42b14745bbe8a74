"""Many short runs, start to end: what a grid search or a test suite does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.bench import mlflow_peer
from tools.bench.harness import Setting, Side, Turns, run_in_turns, time_once
from tools.bench.results import Bound, Result

NAME = "short300"
SUMMARY = "300 short runs: 10 params, 5 tags, 5 metrics x 3 steps, start to end"
RATE_BOUND = Bound(0.7, at_least=True)

PARAMS = {f"param_{number}": f"value {number}" for number in range(10)}
TAGS = {f"tag_{number}": f"text {number}" for number in range(5)}
METRICS = {f"metric_{number}": 0.1234567 + number / 7 for number in range(5)}
STEP_COUNT = 3


def write_floor_run(folder: Path) -> None:
    """Write the floor's run: a folder, in it one file of params and tags and one of points."""
    folder.mkdir()
    with open(folder / "run.json", "w", encoding="utf-8") as file:
        file.write(json.dumps({"params": PARAMS, "tags": TAGS}))
    with open(folder / "points.jsonl", "w", encoding="utf-8") as file:
        for step in range(STEP_COUNT):
            now_ms = time.time_ns() // 1_000_000
            for key, value in METRICS.items():
                file.write(json.dumps({"key": key, "value": value, "step": step, "timestamp": now_ms}) + "\n")


def log_run(store: Any) -> None:
    """Log one run, as many things a call as a caller would."""
    with store.start_run("bench", run_name="short") as run:
        run.log_params(PARAMS)
        run.set_tags(TAGS)
        for step in range(STEP_COUNT):
            run.log_metrics(METRICS, step=step)


def log_run_one_by_one(store: Any) -> None:
    """Log the same run with one call for everything: 30 calls."""
    with store.start_run("bench", run_name="short") as run:
        for key, text in PARAMS.items():
            run.log_param(key, text)
        for key, text in TAGS.items():
            run.set_tag(key, text)
        for step in range(STEP_COUNT):
            for key, value in METRICS.items():
                run.log_metric(key, value, step=step)


def log_mlflow_run(client: Any, experiment_id: str) -> None:
    """Log the same run through MLflow's client, with batches where it has them."""
    from mlflow.entities import Metric, Param, RunTag

    run_id = client.create_run(experiment_id, run_name="short").info.run_id
    client.log_batch(run_id, params=[Param(key, text) for key, text in PARAMS.items()])
    client.log_batch(run_id, tags=[RunTag(key, text) for key, text in TAGS.items()])
    for step in range(STEP_COUNT):
        now_ms = time.time_ns() // 1_000_000
        client.log_batch(run_id, metrics=[Metric(key, value, now_ms, step) for key, value in METRICS.items()])
    client.set_terminated(run_id)


def run(setting: Setting) -> Result:
    """Measure short runs; every turn has a fresh store."""
    result = Result(NAME, SUMMARY)
    run_count = setting.choose(300, 5)
    closing: Turns[float] = {}
    sides = [
        Side("floor", _floor_turn(setting.folder / "floor", run_count)),
        Side("localtrack", _store_turn(setting.folder, "localtrack", log_run, run_count, closing)),
        Side("localtrack, a call each", _store_turn(setting.folder, "each", log_run_one_by_one, run_count, {})),
    ]
    if mlflow_peer.use_mlflow(setting, result):
        client = mlflow_peer.open_client(setting.folder / "mlflow")
        experiment_id = client.create_experiment("bench")
        mlflow_run_count = setting.choose(20, 2)

        def mlflow_turn() -> float:
            def log_all() -> None:
                for _ in range(mlflow_run_count):
                    log_mlflow_run(client, experiment_id)

            return mlflow_run_count / time_once(log_all)

        sides.append(Side("mlflow", mlflow_turn))
    _store_turn(setting.folder, "warm", log_run, 2, {})()  # the first runs load modules
    rates = run_in_turns(sides, setting.round_count(7))
    result.add_turns("runs", "1/s", rates)
    result.add_turns(f"closing the store after {run_count} runs, not in the rate", "s", closing)
    result.add_ratio("runs a second", rates, "localtrack", "floor", RATE_BOUND)
    result.add_ratio("runs a second", rates, "localtrack, a call each", "floor")
    result.add_ratio("runs a second", rates, "localtrack", "mlflow")
    return result


def _floor_turn(folder: Path, run_count: int) -> Callable[[], float]:
    turn_number = 0

    def turn() -> float:
        nonlocal turn_number
        turn_number += 1
        parent = folder / str(turn_number)
        parent.mkdir(parents=True)

        def write_all() -> None:
            for number in range(run_count):
                write_floor_run(parent / f"{number:032x}")

        return run_count / time_once(write_all)

    return turn


def _store_turn(
    folder: Path, side: str, log: Callable[[Any], None], run_count: int, closing: Turns[float]
) -> Callable[[], float]:
    from localtrack import Store

    turn_number = 0

    def turn() -> float:
        nonlocal turn_number
        turn_number += 1
        store = Store.open(str(folder / side / str(turn_number)), create=True)
        store.ensure_experiment("bench")

        def log_all() -> None:
            for _ in range(run_count):
                log(store)

        rate = run_count / time_once(log_all)
        closing.setdefault("localtrack", {})[turn_number] = time_once(store.close)
        return rate

    return turn
