"""One byte that has changed, found by the checksum over it: in a closed log, a segment, the store's document.

A CRC-32 tells where the byte is and what it was, up to chance: one file in some hundred, damaged in more than a byte,
seems to be so. Whoever uses a result looks whether the whole file is sound with it. FORMAT.md sections 4.1, 5.3 and 8.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Final

from localtrack.errors import FormatError
from localtrack.format.documents import is_store_crc_sound, parse_store
from localtrack.format.jsonlines import decode_json

_POLYNOMIAL: Final = 0xEDB88320
_CLOSED: Final = b'["Closed",'
_LAST_LINE_BYTES: Final = 400
"""More than a record that closes a log has: a longer last line is another record."""


def iter_changes(data: bytes, crc: int) -> Iterator[bytes]:
    """Yield what bytes may have been before one of them changed, given the CRC-32 that they had.

    Nothing if the checksum fits.
    """
    table = [_step(value) for value in range(256)]
    changes = {value: change for change, value in enumerate(table)}
    by_first_byte = {value >> 24: change for change, value in enumerate(table)}
    difference = crc ^ zlib.crc32(data)
    if not difference:
        return
    for place in range(len(data) - 1, -1, -1):
        change = changes.get(difference)
        if change is not None:
            yield _changed(data, place, data[place] ^ change)
        # What the difference was one byte further to the front.
        last = by_first_byte[difference >> 24]
        difference = ((difference ^ table[last]) << 8 | last) & 0xFFFFFFFF


def iter_corrected_logs(data: bytes) -> Iterator[bytes]:
    """Yield what a closed log may have been before one byte of it changed."""
    if not data.endswith(b"\n"):
        data = data[:-1] + b"\n"  # the only byte that can stand there in a closed log
        if _closes(data, data.rfind(b"\n", 0, len(data) - 1) + 1):
            yield data
        return
    # Its last line, also where the line break before it is what has changed, or one has come into it.
    for start in sorted({data.rfind(b"\n", 0, len(data) - 1) + 1, max(data.rfind(_CLOSED), 0)}):
        closed = _parse_closed(data[start:])
        if closed is not None and closed["bytes"] == start and 0 <= closed["crc"] < 1 << 32:
            for body in iter_changes(data[:start], closed["crc"]):
                yield body + data[start:]
        if start and len(data) - start <= _LAST_LINE_BYTES:  # or it is the record that closes the log that is damaged
            crc = zlib.crc32(memoryview(data)[:start])
            for line in iter_single_changes(data[start:-1]):
                closed = _parse_closed(line)
                if closed is not None and (closed["bytes"], closed["crc"]) == (start, crc):
                    yield data[:start] + line + b"\n"


def iter_single_changes(data: bytes, *, with_line_breaks: bool = False) -> Iterator[bytes]:
    """Yield all bytes that differ from these in one place, by no line break unless those are asked for."""
    for place, byte in enumerate(data):
        for value in range(256):
            if value != byte and (with_line_breaks or value != 0x0A):
                yield _changed(data, place, value)


def correct_store_document(data: bytes) -> bytes | None:
    """Return the store's document as it was before one byte of it changed; None if that cannot be told."""
    found: list[bytes] = []
    for changed in iter_single_changes(data):
        try:
            parse_store(changed, where="")
        except FormatError:
            continue
        if b'"crc":' in changed and is_store_crc_sound(changed):
            found.append(changed)
    return found[0] if len(found) == 1 else None


def _closes(data: bytes, start: int) -> bool:
    closed = _parse_closed(data[start:])
    return closed is not None and (closed["bytes"], closed["crc"]) == (start, zlib.crc32(memoryview(data)[:start]))


def _parse_closed(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(_CLOSED):
        return None
    try:
        closed = decode_json(line)[2]
        return closed if type(closed["bytes"]) is int and type(closed["crc"]) is int else None
    except (ValueError, TypeError, LookupError):
        return None


def _changed(data: bytes, place: int, value: int) -> bytes:
    return data[:place] + bytes([value]) + data[place + 1 :]


def _step(crc: int) -> int:
    for _ in range(8):
        crc = (crc >> 1) ^ _POLYNOMIAL if crc & 1 else crc >> 1
    return crc
