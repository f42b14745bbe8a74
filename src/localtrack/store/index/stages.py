"""The life cycle of the runs of segments, from the store's edits: deleting runs does not touch the index."""

from __future__ import annotations

from typing import Any, Final

from localtrack.format.edits import EditsState
from localtrack.store.index.columns import ColumnCache
from localtrack.store.index.part import DEAD, Part

DELETED = 1
_FEW: Final = 5_000
"""So many marks are set sooner than PyArrow is loaded."""


class Stages:
    """Computes the stage of each row of a part, and keeps the last answers.

    Args:
        columns: Where the column of experiments is kept.
    """

    def __init__(self, columns: ColumnCache) -> None:
        self._columns = columns
        self._edits: EditsState | None = None
        self._rows: dict[str, dict[str, int]] = {}
        self._by_edits: dict[str, bytes] = {}
        self._known: dict[tuple[str, frozenset[str] | None], tuple[int, bytes]] = {}

    def of(self, part: Part, edits: EditsState, experiment_ids: frozenset[str] | None) -> bytes:
        """Return a byte for each row: 0 active, 1 deleted, 2 not there, or of an experiment that is not wanted."""
        if edits is not self._edits:
            self._edits, self._by_edits, self._known = edits, {}, {}
        name = part.segment.name
        known = self._known.get((name, experiment_ids))
        if known is not None and known[0] == part.version:
            return known[1]
        version = part.version
        stages = _greater(bytes(part.marks), self._deleted(part, edits))
        if experiment_ids is not None:
            others = set(part.segment.directory.experiments) - experiment_ids
            stages = _greater(stages, self._rows_of_experiments(part, others, DEAD)) if others else stages
        if len(self._known) > 64 + len(self._by_edits):
            self._known = {}
        self._known[name, experiment_ids] = version, stages
        return stages

    def keep_segments(self, names: set[str]) -> None:
        """Forget what is known of segments that are not among these."""
        self._rows = {name: rows for name, rows in self._rows.items() if name in names}
        self._by_edits = {name: stages for name, stages in self._by_edits.items() if name in names}
        self._known = {key: value for key, value in self._known.items() if key[0] in names}

    def _deleted(self, part: Part, edits: EditsState) -> bytes:
        name = part.segment.name
        stages = self._by_edits.get(name)
        if stages is None:
            gone = {key for key in part.segment.directory.experiments if edits.is_run_deleted("", key)}
            marks = bytearray(self._rows_of_experiments(part, gone, DELETED))
            for run_id, row in self._rows_of_runs(part, edits).items():
                if row >= 0:
                    experiment_id = self._experiment_of(part, row)
                    marks[row] = DELETED if edits.is_run_deleted(run_id, experiment_id) else 0
            stages = self._by_edits[name] = bytes(marks)
        return stages

    def _rows_of_runs(self, part: Part, edits: EditsState) -> dict[str, int]:
        """Return the row, or -1, of each run that has edits of its own."""
        rows = self._rows.setdefault(part.segment.name, {})
        for run_id in edits.runs:
            if run_id not in rows:
                row = part.segment.find(run_id)
                rows[run_id] = -1 if row is None else row
        return rows

    def _experiment_of(self, part: Part, row: int) -> str:
        experiments = part.segment.directory.experiments
        if len(experiments) == 1:
            return next(iter(experiments))
        column = self._experiment_column(part)
        return str(column[row].as_py())

    def _rows_of_experiments(self, part: Part, experiment_ids: set[str], mark: int) -> bytes:
        """Return a byte for each row: the mark for those of these experiments, else 0."""
        if not experiment_ids:
            return bytes(part.rows_count)
        if experiment_ids >= set(part.segment.directory.experiments):
            return bytes([mark]) * part.rows_count
        column = self._experiment_column(part)
        codes = bytes(mark if value in experiment_ids else 0 for value in column.dictionary.to_pylist())
        import pyarrow as pa

        by_code = pa.Array.from_buffers(pa.uint8(), len(codes), [None, pa.py_buffer(codes)])
        return _bytes_of(by_code.take(column.indices))

    def _experiment_column(self, part: Part) -> Any:
        key = (part.segment.name, "runs", "", "experiment_id")
        return self._columns.get(key, lambda: part.segment.narrow("experiment_id"))


def _greater(left: bytes, right: bytes) -> bytes:
    """Return the greater one of two bytes at each place, both from 0 to 2."""
    if not right.strip(b"\0"):
        return left
    if len(right) - right.count(0) <= _FEW:
        greater = bytearray(left)
        for mark in (DELETED, DEAD):
            at = right.find(mark)
            while at >= 0:
                greater[at] = max(greater[at], mark)
                at = right.find(mark, at + 1)
        return bytes(greater)
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [pa.Array.from_buffers(pa.uint8(), len(data), [None, pa.py_buffer(data)]) for data in (left, right)]
    return _bytes_of(pc.max_element_wise(*columns))


def _bytes_of(column: Any) -> bytes:
    """Return the values of a uint8 column without nulls."""
    return bytes(memoryview(column.buffers()[1])[column.offset : column.offset + len(column)])
