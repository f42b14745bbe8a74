"""One log (section 5): its lines, what is torn, what is damaged, and whether its checksums fit."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.independent.shapes import (
    ALL_TYPES,
    CHUNK,
    EDITS,
    MODEL_LOG,
    RUN_LOG,
    Shape,
    header_is_sound,
    is_point,
    log_header_is_sound,
    model_header_is_sound,
    points_header_is_sound,
)
from tests.independent.words import Finding, is_int, parse_json


class Kind(NamedTuple):
    """What may stand in one kind of log."""

    header: str
    header_is_sound: Callable[[Any], bool]
    shapes: dict[str, Shape]
    has_points: bool


RUN_LOG_KIND = Kind("Log", log_header_is_sound, RUN_LOG, True)
MODEL_LOG_KIND = Kind("Model", model_header_is_sound, MODEL_LOG, False)
CHUNK_KIND = Kind("Points", points_header_is_sound, CHUNK, True)
EDITS_KIND = Kind("Edits", header_is_sound, EDITS, False)


class KeySet(NamedTuple):
    """What a `k` record defines (6.3)."""

    keys: list[str]
    base_ms: int
    base_step: int

    def fits(self, row: list[Any]) -> bool:
        """Tell whether a point may be of this set."""
        return len(row) == 3 + len(self.keys) and is_int(self.base_ms + row[1]) and is_int(self.base_step + row[2])


class Line(NamedTuple):
    """A whole line: where it begins, and its bytes without the line break."""

    offset: int
    data: bytes


@dataclass
class Log:
    """What a log says."""

    key: str
    whole_bytes: int
    """Up to the last line break: the first half of the writer's position."""
    header: dict[str, Any] | None = None
    """None: there is no whole first line, or it is damaged."""
    records: list[tuple[int, list[Any]]] = field(default_factory=list)
    """(offset, record) of all state records and edits, in the order of the file."""
    key_sets: dict[int, KeySet] = field(default_factory=dict)
    rows: list[list[Any]] = field(default_factory=list)
    """The points, `[n, dt, step, v, …]`, in the order of the file."""
    closed: dict[str, Any] | None = None
    findings: list[Finding] = field(default_factory=list)
    has_unknown_types: bool = False
    refused: Finding | None = None
    """Why this reader must not read it: a chunk alone, with a run log the run, with edits the store (5.3)."""


def read_bytes(folder: Path, name: str) -> tuple[bytes, list[tuple[str, str]]]:
    """Return the bytes of the log `name`, put together from its parts if need be (5.4), and odd files among those."""
    plain = folder / name
    parts = {path.name for path in folder.glob(f"{name}.part*")}
    joined = b""
    number = 0
    while f"{name}.part{number:08d}" in parts:
        joined += (folder / f"{name}.part{number:08d}").read_bytes()
        parts.discard(f"{name}.part{number:08d}")
        number += 1
    odd = [(part, "other") for part in sorted(parts)]  # beyond the first number missing: no rule takes them in
    if not plain.exists():
        return joined, odd
    data = plain.read_bytes()
    shorter, longer = sorted((data, joined), key=len)
    if not longer.startswith(shorter):  # 12.2
        return data, [*odd, (name, "name")]
    return longer, odd


def read_log(folder: Path, name: str, *, key: str, kind: Kind) -> Log:
    """Read one log. `key` is the key of the folder."""
    data, odd_files = read_bytes(folder, name)
    log = parse_log(data, key=f"{key}/{name}", kind=kind)
    log.findings.extend(Finding(f"{key}/{odd}", what) for odd, what in odd_files)
    writer = name.split(".")[0]
    if log.header is not None and log.header["writer"] != writer:  # M7; what it says still counts, as the file's writer
        log.findings.append(Finding(log.key, "name"))
    return log


def parse_log(data: bytes, *, key: str, kind: Kind) -> Log:
    """Return what the bytes of a log say."""
    log = Log(key, data.rfind(b"\n") + 1)
    lines, tail = split_lines(data)
    lines = drop_torn(lines, data)
    while lines and _parse(lines[0].data) is None:  # the header is the first line that can be read
        log.findings.append(Finding(key, "damaged"))
        del lines[0]
    if not lines:
        return log
    first = _parse(lines[0].data)
    if not (first and first[0] == kind.header and len(first) == 2 and isinstance(first[1], dict)):
        log.findings.append(Finding(key, "damaged"))
        return log
    if is_int(first[1].get("format")) and first[1]["format"] > 1:
        log.refused = Finding(key, "newer")
        return log
    if not kind.header_is_sound(first[1]):
        log.findings.append(Finding(key, "damaged"))
        return log
    log.header = first[1]
    for line in lines[1:]:
        _take(log, line, data, kind)
    if log.closed is not None and tail:
        log.findings.append(Finding(key, "damaged"))
    return log


