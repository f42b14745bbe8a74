"""Fewer points of a run that comes near its limit: of each stretch the least, the greatest and the last one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from localtrack.store.open_log import Point

_FIRST_STRETCH: Final = 8
"""Of so many points of one metric at most three are kept, of four times as many when half of what was left is used up:
what is held back stays little beside what there is, and the budget lasts."""


@dataclass(slots=True)
class _Stretch:
    """What is held back of one metric."""

    count: int = 0
    least: Point | None = None
    greatest: Point | None = None
    last: Point | None = None

    def take(self, point: Point) -> None:
        value = point[1]
        self.count += 1
        if value == value:  # NaN is neither
            if self.least is None or value < self.least[1]:
                self.least = point
            if self.greatest is None or value > self.greatest[1]:
                self.greatest = point
        if self.last is None or (point[3], point[2]) >= (self.last[3], self.last[2]):
            self.last = point

    def points(self) -> list[Point]:
        """Return the points to keep, each once."""
        kept = [point for point in (self.least, self.greatest, self.last) if point is not None]
        return sorted(set(kept), key=lambda point: (point[2], point[3]))


class Thinner:
    """Decides which points of a run are written from now on.

    Args:
        budget: So many may be written; a few more, three a metric, at the end of the run.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._written = 0
        self._stretch_length = _FIRST_STRETCH
        self._next_step = budget // 2
        self._stretches: dict[str, _Stretch] = {}

    def take(self, point: Point) -> list[Point]:
        """Take a point, and return those that are to be written now."""
        stretch = self._stretches.setdefault(point[0], _Stretch())
        stretch.take(point)
        if stretch.count < self._stretch_length:
            return []
        kept = stretch.points()
        if self._written + len(kept) + 3 * len(self._stretches) > self._budget:
            return []  # nothing is left but for the end
        self._written += len(kept)
        if self._written >= self._next_step:
            self._stretch_length *= 4
            self._next_step = self._written + (self._budget - self._written) // 2
        del self._stretches[point[0]]
        return kept

    def held(self) -> list[Point]:
        """Return all that is held back."""
        return [point for stretch in self._stretches.values() for point in stretch.points()]
