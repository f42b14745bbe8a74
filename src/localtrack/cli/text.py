"""Values as a person reads them: local times, durations, numbers, and text that cannot steer the terminal. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from typing import Final

MISSING: Final = "-"

_ZERO_WIDTH_JOINER: Final = "\u200d"
_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))
_BYTE_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")


def printable(text: str) -> str:
    r"""Return text on one line, with `\x1b` and the like spelled out: names in a store come from anybody."""
    if text.isprintable():
        return text
    return "".join(char if _is_harmless(char) else ascii(char)[1:-1] for char in text)


def display_width(text: str) -> int:
    """Return how many columns of a terminal a printable text takes."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def cut(text: str, width: int) -> str:
    """Return text in at most `width` columns, ending in an ellipsis if it was longer."""
    if display_width(text) <= width:
        return text
    kept, used = "", 0
    for char in text:
        used += _char_width(char)
        if used > width - 1:
            break
        kept += char
    return kept + "…"


def format_time(time_ms: int | None, *, with_offset: bool = True) -> str:
    """Return a time in the local zone: `2026-11-23 09:01:42 +01:00`.

    Args:
        time_ms: Milliseconds since 1970, UTC.
        with_offset: Whether the offset from UTC is added.
    """
    if time_ms is None:
        return MISSING
    from datetime import UTC, datetime, timedelta

    try:
        moment = (datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=time_ms)).astimezone()
    except (OverflowError, ValueError, OSError):  # users may log any timestamp; a calendar ends
        return f"{time_ms} ms"
    shown = moment.isoformat(" ", "seconds")
    return f"{shown[:19]} {shown[19:]}" if with_offset else shown[:19]


def common_offset(times_ms: Collection[int]) -> str | None:
    """Return the offset from UTC that all these times have in the local zone, as `UTC+01:00`; None if they differ."""
    offsets = {format_time(time_ms)[19:].strip() for time_ms in times_ms}
    offset = offsets.pop() if len(offsets) == 1 else ""
    return f"UTC{offset}" if offset[:1] in ("+", "-") and offset[1:2].isdigit() else None


def format_duration(duration_ms: int | None) -> str:
    """Return a duration in its two greatest units: `850 ms`, `12.3 s`, `3 min 05 s`, `2 h 10 min`, `4 d 01 h`."""
    if duration_ms is None:
        return MISSING
    sign, left = ("-", -duration_ms) if duration_ms < 0 else ("", duration_ms)
    if left < 1_000:
        return f"{sign}{left} ms"
    # 59.95 s and more would be rounded to 60.0 s.
    if left < 59_950:
        return f"{sign}{left / 1_000:.1f} s"
    left = (left + 500) // 1_000 * 1_000
    place = next(index for index, (_, size_ms) in enumerate(_UNITS) if left >= size_ms)
    (unit, size_ms), (small_unit, small_ms) = _UNITS[place : place + 2]
    return f"{sign}{left // size_ms} {unit} {left % size_ms // small_ms:02d} {small_unit}"


def format_number(value: float | None) -> str:
    """Return a metric's value in six digits."""
    if value is None:
        return MISSING
    if value != value:
        return "NaN"
    return f"{value:.6g}"


def format_bytes(size_bytes: int | None) -> str:
    """Return a size: `812 B`, `1.5 MiB`."""
    if size_bytes is None:
        return MISSING
    if size_bytes < 1024:
        return f"{size_bytes} B"
    size: float = size_bytes
    for unit in _BYTE_UNITS:
        size /= 1024
        if size < 1023.95 or unit == _BYTE_UNITS[-1]:
            break
    return f"{size:.1f} {unit}"


def _is_harmless(char: str) -> bool:
    # A joiner holds emoji together; the other format characters can reorder what is read (CVE-2021-42574).
    return char.isprintable() or char == _ZERO_WIDTH_JOINER or unicodedata.category(char) == "Zs"


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1
