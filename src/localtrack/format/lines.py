"""A log's bytes to its records, and what is wrong with them. FORMAT.md section 5."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

from localtrack.format.jsonlines import decode_json, encode_record
from localtrack.format.point_stretch import decode_stretch

FORMAT: Final = 1
"""The major version of the format that this package reads and writes."""

LOG, POINTS, MODEL, EDITS, INBOX, CLOSED = "Log", "Points", "Model", "Edits", "Inbox", "Closed"
HEADERS: Final = frozenset([LOG, POINTS, MODEL, EDITS, INBOX])

KNOWN_TYPES: Final = (
    HEADERS
    | frozenset((CLOSED, "torn", "c", "k", "p", "fold", "run", "info", "param", "tag", "artifact", "imported", "batch"))
    | frozenset(("dataset", "input", "output", "model", "metric"))
    | frozenset(("experiment", "runs", "models", "tombstone", "quota", "open", "close", "bye"))
)
"""All types of format 1, wherever they have their place."""

_STRETCH: Final = re.compile(rb'\n\[[^"]{1024}')
"""How many points in a row begin, so many that it pays to decode them by themselves: other records have a type, and
that is quoted."""

Record = list[Any]


@dataclass(slots=True)
class Lines:
    """What the bytes of a log say."""

    header: dict[str, Any] | None = None
    """The second element of the header; None if there is no whole, sound first line."""
    records: list[Record] = field(default_factory=list)
    """All sound records after the header, in order, without `torn`, `c` and `Closed`.

    Many points in a row may stand there as one record `p` with a `PointStretch`.
    """
    closed: dict[str, Any] | None = None
    """What the `Closed` record says; None if the log is open."""
    closed_stamp: int = 0
    whole_bytes_count: int = 0
    """Up to the last line break: the log's position."""
    problems: list[str] = field(default_factory=list)
    """Sentences about what is damaged."""
    newer: bool = False
    """True if the log can only be read by a newer version."""


def read_lines(data: bytes, kind: str) -> Lines:
    """Return the records in the bytes of a log.

    Args:
        data: From the beginning of the file.
        kind: The header that it must have: LOG, POINTS, MODEL, EDITS or INBOX.
    """
    lines = Lines()
    end = data.rfind(b"\n") + 1
    lines.whole_bytes_count = end
    if not end:
        return lines
    records = _decode_at_once(data, end) or _decode_each(data, end, lines.problems)
    _take_header(lines, records, kind)
    if lines.header is None:
        return lines
    _take_closed(lines, records, data)
    if lines.closed is None or lines.problems:
        _check_spans(lines, records, data)
    if lines.closed is not None and end != len(data):
        lines.problems.append(f"{len(data) - end} bytes stand behind the end of a closed log")
    lines.records = [record for record in records if record[0] not in _FRAMING]
    return lines


_FRAMING: Final = frozenset(["c", "torn", CLOSED])


def _decode_at_once(data: bytes, end: int) -> list[Record] | None:
    """Decode all lines in a few calls, or return None if one of them needs a closer look."""
    if b'["torn"' in data:
        return None
    records: list[Record] = []
    for start, behind, are_points in _cut_stretches(data, end):
        lines = data[start : behind - 1]
        stretch = decode_stretch(lines) if are_points else None
        if stretch is not None:
            records.append(["p", stretch])
            continue
        decoded = _decode_lines(lines)
        if decoded is None:
            return None
        records += decoded
    return records


def _cut_stretches(data: bytes, end: int) -> Iterator[tuple[int, int, bool]]:
    """Yield where blocks of lines begin and end, and whether they are long stretches of what looks like points."""
    start = place = 0
    while (found := _STRETCH.search(data, place, end)) is not None:
        first, quote = found.start() + 1, data.find(b'"', found.end(), end)
        place = behind = data.rfind(b"\n", first, end if quote < 0 else quote) + 1
        if not behind:  # one long line
            place = found.end()
            continue
        if start < first:
            yield start, first, False
        yield first, behind, True
        start = behind
        place = behind - 1
    if start < end:
        yield start, end, False


def _decode_lines(lines: bytes) -> list[Record] | None:
    """Decode lines, the last one without its line break, in one call; None if one of them needs a closer look."""
    try:
        records: list[Record] = decode_json(b"[" + lines.replace(b"\n", b",") + b"]")
    except ValueError:
        return None
    # A break inside a record, or a break that was lost, shows as another number of lines than of records.
    if len(records) != lines.count(b"\n") + 1 or {*map(type, records)} != {list} or min(map(len, records)) < 2:
        return None
    return records if {*map(type, map(itemgetter(0), records))} <= {int, str} else None


