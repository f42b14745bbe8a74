"""Reading one segment: what its footer says, and just the row groups that a question needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from localtrack.errors import FormatError
from localtrack.format.segment_info import METADATA_KEY, SegmentInfo, parse_info
from localtrack.format.segment_table import compact_keys, concat_points, key_rows, segment_schema

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
    with arrow_errors():
        return _file_info(open_segment(source))


def read_points(source: BinaryIO, *, key: str | None = None, from_number: int = 0) -> pa.Table:
    """Return points of a segment, sorted by (key, number), reading only the row groups that can hold them.

    Args:
        source: The whole file, open for reading at any place.
        key: Only the points of this key.
        from_number: Only the points with this number or a greater one.

    Raises:
        FormatError: With code `DAMAGED` if what was read is not sound, `NEWER_FORMAT` if it is of a later format.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    with arrow_errors():
        file = open_segment(source)
        _file_info(file)
        tables = []
        for group in range(file.num_row_groups):
            if not _may_hold(file.metadata.row_group(group), key=key, from_number=from_number):
                continue
            table = read_group(file, group)
            if key is not None:
                table = key_rows(table, key)
            if from_number > 0:
                table = table.filter(pc.greater_equal(table.column("number"), pa.scalar(from_number)))
            tables.append(table)
        return concat_points(tables)


def open_segment(source: BinaryIO) -> pq.ParquetFile:
    """Return the Parquet file after a look at its columns; call inside `arrow_errors`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(source, read_dictionary=["key"], page_checksum_verification=True)
    wanted = [("key", pa.string()), *((field.name, field.type) for field in list(segment_schema())[1:])]
    found = [(field.name, field.type) for field in file.metadata.schema.to_arrow_schema()]
    if found != wanted:
        raise FormatError("The file is not a segment: it has other columns.")
    return file


def read_group(file: pq.ParquetFile, group: int) -> pa.Table:
    """Return one row group as a table of `segment_schema()`."""
    return compact_keys(file.read_row_group(group).cast(segment_schema()))


@contextmanager
def arrow_errors() -> Iterator[None]:
    """Raise `FormatError` for what PyArrow says of bytes that it cannot read; errors of the medium pass."""
    import pyarrow as pa

    try:
        yield
    except FormatError:
        raise
    except pa.ArrowException as error:
        raise FormatError(f"The segment is damaged: {_first_line(error)}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        # PyArrow reports a footer or page that it cannot decode as an OSError without a number.
        raise FormatError(f"The segment is damaged: {_first_line(error)}") from error


def _file_info(file: pq.ParquetFile) -> SegmentInfo:
    data = (file.metadata.metadata or {}).get(METADATA_KEY)
    if data is None:
        raise FormatError("The file is not a segment: its footer has no localtrack metadata.")
    info = parse_info(data)
    if info.points != file.metadata.num_rows:
        raise FormatError(f"The segment is damaged: {file.metadata.num_rows} rows, but {info.points} in its metadata.")
    return info


def _may_hold(group: Any, *, key: str | None, from_number: int) -> bool:
    keys, numbers = group.column(0).statistics, group.column(1).statistics
    if key is not None and keys is not None and keys.has_min_max and not keys.min <= key <= keys.max:
        return False
    return not (numbers is not None and numbers.has_min_max and numbers.max < from_number)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
