"""Segments against plain Python: folds, round trips, merging, and whether points repeat."""

from __future__ import annotations

import functools
import io
import itertools
import math
import struct
from collections import Counter
from collections.abc import Iterable
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from localtrack.format import metric_fold, segment, segment_distinct, segment_write
from localtrack.format.segment import MetricFold, SegmentInfo
from localtrack.format.segment_distinct import DistinctCheck

INFO = SegmentInfo(run="0199a0b1c2d37e4f8a9b0c1d2e3f4a5b", writer="1f0e2d3c4b5a69788796", chunks=(0, 9))
INT64 = st.integers(-(2**63), 2**63 - 1)
FEW = st.sampled_from([0, 0, 1, 2, -1, 2**63 - 1, -(2**63), 2**53 + 1])
VALUES = st.sampled_from([math.nan, 0.0, -0.0, math.inf, -math.inf, 5e-324, -5e-324, 0.5]) | st.floats(width=64)
OTHER_NAN = struct.unpack("<d", bytes.fromhex("010000000000f8ff"))[0]
KEYS = st.sampled_from(["a", "b", "loss", "loss/train", "ä", "🙂"])

Point = tuple[str, int, int, int, float]
POINTS = st.lists(st.tuples(KEYS, FEW | INT64, FEW | INT64, VALUES | st.just(OTHER_NAN)), max_size=30).map(
    lambda rows: [(key, number, step, time, value) for number, (key, step, time, value) in enumerate(rows)]
)


def table_of(points: Iterable[Point]) -> pa.Table:
    points = list(points)
    names = sorted({point[0] for point in points}, reverse=True)
    return segment.build_table(
        names,
        [names.index(point[0]) for point in points],
        number=[point[1] for point in points],
        step=[point[2] for point in points],
        timestamp_ms=[point[3] for point in points],
        value=[point[4] for point in points],
    )


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def exact(points: Iterable[Point]) -> list[tuple[str, int, int, int, bytes]]:
    return [(*point[:4], bits(point[4])) for point in points]


def rows_of(table: pa.Table) -> list[tuple[str, int, int, int, bytes]]:
    return exact(tuple(row.values()) for row in table.to_pylist())  # type: ignore[misc]


def same_value(value: float) -> bytes:
    """Return what is equal for values of one point: NaN is NaN."""
    return b"NaN" if math.isnan(value) else bits(value)


def comparable(fold: MetricFold) -> tuple[object, ...]:
    return tuple(same_value(item) if isinstance(item, float) else item for item in fold)


def goes_after(value: float, other: float) -> bool:
    """Compare last values at one step and time, as the format says it, case by case."""
    if math.isnan(value):
        return False if math.isnan(other) else other < 0
    if math.isnan(other):
        return value >= 0
    if value == other == 0:
        return math.copysign(1, value) > math.copysign(1, other)
    return value > other


def plain_fold(points: list[Point]) -> MetricFold:
    """Fold the points of one key the slow way."""
    last = points[0]
    for point in points[1:]:
        if point[2:4] > last[2:4] or (point[2:4] == last[2:4] and goes_after(point[4], last[4])):
            last = point
    numbers = sorted((v for *_, v in points if not math.isnan(v)), key=lambda v: (v, math.copysign(1, v))) or [math.nan]
    return MetricFold(len(points), last[4], last[2], last[3], numbers[0], numbers[-1])


def plain_folds(points: list[Point]) -> dict[str, tuple[object, ...]]:
    return {key: comparable(plain_fold([p for p in points if p[0] == key])) for key in sorted({p[0] for p in points})}


@given(points=POINTS, data=st.data())
def test_folds_agree_with_plain_python(points: list[Point], data: st.DataObject) -> None:
    table = table_of(points)
    order = data.draw(st.permutations(range(len(points))))
    folds = segment.fold_table(table.take(pa.array(order, pa.int64())))
    assert {key: comparable(fold) for key, fold in folds.items()} == plain_folds(points)
    assert list(folds) == sorted(folds)


