"""A million points of one run as a DataFrame, beside what DuckDB takes for the same Parquet files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from random import Random
from typing import Any

from tools.bench import mlflow_peer, values
from tools.bench.harness import Setting, Side, Turns, run_in_turns, time_once
from tools.bench.results import Bound, Result
from tools.bench.run_files import find_run_folder, list_segments

NAME = "history"
SUMMARY = "points of one run read into a pandas DataFrame"
READ_BOUND = Bound(1.2)


def run(setting: Setting) -> Result:
    """Measure reading for one key and for ten, and for one key of the ten."""
    from localtrack import Store

    result = Result(NAME, SUMMARY)
    point_count = setting.choose(1_000_000, 10_000)
    random = Random(setting.seed)
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(str(setting.folder / "store"), create=True))
        stack.callback(store.flush)  # else the folder is gone before the library has synced it
        one = _log_points(store, ["loss"], point_count, random)
        ten = _log_points(store, [f"loss_{number}" for number in range(10)], point_count // 10, random)
        _measure(result, store, setting, one, None, f"{point_count:,} points of one key", READ_BOUND)
        _measure(result, store, setting, ten, None, f"{point_count:,} points of ten keys", READ_BOUND)
        _measure(result, store, setting, ten, "loss_3", f"one key of ten, {point_count // 10:,} points", None)
        if mlflow_peer.use_mlflow(setting, result):
            _measure_mlflow(result, store, setting, one, point_count, random)
    return result


def _log_points(store: Any, keys: list[str], step_count: int, random: Random) -> str:
    """Log a finished run, so that its points are sealed; return its id."""
    timestamps_ms = values.make_timestamps_ms(step_count, random)
    with store.start_run("bench") as run:
        for step, timestamp_ms in enumerate(timestamps_ms):
            metrics = {key: values.float32_loss(random, step) for key in keys}
            run.log_metrics(metrics, step=step, timestamp=timestamp_ms)
    return str(run.run_id)


def _measure(
    result: Result, store: Any, setting: Setting, run_id: str, key: str | None, what: str, bound: Bound | None
) -> None:
    import duckdb

    segments = list_segments(find_run_folder(store.root, run_id))
    if not segments:
        result.notes.append(f"{what}: nothing was sealed, so there is no Parquet for DuckDB to read")
        return
    names = ", ".join("'" + str(path).replace("'", "''") + "'" for path in segments)
    query = f"select * from read_parquet([{names}])" + (f" where key = '{key}'" if key else "")
    row_counts: dict[str, int] = {}

    def read_floor() -> None:
        row_counts["floor"] = len(duckdb.execute(query).df())

    def read_ours() -> None:
        row_counts["localtrack"] = len(store.metric_history_pandas(run_id, key))

    turns = _read_in_turns({"floor": read_floor, "localtrack": read_ours}, setting)
    result.notes.append(
        f"{what}: DuckDB reads the {row_counts['floor']:,} points in {len(segments)} segment(s), "
        f"localtrack also what is in the log: {row_counts['localtrack']:,}"
    )
    result.add_turns(what, "s", turns)
    result.add_ratio(what, turns, "localtrack", "floor", bound)


def _read_in_turns(reads: dict[str, Callable[[], None]], setting: Setting) -> Turns[float]:
    sides = [Side(name, partial(time_once, read)) for name, read in reads.items()]
    for side in sides:
        side.turn()  # the first read loads modules and the files
    return run_in_turns(sides, setting.round_count(9))


def _measure_mlflow(
    result: Result, store: Any, setting: Setting, run_id: str, point_count: int, random: Random
) -> None:
    """Read fewer points through MLflow, which makes an object of each, and compare the time of a point."""
    import pandas

    mlflow_count = setting.choose(10_000, 1_000)
    client = mlflow_peer.open_client(setting.folder / "mlflow")
    mlflow_run_id = _log_to_mlflow(client, mlflow_count, random)

    def read_mlflow() -> None:
        history = client.get_metric_history(mlflow_run_id, "loss")
        frame = pandas.DataFrame([(point.key, point.step, point.timestamp, point.value) for point in history])
        assert len(frame) == mlflow_count

    def read_ours() -> None:
        store.metric_history_pandas(run_id, "loss")

    turns = _read_in_turns({"localtrack": read_ours, "mlflow": read_mlflow}, setting)
    counts = {"localtrack": point_count, "mlflow": mlflow_count}
    per_point = {
        side: {number: duration_s / counts[side] for number, duration_s in by_round.items()}
        for side, by_round in turns.items()
    }
    result.add_ratio("time of one point of the history", per_point, "localtrack", "mlflow")
    result.notes.append(f"MLflow reads {mlflow_count:,} points, localtrack {point_count:,}: compared by the point")


def _log_to_mlflow(client: Any, count: int, random: Random) -> str:
    from mlflow.entities import Metric

    run_id = mlflow_peer.start_run(client)
    points = [
        Metric("loss", values.float32_loss(random, step), timestamp_ms, step)
        for step, timestamp_ms in enumerate(values.make_timestamps_ms(count, random))
    ]
    for first in range(0, count, 1_000):
        client.log_batch(run_id, metrics=points[first : first + 1_000])
    return run_id
