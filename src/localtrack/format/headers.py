"""First and last lines of logs. FORMAT.md sections 5.2, 5.3 and 6.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from localtrack.format.jsonlines import encode_record
from localtrack.format.lines import CLOSED, FORMAT

RESENT_NEVER = (
    b'["k"',
    b'["fold"',
    b'["c"',
    b'["torn"',
    b'["Log"',
    b'["Points"',
    b'["Model"',
    b'["Edits"',
    b'["Inbox"',
    b'["Closed"',
)


class WriterIdentity(NamedTuple):
    """Who writes, as every header of this process says it."""

    host: str
    boot: str
    pidns: str
    pid: int
    start: str
    by: str


def encode_header(
    kind: str,
    identity: WriterIdentity,
    *,
    writer: str,
    base_ms: int,
    stamp: int,
    flock: bool,
    more: Mapping[str, Any] | None = None,
) -> bytes:
    """Return a log's first line.

    Args:
        kind: LOG, POINTS, MODEL, EDITS or INBOX.
        identity: The process.
        writer: The writer's id, as in the file's name.
        base_ms: The writer's clock when it began, milliseconds since 1970, UTC.
        stamp: The writer's first stamp.
        flock: Whether the writer holds a lock on the file.
        more: The fields that this kind of log adds.
    """
    header: dict[str, Any] = {
        "format": FORMAT,
        "writer": writer,
        "base_ms": base_ms,
        "stamp": stamp,
        "host": identity.host,
        "boot": identity.boot,
        "pidns": identity.pidns,
        "pid": identity.pid,
        "start": identity.start,
        "flock": flock,
        "by": identity.by,
    }
    return encode_record([kind, header if more is None else {**header, **more}])


def encode_closed(
    stamp: int, *, bytes_count: int, crc: int, points: int, more: Mapping[str, Any] | None = None
) -> bytes:
    """Return a log's last line.

    Args:
        stamp: Of this record.
        bytes_count: Where the line begins.
        crc: CRC-32 of all bytes before it.
        points: Points in the file.
        more: What a run log adds: `chunks`, `points_all`.
    """
    return encode_record([CLOSED, stamp, {"bytes": bytes_count, "crc": crc, "points": points, **(more or {})}])


def select_resent(data: bytes) -> bytes:
    """Return the lines that a new writer must write again after a failed sync.

    All but those that belong to the old file.

    Args:
        data: What may be lost: whole lines, and torn ones with their markers. Key sets are defined anew by the new
            writer.
    """
    kept: list[tuple[int, bytes]] = []
    offset = 0
    for line in data.split(b"\n")[:-1]:
        if line.startswith(b'["torn",') and line.endswith(b"]"):
            start = offset - 1 - int(line[8:-1])
            while kept and kept[-1][0] >= start:
                kept.pop()
        elif line and not line.startswith(RESENT_NEVER):
            kept.append((offset, line + b"\n"))
        offset += len(line) + 1
    return b"".join(line for _, line in kept)
