"""Words of a filter -> numbers, durations and times."""

from __future__ import annotations

import datetime
import re
from typing import Final

MS_PER_UNIT: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}

NUMBER_PATTERN: Final = (
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?([Nn][Aa][Nn]|[Ii][Nn][Ff]([Ii][Nn][Ii][Tt][Yy])?)"
)
"""What counts as a number in a param or tag. Written without flags: Python's `re` and DuckDB's RE2 read it alike."""

_NUMBER: Final = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|inf|infinity", re.IGNORECASE)
_DURATION: Final = re.compile(r"(?:[0-9]{1,15}(?:\.[0-9]{1,6})?(?:ms|[smhdw]))+", re.IGNORECASE)
_DURATION_PART: Final = re.compile(r"([0-9.]+)(ms|[smhdw])", re.IGNORECASE)
_INTEGER_DIGITS: Final = 18
"""Integers of that many digits fit into 64 bits; longer ones are compared as floats."""


def parse_number(word: str) -> int | float | None:
    """Return the number that an unsigned word means, an int if it is written as one and fits 64 bits, else None."""
    if not _NUMBER.fullmatch(word):
        return None
    if word.isdecimal() and len(word) <= _INTEGER_DIGITS:
        return int(word)
    return float(word)


def parse_duration_ms(word: str) -> float | None:
    """Return the milliseconds in a word such as `2d` or `1h30m` (units ms, s, m, h, d, w); None if it is none."""
    if not _DURATION.fullmatch(word):
        return None
    return sum(float(count) * MS_PER_UNIT[unit.lower()] for count, unit in _DURATION_PART.findall(word))


def parse_date_ms(text: str) -> int | None:
    """Return the milliseconds since 1970 of an ISO 8601 date or time, UTC unless it says otherwise, else None."""
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        since = moment - datetime.datetime.fromtimestamp(0, datetime.UTC)
    except (ValueError, OverflowError):
        return None
    return since // datetime.timedelta(milliseconds=1)
