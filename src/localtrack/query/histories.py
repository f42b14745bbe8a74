"""Histories to look at: of one metric in many runs side by side, and thinned out so that a plot shows the same.

The input are tables of points in history order, as `store.history` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from localtrack.errors import InvalidInputError
from localtrack.format.arrow_columns import column as arrow_column
from localtrack.format.arrow_columns import scalar, true_column
from localtrack.format.segment_table import column, slice_pair
from localtrack.query.connection import cursor

if TYPE_CHECKING:
    import pyarrow as pa

Axis = Literal["step", "elapsed", "time"]
AXES: Final[Mapping[str, str]] = {"step": "step", "elapsed": "elapsed_ms", "time": "timestamp_ms"}
"""What runs are aligned by, and the column that holds it."""

LEAST_POINTS_COUNT: Final = 4
"""The two ends, the least and the greatest."""
_ROWS_COUNT: Final = 1_000
"""Rows that a frame by time has at most, if nobody chooses the interval."""


class RunPoints(NamedTuple):
    """The points of one metric in one run."""

    label: str
    """Name of its column."""
    start_ms: int
    """When the run began."""
    points: pa.Table


def align_histories(
    runs: Sequence[RunPoints], *, by: Axis = "step", interval: int | None = None, max_points: int | None = None
) -> pa.Table:
    """Return one metric of many runs as a wide table.

    Args:
        runs: The runs, with labels that differ.
        by: `step`; `elapsed`: time since the run began; `time`: time of day.
        interval: How many steps, or milliseconds, one row stands for. By default 1 step, or the least of 1, 2, 5,
            10, 20 … ms that makes no more than 1,000 rows.
        max_points: Leave out rows where no run has an end, or a least or greatest value of its surroundings; each
            run keeps at most so many rows for its sake.

    Returns:
        First the column `step`, `elapsed_ms` or `timestamp_ms` (int64, ascending, each once, the beginning of the
        interval), then a double for each run, null where it has no point there. Of several points in one interval
        the last one counts, as for the last value of a metric (FORMAT.md 12.4).

    Raises:
        InvalidInputError: An argument makes no sense.
    """
    _check(by, interval, max_points)
    import pyarrow as pa
    import pyarrow.compute as pc

    places = [_places(run, by) for run in runs]
    if interval is None:
        interval = 1 if by == "step" else _fitting_interval(places)
    if interval != 1:
        places = [_floor(values, interval) for values in places]
    kept = [_last_of_each(place, run.points) for place, run in zip(places, runs, strict=True)]
    axis = _union([place for place, _ in kept])
    if max_points is not None:
        wanted = [place.take(_extremes(values, max_points)) for place, values in kept]
        axis = _union(wanted)
    columns = []
    for place, values in kept:
        if place.equals(axis):
            columns.append(values)
        else:
            columns.append(values.take(pc.index_in(axis, value_set=place)))
    return pa.Table.from_arrays([axis, *columns], names=[AXES[by], *(run.label for run in runs)])


def thin_out(points: pa.Table, max_points: int) -> pa.Table:
    """Return at most so many points of each metric: the ends, and the least and greatest of each stretch between.

    A line through them covers what a line through all would. NaN is kept only where a stretch holds nothing else.

    Args:
        points: In history order: by key and, within one, by time.
        max_points: At least 4.

    Raises:
        InvalidInputError: It is less.
    """
    _check("step", None, max_points)
    import pyarrow as pa
    import pyarrow.compute as pc

    from localtrack.format.segment_table import key_indices

    if points.num_rows <= max_points:
        return points
    counts = pc.value_counts(key_indices(points))
    parts: list[Any] = []
    start = 0
    for count in counts.field("counts").to_pylist():
        if count > max_points:
            picked = _extremes(column(points, "value").slice(start, count), max_points)
            parts.append(pc.add(picked, scalar("int64", start)))
        else:
            parts.append(arrow_column("int64", range(start, start + count)))
        start += count
    return points.take(pa.concat_arrays(parts))


def _check(by: str, interval: int | None, max_points: int | None) -> None:
    if by not in AXES:
        raise InvalidInputError(f"by={by!r} is not known.", hint=f"Use one of {', '.join(AXES)}.")
    if interval is not None and (type(interval) is not int or interval < 1):
        raise InvalidInputError(f"interval={interval!r} is no whole number from 1 on.")
    if max_points is not None and (type(max_points) is not int or max_points < LEAST_POINTS_COUNT):
        raise InvalidInputError(f"max_points={max_points!r} is no whole number from {LEAST_POINTS_COUNT} on.")


def _places(run: RunPoints, by: Axis) -> Any:
    import pyarrow.compute as pc

    if by == "step":
        return column(run.points, "step")
    times = column(run.points, "timestamp_ms")
    return pc.subtract(times, scalar("int64", run.start_ms)) if by == "elapsed" else times


def _fitting_interval(places: Sequence[Any]) -> int:
    import pyarrow.compute as pc

    ends: list[Any] = [pc.min_max(values).as_py() for values in places if len(values)]
    span = max((e["max"] for e in ends), default=0) - min((e["min"] for e in ends), default=0)
    size = 1
    while True:
        for factor in (1, 2, 5):
            # One more interval than fits may be touched.
            if span // (factor * size) + 2 <= _ROWS_COUNT:
                return factor * size
        size *= 10


def _floor(values: Any, interval: int) -> Any:
    """Return each value rounded down to a multiple of the interval, also below zero."""
    import pyarrow.compute as pc

    width = scalar("int64", interval)
    quotient = pc.divide(values, width)  # towards zero
    product = pc.multiply(quotient, width)
    return pc.if_else(pc.greater(product, values), pc.subtract(product, width), product)


def _last_of_each(place: Any, points: pa.Table) -> tuple[Any, Any]:
    """Return the places in order, each once, and the value that counts at each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    value = column(points, "value")
    if len(place) < 2 or pc.all(pc.less(*slice_pair(place))).as_py():
        return place, value
    is_nan = pc.is_nan(value)
    ordering = pa.table(
        {
            "place": place,
            "step": column(points, "step"),
            "timestamp_ms": column(points, "timestamp_ms"),
            "value": pc.if_else(is_nan, scalar("double", 0.0), value),
            "is_number": pc.invert(is_nan),
        }
    )
    names = ("place", "step", "timestamp_ms", "value", "is_number")
    order = pc.sort_indices(ordering, sort_keys=[(name, "ascending") for name in names])
    place, value = place.take(order), value.take(order)
    is_last = pa.concat_arrays([pc.not_equal(*slice_pair(place)), true_column()])
    return place.filter(is_last), value.filter(is_last)


