"""The overlay in rows and columns: a search makes anew only what changed since the last one.

A run keeps its row for as long as it is in the overlay, unless the last row moves to where another one has left. What a
row comes to is taken for changed when the run shows other objects, which it never changes in place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from localtrack.format.edits import EditsState
from localtrack.format.metric_fold import Folds
from localtrack.format.run_fold import RunState
from localtrack.format.segment_info import MetricFold
from localtrack.store.index.live_run import LiveRun
from localtrack.store.index.part import DEAD
from localtrack.store.index.stages import DELETED
from localtrack.store.index.tables import NARROW, REPEATING, TALL_COLUMNS, narrow_values, to_array, to_repeating

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS_COUNT: Final = 64
"""So many columns are kept; the one that was not asked for for the longest time goes first."""

_OF_FOLD: Final[Mapping[str, Callable[[MetricFold], Any]]] = {
    "value": attrgetter("last_value"),
    "step": attrgetter("last_step"),
    "timestamp": attrgetter("last_timestamp_ms"),
    "min": attrgetter("min"),
    "max": attrgetter("max"),
    "count": attrgetter("count"),
}

LiveRow = tuple[RunState, Folds]
ColumnKey = tuple[str, str, str]
"""Relation, key, and column; the key of `runs` is empty."""


@dataclass(slots=True)
class _Column:
    """A column as it was made last."""

    values: list[Any] = field(default_factory=list)
    version: int = -1
    array: pa.Array[Any] | None = None


class Overlay:
    """See the module.

    Concurrency: `follow` and `stages` want the lock of the index; columns may be asked for from any thread.
    """

    def __init__(self) -> None:
        self.runs: list[LiveRun] = []
        """The run of each row."""
        self._rows: list[LiveRow] = []
        self._places: dict[str, int] = {}
        self._state_versions: list[int] = []
        """For each row, in which version its state became another."""
        self._fold_versions: list[int] = []
        self._version = 0
        self._last_state_version = 0
        self._current = LiveRows(self, (), 0)
        self._columns: dict[ColumnKey, _Column] = {}
        self._stages: dict[frozenset[str] | None, tuple[EditsState, int, bytes]] = {}
        self._lock = threading.Lock()

    def follow(self, live: Mapping[str, LiveRun]) -> LiveRows:
        """Take over what runs come to now.

        Args:
            live: The runs of the overlay by folder; those whose state is None have no row.
        """
        with self._lock:
            if self._take(live, self._version + 1):
                self._version += 1
                self._current = LiveRows(self, tuple(self._rows), self._version)
            return self._current

    def _take(self, live: Mapping[str, LiveRun], version: int) -> bool:
        is_changed = False
        for folder in [folder for folder, place in self._places.items() if live.get(folder) is not self.runs[place]]:
            self._remove(folder, version)
            is_changed = True
        for place, (run, (state, folds)) in enumerate(zip(self.runs, self._rows, strict=True)):
            if run.state is state and run.folds is folds:
                continue
            is_changed = True
            if run.state is not None:
                self._put(place, run, run.state, version)
        for folder in [run.folder for run in self.runs if run.state is None]:
            self._remove(folder, version)
        if sum(run.state is not None for run in live.values()) > len(self.runs):
            for folder, run in live.items():
                if run.state is not None and folder not in self._places:
                    is_changed = True
                    self._places[folder] = len(self.runs)
                    self.runs.append(run)
                    self._rows.append((run.state, run.folds))
                    self._state_versions.append(version)
                    self._fold_versions.append(version)
                    self._last_state_version = version
        return is_changed

    def _put(self, place: int, run: LiveRun, state: RunState, version: int) -> None:
        if self._rows[place][0] is not state:
            self._state_versions[place] = self._last_state_version = version
        self._fold_versions[place] = version
        self._rows[place] = state, run.folds

    def _remove(self, folder: str, version: int) -> None:
        """Let go of a row; the last one takes its place."""
        place = self._places.pop(folder)
        run, row = self.runs.pop(), self._rows.pop()
        self._state_versions.pop()
        self._fold_versions.pop()
        self._last_state_version = version
        if place < len(self.runs):
            self.runs[place], self._rows[place] = run, row
            self._places[run.folder] = place
            self._state_versions[place] = self._fold_versions[place] = version

    def stages(self, edits: EditsState, experiment_ids: frozenset[str] | None) -> bytes:
        """Return a byte for each row, as `Stages.of` does for those of segments."""
        known = self._stages.get(experiment_ids)
        # With tombstones it hangs on how much there is of each run.
        if known is not None and known[0] is edits and known[1] == self._last_state_version and not edits.tombstones:
            return known[2]
        if len(self._stages) >= _COLUMNS_COUNT:
            self._stages.clear()
        stages = bytes(_stage(run, edits, experiment_ids) for run in self.runs)
        self._stages[experiment_ids] = edits, self._last_state_version, stages
        return stages

    def column(self, version: int, key: ColumnKey) -> pa.Array[Any] | None:
        """Return a column as of a version; None if it is not the present one."""
        with self._lock:
            if version != self._version:
                return None
            column = self._columns.pop(key, None) or _Column()
            self._columns[key] = column
            if len(self._columns) > _COLUMNS_COUNT:
                del self._columns[next(iter(self._columns))]
            if self._bring_up_to_date(column, key) or column.array is None:
                column.array = to_live_column(key, column.values)
            column.version = version
            return column.array

    def _bring_up_to_date(self, column: _Column, key: ColumnKey) -> bool:
        """Patch the values of a column; return whether any may be another."""
        is_state = key[0] != "metrics"
        if is_state and column.version >= self._last_state_version:
            return False
        versions = self._state_versions if is_state else self._fold_versions
        places = [place for place, version in enumerate(versions) if version > column.version]
        values, rows = column.values, self._rows
        is_shorter = len(rows) < len(values)
        del values[len(rows) :]
        values += [None] * (len(rows) - len(values))
        for place, value in zip(places, live_values(key, [rows[place] for place in places]), strict=True):
            values[place] = value
        return bool(places) or is_shorter


@dataclass(frozen=True, slots=True)
class LiveRows:
    """The rows of an overlay at one moment."""

    overlay: Overlay
    rows: Sequence[LiveRow]
    version: int

    def column(self, relation: str, key: str, name: str) -> pa.Array[Any]:
        """Return a column of the narrow relation, or one of a key of a tall relation, null where a run lacks it."""
        asked = (relation, key, name)
        found = self.overlay.column(self.version, asked)
        return found if found is not None else to_live_column(asked, live_values(asked, self.rows))


def live_values(key: ColumnKey, rows: Sequence[LiveRow]) -> list[Any]:
    """Return what each row has in a column, or None."""
    relation, name_of_key, name = key
    if relation == "runs":
        return narrow_values(name, (state for state, _ in rows))
    if relation == "params":
        return [state.params.get(name_of_key) for state, _ in rows]
    if relation == "tags":
        return [state.tags.get(name_of_key) for state, _ in rows]
    of = _OF_FOLD[name]
    return [None if (fold := folds.get(name_of_key)) is None else of(fold) for _, folds in rows]


def to_live_column(key: ColumnKey, values: Sequence[Any]) -> pa.Array[Any]:
    """Return values as a chunk that fits those which segments give for a column."""
    relation, _, name = key
    kind = NARROW[name] if relation == "runs" else TALL_COLUMNS[relation][name]
    return to_repeating(values) if kind == "string" and name in REPEATING else to_array(kind, values)


def is_hidden(run: LiveRun, edits: EditsState) -> bool:
    """Return whether tombstones cover all there is of a run, or there is none."""
    if run.state is None or run.reading is None:
        return True
    return bool(edits.tombstones) and edits.is_removed(run.state.run_id, run.reading.positions)


def _stage(run: LiveRun, edits: EditsState, experiment_ids: frozenset[str] | None) -> int:
    state = run.state
    if state is None or (experiment_ids is not None and state.experiment_id not in experiment_ids):
        return DEAD
    if is_hidden(run, edits):
        return DEAD
    return DELETED if edits.is_run_deleted(state.run_id, state.experiment_id) else 0
