"""Writing one segment, streaming: row groups that end with a key where that is cheap, and a footer that sums up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import IO, TYPE_CHECKING, BinaryIO, Final, cast

from localtrack.errors import InvalidInputError
from localtrack.format.segment_crc import CHECKSUMS_KEY, ChecksumSink
from localtrack.format.segment_distinct import DistinctCheck
from localtrack.format.segment_encoding import choose_encodings, writer_options
from localtrack.format.segment_fold import fold_table
from localtrack.format.segment_info import KEYS_LIMIT_COUNT, METADATA_KEY, MetricFold, SegmentInfo, encode_info
from localtrack.format.segment_table import compact_keys, concat_points, key_indices, segment_schema, slice_pair

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP_ROWS_COUNT: Final = 131_072
_CUT_ROWS_COUNT: Final = 32_768
"""A row group of at least this size ends early, at the last change of key, so that the next key is not torn apart."""
_LOOK_ROWS_COUNT: Final = 4 * ROW_GROUP_ROWS_COUNT
"""How many rows are gathered before the encodings are chosen from them."""


def write_segment(sink: BinaryIO, tables: Iterable[pa.Table], info: SegmentInfo) -> SegmentInfo:
    """Write a segment, holding about half a million rows in memory, and return what its footer says.

    Args:
        sink: Open for writing; stays open, is neither flushed nor synced here.
        tables: Points in the columns of `segment_schema()`; each table sorted by (key, number), and all of them one
            after the other as well, so that a key may go on in the next table.
        info: Run, writer and chunks; the rest is found out here.

    Raises:
        InvalidInputError: If the tables are not in order. What was written to `sink` until then is no segment.
    """
    import pyarrow.parquet as pq

    groups = _row_groups(tables)
    looked_at = list(_take_rows_count(groups, _LOOK_ROWS_COUNT))
    encodings = choose_encodings(concat_points(looked_at))
    totals = _Totals()
    guarded = ChecksumSink(sink)
    with pq.ParquetWriter(cast(IO[bytes], guarded), segment_schema(), **writer_options(encodings)) as writer:
        guarded.begin_group()
        for group in chain(looked_at, groups):
            totals.add(group)
            writer.write_table(group, row_group_size=ROW_GROUP_ROWS_COUNT)
            guarded.end_group()
        written = totals.complete(info)
        writer.add_key_value_metadata(
            {METADATA_KEY.decode(): encode_info(written).decode(), CHECKSUMS_KEY: guarded.begin_footer()}
        )
    guarded.write_footer()
    return written


class _Totals:
    """What the footer says of all row groups together."""

    def __init__(self) -> None:
        self._check = DistinctCheck()
        self._keys: dict[str, MetricFold] | None = {}
        self._points_count = 0
        self._first: int | None = None
        self._last_row: tuple[str, int] | None = None

    def add(self, group: pa.Table) -> None:
        import pyarrow.compute as pc

        self._require_order(group)
        self._check.add(group)
        self._points_count += group.num_rows
        least: int = pc.min(group.column("number")).as_py()
        self._first = least if self._first is None else min(self._first, least)
        if self._keys is None:
            return
        for key, fold in fold_table(group).items():
            self._keys[key] = self._keys[key].combine(fold) if key in self._keys else fold
        if len(self._keys) > KEYS_LIMIT_COUNT:
            self._keys = None

    def complete(self, info: SegmentInfo) -> SegmentInfo:
        return info._replace(
            first=self._first or 0,
            points=self._points_count,
            distinct=self._check.distinct,
            keys=self._keys,
        )

    def _require_order(self, group: pa.Table) -> None:
        import pyarrow.compute as pc

        keys, numbers = slice_pair(key_indices(group)), slice_pair(group.column("number"))
        ahead = pc.or_(pc.less(*keys), pc.and_(pc.equal(*keys), pc.less(*numbers)))
        first = (group.column("key")[0].as_py(), group.column("number")[0].as_py())
        if (self._last_row is not None and first <= self._last_row) or not pc.all(ahead, min_count=0).as_py():
            raise InvalidInputError("The points to seal are not sorted by key and number, each number once.")
        self._last_row = (group.column("key")[-1].as_py(), group.column("number")[-1].as_py())


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows again, in pieces that are to be row groups, each in one piece with its own dictionary."""
    waiting: list[pa.Table] = []
    waiting_count = 0
    for table in tables:
        if table.num_rows == 0:
            continue
        waiting.append(table)
        waiting_count += table.num_rows
        if waiting_count < ROW_GROUP_ROWS_COUNT:
            continue
        rows = concat_points(waiting)
        start = 0
        while rows.num_rows - start >= ROW_GROUP_ROWS_COUNT:
            end = start + _group_rows_count(rows, start)
            yield compact_keys(rows.slice(start, end - start))
            start = end
        waiting, waiting_count = [rows.slice(start)], rows.num_rows - start
    if waiting_count:
        yield concat_points(waiting)


def _group_rows_count(rows: pa.Table, start: int) -> int:
    """Return how many rows from `start` make a row group: a full one, or one that ends with a key."""
    import pyarrow.compute as pc

    window = key_indices(rows).slice(start, ROW_GROUP_ROWS_COUNT + 1)
    following = window[-1] if len(window) > ROW_GROUP_ROWS_COUNT else None
    if following is None:
        return ROW_GROUP_ROWS_COUNT
    begin: int = pc.index(window, following).as_py()
    return begin if begin >= _CUT_ROWS_COUNT else ROW_GROUP_ROWS_COUNT


def _take_rows_count(groups: Iterator[pa.Table], rows_count: int) -> Iterator[pa.Table]:
    """Yield row groups until they hold `rows_count` rows."""
    taken = 0
    while taken < rows_count and (group := next(groups, None)) is not None:
        taken += group.num_rows
        yield group