AT_ONE_TIME = [math.nan, -0.0, 0.0, 5e-324, -5e-324, math.inf, -math.inf, 1.5]


@pytest.mark.parametrize("values", list(itertools.product(AT_ONE_TIME, repeat=2)))
def test_values_at_one_step_and_time_have_one_order(values: tuple[float, float]) -> None:
    points = [("k", number, 3, 4, value) for number, value in enumerate(values)]
    wanted = comparable(plain_fold(points))
    assert comparable(segment.fold_table(table_of(points))["k"]) == wanted
    first, second = (plain_fold([point]) for point in points)
    assert comparable(first.combine(second)) == comparable(second.combine(first)) == wanted
    logged = metric_fold.fold_points((key, step, time, value) for key, _, step, time, value in points)
    assert comparable(logged["k"]) == wanted


@given(points=POINTS)
def test_folds_of_the_log_and_of_a_segment_are_the_same(points: list[Point]) -> None:
    logged = metric_fold.fold_points((key, step, time, value) for key, _, step, time, value in points)
    assert {key: comparable(fold) for key, fold in sorted(logged.items())} == plain_folds(points)


@given(points=POINTS.filter(bool), data=st.data())
def test_folds_of_parts_combine_to_the_fold_of_the_whole(points: list[Point], data: st.DataObject) -> None:
    points = [("k", *point[1:]) for point in points]
    parts: dict[int, list[Point]] = {}
    for point in points:
        parts.setdefault(data.draw(st.integers(0, 3)), []).append(point)
    order = data.draw(st.permutations(list(parts)))
    folds = [segment.fold_table(table_of(parts[part]))["k"] for part in order]
    assert comparable(functools.reduce(MetricFold.combine, folds)) == comparable(plain_fold(points))


