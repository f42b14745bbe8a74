"""Several segments of one writer as one stream of points."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from localtrack.format.arrow_columns import true_column
from localtrack.format.segment_read import SegmentFile
from localtrack.format.segment_table import concat_points, key_indices, slice_pair, sort_points

if TYPE_CHECKING:
    import pyarrow as pa


def merge_segments(sources: Sequence[BinaryIO]) -> Iterator[pa.Table]:
    """Yield the points of several segments of one writer, sorted by (key, number), each number once.

    The ranges of the segments may lie apart, touch or overlap: what has the same number is the same point. Holds about
    one row group of each source in memory. The tables are fit for `write_segment`.

    Args:
        sources: The whole files, open for reading at any place until the stream is used up.

    Raises:
        FormatError: With code `DAMAGED` if a segment is not sound; what was yielded until then is right.
    """
    cursors = [cursor for source in sources if (cursor := _Cursor(source)).rows is not None]
    while cursors:
        # Every source goes on behind its last row in memory, so that all rows up to the least of those are at hand.
        frontier = min(cursor.end for cursor in cursors)
        table = sort_points(concat_points(cursor.pop(frontier) for cursor in cursors))
        yield _without_repeats(table)
        cursors = [cursor for cursor in cursors if cursor.rows is not None]


class _Cursor:
    """A place in one segment, with the row group it is in."""

    def __init__(self, source: BinaryIO) -> None:
        self._file = SegmentFile(source)
        self._next_group = 0
        self.rows: pa.Table | None = None
        """What is left of the row group; None at the end of the file."""
        self.end: tuple[str, int] = ("", 0)
        """Key and number of the last of `rows`."""
        self._advance()

    def pop(self, frontier: tuple[str, int]) -> pa.Table:
        """Remove and return the rows up to this key and number."""
        rows = self.rows
        assert rows is not None, "a cursor at its end has nothing to pop"
        count = rows.num_rows if self.end <= frontier else bisect_right(_Rows(rows), frontier)
        self.rows = rows.slice(count)
        if count == rows.num_rows:
            self._advance()
        return rows.slice(0, count)

    def _advance(self) -> None:
        self.rows = None
        while self.rows is None and self._next_group < self._file.groups_count:
            rows = self._file.read_group(self._next_group)
            self._next_group += 1
            if rows.num_rows:
                self.rows, self.end = rows, _Rows(rows)[-1]


class _Rows(Sequence[tuple[str, int]]):
    """The (key, number) of each row, for bisection."""

    def __init__(self, rows: pa.Table) -> None:
        self._keys, self._numbers = rows.column("key"), rows.column("number")

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, row: Any) -> Any:
        return self._keys[row].as_py(), self._numbers[row].as_py()


def _without_repeats(table: pa.Table) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    keys, numbers = slice_pair(key_indices(table)), slice_pair(table.column("number"))
    new = pc.or_(pc.not_equal(*keys), pc.not_equal(*numbers))
    if pc.all(new, min_count=0).as_py():
        return table
    flags = pa.chunked_array([true_column(), *(new.chunks if isinstance(new, pa.ChunkedArray) else [new])])
    return table.filter(flags).combine_chunks()
