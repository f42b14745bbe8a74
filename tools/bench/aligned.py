"""One metric of many runs side by side, and one key of a run with very many points."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from random import Random
from typing import Any

from tools.bench import mlflow_peer, values
from tools.bench.harness import Setting, Side, Turns, run_in_turns, time_once
from tools.bench.results import Bound, Comparison, Result
from tools.bench.run_files import find_run_folder, list_segments

NAME = "aligned"
SUMMARY = "one metric of many runs in one wide table, and one key of a run with 10M points over 100 keys"
ALIGN_BOUND_S = Bound(0.3)
KEY_BOUND_S = Bound(0.15)
PATTERN_STEPS = 500
"""Distinct value sets of the long run: making 10M random doubles takes longer than logging them."""


def run(setting: Setting) -> Result:
    """Measure both, beside DuckDB on the sealed Parquet alone, and beside MLflow on SQLite."""
    from localtrack import Store

    result = Result(NAME, SUMMARY)
    random = Random(setting.seed)
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(str(setting.folder / "store"), create=True))
        stack.callback(store.flush)
        _measure_aligned(result, store, setting, random)
        _measure_one_key(result, store, setting, random)
    return result


def _measure_aligned(result: Result, store: Any, setting: Setting, random: Random) -> None:
    import duckdb

    runs_count, points_count = setting.choose(100, 3), setting.choose(10_000, 5_000)
    run_ids: list[str] = []
    for number in range(runs_count):
        timestamps_ms = values.make_timestamps_ms(points_count, random)
        with store.start_run("bench", run_name=f"run {number}", context=False) as run:
            for step, timestamp_ms in enumerate(timestamps_ms):
                run.log_metric("loss", values.float32_loss(random, step), step=step, timestamp=timestamp_ms)
            run_ids.append(run.run_id)
    segments = [str(path) for run_id in run_ids for path in list_segments(find_run_folder(store.root, run_id))]
    query = (
        f"PIVOT (SELECT filename, step, value FROM read_parquet({segments!r}, filename = true) WHERE key = 'loss') "
        "ON filename USING last(value) GROUP BY step ORDER BY step"
    )
    shapes: dict[str, tuple[int, int]] = {}

    def read_floor() -> None:
        shapes["floor"] = duckdb.sql(query).to_arrow_table().shape

    def read_ours() -> None:
        shapes["localtrack"] = store.align_histories(run_ids, "loss").to_arrow().shape

    sides: dict[str, Callable[[], None]] = {"floor": read_floor, "localtrack": read_ours}
    counts = {"floor": runs_count, "localtrack": runs_count}
    if mlflow_peer.use_mlflow(setting, result):
        counts["mlflow"] = setting.choose(5, 2)
        sides["mlflow"] = _make_mlflow_side(setting, counts["mlflow"], points_count, random)
    turns = _take_turns(sides, setting)
    what = f"{runs_count} runs x {points_count:,} points aligned by step"
    result.add_turns(what, "s", {side: by_round for side, by_round in turns.items() if side != "mlflow"})
    result.add_ratio(what, turns, "localtrack", "floor")
    _add_bound(result, what, turns, ALIGN_BOUND_S)
    by_run = {side: {n: value / counts[side] for n, value in rounds.items()} for side, rounds in turns.items()}
    result.add_ratio("time of one run in the aligned table", by_run, "localtrack", "mlflow")
    result.notes.append(
        f"DuckDB pivots {shapes['floor']} cells of {len(segments)} Parquet files; localtrack also reads the logs: "
        f"{shapes['localtrack']}"
    )


def _measure_one_key(result: Result, store: Any, setting: Setting, random: Random) -> None:
    import duckdb

    keys_count, steps_count = 100, setting.choose(100_000, 1_000)
    keys = [f"key_{number:03d}" for number in range(keys_count)]
    pattern = [
        {key: values.float32_loss(random, step) for key in keys} for step in range(min(PATTERN_STEPS, steps_count))
    ]
    with store.start_run("bench", context=False) as run:
        for step, metrics in zip(range(steps_count), itertools.cycle(pattern), strict=False):
            run.log_metrics(metrics, step=step)
    segments = [str(path) for path in list_segments(find_run_folder(store.root, run.run_id))]
    query = f"SELECT * FROM read_parquet({segments!r}) WHERE key = 'key_042'"

    def read_floor() -> None:
        duckdb.sql(query).to_arrow_table()

    def read_ours() -> None:
        assert store.metric_history(run.run_id, "key_042").num_rows == steps_count

    turns = _take_turns({"floor": read_floor, "localtrack": read_ours}, setting)
    what = f"one key of {keys_count}, {keys_count * steps_count:,} points"
    result.add_turns(what, "s", turns)
    result.add_ratio(what, turns, "localtrack", "floor")
    _add_bound(result, what, turns, KEY_BOUND_S)


def _take_turns(reads: dict[str, Callable[[], None]], setting: Setting) -> Turns[float]:
    sides = [Side(name, partial(time_once, read), every=5 if name == "mlflow" else 1) for name, read in reads.items()]
    for side in sides:
        side.turn()  # the first read loads modules and the files
    return run_in_turns(sides, setting.round_count(9))


def _add_bound(result: Result, what: str, turns: Turns[float], bound: Bound) -> None:
    """Hold our own times, in seconds, against a limit."""
    result.comparisons.append(Comparison(f"localtrack, {what}", "s", list(turns["localtrack"].values()), bound))


def _make_mlflow_side(setting: Setting, runs_count: int, points_count: int, random: Random) -> Callable[[], None]:
    """Log fewer runs of the same length to MLflow; return what reads and pivots them as its users do."""
    import pandas
    from mlflow.entities import Metric

    client = mlflow_peer.open_client(setting.folder / "mlflow")
    experiment_id = client.create_experiment("bench")
    run_ids: list[str] = []
    for _ in range(runs_count):
        run_ids.append(str(client.create_run(experiment_id).info.run_id))
        points = [
            Metric("loss", values.float32_loss(random, step), timestamp_ms, step)
            for step, timestamp_ms in enumerate(values.make_timestamps_ms(points_count, random))
        ]
        for first in range(0, points_count, 1_000):
            client.log_batch(run_ids[-1], metrics=points[first : first + 1_000])

    def read() -> None:
        rows = [
            (run_id, point.step, point.value)
            for run_id in run_ids
            for point in client.get_metric_history(run_id, "loss")
        ]
        frame = pandas.DataFrame(rows, columns=["run_id", "step", "value"])
        assert frame.pivot(index="step", columns="run_id", values="value").shape == (points_count, runs_count)

    return read
