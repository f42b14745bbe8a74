"""Asks the target what of some points it has, so that only the rest is sent. Nothing here changes the target."""

from __future__ import annotations

import base64
import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from localtrack.sync.batches import SentPoint, decode_metric_value
from localtrack.sync.distinct import Point, value_bits
from localtrack.sync.tracking import Tracking

if TYPE_CHECKING:
    import pyarrow as pa


def remote_metrics(run: Mapping[str, Any]) -> dict[str, Point]:
    """Return the last point per metric that a run of the target shows."""
    return {row["key"]: remote_point(row) for row in run.get("data", {}).get("metrics", [])}


def remote_point(row: Mapping[str, Any]) -> Point:
    """Return one row of a history."""
    return (
        int(row.get("timestamp") or 0),
        int(row.get("step") or 0),
        value_bits(decode_metric_value(row.get("value") or 0)),
    )


def find_missing_points(tracking: Tracking, run_id: str, points: Sequence[SentPoint]) -> list[SentPoint]:
    """Return those of a few points that the target does not have.

    Args:
        tracking: The target.
        run_id: There.
        points: At most some thousands.
    """
    if not points:
        return []
    run = tracking.get_run(run_id)
    last = remote_metrics(run) if run is not None else {}
    wanted: dict[str, dict[Point, SentPoint]] = {}
    for point in points:
        wanted.setdefault(point.key, {})[_point(point)] = point
    missing: list[SentPoint] = []
    for key, by_point in wanted.items():
        if key not in last:
            missing += by_point.values()
            continue
        by_point.pop(last[key], None)
        if by_point:
            for page in tracking.iter_history(run_id, key):
                for row in page:
                    by_point.pop(remote_point(row), None)
                if not by_point:
                    break
        missing += by_point.values()
    return sorted(missing)


def find_missing_rows(tracking: Tracking, run_id: str, key: str, rows: pa.Table) -> pa.Table:
    """Return those points of one metric that the target does not have; memory grows with the length of its history.

    Args:
        tracking: The target.
        run_id: There.
        key: The metric.
        rows: Its points, each once, values as the target keeps them.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from localtrack.format.arrow_columns import scalar

    columns = (array("q"), array("q"), array("q"))
    for page in tracking.iter_history(run_id, key):
        for row in page:
            for target, number in zip(columns, remote_point(row), strict=True):
                target.append(number)
    if not columns[0]:
        return rows
    names = ["timestamp_ms", "step", "bits"]
    there = pa.table([_int64(column) for column in columns], names=names)
    value = rows.column("value").combine_chunks()
    bits = pc.if_else(pc.is_nan(value), scalar("int64", -1), value.view(pa.int64()))
    # Not the numbers of the points: those of several writers are alike.
    row = _int64(array("q", range(rows.num_rows)))
    here = rows.select(names[:2]).append_column("bits", bits).append_column("row", row)
    left = here.join(there, names, join_type="left anti").column("row").combine_chunks()
    return rows.take(left.sort())


def _int64(values: array[int]) -> Any:
    import pyarrow as pa

    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])


def count_history(tracking: Tracking, run_id: str, key: str, *, expected_count: int) -> int:
    """Return how many points of a metric the target has, without fetching them where there is a shorter way.

    MLflow's page tokens hold an offset. Where they do, the page that begins at the last point expected tells whether
    there are so many, and no more. Anything unforeseen leads to reading the history.
    """
    if expected_count > 2:
        rows, token = tracking.history_page(run_id, key, max_count=1)
        if len(rows) == 1 and token is not None and _offset(token) == 1:
            rows, token = tracking.history_page(run_id, key, max_count=2, token=_with_offset(token, expected_count - 1))
            if len(rows) == 1 and token is None:
                return expected_count
    return sum(len(page) for page in tracking.iter_history(run_id, key))


def _offset(token: str) -> int | None:
    try:
        document = json.loads(base64.b64decode(token))
    except ValueError:
        return None
    return document.get("offset") if isinstance(document, dict) else None


def _with_offset(token: str, offset: int) -> str:
    document = json.loads(base64.b64decode(token))
    return base64.b64encode(json.dumps({**document, "offset": offset}).encode()).decode()


def digest_metrics(metrics: Iterable[tuple[str, Point]]) -> str:
    """Return a text that is equal for equal last points, to see whether somebody else has added some."""
    import hashlib

    text = json.dumps(sorted([key, *point] for key, point in metrics))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _point(point: SentPoint) -> Point:
    return point.timestamp_ms, point.step, value_bits(point.value)