def split_lines(data: bytes) -> tuple[list[Line], bytes]:
    """Return the whole lines, and the bytes after the last line break: those are torn."""
    lines = []
    offset = 0
    while (end := data.find(b"\n", offset)) >= 0:
        lines.append(Line(offset, data[offset:end]))
        offset = end + 1
    return lines, data[offset:]


def drop_torn(lines: list[Line], data: bytes) -> list[Line]:
    """Leave out what the `torn` records name (5.3), from the last one back: one of them may itself be torn."""
    kept: list[Line] = []
    barrier = len(data)
    for line in reversed(lines):
        if line.offset >= barrier:
            continue
        kept.append(line)
        record = _parse(line.data)
        if record and record[0] == "torn" and RUN_LOG["torn"](record):
            begin = line.offset - 1 - record[1]
            if begin == 0 or (begin > 0 and data[begin - 1 : begin] == b"\n"):
                barrier = begin
    kept.reverse()
    return kept


def _parse(data: bytes) -> list[Any] | None:
    """Return the record of a line, or None if it is no JSON array of two elements or more."""
    try:
        record = parse_json(data)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, list) and len(record) > 1 else None


def _take(log: Log, line: Line, data: bytes, kind: Kind) -> None:
    """Take one line behind the header into `log`."""
    damaged = Finding(log.key, "damaged")
    if log.closed is not None:  # `Closed` is the last record
        log.findings.append(damaged)
    record = _parse(line.data)
    if record is None:
        log.findings.append(damaged)
        return
    type_ = record[0]
    if is_int(type_):
        if kind.has_points:
            _take_points(log, line, record)
        else:
            log.findings.append(damaged)
        return
    if not isinstance(type_, str) or (type_ in ALL_TYPES and type_ not in kind.shapes):
        log.findings.append(damaged)
        return
    if type_ not in kind.shapes:
        if type_[:1].isascii() and type_[:1].islower():
            log.has_unknown_types = True
        elif type_[:1].isascii() and type_[:1].isupper():
            log.refused = Finding(log.key, "unknown_type")
        else:
            log.findings.append(damaged)
        return
    if not kind.shapes[type_](record):
        log.findings.append(damaged)
    elif type_ == "k":
        base_ms, base_step = record[3:] or (log.header["base_ms"], 0)
        key_set = KeySet(record[2], base_ms, base_step)
        if log.key_sets.setdefault(record[1], key_set) is not key_set:  # no number is given twice
            log.findings.append(damaged)
    elif type_ == "c":
        _, begin, end, crc = record
        if not begin <= end <= line.offset or zlib.crc32(data[begin:end]) != crc:
            log.findings.append(Finding(log.key, "crc"))
    elif type_ == "Closed":
        log.closed = record[2]
        if record[2]["bytes"] != line.offset or record[2]["crc"] != zlib.crc32(data[: line.offset]):
            log.findings.append(Finding(log.key, "crc"))
    elif type_ == "torn":
        begin = line.offset - 1 - record[1]
        if begin < 0 or (begin > 0 and data[begin - 1 : begin] != b"\n"):
            log.findings.append(damaged)
    else:
        _take_points(log, line, record)


def _take_points(log: Log, line: Line, record: list[Any]) -> None:
    """Take a record with the points in it. A damaged one (6.3) takes neither the others nor the rest along."""
    rows: list[Any] = []
    if is_int(record[0]):
        rows = [record]
    elif record[0] == "p":
        rows = record[1]
    elif record[0] == "batch":
        rows = record[2].get("points", [])
    sound = [row for row in rows if is_point(row) and row[0] in log.key_sets and log.key_sets[row[0]].fits(row)]
    if len(sound) != len(rows):
        log.findings.append(Finding(log.key, "damaged"))
    log.records.append((line.offset, record))
    log.rows += sound
