"""Points of a run as the target will have them: values as it keeps them, each point once. FORMAT.md section 12.4."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from localtrack.format.arrow_columns import column, scalar

if TYPE_CHECKING:
    import pyarrow as pa

GREATEST: Final = 1.7976931348623157e308
"""What MLflow's databases keep for infinity. Source: `sqlalchemy_store.py` of MLflow 3.17."""

Point = tuple[int, int, int]
"""Timestamp, step, bits of the value."""


def to_target_value(value: float) -> float:
    """Return a value as a target keeps it: infinity becomes the greatest number, -0.0 becomes 0.0."""
    if value == 0.0:
        return 0.0
    return max(min(value, GREATEST), -GREATEST) if value == value else float("nan")


def value_bits(value: float) -> int:
    """Return a value that `to_target_value` gave as an integer that is equal for equal ones, NaN included."""
    return -1 if value != value else int(struct.unpack("<q", struct.pack("<d", value))[0])


def with_target_values(table: pa.Table) -> pa.Table:
    """Return a table of points with all values as `to_target_value` has them."""
    import pyarrow.compute as pc

    value = table.column("value")
    clamped = pc.if_else(
        pc.is_nan(value),
        scalar("double", float("nan")),
        pc.max_element_wise(pc.min_element_wise(value, scalar("double", GREATEST)), scalar("double", -GREATEST)),
    )
    clamped = pc.if_else(pc.equal(clamped, scalar("double", 0.0)), scalar("double", 0.0), clamped)
    return table.set_column(table.schema.get_field_index("value"), "value", clamped)


class Distinct:
    """Tells of each point whether an equal one came before, in memory that grows with the keys, not with the points.

    Most metrics ascend in (timestamp, step): then nothing has to be remembered but the last point. A metric that steps
    back is read again, and from then on remembered whole.

    Args:
        read_before: Gives the points of one metric in all blocks before the current one.
    """

    def __init__(self, read_before: Callable[[str], Iterable[pa.Table]]) -> None:
        self._read_before = read_before
        self._last: dict[str, tuple[int, int]] = {}
        self._values_at_last: dict[str, set[int]] = {}
        self._seen: dict[str, set[Point]] = {}
        self.counts: dict[str, int] = {}
        """Per key how many different points were taken."""

    def take(self, table: pa.Table) -> pa.Table:
        """Return the points of a block that did not come before; the block is sorted by (key, number)."""
        if not table.num_rows:
            return table
        spans, disordered = _spans(table)
        repeats: list[int] = []
        for key, start, end, first, last in spans:
            if key not in disordered and key not in self._seen and first[:2] > self._last.get(key, (-1, -(2**63))):
                self._last[key] = last[:2]
                self._values_at_last[key] = {last[2]}
                count = end - start
            else:
                found = self._take_slowly(key, table.slice(start, end - start))
                repeats += [start + index for index in found]
                count = end - start - len(found)
            self.counts[key] = self.counts.get(key, 0) + count
        if not repeats:
            return table
        left = set(repeats)
        return table.take(column("int64", [index for index in range(table.num_rows) if index not in left]))

    def _take_slowly(self, key: str, rows: pa.Table) -> list[int]:
        """Return which rows are repeats."""
        repeats: list[int] = []
        points = point_list(rows)
        seen = self._seen.get(key)
        last = self._last.get(key, (-1, -(2**63)))
        values = self._values_at_last.get(key, set())
        for index, point in enumerate(points):
            if seen is None:
                at = point[:2]
                if at > last:
                    last, values = at, {point[2]}
                    continue
                if at == last:
                    if point[2] in values:
                        repeats.append(index)
                    values.add(point[2])
                    continue
                seen = self._seen[key] = {p for table in self._read_before(key) for p in point_list(table)}
                seen.update(points[:index])
            if point in seen:
                repeats.append(index)
            seen.add(point)
            last = max(last, point[:2])
        self._last[key], self._values_at_last[key] = last, values
        return repeats


def point_list(rows: pa.Table) -> list[Point]:
    """Return (timestamp, step, bits) of each row."""
    return list(
        zip(
            column_values(rows, "timestamp_ms"),
            column_values(rows, "step"),
            map(value_bits, column_values(rows, "value")),
            strict=True,
        )
    )


def column_values(table: pa.Table, name: str) -> list[Any]:
    """Return a column, which has no nulls, as Python values."""
    values: list[Any] = table.column(name).to_pylist()
    return values


def _spans(table: pa.Table) -> tuple[list[tuple[str, int, int, Point, Point]], set[str]]:
    """Return (key, start, end, first point, last point) per key, and which keys do not ascend by (timestamp, step)."""
    import pyarrow.compute as pc

    from localtrack.format.segment_table import column as one_column
    from localtrack.format.segment_table import compact_keys, key_indices, slice_pair

    table = compact_keys(table)
    indices = key_indices(table)
    names: list[str] = one_column(table, "key").dictionary.to_pylist()
    starts = [0]
    disordered: set[str] = set()
    if table.num_rows > 1:
        key_a, key_b = slice_pair(indices)
        time_a, time_b = slice_pair(one_column(table, "timestamp_ms"))
        step_a, step_b = slice_pair(one_column(table, "step"))
        differs = pc.not_equal(key_a, key_b)
        ascends = pc.or_(pc.less(time_a, time_b), pc.and_(pc.equal(time_a, time_b), pc.less(step_a, step_b)))
        starts += [index + 1 for index in _true_indices(differs)]
        bad = pc.unique(pc.filter(key_a, pc.invert(pc.or_(differs, ascends))))
        disordered = {names[index] for index in bad.to_pylist()}
    ends = [*starts[1:], table.num_rows]
    first_rows = column("int64", starts)
    last_rows = column("int64", [end - 1 for end in ends])
    firsts, lasts = point_list(table.take(first_rows)), point_list(table.take(last_rows))
    keys = [names[index] for index in pc.take(indices, first_rows).to_pylist()]
    return list(zip(keys, starts, ends, firsts, lasts, strict=True)), disordered


def _true_indices(mask: Any) -> list[int]:
    import pyarrow.compute as pc

    found: list[int] = pc.indices_nonzero(mask).to_pylist()
    return found
