"""A segment as one process sees it: with the rows that count no more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from localtrack.store.index.segment import Segment

DEAD = 2
"""What stands in `marks` for a row that does not count; others are 0."""
_TIER: Final = 4


class Part:
    """A segment, and which of its rows are dead.

    Args:
        segment: The segment.
        is_private: It is in the memory of this process only.
    """

    def __init__(self, segment: Segment, *, is_private: bool) -> None:
        self.segment = segment
        self.is_private = is_private
        self.marks = bytearray(segment.rows_count)
        """A byte for each row."""
        self.version = 0
        """Counts up whenever a row dies."""

    @property
    def rows_count(self) -> int:
        """How many rows it has, the dead ones included."""
        return self.segment.rows_count

    def revive(self, dead: Iterable[int]) -> None:
        """Let all rows count but these."""
        self.marks = bytearray(self.segment.rows_count)
        for row in dead:
            self.marks[row] = DEAD
        self.version += 1

    def bury(self, row: int) -> None:
        """Let a row count no more."""
        if self.marks[row] != DEAD:
            self.marks[row] = DEAD
            self.version += 1

    def is_dead(self, row: int) -> bool:
        """Return whether a row counts no more."""
        return self.marks[row] == DEAD

    def dead_rows(self) -> list[int]:
        """Return the rows that count no more."""
        rows: list[int] = []
        at = self.marks.find(DEAD)
        while at >= 0:
            rows.append(at)
            at = self.marks.find(DEAD, at + 1)
        return rows


def merge_count(sizes: Sequence[int], incoming: int) -> int:
    """Return how many segments, counted from the end, are to become one with a new one of `incoming` rows.

    Sizes stay apart by a factor, so that there are few segments and each run is written anew only so often.
    """
    count = 0
    for size in reversed(sizes):
        if size > incoming * _TIER:
            break
        incoming += size
        count += 1
    return count