def _union(places: Sequence[Any]) -> Any:
    """Return all places in order, each once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    different: list[Any] = []
    for values in places:
        if not any(values.equals(known) for known in different[-4:]):
            different.append(values)
    if len(different) == 1:
        return different[0]
    found = pc.unique(pa.concat_arrays(different)) if different else arrow_column("int64", [])
    return found.take(pc.array_sort_indices(found))


def _extremes(values: Any, max_points: int) -> Any:
    """Return the places of the two ends and of the least and greatest value of each stretch between, in order."""
    import pyarrow as pa

    if len(values) <= max_points:
        return arrow_column("int64", range(len(values)))
    stretches_count = (max_points - 2) // 2
    with cursor() as connection:
        connection.register("points", pa.table({"place": arrow_column("int64", range(len(values))), "value": values}))
        rows = connection.execute(
            """
            SELECT min(place), arg_min(place, value) FILTER (WHERE NOT isnan(value)),
                arg_max(place, value) FILTER (WHERE NOT isnan(value))
            FROM points GROUP BY place * $stretches // $points
            """,
            {"stretches": stretches_count, "points": len(values)},
        ).fetchall()
    found = {0, len(values) - 1}
    for first, least, greatest in rows:
        found.update((first,) if least is None else (least, greatest))
    return arrow_column("int64", sorted(found))
