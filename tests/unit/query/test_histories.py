"""Histories side by side and thinned out, beside the same in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localtrack.errors import InvalidInputError
from localtrack.query.histories import AXES, RunPoints, align_histories, thin_out

Point = tuple[int, int, float]
"""Step, timestamp, value."""

POINTS = st.lists(
    st.tuples(
        st.integers(-6, 6) | st.integers(-(2**40), 2**40),
        st.integers(0, 9) | st.integers(0, 2**41),
        st.sampled_from([0.0, -1.5, 2.0, math.nan, math.inf, -math.inf]) | st.floats(-5, 5),
    ),
    max_size=30,
)


def in_history_order(points: Sequence[Point]) -> list[Point]:
    return sorted(set(points), key=lambda p: (p[1], p[0], math.isnan(p[2]), p[2]))


def table(points: Sequence[Point], key: str = "loss") -> pa.Table:
    return pa.table(
        {
            "key": pa.array([key] * len(points), pa.string()).dictionary_encode(),
            "step": pa.array([p[0] for p in points], pa.int64()),
            "timestamp_ms": pa.array([p[1] for p in points], pa.int64()),
            "value": pa.array([p[2] for p in points], pa.float64()),
        }
    )


def place_of(point: Point, by: str, start_ms: int, interval: int) -> int:
    place = {"step": point[0], "elapsed": point[1] - start_ms, "time": point[1]}[by]
    return place // interval * interval


def expected(runs: Sequence[tuple[int, Sequence[Point]]], by: str, interval: int) -> list[tuple[Any, ...]]:
    cells: dict[int, list[float | None]] = {}
    for number, (start_ms, points) in enumerate(runs):
        best: dict[int, Point] = {}
        for point in points:
            place = place_of(point, by, start_ms, interval)
            if place not in best or rank(point) > rank(best[place]):
                best[place] = point
        for place, point in best.items():
            cells.setdefault(place, [None] * len(runs))[number] = point[2]
    return [(place, *cells[place]) for place in sorted(cells)]


def rank(point: Point) -> tuple[int, int, float, bool]:
    step, timestamp_ms, value = point
    is_number = not math.isnan(value)
    return step, timestamp_ms, value if is_number else 0.0, is_number


def rows(aligned: pa.Table) -> list[str]:
    return [str(row) for row in zip(*(c.to_pylist() for c in aligned.columns), strict=True)]


@settings(deadline=None, max_examples=150)
@given(
    runs=st.lists(st.tuples(st.integers(0, 20), POINTS), max_size=4),
    by=st.sampled_from(list(AXES)),
    interval=st.sampled_from([1, 2, 3, 7, 1000]),
)
def test_aligning_equals_plain_python(runs: list[tuple[int, list[Point]]], by: Any, interval: int) -> None:
    given_runs = [RunPoints(f"r{n}", start, table(in_history_order(p))) for n, (start, p) in enumerate(runs)]
    aligned = align_histories(given_runs, by=by, interval=interval)
    assert aligned.column_names == [AXES[by], *(run.label for run in given_runs)]
    assert rows(aligned) == [str(row) for row in expected(runs, by, interval)]


@settings(deadline=None, max_examples=60)
@given(points=POINTS, by=st.sampled_from(["elapsed", "time"]))
def test_by_time_there_are_no_more_than_a_thousand_rows(points: list[Point], by: Any) -> None:
    run = RunPoints("r", 5, table(in_history_order(points)))
    aligned = align_histories([run], by=by)
    assert aligned.num_rows <= 1_000
    round_numbers = [factor * 10**power for power in range(12) for factor in (1, 2, 5)]
    fitting = (n for n in round_numbers if rows(aligned) == [str(row) for row in expected([(5, points)], by, n)])
    interval = next(fitting, None)
    assert interval is not None
    places = [place for place, _ in expected([(5, points)], by, 1)]
    assert interval == 1 or (places[-1] - places[0]) / interval > 300  # no coarser than it has to be


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.floats(-9, 9) | st.sampled_from([math.nan, math.inf, -math.inf]), max_size=400),
    max_points=st.integers(4, 60),
)
def test_thinning_keeps_the_ends_and_what_a_plot_shows(values: list[float], max_points: int) -> None:
    points = table([(step, step, value) for step, value in enumerate(values)])
    kept = thin_out(points, max_points).to_pylist()
    steps = [row["step"] for row in kept]
    assert steps == sorted(set(steps))
    assert all(str(values[row["step"]]) == str(row["value"]) for row in kept)
    if len(values) <= max_points:
        assert len(kept) == len(values)
        return
    assert len(kept) <= max_points
    assert {0, len(values) - 1} <= set(steps)
    stretches_count = (max_points - 2) // 2
    for stretch in range(stretches_count):
        places = [n for n in range(len(values)) if n * stretches_count // len(values) == stretch]
        here = [values[n] for n in places if not math.isnan(values[n])]
        shown = [values[n] for n in steps if n in places and not math.isnan(values[n])]
        assert here == [] or (min(here) in shown and max(here) in shown)
        assert set(steps) & set(places)


def test_each_metric_is_thinned_out_by_itself() -> None:
    long = table([(n, n, float(n % 17)) for n in range(1_000)], "a")
    short = table([(n, n, 1.0) for n in range(5)], "b")
    kept = thin_out(pa.concat_tables([long, short]).unify_dictionaries().combine_chunks(), 10).to_pylist()
    assert [row["key"] for row in kept].count("b") == 5
    assert 4 <= [row["key"] for row in kept].count("a") <= 10


def test_thinned_runs_side_by_side_keep_the_extremes_of_each() -> None:
    first = table([(n, n, 100.0 if n == 333 else 1.0) for n in range(1_000)])
    second = table([(n, n, -100.0 if n == 777 else 1.0) for n in range(1_000)])
    aligned = align_histories([RunPoints("a", 0, first), RunPoints("b", 0, second)], max_points=10).to_pydict()
    assert {0, 333, 777, 999} <= set(aligned["step"])
    assert len(aligned["step"]) <= 20
    assert None not in aligned["a"] + aligned["b"]  # a row shows what every run has there


def test_no_runs_and_no_points() -> None:
    assert align_histories([]).to_pydict() == {"step": []}
    assert align_histories([RunPoints("a", 0, table([]))], by="time").to_pydict() == {"timestamp_ms": [], "a": []}
    assert thin_out(table([]), 4).num_rows == 0


@pytest.mark.parametrize(
    "wrong", [{"by": "epoch"}, {"interval": 0}, {"interval": 1.5}, {"max_points": 3}, {"max_points": "x"}], ids=str
)
def test_arguments_without_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        align_histories([], **wrong)
