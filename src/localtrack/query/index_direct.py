"""A search of an index by a process that asks once: DuckDB reads the Parquet files itself, and PyArrow is not loaded.

PyArrow and NumPy take longer to load than such a search takes. Every span of a file that is read was checked against
its CRC-32 before, and the database sees nothing but the folder of the index.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from localtrack.query.compile import Parameter, Statement
from localtrack.query.connection import open_fenced
from localtrack.store.index.tables import NARROW, TALL_COLUMNS
from localtrack.store.index.view import NOT_SHOWN, IndexView

if TYPE_CHECKING:
    from localtrack.store.index.segment import Segment

_FEW_ROWS: Final = 64
"""More runs than this outside of the segments are better put into columns by PyArrow."""
_FEW_MARKS: Final = 10_000
_TYPES: Final = {"int32": "INTEGER", "int64": "BIGINT", "double": "DOUBLE", "string": "VARCHAR"}


def can_ask_directly(view: IndexView, statement: Statement) -> bool:
    """Return whether a search is answered sooner this way: it may be the only one, and nothing needs PyArrow."""
    return (
        view.is_first
        and "pyarrow" not in sys.modules
        and not statement.has_datasets
        and statement.columns <= {*NARROW, "duration_ms"}
        and len(view.segments) > 0
        and len(view.live) <= _FEW_ROWS
        and all(segment.folder is not None for segment in view.segments)
        and sum(len(marks) - marks.count(0) for marks in view.stages[:-1]) <= _FEW_MARKS
    )


def select_directly(view: IndexView, statement: Statement) -> list[int] | None:
    """Return the numbers of the runs that a compiled search chooses, in its order.

    None where the database finds a file no more that a compaction has removed since, or somebody with the whole index:
    the view has it open.

    Raises:
        DamagedIndexError: A file of the index is not what was written.
    """
    import duckdb

    build = _Build(view, statement)
    parts = [build.segment(segment, start) for segment, start in zip(view.segments, view.starts, strict=False)]
    parts += build.live_rows()
    wide = " UNION ALL ".join(parts)
    folder = view.segments[0].folder
    assert folder is not None
    connection = open_fenced(folder)
    try:
        sql = f"WITH runs AS ({wide}) {statement.sql}"
        found = connection.execute(sql, {**statement.parameters, **build.parameters}).fetchall()
    except duckdb.IOException:
        return None
    finally:
        connection.close()
    return [number for (number,) in found]


class _Build:
    """Puts the wide relation together as SQL; every text in it is bound."""

    def __init__(self, view: IndexView, statement: Statement) -> None:
        self._view = view
        self._fields = statement.fields
        self._narrow = sorted(statement.columns)
        self.parameters: dict[str, Parameter] = {}

    def bind(self, value: Any) -> str:
        name = f"w{len(self.parameters)}"
        self.parameters[name] = value
        return f"${name}"

    def segment(self, segment: Segment, start: int) -> str:
        stages = self._view.stages[self._view.segments.index(segment)]
        path = self.bind(segment.checked_path("runs", None))
        columns = [f"(n.file_row_number + {start})::INTEGER AS row", f"{self._stage(stages)} AS stage"]
        columns += [self._narrow_sql(name) for name in self._narrow]
        # Rows that are aligned are put side by side, in order and so first; others are looked up.
        aligned = looked_up = ""
        for name, field in self._fields.items():
            kind = _TYPES[TALL_COLUMNS[field.relation][field.column]]
            if not segment.has_key(field.relation, field.key):
                columns.append(f"NULL::{kind} AS {name}")
                continue
            tall = self.bind(segment.checked_path(field.relation, field.key))
            value = field.column if field.column not in ("min", "max") else f"coalesce({field.column}, value)"
            columns.append(f"t_{name}.value AS {name}")
            rows = (
                f"(SELECT row, {value} AS value FROM read_parquet({tall}) WHERE key = {self.bind(field.key)}) t_{name}"
            )
            if segment.is_dense(field.relation, field.key):
                aligned += f" POSITIONAL JOIN {rows}"
            else:
                looked_up += f" LEFT JOIN {rows} ON t_{name}.row = n.file_row_number"
        narrow = f"read_parquet({path}, file_row_number = true) n"
        return f"SELECT {', '.join(columns)} FROM {narrow}{aligned}{looked_up}"

    def live_rows(self) -> list[str]:
        """Return a SELECT for each run that no segment has."""
        start, stages = self._view.starts[-2], self._view.stages[-1]
        selects: list[str] = []
        for local, (state, _) in enumerate(self._view.live):
            values: dict[str, Any] = {
                "run_id": state.run_id,
                "experiment_id": state.experiment_id,
                "run_name": state.name,
                "user_id": state.user,
                "status": state.status,
                "start_time": state.start_ms,
                "end_time": state.end_ms,
                "duration_ms": None if state.end_ms is None else state.end_ms - state.start_ms,
            }
            columns = [f"{start + local}::INTEGER AS row", f"{stages[local]} AS stage"]
            for name in self._narrow:
                kind = _TYPES[NARROW.get(name, "int64")]
                columns.append(f"{self.bind(values[name])}::{kind} AS {name}")
            for name, field in self._fields.items():
                kind = _TYPES[TALL_COLUMNS[field.relation][field.column]]
                value = self._view.live_value(local, field.relation, field.key, field.column)
                columns.append(f"{self.bind(value)}::{kind} AS {name}")
            selects.append(f"SELECT {', '.join(columns)}")
        return selects

    def _stage(self, stages: bytes) -> str:
        """Return the stage of a row: few are other than active, and those are listed."""
        sql = "0"
        for stage in range(1, NOT_SHOWN + 1):
            rows = [row for row, mark in enumerate(stages) if mark == stage] if stages.count(stage) else []
            if rows:
                listed = f"(SELECT unnest({self.bind(rows)}::BIGINT[]))"
                sql = f"CASE WHEN n.file_row_number IN {listed} THEN {stage} ELSE {sql} END"
        return sql

    @staticmethod
    def _narrow_sql(name: str) -> str:
        return "n.end_time - n.start_time AS duration_ms" if name == "duration_ms" else f"n.{name} AS {name}"
