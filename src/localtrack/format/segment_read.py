"""Reading one segment: what its footer says, and just the row groups that a question needs."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from localtrack.errors import FormatError
from localtrack.format.arrow_columns import scalar
from localtrack.format.segment_crc import check_footer, check_group
from localtrack.format.segment_info import METADATA_KEY, SegmentInfo, parse_info
from localtrack.format.segment_table import (
    HISTORY_COLUMNS,
    compact_keys,
    concat_points,
    key_rows,
    repeat_key,
    segment_schema,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


def read_info(source: BinaryIO) -> SegmentInfo:
    """Return what the footer of a segment says.

    Args:
        source: The whole file, open for reading at any place.

    Raises:
        FormatError: With code `DAMAGED` if footer or metadata are not sound, `NEWER_FORMAT` if it is of a later format.
    """
    return read_footer(source).info


class SegmentFooter(NamedTuple):
    """A footer that is sound: what it says, the checksum of each row group, and what PyArrow makes of it."""

    info: SegmentInfo
    checksums: list[int]
    metadata: pq.FileMetaData


def read_footer(source: BinaryIO) -> SegmentFooter:
    """Return the footer of a segment, for whoever opens the file again; of one name it never changes.

    Raises:
        FormatError: As `read_info`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data, checksums = check_footer(source)
    with _decoding():
        metadata = pq.read_metadata(pa.BufferReader(data))
    found = (metadata.metadata or {}).get(METADATA_KEY)
    if found is None or len(checksums) != metadata.num_row_groups:
        raise FormatError("The file is not a segment: its footer lacks what localtrack writes there.")
    info = parse_info(found)
    # Only now, since a newer format may well have other columns.
    wanted = [("key", pa.string()), *((field.name, field.type) for field in list(segment_schema())[1:])]
    if [(field.name, field.type) for field in metadata.schema.to_arrow_schema()] != wanted:
        raise FormatError("The segment is damaged: it has other columns than a segment has.")
    if info.points != metadata.num_rows:
        raise FormatError(f"The segment is damaged: it has {metadata.num_rows} rows, but says {info.points}.")
    return SegmentFooter(info, checksums, metadata)


def read_points(source: BinaryIO, *, from_number: int = 0, footer: SegmentFooter | None = None) -> pa.Table:
    """Return points of a segment, sorted by (key, number), reading only the row groups that can hold them.

    Args:
        source: The whole file, open for reading at any place.
        from_number: Only the points with this number or a greater one.
        footer: The file's footer, if it was read before.

    Raises:
        FormatError: With code `DAMAGED` if what was read is not sound, `NEWER_FORMAT` if it is of a later format.
    """
    file = SegmentFile(source, footer)
    groups = [group for group in range(file.groups_count) if file.may_hold(group, key=None, from_number=from_number)]
    return concat_points([_rows_from(file.read_group(group), from_number) for group in groups])


def read_key(
    source: BinaryIO, key: str, *, from_number: int = 0, footer: SegmentFooter | None = None
) -> list[pa.Table]:
    """Return the points of one key without the key, in the order of their numbers, as tables one after the other.

    Args:
        source: The whole file, open for reading at any place.
        key: Which.
        from_number: Only the points with this number or a greater one.
        footer: The file's footer, if it was read before.

    Returns:
        Columns `step`, `timestamp_ms`, `value`.

    Raises:
        FormatError: As `read_points`.
    """
    file = SegmentFile(source, footer)
    names = HISTORY_COLUMNS if from_number == 0 else ("number", *HISTORY_COLUMNS)
    groups = [group for group in range(file.groups_count) if file.may_hold(group, key=key, from_number=from_number)]
    rows = [_rows_from(file.read_key(group, key, names), from_number) for group in groups]
    return [table.select(HISTORY_COLUMNS) for table in rows]


def _rows_from(table: pa.Table, number: int) -> pa.Table:
    import pyarrow.compute as pc

    return table if number == 0 else table.filter(pc.greater_equal(table.column("number"), scalar("int64", number)))


class SegmentFile:
    """An open segment whose footer is sound.

    Args:
        source: The whole file, open for reading at any place.
        footer: Its footer, if it was read before.

    Attributes:
        info: What the footer says.
        groups_count: How many row groups there are.
    """

    def __init__(self, source: BinaryIO, footer: SegmentFooter | None = None) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if type(source) is io.BytesIO:  # in memory: Arrow need not call back into Python for it
            source = cast("BinaryIO", pa.BufferReader(source.getvalue()))
        self._source = source
        self.info, self._checksums, self._metadata = footer or read_footer(source)
        self.groups_count = self._metadata.num_row_groups
        with _decoding():
            self._file = pq.ParquetFile(source, metadata=self._metadata, read_dictionary=["key"])

    def may_hold(self, group: int, *, key: str | None, from_number: int, below_number: int | None = None) -> bool:
        """Tell whether the statistics of a row group leave room for such points."""
        metadata = self._metadata.row_group(group)
        keys: Any = metadata.column(0).statistics
        numbers: Any = metadata.column(1).statistics
        if key is not None and keys is not None and keys.min is not None and not keys.min <= key <= keys.max:
            return False
        if numbers is None or numbers.max is None:
            return True
        return not (numbers.max < from_number or (below_number is not None and numbers.min >= below_number))

    def read_group(self, group: int) -> pa.Table:
        """Return one row group as a table of `segment_schema()`."""
        import pyarrow as pa

        schema = segment_schema()
        if (key := self._only_key(group)) is None:
            return compact_keys(self._read(group, schema))
        rows = self._read(group, pa.schema(list(schema)[1:]))
        return pa.Table.from_arrays([repeat_key(key, rows.num_rows), *rows.columns], schema=schema)

    def read_key(self, group: int, key: str, names: Sequence[str]) -> pa.Table:
        """Return some columns of the rows of one key in one row group that may hold it."""
        import pyarrow as pa

        schema = pa.schema([segment_schema().field(name) for name in names])
        if self._only_key(group) == key:
            return self._read(group, schema)
        keyed = pa.schema([segment_schema().field("key"), *schema])
        return key_rows(compact_keys(self._read(group, keyed)), key).select(names)

    def _only_key(self, group: int) -> str | None:
        """Return the key of all rows of a row group, if its statistics say so: decoding it takes longer than the rest.

        None where there are several, or it is not said.
        """
        keys: Any = self._metadata.row_group(group).column(0).statistics
        is_one = keys is not None and keys.has_min_max and keys.min == keys.max
        return str(keys.min) if is_one else None

    def _read(self, group: int, schema: pa.Schema) -> pa.Table:
        """Return the columns of a schema of one row group, after a check of all its bytes."""
        check_group(self._source, self._metadata.row_group(group), self._checksums[group])
        with _decoding():
            # A few columns of one row group: handing them to threads and waiting takes longer than decoding them.
            return self._file.read_row_group(group, columns=schema.names, use_threads=False).cast(schema)


@contextmanager
def _decoding() -> Iterator[None]:
    """Raise `FormatError` for what PyArrow says of bytes that it cannot decode; errors of the medium pass."""
    import pyarrow as pa

    try:
        yield
    except pa.ArrowException as error:
        raise FormatError(f"The segment is damaged: {_first_line(error)}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        # PyArrow reports a footer or page that it cannot decode as an OSError without a number.
        raise FormatError(f"The segment is damaged: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
