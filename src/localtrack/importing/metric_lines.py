"""A metric file of MLflow's file backend to points: one line a point, `timestamp value step`.

Source: `FileStore._log_run_metric` and `_get_metric_from_line` of MLflow 3.17. Older lines have no step; a point that
was logged with a data set has its name and digest behind the step.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import BinaryIO, Final

from localtrack.importing.report import Findings
from localtrack.importing.source import SourcePoints

_BLOCK_BYTES: Final = 4 * 1024 * 1024
_SHOWN_LINES_COUNT: Final = 3
"""So many bad lines of a file are quoted; the rest is counted."""
_FUSED_STEP: Final = 10**12
"""A step of so many, with a number behind it, is a step and the time of the line that a torn one ran into."""

_TIME_DIGITS: Final = 13
"""Digits of a time in milliseconds, from 2001 to 2286."""


def read_metric_file(file: BinaryIO, key: str, name: str, findings: Findings) -> Iterator[SourcePoints]:
    """Yield the points of a metric file in blocks; lines that are no points are reported, and the rest counts.

    A last line without its end is what a killed process or a full disk left: its last number may have lost digits,
    so it is reported too.
    """
    bad: list[str] = []
    rest, line_number = b"", 0
    while block := file.read(_BLOCK_BYTES):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        quick = _take_plain_lines(key, lines)
        if quick is not None:
            line_number += len(lines)
            yield quick
            continue
        points = SourcePoints(key, array("q"), array("q"), array("d"))
        for line in lines:
            line_number += 1
            try:
                _take_line(line, points)
            except (ValueError, OverflowError) as error:
                bad.append(f"line {line_number} ({_shown(line)}): {error}")
        if len(points.value):
            yield points
    if rest.strip():
        bad.append(f"line {line_number + 1} ({_shown(rest)}): it is torn")
    if bad:
        unseen_count = len(bad) - _SHOWN_LINES_COUNT
        more = f"; and {unseen_count} more" if unseen_count > 0 else ""
        findings.note(name, f"{len(bad)} of its lines are no points: {'; '.join(bad[:_SHOWN_LINES_COUNT])}{more}")


def _take_plain_lines(key: str, lines: list[bytes]) -> SourcePoints | None:
    """Return the points in lines of which each has time, value and step, and nothing is odd; None if that is not so."""
    if not lines or not all(line.count(b" ") == 2 for line in lines):
        return None
    fields = b" ".join(lines).split(b" ")
    times = fields[::3]
    if max(map(len, times)) > _TIME_DIGITS:
        return None
    try:
        return SourcePoints(
            key, array("q", map(int, times)), array("q", map(int, fields[2::3])), array("d", map(float, fields[1::3]))
        )
    except (ValueError, OverflowError):
        return None


def _take_line(line: bytes, points: SourcePoints) -> None:
    parts = line.split(b" ")
    count = len(parts)
    if count == 3:
        timestamp, value, step = parts
    elif count == 2:
        timestamp, value = parts
        step = b"0"
    elif count >= 5:
        timestamp, value, step = parts[:3]
        if int(step) >= _FUSED_STEP and _is_number(parts[3]):
            raise ValueError("two lines have run into one another")
    elif not line.strip():
        return
    else:
        raise ValueError(f"it has {count} fields")
    if len(timestamp) > _TIME_DIGITS and points.timestamp_ms and _is_fused(timestamp, points.timestamp_ms[-1]):
        raise ValueError("two lines have run into one another")
    step_number, time_ms, number = int(step), int(timestamp), float(value)
    points.step.append(step_number)  # raises OverflowError beyond 64 bits
    try:
        points.timestamp_ms.append(time_ms)
    except OverflowError:
        points.step.pop()
        raise
    points.value.append(number)


def _is_fused(timestamp: bytes, before_ms: int) -> bool:
    """Return whether a time is the beginning of one, and then another one, given the time of the point before."""
    return len(str(before_ms)) == _TIME_DIGITS and str(before_ms).encode().startswith(timestamp[:-_TIME_DIGITS])


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(line: bytes) -> str:
    text = line[:60].decode("utf-8", "backslashreplace")
    return repr(text if len(line) <= 60 else f"{text}…")
