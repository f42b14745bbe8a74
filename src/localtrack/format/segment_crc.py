"""Checksums over every byte of a segment that PyArrow decodes.

Parquet guards its pages at most, never their headers nor the footer, and PyArrow ends the whole process on some damaged
footers: a C++ exception that nobody catches. So it gets to see only bytes whose CRC-32 was right.

The footer's entry `localtrack.crc32` is a row of eight hex digits each: first for the footer itself (Parquet's
FileMetaData, these digits taken as zeros), then for each row group, from the beginning of its first page to the end of
its last.

Format: FORMAT.md, "Segments".
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple

from localtrack.errors import FormatError

CHECKSUMS_KEY: Final = "localtrack.crc32"
_DIGITS: Final = 8
_UNKNOWN: Final = b"0" * _DIGITS
_MAGIC: Final = b"PAR1"
_TAIL_BYTES: Final = 8
"""Parquet ends with the length of the footer in four bytes, least first, and the magic."""
_END_BYTES: Final = 4096
"""So much is read at once from the end: the footer with it, unless there are many row groups or keys."""
_ENTRY: Final = re.compile(rb"localtrack\.crc32\x18[\x80-\xff]*[\x00-\x7f]((?:[0-9a-f]{8})+)")
"""The entry in Thrift's compact protocol: the key, the head of a string field, its length, the digits."""


class ChecksumSink:
    """What a Parquet writer writes to: passes bytes on to `sink`, and makes the checksums."""

    closed = False

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._written_bytes = 0
        self._crc = 0
        self._groups: list[bytes] = []
        self._footer: bytearray | None = None

    def write(self, data: Any) -> int:
        """Pass on `data`, or hold it back once the footer has begun."""
        size_bytes = memoryview(data).nbytes
        self._written_bytes += size_bytes
        if self._footer is not None:
            self._footer += data
        else:
            self._crc = zlib.crc32(data, self._crc)
            self._sink.write(data)
        return size_bytes

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._written_bytes

    def flush(self) -> None:
        """Do nothing: flushing is up to the owner of the sink."""

    def close(self) -> None:
        """Do nothing: closing is up to the owner of the sink."""

    def begin_group(self) -> None:
        """Count what is written from here on as a row group."""
        self._crc = 0

    def end_group(self) -> None:
        """Count what is written from here on as the next row group."""
        self._groups.append(_digits(self._crc))
        self._crc = 0

    def begin_footer(self) -> str:
        """Hold back what comes now, and return the value that it is to have under `CHECKSUMS_KEY`."""
        self._footer = bytearray()
        return (_UNKNOWN + b"".join(self._groups)).decode()

    def write_footer(self) -> None:
        """Write the footer that was held back, with its checksum."""
        footer = self._footer or bytearray()
        at = _find_checksums(footer[:-_TAIL_BYTES]).start(1)
        footer[at : at + _DIGITS] = _digits(zlib.crc32(footer[:-_TAIL_BYTES]))
        self._sink.write(footer)


class Footer(NamedTuple):
    """The end of a segment, after a check."""

    data: bytes
    """What Parquet decodes, up to the end of the file."""
    checksums: list[int]
    """The checksum of each row group."""


def check_footer(source: BinaryIO) -> Footer:
    """Return the footer of a segment, after a check of every byte of it.

    Raises:
        FormatError: If it is no Parquet file with such a footer, or the footer is not what was written.
    """
    size_bytes = source.seek(0, 2)
    begin = max(0, size_bytes - _END_BYTES)
    end = _read_at(source, begin, size_bytes - begin)
    footer_bytes = int.from_bytes(end[-_TAIL_BYTES:-4], "little")
    if len(end) < _TAIL_BYTES or end[-4:] != _MAGIC or footer_bytes > size_bytes - _TAIL_BYTES - len(_MAGIC):
        raise FormatError("The segment is damaged: it is cut short, or no Parquet file.")
    if footer_bytes + _TAIL_BYTES > len(end):
        end = _read_at(source, size_bytes - _TAIL_BYTES - footer_bytes, footer_bytes + _TAIL_BYTES)
    data = end[-_TAIL_BYTES - footer_bytes :]
    footer = bytearray(data[:-_TAIL_BYTES])
    found = _find_checksums(footer)
    digits = found.group(1)
    footer[found.start(1) : found.start(1) + _DIGITS] = _UNKNOWN
    if _digits(zlib.crc32(footer)) != digits[:_DIGITS]:
        raise FormatError("The segment is damaged: its footer is not what was written.")
    return Footer(data, [int(digits[at : at + _DIGITS], 16) for at in range(_DIGITS, len(digits), _DIGITS)])


