"""The points of a run that are to be sent, in bounded memory: each once, thinned if wanted, from a position on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from localtrack.format.arrow_columns import column
from localtrack.format.segment_info import MetricFold
from localtrack.store.point_blocks import PointBlock, iter_point_blocks
from localtrack.store.run_reading import RunReading
from localtrack.sync.batches import Rows, SentPoint
from localtrack.sync.distinct import Distinct, column_values, to_target_value, with_target_values
from localtrack.sync.limits import Limits
from localtrack.sync.options import Thinning

if TYPE_CHECKING:
    import pyarrow as pa


_ROWS_COUNT: Final = 4_000


class RunHistory:
    """What of a run's points the target should have.

    Args:
        reading: The run.
        thinning: Which points are left out.
        limits: Of the target: which metrics are left out.
        has_ended: Keep the last, the least and the greatest point of each metric, too: they are final.
    """

    def __init__(self, reading: RunReading, thinning: Thinning, limits: Limits, *, has_ended: bool) -> None:
        self.reading = reading
        self._thinning = thinning
        self._limits = limits
        self._refused_keys = [key for key in reading.folds if not limits.takes_key(key)]
        self._has_ended = has_ended
        self._folds: Mapping[str, MetricFold] = {} if thinning.is_off else reading.folds
        self._acked: Mapping[str, int] = {}
        self._position: tuple[bool, str, int] = (False, "", 0)
        self._indices: dict[str, int] = {}
        self._extremes: dict[str, set[float]] = {}
        self._distinct = Distinct(self._read_before)
        self.counts: dict[str, int] = {}
        """Per key how many points the target should have, once `iter_rows` is through."""

    def iter_rows(self, acked: Mapping[str, int]) -> Iterator[Rows]:
        """Yield what is to be sent of each writer from its position on.

        What was received of any writer is looked at first: a point that equals one of those is not sent.
        """
        self._acked = dict(acked)
        for is_new, block in self._iter_wanted():
            if is_new:
                yield from _cut_rows(block)

    def count(self) -> None:
        """Fill `counts`."""
        for _ in self._iter_wanted():
            pass

    def rows_of_key(self, key: str) -> pa.Table:
        """Return all points of one metric that the target should have."""
        from localtrack.format.segment_table import concat_points

        one = RunHistory(self.reading, self._thinning, self._limits, has_ended=self._has_ended)
        return concat_points(block.table for _, block in one._iter_wanted(key))

    def _iter_blocks(self, key: str | None) -> Iterator[tuple[bool, PointBlock]]:
        for block in iter_point_blocks(self.reading, key=key, stop=self._acked):
            yield False, block
        for block in iter_point_blocks(self.reading, key=key, start=self._acked):
            yield True, block

    def _iter_wanted(self, key: str | None = None) -> Iterator[tuple[bool, PointBlock]]:
        """Yield blocks without what the target should not have, and whether they come after what it received."""
        for is_new, block in self._iter_blocks(key):
            self._position = is_new, block.writer, block.first
            table = self._distinct.take(with_target_values(self._without_refused(block.table)))
            if not self._thinning.is_off:
                table = self._thin(table)
            for name, count in _count_keys(table).items():
                self.counts[name] = self.counts.get(name, 0) + count
            yield is_new, block._replace(table=table)

    def _read_before(self, key: str) -> Iterator[pa.Table]:
        for is_new, block in self._iter_blocks(key):
            if (is_new, block.writer, block.first) >= self._position:
                return
            yield with_target_values(block.table)

    def _without_refused(self, table: pa.Table) -> pa.Table:
        if not self._refused_keys:
            return table
        import pyarrow as pa
        import pyarrow.compute as pc

        is_refused = pc.is_in(table.column("key").cast(pa.string()), pa.array(self._refused_keys, pa.string()))
        return table.filter(pc.invert(is_refused))

    def _thin(self, table: pa.Table) -> pa.Table:
        kept: list[int] = []
        rows = zip(
            column_values(table, "key"),
            column_values(table, "step"),
            column_values(table, "timestamp_ms"),
            column_values(table, "value"),
            strict=True,
        )
        for row, (key, step, timestamp_ms, value) in enumerate(rows):
            index = self._indices.get(key, 0)
            self._indices[key] = index + 1
            fold = self._folds[key]
            if index % self._thinning.stride(fold.count) == 0 or (
                self._has_ended and self._is_needed(key, fold, step, timestamp_ms, value)
            ):
                kept.append(row)
        return table.take(column("int64", kept))

    def _is_needed(self, key: str, fold: MetricFold, step: int, timestamp_ms: int, value: float) -> bool:
        """Return whether a point is the last of its metric, or the first one with the least or greatest value."""
        if (step, timestamp_ms) == (fold.last_step, fold.last_timestamp_ms):
            return True  # of several at that place all: which one counts depends on the target
        seen = self._extremes.setdefault(key, set())
        if value in (to_target_value(fold.min), to_target_value(fold.max)) and value not in seen:
            seen.add(value)
            return True
        return False


def _cut_rows(block: PointBlock) -> Iterator[Rows]:
    """Yield the points of a block in some thousands, so that nobody waits until all of it are Python values."""
    import pyarrow.compute as pc

    table = block.table.take(pc.sort_indices(block.table, sort_keys=[("number", "ascending")]))
    for first in range(0, table.num_rows, _ROWS_COUNT):
        points = to_points(table.slice(first, _ROWS_COUNT))
        is_last = first + _ROWS_COUNT >= table.num_rows
        yield Rows(block.writer, block.end if is_last else points[-1].number + 1, points)
    if not table.num_rows:
        yield Rows(block.writer, block.end, [])


def to_points(table: pa.Table) -> list[SentPoint]:
    """Return the rows of a table in the order of their numbers."""
    points = map(
        SentPoint,
        column_values(table, "number"),
        column_values(table, "key"),
        column_values(table, "timestamp_ms"),
        column_values(table, "step"),
        column_values(table, "value"),
    )
    return sorted(points, key=_number)


def _number(point: SentPoint) -> int:
    return point.number


def _count_keys(table: pa.Table) -> dict[str, int]:
    import pyarrow.compute as pc

    counted = pc.value_counts(table.column("key"))
    names: list[Any] = counted.field("values").to_pylist()
    counts: list[Any] = counted.field("counts").to_pylist()
    return dict(zip(names, counts, strict=True))
