"""Whether points repeat, found out while they stream past in order of key and number, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from localtrack.format.arrow_columns import scalar
from localtrack.format.segment_table import column, concat_points, key_rows, slice_pair

if TYPE_CHECKING:
    import pyarrow as pa

_KEPT_ROWS_COUNT: Final = 131_072


class DistinctCheck:
    """Looks for two rows with the same key, step, timestamp and value.

    Nearly always (step, timestamp) ascends within a key, and one comparison of neighbours settles it. Else the rows at
    hand are compared exactly, and of a key that goes on in the next table those with its latest timestamp are kept: as
    long as timestamps do not step back, only those can be repeated. Where that does not decide, `distinct` is False: it
    promises nothing then.
    """

    def __init__(self) -> None:
        self.distinct = True
        self._open_key: str | None = None
        self._ascending = True
        """Of the open key, (step, timestamp) has ascended strictly so far."""
        self._last: pa.Table | None = None
        self._top_ms = 0
        self._kept: pa.Table | None = None
        """The open key's rows at its latest timestamp; None if they are too many."""

    def add(self, table: pa.Table) -> None:
        """Look at the next rows: sorted by (key, number), keys not less than those before."""
        if not self.distinct or table.num_rows == 0:
            return
        first_key, last_key = table.column("key")[0].as_py(), table.column("key")[-1].as_py()
        goes_on = first_key == self._open_key
        ascending = not goes_on or self._ascending
        rows = concat_points([self._last, table]) if goes_on and self._last is not None else table
        if not (ascending and _ascends_strictly(rows)):
            self.distinct = self._are_distinct(table, first_key if goes_on else None)
        tail = key_rows(table, last_key)
        same_key = goes_on and first_key == last_key
        self._ascending = _ascends_strictly(rows if same_key else tail) and (self._ascending or not same_key)
        self._keep(tail, old_kept=self._kept if same_key else None, old_top_ms=self._top_ms if same_key else None)
        self._open_key = last_key

    def _are_distinct(self, table: pa.Table, open_key: str | None) -> bool:
        import pyarrow.compute as pc

        if open_key is None:
            return _differ(table)
        head = key_rows(table, open_key)
        if pc.min(head.column("timestamp_ms")).as_py() > self._top_ms:
            return _differ(table)
        if self._kept is None or pc.min(head.column("timestamp_ms")).as_py() < self._top_ms:
            return False
        return _differ(concat_points([self._kept, table]))

    def _keep(self, tail: pa.Table, *, old_kept: pa.Table | None, old_top_ms: int | None) -> None:
        import pyarrow.compute as pc

        self._last = tail.slice(tail.num_rows - 1)
        top_ms: int = pc.max(tail.column("timestamp_ms")).as_py()
        if old_top_ms is not None and old_top_ms > top_ms:
            return
        kept = tail.filter(pc.equal(tail.column("timestamp_ms"), scalar("int64", top_ms)))
        if old_top_ms == top_ms:
            if old_kept is None:
                return
            kept = concat_points([old_kept, kept])
        self._top_ms = top_ms
        self._kept = kept if kept.num_rows <= _KEPT_ROWS_COUNT else None


def _ascends_strictly(table: pa.Table) -> bool:
    """Tell whether (step, timestamp) ascends from row to row, wherever the key stays the same."""
    import pyarrow.compute as pc

    if table.num_rows < 2:
        return True
    keys = slice_pair(column(table, "key").indices)
    steps, times = slice_pair(column(table, "step")), slice_pair(column(table, "timestamp_ms"))
    later = pc.or_(pc.less(*steps), pc.and_(pc.equal(*steps), pc.less(*times)))
    return bool(pc.all(pc.or_(pc.not_equal(*keys), later)).as_py())


def _differ(table: pa.Table) -> bool:
    """Tell whether no two rows are the same point. NaN is NaN whatever its bits; -0.0 and 0.0 differ."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = column(table, "value")
    canonical: Any = pc.if_else(pc.is_nan(values), scalar("double", float("nan")), values)
    points = pa.table(
        {
            "key": column(table, "key").indices,
            "step": column(table, "step"),
            "timestamp_ms": column(table, "timestamp_ms"),
            "bits": canonical.view(pa.int64()),
        }
    )
    return points.group_by(points.column_names).aggregate([]).num_rows == points.num_rows
