"""Many points of one shape, decoded at once into a list for each column instead of a list for each point.

The log of a long run is little else than lines of points; taking each by itself was most of the time of reading it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from localtrack.format.jsonlines import decode_json

_HEAD_COUNT: Final = 3
"""A point is its set, dt and ds, then a value for each key."""
_TYPES: Final = {int, float, str}


class PointStretch(NamedTuple):
    """Points with equally many values, in order. Stands for the list of them, as a record `p` has it."""

    sets: list[Any]
    dts: list[Any]
    dss: list[Any]
    values: list[list[Any]]
    """The first value of each point, the second of each, and so on; names of those that JSON has no numbers for."""

    def points(self) -> Iterator[list[Any]]:
        """Yield the points one by one."""
        return map(list, zip(self.sets, self.dts, self.dss, *self.values, strict=True))


def gather_stretch(points: Sequence[list[Any]]) -> PointStretch | None:
    """Return points of one length as a stretch; None if something else than numbers and texts is among them."""
    width = len(points[0])
    # One list cut into columns: twice as fast as zip over thousands of short lists.
    flat = list(chain.from_iterable(points))
    if width <= _HEAD_COUNT or not {*map(type, flat)} <= _TYPES:
        return None
    return _cut(flat, width, width)


def decode_stretch(lines: bytes) -> PointStretch | None:
    """Return the points in whole lines, the last one without its line break.

    None if that cannot be told at once: a line is no record, no point, or has more or fewer values than the first.
    """
    # Of the words of JSON `null` and `true` have a u, `false` an s, and of the three names of numbers none has either.
    if b"u" in lines or b"s" in lines:
        return None
    try:
        flat = decode_json(lines.replace(b"]\n[", b",null,"))
    except ValueError:
        return None
    # The nulls are those just put between two lines. So if they stand at equal distances, as many as line breaks, then
    # each line is one array, and all have the same length.
    breaks_count = lines.count(b"\n")
    if type(flat) is not list:
        return None
    period, rest = divmod(len(flat) + 1, breaks_count + 1)
    width = period - 1
    if rest or width <= _HEAD_COUNT or flat[width::period] != [None] * breaks_count:
        return None
    stretch = _cut(flat, width, period)
    try:
        array("q", stretch.sets)
    except (TypeError, OverflowError):
        return None  # lines that begin with something else than a number are damaged, or other records
    return stretch


def _cut(flat: list[Any], width: int, period: int) -> PointStretch:
    values = [flat[place::period] for place in range(_HEAD_COUNT, width)]
    return PointStretch(flat[0::period], flat[1::period], flat[2::period], values)