def _is_record(record: object) -> bool:
    return type(record) is list and len(record) > 1 and type(record[0]) in (int, str)


def _decode_each(data: bytes, end: int, problems: list[str]) -> list[Record]:
    records: list[tuple[int, Record]] = []
    bad: list[tuple[int, int]] = []  # offset and length of lines that are damaged, unless a `torn` record explains them
    starts: set[int] = set()
    offset = 0
    for line in data[: end - 1].split(b"\n"):
        starts.add(offset)
        try:
            record = decode_json(line)
        except ValueError:
            record = None
        if record is None or not _is_record(record):
            bad.append((offset, len(line)))
        else:
            if record[0] == "torn":
                torn_start = offset - 1 - record[1] if type(record[1]) is int else -1
                if torn_start in starts and torn_start < offset:
                    while records and records[-1][0] >= torn_start:
                        records.pop()
                    while bad and bad[-1][0] >= torn_start:
                        bad.pop()
                else:
                    problems.append(f"the record at byte {offset} speaks of a torn line that is not there")
            records.append((offset, record))
        offset += len(line) + 1
    problems += [f"the line at byte {start} ({length} bytes) is damaged" for start, length in bad]
    return [record for _, record in records]


def _take_header(lines: Lines, records: list[Record], kind: str) -> None:
    if not records or records[0][0] not in HEADERS or type(records[0][1]) is not dict:
        lines.problems.append("the first line is not a header")
        return
    name, header = records[0][0], records[0][1]
    version = header.get("format")
    if type(version) is int and version > FORMAT:
        lines.newer = True
        lines.problems.append(f"it has format {version}; this version of localtrack reads format {FORMAT}")
    elif name != kind:
        lines.problems.append(f"its header is {name!r} where {kind!r} should be")
    elif version != FORMAT or not _is_sound_header(header):
        lines.problems.append("its header is damaged")
    else:
        lines.header = header
        del records[0]
        return


def _is_sound_header(header: dict[str, Any]) -> bool:
    return type(header.get("writer")) is str and type(header.get("base_ms")) is int and type(header.get("stamp")) is int


def _take_closed(lines: Lines, records: list[Record], data: bytes) -> None:
    kinds = list(map(itemgetter(0), records))
    if CLOSED not in kinds:
        return
    record = records[kinds.index(CLOSED)]
    if record is not records[-1]:
        lines.problems.append("records stand behind the record that closes the log")
    payload = record[2] if len(record) > 2 else None
    if (
        type(payload) is not dict
        or type(record[1]) is not int
        or any(type(payload.get(name)) is not int for name in ("bytes", "crc", "points"))
    ):
        lines.problems.append("the record that closes the log is damaged")
        return
    lines.closed, lines.closed_stamp = payload, record[1]
    start = payload["bytes"]
    if not 0 <= start <= len(data) or not data.startswith(b'["Closed"', start):
        lines.problems.append("the record that closes the log stands at another place than it says")
    elif zlib.crc32(memoryview(data)[:start]) != payload["crc"]:
        lines.problems.append("the checksum of the closed log does not fit")


def _check_spans(lines: Lines, records: list[Record], data: bytes) -> None:
    view = memoryview(data)
    for record in records:
        if record[0] == "c":
            try:
                start, end, crc = record[1:4]
                fits = 0 <= start <= end <= len(data) and zlib.crc32(view[start:end]) == crc
            except (ValueError, TypeError):
                fits = False
            if not fits:
                lines.problems.append(f"the checksum of the bytes {record[1:3]} does not fit")


def reject_record(lines: Lines, record: Record) -> None:
    """Report a record that has no place where it stands, unless it is of an unknown type that may be skipped."""
    kind = record[0]
    if type(kind) is int or kind in KNOWN_TYPES or not (kind[:1].isascii() and kind[:1].isalpha()):
        lines.problems.append(f"the record {str(record)[:60]} is damaged, or has no place here")
    elif kind[0].isupper():
        lines.newer = True
        lines.problems.append(f"it holds a record {kind!r} that only a newer version of localtrack understands")


def encode_span(start: int, end: int, crc: int) -> bytes:
    """Return the record that gives the CRC-32 of the bytes `start` … `end`-1."""
    return encode_record(["c", start, end, crc])


def encode_torn(length: int) -> bytes:
    """Return the bytes that must stand before the next record after `length` bytes of a torn one."""
    return b"\n" + encode_record(["torn", length])
