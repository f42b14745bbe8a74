"""One `log_metric` a call: how long the caller waits, usually and at worst, and while an fsync goes on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from random import Random
from typing import TextIO

from tools.bench import mlflow_peer, values
from tools.bench.harness import Calls, Setting, Side, Syncer, map_turns, quantile, run_in_turns, time_calls
from tools.bench.results import Bound, Result, Series

NAME = "scalar"
SUMMARY = "one log_metric a call"
MEDIAN_BOUND = Bound(0.6)
QUANTILES = (("median", 0.5), ("p99", 0.99), ("p99.9", 0.999))

LogPoint = Callable[[float, int], object]


def open_floor(file: TextIO) -> LogPoint:
    """Return the floor: one JSON object a point, written and flushed; its timestamp costs it nothing."""
    now_ms = time.time_ns() // 1_000_000

    def log(value: float, step: int) -> None:
        file.write(json.dumps({"key": "loss", "value": value, "step": step, "timestamp": now_ms}) + "\n")
        file.flush()

    return log


def run(setting: Setting) -> Result:
    """Measure scalar logging."""
    import localtrack

    result = Result(NAME, SUMMARY)
    points = values.make_values("full-entropy doubles", setting.choose(3_000, 100), Random(setting.seed))
    mlflow_points = points[: setting.choose(20, 2)]
    with ExitStack() as stack:
        file = stack.enter_context(open(setting.folder / "floor.jsonl", "a", encoding="utf-8"))
        store = stack.enter_context(localtrack.Store.open(str(setting.folder / "store"), create=True))
        stack.callback(store.flush)  # else the folder is gone before the library has synced it
        ours = stack.enter_context(store.start_run("bench"))
        floor_log = open_floor(file)

        def ours_log(value: float, step: int) -> None:
            ours.log_metric("loss", value, step=step)

        localtrack.set_tracking_uri(setting.folder / "fluent")
        stack.callback(localtrack.set_tracking_uri, None)
        stack.callback(store.flush)
        stack.enter_context(localtrack.start_run())

        def fluent_log(value: float, step: int) -> None:
            localtrack.log_metric("loss", value, step=step)

        sides = [
            _side("floor", floor_log, points),
            _side("localtrack", ours_log, points),
            _side("localtrack.log_metric", fluent_log, points),
        ]
        if mlflow_peer.use_mlflow(setting, result):
            client = mlflow_peer.open_client(setting.folder / "mlflow")
            run_id = mlflow_peer.start_run(client)

            def mlflow_log(value: float, step: int) -> None:
                client.log_metric(run_id, "loss", value, step=step)

            sides.append(_side("mlflow", mlflow_log, mlflow_points))
        _measure(result, sides, setting)
        _measure_during_fsync(result, setting, points, floor_log, lambda: os.fsync(file.fileno()), "floor")
        _measure_during_fsync(result, setting, points, ours_log, store.flush, "localtrack")
    return result


def _side(name: str, log: LogPoint, points: list[float]) -> Side[Calls]:
    next_step = 0

    def turn() -> Calls:
        nonlocal next_step
        calls = time_calls(log, points, first_step=next_step)
        next_step += len(points)
        return calls

    return Side(name, turn)


def _measure(result: Result, sides: list[Side[Calls]], setting: Setting) -> None:
    for side in sides:
        side.turn()  # the first calls make files and load modules
    turns = run_in_turns(sides, setting.round_count(15))
    medians = map_turns(turns, lambda calls: calls.quantile_s(0.5))
    result.add_turns("median a call", "s", medians)
    for name, by_round in turns.items():
        pooled = [duration for calls in by_round.values() for duration in calls.durations]
        result.series += [
            Series(name, f"{which} of {len(pooled):,} calls", "s", [quantile(pooled, share) / 1e9])
            for which, share in QUANTILES[1:]
            if len(pooled) * (1 - share) >= 1
        ]
    result.add_ratio("median a call", medians, "localtrack", "floor", MEDIAN_BOUND)
    result.add_ratio("median a call", medians, "localtrack.log_metric", "floor")
    p99 = map_turns(turns, lambda calls: calls.quantile_s(0.99))
    result.add_ratio("p99", p99, "localtrack", "floor")
    result.add_ratio("median a call", medians, "localtrack", "mlflow")


def _measure_during_fsync(
    result: Result, setting: Setting, points: list[float], log: LogPoint, sync: Callable[[], object], side: str
) -> None:
    """Time only the calls that met an fsync, which a thread runs every few milliseconds."""
    first_step = 10_000_000
    met: list[int] = []
    with Syncer(sync) as syncer:
        for turn in range(setting.choose(20, 2)):
            met += syncer.met(time_calls(log, points, first_step=first_step + turn * len(points)))
    if not met:
        result.notes.append(f"{side}: no call met any of {len(syncer.spans)} fsyncs")
        return
    where = f"of {len(met):,} calls during {len(syncer.spans):,} fsyncs"
    result.series += [Series(side, f"{name} {where}", "s", [quantile(met, share) / 1e9]) for name, share in QUANTILES]
