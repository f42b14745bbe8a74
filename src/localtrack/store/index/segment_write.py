"""Writes a segment of the index: Parquet files, whole rows, and last the directory that names them."""

from __future__ import annotations

import os
import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from localtrack.format.index_rows import pack_row
from localtrack.store.index.directory import (
    BLOCK_ROWS,
    Directory,
    Group,
    Span,
    TableFile,
    encode_directory,
    file_names,
)
from localtrack.store.index.home import Home

if TYPE_CHECKING:
    import pyarrow as pa

_NARROW_GROUP_ROWS: Final = 131_072
DICTIONARY_BYTES: Final = 8 * 1024
_SAMPLES_COUNT: Final = 16
_LEVEL: Final = 6
_WINDOW_BITS: Final = 13
"""8 KiB, as much as the dictionary: a compressor is copied for each row, and so must be small."""
_MEMORY_LEVEL: Final = 6


@dataclass(slots=True)
class Content:
    """What is to be written, ordered by id: first those of 32 hex digits, then the others."""

    plain_ids: bytes
    """16 bytes each."""
    foreign: list[str]
    experiments: dict[str, tuple[str, int]]
    findings: list[tuple[int, str, str, str, str]]
    narrow: pa.Table
    tall: Mapping[str, Iterable[tuple[str, pa.Table]]]
    """By relation: each key, in order, with its rows, in order."""
    rows: Iterable[bytes]
    """Whole rows, packed with `dictionary` where `is_compressed`."""
    dictionary: bytes
    dictionary_rows_count: int
    is_compressed: bool = False

    @property
    def rows_count(self) -> int:
        """How many runs."""
        return len(self.plain_ids) // 16 + len(self.foreign)


@dataclass(frozen=True, slots=True)
class Written:
    """A segment that is in place."""

    name: str
    rows_count: int
    bytes_count: int
    directory_crc: int


def write_segment(home: Home, content: Content) -> Written:
    """Write a segment under a new name.

    Durability: as the home's files are; nothing refers to it yet.
    """
    name = os.urandom(8).hex()
    names = file_names(name)
    directory = Directory(
        content.rows_count,
        len(content.plain_ids) // 16,
        content.foreign,
        content.experiments,
        content.findings,
        dictionary_rows_count=content.dictionary_rows_count,
    )
    _write_rows(home, names["rows"], content, directory)
    narrow = content.narrow
    slices = [("", narrow.slice(at, _NARROW_GROUP_ROWS)) for at in range(0, narrow.num_rows, _NARROW_GROUP_ROWS)]
    directory.tables["runs"] = _write_table(home, names["runs"], slices)
    for relation, groups in content.tall.items():
        table = _write_table(home, names[relation], groups)
        if table.groups:
            directory.tables[relation] = table
    data = encode_directory(directory)
    put_file(home, names["directory"], data)
    return Written(name, directory.rows_count, directory.bytes_count + len(data), zlib.crc32(data))


def remove_segment(home: Home, name: str) -> None:
    """Remove the files of a segment that nothing refers to any more."""
    for file in file_names(name).values():
        home.remove(file)


def choose_dictionary(rows: Sequence[bytes]) -> bytes:
    """Return text to compress rows against, taken from some of them; what is most common stands last."""
    lines = [row.partition(b"\n")[0] for row in rows[:: max(1, len(rows) // _SAMPLES_COUNT)][:_SAMPLES_COUNT]]
    # As many whole lines as there is room for, but a few of very long ones.
    count = max(_SAMPLES_COUNT // 4, DICTIONARY_BYTES * len(lines) // (sum(map(len, lines)) or 1))
    lines = lines[:: -(-len(lines) // count) or 1]
    return b"".join(line[-(DICTIONARY_BYTES // len(lines)) :] for line in lines)


def compressor(dictionary: bytes) -> Any:
    """Return a compressor to copy for each row."""
    options = (_LEVEL, zlib.DEFLATED, -_WINDOW_BITS, _MEMORY_LEVEL)
    return zlib.compressobj(*options, zdict=dictionary) if dictionary else zlib.compressobj(*options)


class _Sink:
    """What a Parquet writer writes to: counts, and makes the checksum of each part."""

    closed = False

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self.size = 0
        self._start = 0
        self._crc = 0

    def write(self, data: Any) -> int:
        self._crc = zlib.crc32(data, self._crc)
        self._sink.write(data)
        size = memoryview(data).nbytes
        self.size += size
        return size

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """The owner of the sink closes it."""

    def cut(self) -> Span:
        """Return the part since the last cut."""
        span = Span(self._start, self.size - self._start, self._crc)
        self._start, self._crc = self.size, 0
        return span


def _write_table(home: Home, name: str, groups: Iterable[tuple[str, pa.Table]]) -> TableFile:
    import pyarrow.parquet as pq

    file, writer = None, None
    written: list[Group] = []
    try:
        for key, table in groups:
            if not table.num_rows:
                continue
            if writer is None:
                file = home.begin()
                sink = _Sink(file.sink)
                writer = pq.ParquetWriter(cast("BinaryIO", sink), table.schema, **_encodings(table.schema))
                sink.cut()
            writer.write_table(table, row_group_size=table.num_rows)
            written.append(Group(key, table.num_rows, sink.cut()))
        if writer is None or file is None:
            return TableFile(0, Span(0, 0, 0), [])
        writer.close()
        footer = sink.cut()
        file.commit(name)
        return TableFile(sink.size, footer, written)
    finally:
        if file is not None:
            file.discard()


def _encodings(schema: pa.Schema) -> dict[str, Any]:
    import pyarrow.types as pt

    dictionary = [f.name for f in schema if pt.is_dictionary(f.type) or pt.is_string(f.type)]
    encodings = {f.name: "DELTA_BINARY_PACKED" for f in schema if pt.is_integer(f.type)}
    encodings |= {f.name: "BYTE_STREAM_SPLIT" for f in schema if pt.is_floating(f.type)}
    return {
        "compression": "zstd",
        "compression_level": 3,
        "use_dictionary": dictionary,
        "column_encoding": encodings,
        "write_statistics": [f.name for f in schema if f.name == "key"],
        "store_schema": False,
    }


def _write_rows(home: Home, name: str, content: Content, directory: Directory) -> None:
    file = home.begin()
    try:
        sink = _Sink(file.sink)
        sink.write(content.dictionary)
        directory.spans["dictionary"] = sink.cut()
        lengths, blocks = array("I"), array("Q")
        template = compressor(content.dictionary)
        for number, row in enumerate(content.rows):
            if number % BLOCK_ROWS == 0:
                blocks.append(sink.size)
            if not content.is_compressed:
                row = pack_row(row, template.copy())
            lengths.append(len(row))
            sink.write(row)
        sink.cut()  # rows have their own checksums
        for part, data in (("ids", content.plain_ids), ("lengths", lengths), ("blocks", blocks)):
            sink.write(data)
            directory.spans[part] = sink.cut()
        file.commit(name)
    finally:
        file.discard()


def put_file(home: Home, name: str, data: bytes) -> None:
    """Put a whole small file in place, replacing what was there."""
    file = home.begin()
    try:
        file.sink.write(data)
        file.commit(name)
    finally:
        file.discard()