def check_group(source: BinaryIO, group: Any, crc: int) -> None:
    """Check the bytes of one row group.

    Args:
        source: The whole file.
        group: What PyArrow says of the row group.
        crc: What `check_footer` says of it.

    Raises:
        FormatError: If they are not what was written.
    """
    start, size_bytes = _span_of(group)
    if zlib.crc32(_read_at(source, start, size_bytes)) != crc:
        raise FormatError("The segment is damaged: points in it are not what was written.")


def _span_of(group: Any) -> tuple[int, int]:
    """Return where the bytes of a row group begin, and how many they are."""
    columns = [group.column(i) for i in range(group.num_columns)]
    start = min(column.dictionary_page_offset or column.data_page_offset for column in columns)
    return start, sum(column.total_compressed_size for column in columns)


def iter_corrected_segments(data: bytes) -> Iterator[bytes]:
    """Yield what a segment may have been before one byte of it changed: its name tells which one it was."""
    from localtrack.format.correction import iter_changes, iter_single_changes

    for changed in (_MAGIC + data[len(_MAGIC) :], data[: -len(_MAGIC)] + _MAGIC):
        if changed != data:
            yield changed
    end = len(data) - _TAIL_BYTES
    begin = end - int.from_bytes(data[end : end + 4], "little")
    found = _look_for_checksums(data[begin:end]) if len(_MAGIC) <= begin < end else None
    if found is None or int(found.group(1)[:_DIGITS], 16) != zlib.crc32(_without_crc(data[begin:end], found)):
        for length in iter_single_changes(data[end : end + 4], with_line_breaks=True):
            size = int.from_bytes(length, "little")
            other = _look_for_checksums(data[end - size : end]) if size <= end - len(_MAGIC) else None
            if other is not None and other.end() <= size:
                yield data[:end] + length + data[end + 4 :]
    if found is None:
        return
    at, digits = found.start(1), found.group(1)
    footer = _without_crc(data[begin:end], found)
    for changed in iter_changes(footer, int(digits[:_DIGITS], 16)):
        yield data[:begin] + changed[:at] + digits[:_DIGITS] + changed[at + _DIGITS :] + data[end:]
    fitting = _digits(zlib.crc32(footer))
    if fitting == digits[:_DIGITS] and data.endswith(_MAGIC):
        groups = [int(digits[n : n + _DIGITS], 16) for n in range(_DIGITS, len(digits), _DIGITS)]
        yield from _iter_corrected_groups(data, groups)
    else:
        yield data[: begin + at] + fitting + data[begin + at + _DIGITS :]


def _look_for_checksums(footer: bytes) -> re.Match[bytes] | None:
    try:
        return _find_checksums(bytearray(footer))
    except FormatError:
        return None


def _without_crc(footer: bytes, found: re.Match[bytes]) -> bytes:
    return footer[: found.start(1)] + _UNKNOWN + footer[found.start(1) + _DIGITS :]


def _iter_corrected_groups(data: bytes, checksums: list[int]) -> Iterator[bytes]:
    """The same where the footer, which tells where row groups are, is sound."""
    import io

    import pyarrow.parquet as pq

    from localtrack.format.correction import iter_changes

    metadata = pq.read_metadata(io.BytesIO(data))
    begin = len(_MAGIC)
    for number in range(min(metadata.num_row_groups, len(checksums))):
        start, size_bytes = _span_of(metadata.row_group(number))
        end = start + size_bytes
        for changed in iter_changes(data[begin:end], checksums[number]):
            yield data[:begin] + changed + data[end:]
        begin = end


def _find_checksums(footer: bytearray) -> re.Match[bytes]:
    # The last match: a key that looks like the entry can stand in the statistics, which come before.
    found = list(_ENTRY.finditer(footer))
    if not found:
        raise FormatError("The file is not a segment: its footer has no checksums.")
    return found[-1]


def _read_at(source: BinaryIO, start: int, size_bytes: int) -> bytes:
    source.seek(start)
    data = source.read(size_bytes)
    if len(data) != size_bytes:
        raise FormatError("The segment is damaged: it is cut short.")
    return data


def _digits(crc: int) -> bytes:
    return b"%08x" % crc