@given(points=POINTS, group_rows=st.integers(1, 12), cut_rows=st.integers(1, 12), look_rows=st.integers(1, 40))
def test_what_is_written_is_read_back(points: list[Point], group_rows: int, cut_rows: int, look_rows: int) -> None:
    sink = io.BytesIO()
    table = table_of(points)
    with mock.patch.multiple(
        segment_write, ROW_GROUP_ROWS_COUNT=group_rows, _CUT_ROWS_COUNT=cut_rows, _LOOK_ROWS_COUNT=look_rows
    ):
        pieces = [table.slice(at, 5) for at in range(0, table.num_rows, 5)]
        info = segment.write_segment(sink, pieces, INFO)
    ordered = sorted(points, key=lambda point: point[:2])
    assert rows_of(segment.read_points(sink)) == exact(ordered)
    read = segment.read_info(sink)
    assert read.keys is not None
    assert info.keys is not None
    assert {key: comparable(fold) for key, fold in read.keys.items()} == plain_folds(points)
    assert (read.points, read.first) == (len(points), 0)
    for key in ["a", "loss", "none"]:
        for number in (0, len(points) // 2):
            wanted = [point for point in ordered if point[0] == key and point[1] >= number]
            parts = segment.read_key(sink, key, from_number=number)
            found = [tuple(row.values()) for part in parts for row in part.to_pylist()]
            assert [(*row[:2], bits(row[2])) for row in found] == [row[2:] for row in exact(wanted)]


@given(points=POINTS, data=st.data())
def test_merging_keeps_each_number_once(points: list[Point], data: st.DataObject) -> None:
    sources_count = data.draw(st.integers(1, 4))
    held = [data.draw(st.sets(st.integers(0, sources_count - 1), min_size=1)) for _ in points]
    sources = []
    with mock.patch.multiple(segment_write, ROW_GROUP_ROWS_COUNT=4, _CUT_ROWS_COUNT=2):
        for source in range(sources_count):
            sink = io.BytesIO()
            segment.write_segment(sink, [table_of(p for p, s in zip(points, held, strict=True) if source in s)], INFO)
            sources.append(sink)
        merged = [row for table in segment.merge_segments(sources) for row in rows_of(table)]
        assert merged == exact(sorted(points, key=lambda point: point[:2]))
        sink = io.BytesIO()
        info = segment.write_segment(sink, segment.merge_segments(sources), INFO)
        alone = io.BytesIO()
        assert comparable_info(info) == comparable_info(segment.write_segment(alone, [table_of(points)], INFO))
    event(f"{max(map(len, held), default=0)} copies of a point")


def comparable_info(info: SegmentInfo) -> tuple[object, ...]:
    assert info.keys is not None
    return info.points, info.first, {key: comparable(fold) for key, fold in info.keys.items()}


REPEATING = st.lists(
    st.tuples(
        st.sampled_from("ab"), st.integers(0, 2), st.integers(0, 3), st.sampled_from([0.0, -0.0, math.nan, OTHER_NAN])
    ),
    max_size=12,
)


def repeats(points: list[Point]) -> bool:
    counts = Counter((key, step, time, same_value(value)) for key, _, step, time, value in points)
    return any(count > 1 for count in counts.values())


def checked(points: list[Point], *, rows_at_a_time: int) -> bool:
    table = table_of(points)
    check = DistinctCheck()
    for at in range(0, table.num_rows, rows_at_a_time):
        check.add(table.slice(at, rows_at_a_time))
    return check.distinct


@given(rows=REPEATING)
def test_repeated_points_in_one_table_are_found_exactly(rows: list[tuple[str, int, int, float]]) -> None:
    points = [(key, number, step, time, value) for number, (key, step, time, value) in enumerate(rows)]
    event(f"repeats: {repeats(points)}")
    assert checked(points, rows_at_a_time=100) is not repeats(points)


@example(rows=[("a", 0, 1, 0.0), ("a", 1, 0, 0.0), ("a", 0, 1, 0.0)], rows_at_a_time=1)  # the clock steps back between
@given(rows=REPEATING, rows_at_a_time=st.integers(1, 5))
def test_repeated_points_in_a_stream_are_found(rows: list[tuple[str, int, int, float]], rows_at_a_time: int) -> None:
    points = [(key, number, step, time, value) for number, (key, step, time, value) in enumerate(rows)]
    if checked(points, rows_at_a_time=rows_at_a_time):
        assert not repeats(points)
    clocked = [(key, n, step, time, v) for n, (key, step, time, v) in enumerate(sorted(rows, key=lambda row: row[2]))]
    assert checked(clocked, rows_at_a_time=rows_at_a_time) is not repeats(clocked)


@example(rows=[("a", step, 0, 0.0) for step in (0, 1, 2, 0)], rows_at_a_time=1, kept_rows=1)  # too many at one time
@given(rows=REPEATING, rows_at_a_time=st.integers(1, 5), kept_rows=st.integers(0, 2))
def test_a_check_that_may_keep_little_promises_nothing_false(
    rows: list[tuple[str, int, int, float]], rows_at_a_time: int, kept_rows: int
) -> None:
    points = [(key, number, step, time, value) for number, (key, step, time, value) in enumerate(rows)]
    with mock.patch.object(segment_distinct, "_KEPT_ROWS_COUNT", kept_rows):
        assert not (checked(points, rows_at_a_time=rows_at_a_time) and repeats(points))


@given(steps=st.lists(st.integers(0, 1_000), unique=True, max_size=12), rows_at_a_time=st.integers(1, 5))
def test_steps_that_ascend_need_no_clock(steps: list[int], rows_at_a_time: int) -> None:
    points = [("k", number, step, 0, 0.5) for number, step in enumerate(sorted(steps))]
    with mock.patch.object(segment_distinct, "_KEPT_ROWS_COUNT", 0):
        assert checked(points, rows_at_a_time=rows_at_a_time)
