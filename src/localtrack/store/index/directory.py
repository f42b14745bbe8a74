"""What a segment of the index holds and where: the JSON file that names its parts, with checksums.

Every span of bytes that is read has its CRC-32 here, because Parquet readers are known to end their process on damaged
footers. Standard library and orjson only, so that a process that asks one question need not load PyArrow for it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, NamedTuple

from localtrack.errors import DamagedIndexError
from localtrack.format.jsonlines import decode_json, encode_record

INDEX_VERSION: Final = 1

BLOCK_ROWS: Final = 64
"""Where a whole row begins is found by the place of its block and the lengths of the rows before it in the block."""
TALL: Final = ("metrics", "params", "tags", "datasets")


class Span(NamedTuple):
    """Bytes of a file."""

    offset: int
    size: int
    crc: int

    def read(self, file: BinaryIO) -> bytes:
        """Return the bytes.

        Raises:
            FormatError: They are not what was written.
        """
        file.seek(self.offset)
        data = file.read(self.size)
        if len(data) != self.size or zlib.crc32(data) != self.crc:
            raise DamagedIndexError("The index is damaged: bytes in it are not what was written.")
        return data


class Group(NamedTuple):
    """A row group of a Parquet file: all of one key, or of the narrow table some rows."""

    key: str
    rows_count: int
    span: Span


@dataclass(slots=True)
class TableFile:
    """A Parquet file of a segment."""

    bytes_count: int
    footer: Span
    groups: list[Group]


@dataclass(slots=True)
class Directory:
    """What a segment holds."""

    rows_count: int
    plain_count: int
    """So many rows, the first ones, have ids of 32 hex digits; they are in the order of these."""
    foreign: list[str]
    """The ids of the rows behind those, in order."""
    experiments: dict[str, tuple[str, int]]
    """Original name and generation by id."""
    findings: list[tuple[int, str, str, str, str]]
    """Row, key, what, code and severity of what is wrong with a run."""
    tables: dict[str, TableFile] = field(default_factory=dict)
    """The Parquet files: `runs`, and the tall ones that hold anything."""
    spans: dict[str, Span] = field(default_factory=dict)
    """Parts of the file of whole rows: `dictionary`, `ids`, `lengths`, `blocks`."""
    dictionary_rows_count: int = 0
    """Of how many rows the segment was made from which the compression dictionary was taken."""

    @property
    def bytes_count(self) -> int:
        """Size of the segment, without this directory."""
        rows_bytes = max((span.offset + span.size for span in self.spans.values()), default=0)
        return rows_bytes + sum(table.bytes_count for table in self.tables.values())


def encode_directory(directory: Directory) -> bytes:
    """Return the bytes of a directory."""
    document = {
        "index": INDEX_VERSION,
        "rows": directory.rows_count,
        "plain": directory.plain_count,
        "foreign": directory.foreign,
        "experiments": directory.experiments,
        "findings": directory.findings,
        "tables": {
            name: [table.bytes_count, list(table.footer), [[g.key, g.rows_count, *g.span] for g in table.groups]]
            for name, table in directory.tables.items()
        },
        "spans": {name: list(span) for name, span in directory.spans.items()},
        "dictionary_rows": directory.dictionary_rows_count,
    }
    return encode_record([document])


def parse_directory(data: bytes) -> Directory:
    """Return a directory whose checksum was right.

    Raises:
        FormatError: It is not one of this version.
    """
    try:
        (document,) = decode_json(data)
        if document["index"] != INDEX_VERSION:
            raise ValueError(f"version {document['index']!r}")
        return Directory(
            document["rows"],
            document["plain"],
            document["foreign"],
            {key: (name, generation) for key, (name, generation) in document["experiments"].items()},
            [tuple(finding) for finding in document["findings"]],
            {
                name: TableFile(size, Span(*footer), [Group(key, rows, Span(*span)) for key, rows, *span in groups])
                for name, (size, footer, groups) in document["tables"].items()
            },
            {name: Span(*span) for name, span in document["spans"].items()},
            document["dictionary_rows"],
        )
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise DamagedIndexError(f"The index is damaged: {error}.") from error


def file_names(segment: str) -> dict[str, str]:
    """Return the files that a segment may have, by what they hold."""
    tables = {name: f"{segment}.{name}.parquet" for name in ("runs", *TALL)}
    return {**tables, "rows": f"{segment}.rows", "directory": f"{segment}.json"}


def encode_sealed(document: dict[str, Any]) -> bytes:
    """Return a JSON object as two lines: the object, and the CRC-32 of its line."""
    line = encode_record([document])
    return line + b"%08x\n" % zlib.crc32(line)


def parse_sealed(data: bytes) -> dict[str, Any]:
    """Return the object of two lines.

    Raises:
        ValueError: The checksum does not fit.
    """
    line, _, digits = data.partition(b"\n")
    if digits != b"%08x\n" % zlib.crc32(line + b"\n"):
        raise ValueError("the checksum does not fit")
    (document,) = decode_json(line)
    if type(document) is not dict:
        raise ValueError("it is no object")
    return document
