"""Bytes a point: while the run goes on, and when it is sealed."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from tools.bench import values
from tools.bench.harness import Setting
from tools.bench.results import Bound, Comparison, Result, Series
from tools.bench.run_files import count_bytes, count_folder_bytes, find_run_folder, list_segments

NAME = "size"
SUMMARY = "bytes a point of one key, live and sealed"
LIVE_BOUND = Bound(36)
SEALED_BOUNDS = {"float32 loss": Bound(4.5), "full-entropy doubles": Bound(8.5), "four decimals": Bound(3)}


def run(setting: Setting) -> Result:
    """Measure sizes; one run a kind of value, and one on the writer's own clock."""
    from localtrack import Store

    result = Result(NAME, SUMMARY)
    # Few enough that the first chunk is still open when the live size is taken.
    point_count = setting.choose(200_000, 5_000)
    with Store.open(str(setting.folder / "store"), create=True) as store:
        for kind, bound in SEALED_BOUNDS.items():
            random = Random(setting.seed)
            points = values.make_values(kind, point_count, random)
            timestamps_ms = values.make_timestamps_ms(point_count, random)
            floor = _count_floor_bytes(points, timestamps_ms) / point_count
            result.series.append(Series("floor", f"{kind}, JSON object a point", "B", [floor]))
            _measure(result, store, kind, points, timestamps_ms, bound, floor)
        points = values.make_values("full-entropy doubles", point_count, Random(setting.seed))
        _measure(result, store, "full-entropy doubles, own clock", points, None, None, floor=None)
        store.flush()  # else the folder is gone before the library has synced it
    result.notes.append(f"{point_count:,} points each, a step about every {values.STEP_MS} ms, with jitter")
    result.notes.append("'sealed' is the segment; 'folder' is all files of the finished run")
    return result


def _measure(
    result: Result,
    store: Any,
    kind: str,
    points: list[float],
    timestamps_ms: list[int] | None,
    bound: Bound | None,
    floor: float | None,
) -> None:
    import pyarrow.parquet

    with store.start_run("bench") as run:
        folder = find_run_folder(store.root, run.run_id)
        empty_bytes = count_folder_bytes(folder)  # the context of the run is not the points' fault
        for step, value in enumerate(points):
            run.log_metric("loss", value, step=step, timestamp=None if timestamps_ms is None else timestamps_ms[step])
        run.flush()
        live = (count_folder_bytes(folder) - empty_bytes) / len(points)
        if list_segments(folder):
            result.notes.append(f"{kind}: some of the run was sealed before its live size was taken")
    result.comparisons.append(Comparison(f"{kind}, live", "B", [live], LIVE_BOUND))
    if floor is not None:
        result.comparisons.append(Comparison(f"{kind}, live / floor", "ratio", [live / floor]))
    segments = list_segments(folder)
    sealed_count = sum(pyarrow.parquet.read_metadata(path).num_rows for path in segments)
    if sealed_count:
        sealed = count_bytes(segments) / sealed_count
        result.comparisons.append(Comparison(f"{kind}, sealed", "B", [sealed], bound))
    else:
        result.notes.append(f"{kind}: nothing was sealed")
    whole = count_folder_bytes(folder) / len(points)
    result.series.append(Series("localtrack", f"{kind}, folder of the finished run", "B", [whole]))


def _count_floor_bytes(points: list[float], timestamps_ms: list[int]) -> int:
    return sum(
        len(json.dumps({"key": "loss", "value": value, "step": step, "timestamp": timestamp_ms})) + 1
        for step, (value, timestamp_ms) in enumerate(zip(points, timestamps_ms, strict=True))
    )
