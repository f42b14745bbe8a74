"""Many short runs, start to end: what a grid search or a test suite does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.bench import mlflow_peer
from tools.bench.harness import Setting, Side, run_in_turns, time_once
from tools.bench.results import Bound, Result, Series

NAME = "short300"
SUMMARY = "300 short runs: 10 params, 5 tags, 5 metrics x 3 steps, start to end"
RATE_BOUND = Bound(0.7, at_least=True)

PARAMS = {f"param_{number}": f"value {number}" for number in range(10)}
TAGS = {f"tag_{number}": f"text {number}" for number in range(5)}
METRICS = {f"metric_{number}": 0.1234567 + number / 7 for number in range(5)}
STEP_COUNT = 3
RUN_COUNT = 300
RUNS_A_TURN = 30


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


class FloorRuns:
    """The floor's side: a fresh parent folder for every 300 runs."""

    def __init__(self, folder: Path, runs_a_turn: int) -> None:
        self._folder = folder
        self._runs_a_turn = runs_a_turn
        self._run_count = 0

    def turn(self) -> float:
        """Write some runs; return runs a second."""
        parent = self._folder / str(self._run_count // RUN_COUNT)
        parent.mkdir(parents=True, exist_ok=True)
        return self._runs_a_turn / time_once(lambda: self._write(parent))

    def _write(self, parent: Path) -> None:
        for _ in range(self._runs_a_turn):
            write_floor_run(parent / f"{self._run_count:032x}")
            self._run_count += 1


class StoreRuns:
    """A side of localtrack: a fresh store for every 300 runs."""

    def __init__(self, folder: Path, log: Callable[[Any], None], runs_a_turn: int) -> None:
        self.closing_s: list[float] = []
        self._folder = folder
        self._log = log
        self._runs_a_turn = runs_a_turn
        self._run_count = 0
        self._store: Any = None

    def turn(self) -> float:
        """Log some runs; return runs a second, opening and closing the store left out."""
        if self._run_count % RUN_COUNT == 0:
            self._open()
        return self._runs_a_turn / time_once(self._log_all)

    def close(self) -> None:
        """Sync and close the store, and keep how long it took."""
        if self._store is not None:
            self.closing_s.append(time_once(self._sync_and_close))

    def _sync_and_close(self) -> None:
        self._store.flush()
        self._store.close()

    def _open(self) -> None:
        from localtrack import Store

        self.close()
        self._store = Store.open(str(self._folder / str(self._run_count)), create=True)
        self._store.ensure_experiment("bench")

    def _log_all(self) -> None:
        for _ in range(self._runs_a_turn):
            self._log(self._store)
            self._run_count += 1


def run(setting: Setting) -> Result:
    """Measure short runs, a few a turn: file systems stall now and then, for longer than a long turn would hide."""
    result = Result(NAME, SUMMARY)
    runs_a_turn = setting.choose(RUNS_A_TURN, 5)
    _warm_up(setting.folder / "warm")
    floor = FloorRuns(setting.folder / "floor", runs_a_turn)
    ours = StoreRuns(setting.folder / "ours", log_run, runs_a_turn)
    ours_each = StoreRuns(setting.folder / "each", log_run_one_by_one, runs_a_turn)
    sides = [
        Side("floor", floor.turn),
        Side("localtrack", ours.turn),
        Side("localtrack, a call each", ours_each.turn),
    ]
    if mlflow_peer.use_mlflow(setting, result):
        sides.append(Side("mlflow", _mlflow_turn(setting), every=10))
    rates = run_in_turns(sides, setting.round_count(40))
    ours.close()
    ours_each.close()
    result.add_turns("runs", "1/s", rates)
    result.series.append(
        Series("localtrack", f"sync and close after at most {RUN_COUNT} runs, not in the rate", "s", ours.closing_s)
    )
    result.add_ratio("runs a second", rates, "localtrack", "floor", RATE_BOUND)
    result.add_ratio("runs a second", rates, "localtrack, a call each", "floor")
    result.add_ratio("runs a second", rates, "localtrack", "mlflow")
    return result


def _warm_up(folder: Path) -> None:
    """Load the modules that the first run loads."""
    warm = StoreRuns(folder, log_run, runs_a_turn=1)
    warm.turn()
    warm.close()


def _mlflow_turn(setting: Setting) -> Callable[[], float]:
    client = mlflow_peer.open_client(setting.folder / "mlflow")
    experiment_id = client.create_experiment("bench")
    run_count = setting.choose(5, 2)

    def log_all() -> None:
        for _ in range(run_count):
            log_mlflow_run(client, experiment_id)

    return lambda: run_count / time_once(log_all)
