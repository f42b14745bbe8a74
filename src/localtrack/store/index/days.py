"""Which runs of a segment lie in which folder below `runs/`, and which folders changed."""

from __future__ import annotations

import datetime
from typing import Final

from localtrack.format.ids import parse_run_time_ms
from localtrack.format.layout import RUNS, is_day_folder, run_folder
from localtrack.storage.base import Storage
from localtrack.store.index.segment import Segment

_ID_BYTES: Final = 16
_DAY_MS: Final = 86_400_000
_EPOCH: Final = datetime.date(1970, 1, 1)
_ALL_DAYS_COUNT: Final = 400
"""Up to so many folders are all looked at by each search."""
_COMPARED_COUNT: Final = 200_000
"""So many names of runs are remembered, for comparing the next listing of their folders with."""
_NO_NAMES: Final[frozenset[str]] = frozenset()
_IS_VERSION_7: Final = bytes(number >> 4 == 7 for number in range(256))


def list_days(storage: Storage, *, is_thorough: bool) -> dict[str, int]:
    """Return the folders below `runs/` and their times of change in ms.

    Args:
        storage: The store's bytes.
        is_thorough: Look at all of them; else, where there are many, only at the last ones by name, and those of
            foreign ids. The others come back with -1.

    Returns:
        0 for all where times of change cannot be relied on: on object stores, and where a store lies in two places.
    """
    names = sorted(name for name in storage.names(RUNS) if is_day_folder(name))
    if not storage.is_local:
        return dict.fromkeys(names, 0)
    start = 0 if is_thorough else max(0, len(names) - _ALL_DAYS_COUNT)
    days = dict.fromkeys(names[:start], -1)
    seen = storage.look([f"{RUNS}/{name}" for name in names[start:]])
    days.update((name, found[0]) for name, found in zip(names[start:], seen, strict=True) if found is not None)
    return days


def runs_of_day(segment: Segment, day: str) -> list[tuple[int, str]]:
    """Return row and id of the runs of a segment that lie in a folder of one day."""
    start_ms = (datetime.date.fromisoformat(day) - _EPOCH).days * _DAY_MS
    first = segment.first_from(start_ms.to_bytes(6, "big"))
    last = segment.first_from((start_ms + _DAY_MS).to_bytes(6, "big"))
    found = enumerate(segment.ids_between(first, last), first)
    return [(row, run_id) for row, run_id in found if parse_run_time_ms(run_id) is not None]


def foreign_runs(segment: Segment) -> list[tuple[int, str, str]]:
    """Return row, id and folder of the runs of a segment whose id has no day in it."""
    ids = segment.plain_ids
    is_seven = ids[6::_ID_BYTES].translate(_IS_VERSION_7)
    rows: set[int] = set()
    at = is_seven.find(0)
    while at >= 0:
        rows.add(at)
        at = is_seven.find(0, at + 1)
    # An id that looks like one of ours may have another variant, or a time beyond what is taken for one: at the ends.
    is_ours = bytes(number >> 6 == 2 for number in range(256))
    has_variant = ids[8::_ID_BYTES].translate(is_ours)
    at = has_variant.find(0)
    while at >= 0:
        rows.add(at)
        at = has_variant.find(0, at + 1)
    for ends in (range(segment.directory.plain_count), range(segment.directory.plain_count - 1, -1, -1)):
        for row in ends:
            if row not in rows:
                if parse_run_time_ms(segment.id_at(row)) is not None:
                    break
                rows.add(row)
    rows.update(range(segment.directory.plain_count, segment.rows_count))
    return [(row, run_id, run_folder(run_id)) for row in sorted(rows) for run_id in [segment.id_at(row)]]


class ComparedDays:
    """What the folders of days held when they were compared with all that is known of their runs."""

    def __init__(self) -> None:
        self._days: dict[str, tuple[int, frozenset[str]]] = {}
        self._count = 0

    def take(self, day: str, names: frozenset[str], *, generation: int) -> frozenset[str] | None:
        """Return what is new in a folder, or None if all of it must be compared, which is taken for done from now on.

        Args:
            day: The folder.
            names: What it holds now.
            generation: A number that is another when what is known came from elsewhere than from these comparisons.
        """
        compared, before = self._days.get(day, (-1, _NO_NAMES))
        self._count += len(names) - len(before)
        if self._count > _COMPARED_COUNT:
            self._days, self._count = {}, len(names)
        self._days[day] = generation, names
        return names - before if compared == generation and before <= names else None

    def forget(self, day: str) -> None:
        """Compare all of a folder the next time: a run of it is not known any more."""
        _, names = self._days.pop(day, (-1, _NO_NAMES))
        self._count -= len(names)
