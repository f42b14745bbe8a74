"""What the points of a metric add up to, point by point. FORMAT.md section 12.4."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from localtrack.format.jsonlines import decode_value, encode_value
from localtrack.format.segment_info import MetricFold

Folds = dict[str, MetricFold]


def fold_points(points: Iterable[tuple[str, int, int, float]]) -> Folds:
    """Return the fold per key of (key, step, timestamp_ms, value) points, in any order."""
    states: dict[str, list[Any]] = {}
    for key, step, timestamp_ms, value in points:
        state = states.get(key)
        if state is None:
            states[key] = [1, value, step, timestamp_ms, value, value]
            continue
        state[0] += 1
        if step > state[2] or (
            step == state[2]
            and (timestamp_ms > state[3] or (timestamp_ms == state[3] and _goes_after(value, state[1])))
        ):
            state[1:4] = value, step, timestamp_ms
        # Comparisons with NaN are false, so a NaN that came first must be replaced by name.
        if value < state[4] or state[4] != state[4] or (value == state[4] == 0 and math.copysign(1, value) < 0):
            state[4] = value if value == value else state[4]
        if value > state[5] or state[5] != state[5] or (value == state[5] == 0 and math.copysign(1, value) > 0):
            state[5] = value if value == value else state[5]
    return {key: MetricFold(*state) for key, state in states.items()}


def combine_folds(parts: Iterable[Mapping[str, MetricFold]]) -> Folds:
    """Return the fold of all points of several folds together."""
    total: Folds = {}
    for part in parts:
        for key, fold in part.items():
            total[key] = total[key].combine(fold) if key in total else fold
    return total


def encode_folds(folds: Mapping[str, MetricFold]) -> dict[str, list[Any]]:
    """Return folds as the JSON of a `Closed` record."""
    return {
        key: [
            f.count,
            encode_value(f.last_value),
            f.last_step,
            f.last_timestamp_ms,
            encode_value(f.min),
            encode_value(f.max),
        ]
        for key, f in folds.items()
    }


def parse_folds(document: Any) -> Folds:
    """Return the folds in a `Closed` record, else raise `ValueError`."""
    try:
        return {
            key: MetricFold(
                int(count), decode_value(last), int(step), int(timestamp_ms), decode_value(least), decode_value(most)
            )
            for key, (count, last, step, timestamp_ms, least, most) in document.items()
        }
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise ValueError("the fold is damaged") from error


def _goes_after(value: float, other: float) -> bool:
    """Compare two values of one step and time: NaN counts as 0 and goes before zeros, -0.0 before 0.0."""
    return _rank(value) > _rank(other)


def _rank(value: float) -> tuple[float, int]:
    if value != value:
        return 0.0, -2
    return value, -1 if value == 0 and math.copysign(1.0, value) < 0 else 0
