"""Which points of a run are new to the store."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

from localtrack.format.segment_table import key_rows
from localtrack.importing.source import SourcePoints
from localtrack.store.history import read_history
from localtrack.store.run_reading import RunReading

_NAN_BITS = memoryview(array("d", [float("nan")])).cast("B").cast("q")[0]

Identity = tuple[int, int, int]
"""Time, step and the bits of the value: points of one metric that agree in these are one point (FORMAT.md 12.4)."""


class KnownPoints:
    """The points that a run has in the store, as of one moment.

    Args:
        reading: The run; None if it is not there.
    """

    def __init__(self, reading: RunReading | None) -> None:
        self._keys = frozenset(() if reading is None else reading.folds)
        self._table = None if reading is None or not self._keys else reading.steadily(read_history)

    def of_key(self, key: str) -> set[Identity]:
        """Return the points of a metric."""
        if self._table is None or key not in self._keys:
            return set()
        part = key_rows(self._table, key)
        columns: list[Any] = [part.column(name).to_pylist() for name in ("timestamp_ms", "step", "value")]
        times, steps, values = columns
        return set(_identities(SourcePoints(key, array("q", times), array("q", steps), array("d", values))))


class NewPoints:
    """Picks, of the points of a source, those that the store does not have, each once.

    Args:
        known: What the store has.
    """

    def __init__(self, known: KnownPoints) -> None:
        self._known = known
        self._key: str | None = None
        self._here: set[Identity] = set()
        self._seen: set[Identity] = set()
        self.repeated_count = 0
        """Points that the source has more than once."""

    def pick(self, points: SourcePoints) -> list[tuple[str, float, int, int]]:
        """Return the new ones among points, as (key, value, time, step). The blocks of a metric come in a row."""
        if points.key != self._key:
            self._key, self._here, self._seen = points.key, self._known.of_key(points.key), set()
        new: list[tuple[str, float, int, int]] = []
        here, seen, key = self._here, self._seen, points.key
        for identity, value in zip(_identities(points), points.value, strict=True):
            if identity in seen:
                self.repeated_count += 1
                continue
            seen.add(identity)
            if identity not in here:
                new.append((key, value, identity[0], identity[1]))
        return new


def _identities(points: SourcePoints) -> Iterator[Identity]:
    bits = memoryview(points.value).cast("B").cast("q").tolist()
    total = sum(points.value)
    if total != total:  # there may be a NaN, of which all are one
        bits = [_NAN_BITS if value != value else pattern for value, pattern in zip(points.value, bits, strict=True)]
    return zip(points.timestamp_ms, points.step, bits, strict=True)
