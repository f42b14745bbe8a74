"""Which points of a run are new to the store."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

from localtrack.format.segment_table import column, key_rows
from localtrack.importing.source import SourcePoints
from localtrack.store.history import read_history
from localtrack.store.run_reading import RunReading

_NAN_BITS = memoryview(array("d", [float("nan")])).cast("B").cast("q")[0]

Identity = tuple[int, int, int]
"""Time, step and the bits of the value: points of one metric that agree in these are one point (FORMAT.md 12.4)."""

Columns = tuple[bytes, bytes, bytes]
"""Times, steps and values, eight bytes each, in the order of the machine."""


class KnownPoints:
    """The points that a run has in the store, as of one moment.

    Args:
        reading: The run; None if it is not there.
    """

    def __init__(self, reading: RunReading | None) -> None:
        self._keys = frozenset(() if reading is None else reading.folds)
        self._table = None if reading is None or not self._keys else reading.steadily(read_history)

    def of_key(self, key: str) -> Columns | None:
        """Return the points of a metric in history order, as bytes of time, step and value; None if there are none."""
        if self._table is None or key not in self._keys:
            return None
        part = key_rows(self._table, key)
        times, steps, values = (_to_bytes(column(part, name)) for name in ("timestamp_ms", "step", "value"))
        return times, steps, values


class NewPoints:
    """Picks, of the points of a source, those that the store does not have, each once.

    Args:
        known: What the store has.
    """

    def __init__(self, known: KnownPoints) -> None:
        self._known = known
        self._key: str | None = None
        self._here: Columns | None = None
        self._matched_count = 0
        """So many points of the source, from the first on, are those of the store, in its order: most often all."""
        self._identities: set[Identity] | None = None
        """Of the points in the store, once that order has ended."""
        self._seen: set[Identity] = set()
        self.repeated_count = 0
        """Points that the source has more than once."""

    def pick(self, points: SourcePoints) -> list[tuple[str, float, int, int]]:
        """Return the new ones among points, as (key, value, time, step). The blocks of a metric come in a row."""
        if points.key != self._key:
            self._key, self._here, self._matched_count = points.key, self._known.of_key(points.key), 0
            self._identities, self._seen = None, set()
        if self._identities is None and self._here is not None:
            if self._goes_on(points, self._here):
                self._matched_count += len(points.value)
                return []
            in_order = list(_identities(_from_bytes(points.key, self._here)))
            self._identities, self._seen = set(in_order), set(in_order[: self._matched_count])
        new: list[tuple[str, float, int, int]] = []
        here, seen, key = self._identities or set(), self._seen, points.key
        for identity, value in zip(_identities(points), points.value, strict=True):
            if identity in seen:
                self.repeated_count += 1
                continue
            seen.add(identity)
            if identity not in here:
                new.append((key, value, identity[0], identity[1]))
        return new

    def _goes_on(self, points: SourcePoints, here: Columns) -> bool:
        """Return whether points are the next ones that the store has: compared at once, not one by one."""
        span = slice(self._matched_count * 8, (self._matched_count + len(points.value)) * 8)
        there = points.timestamp_ms.tobytes(), points.step.tobytes(), points.value.tobytes()
        return all(mine[span] == theirs for mine, theirs in zip(here, there, strict=True))


def _to_bytes(numbers: Any) -> bytes:
    buffer = numbers.buffers()[1]
    return bytes(memoryview(buffer)[numbers.offset * 8 : (numbers.offset + len(numbers)) * 8])


def _from_bytes(key: str, columns: Columns) -> SourcePoints:
    points = SourcePoints(key, array("q"), array("q"), array("d"))
    points.timestamp_ms.frombytes(columns[0])
    points.step.frombytes(columns[1])
    points.value.frombytes(columns[2])
    return points


def _identities(points: SourcePoints) -> Iterator[Identity]:
    bits = memoryview(points.value).cast("B").cast("q").tolist()
    total = sum(points.value)
    if total != total:  # there may be a NaN, of which all are one
        bits = [_NAN_BITS if value != value else pattern for value, pattern in zip(points.value, bits, strict=True)]
    return zip(points.timestamp_ms, points.step, bits, strict=True)
