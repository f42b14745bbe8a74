"""The points of a run as one table in history order, whether they lie in logs, chunks or segments.

FORMAT.md sections 8 and 12.4.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from localtrack.errors import FormatError, StorageError
from localtrack.format.arrow_columns import scalar, true_column
from localtrack.format.points import PointColumns
from localtrack.store.run_reading import RunReading

if TYPE_CHECKING:
    import pyarrow as pa


def read_history(reading: RunReading, key: str | None = None) -> pa.Table:
    """Return points of a run, each once.

    Args:
        reading: The run.
        key: Only this metric; None for all.

    Returns:
        Columns `key` (dictionary of strings), `step`, `timestamp_ms` (int64), `value` (double), sorted by key and,
        within one, by (timestamp, step, value), NaN last.
    """
    import pyarrow as pa

    from localtrack.format.segment_table import repeat_key, segment_schema

    schema = segment_schema().remove(1)
    if key is not None:
        points = read_key_history(reading, key)
        return pa.Table.from_arrays([repeat_key(key, len(points)), *points.columns], schema=schema)
    tables = [read_writer_points(reading, writer) for writer in sorted(reading.writers)]
    tables = [table.drop_columns(["number"]) for table in tables if table.num_rows]
    if not tables:
        return schema.empty_table()
    table = tables[0] if len(tables) == 1 else _concat(tables)
    if len(tables) == 1 and _is_in_order(table):
        return table
    return _in_history_order(table)


def read_key_history(reading: RunReading, key: str) -> pa.Table:
    """Return the points of one metric of a run, each once, without the key.

    Returns:
        Columns `step`, `timestamp_ms` (int64), `value` (double), by (timestamp, step, value), NaN last.
    """
    import pyarrow as pa

    from localtrack.format.segment_table import history_schema

    parts = [part for writer in sorted(reading.writers) for part in _read_writer_key(reading, writer, key)]
    table = pa.concat_tables(parts or [history_schema().empty_table()]).combine_chunks()
    return table if _is_in_order(table) else _in_history_order(table)


def _read_writer_key(reading: RunReading, writer: str, key: str) -> list[pa.Table]:
    """Return the points of one metric from one writer, file by file, each number once."""
    from localtrack.format.segment import read_key
    from localtrack.format.segment_table import build_history

    log = reading.logs.get(writer)
    parts = [] if log is None else [build_history(log.points, key)]
    for name, from_number in _iter_segments(reading, writer):
        try:
            with reading.open_segment(name) as source:
                parts += read_key(source, key, from_number=from_number, footer=reading.footers[name])
        except (FormatError, StorageError) as error:
            _set_aside(reading, name, error)
            return _read_writer_key(reading, writer, key)  # its chunks count, where they are still there
    parts += [build_history(points, key) for _, points in reading.chunk_points(writer)]
    return [part for part in parts if part.num_rows]


def read_writer_points(reading: RunReading, writer: str) -> pa.Table:
    """Return the points of one writer, each number once, sorted by (key, number)."""
    from localtrack.format.segment import read_points, segment_schema
    from localtrack.format.segment_table import sort_points

    log = reading.logs.get(writer)
    tables = [] if log is None else [_to_table(log.points, 0)]
    for name, from_number in _iter_segments(reading, writer):
        try:
            with reading.open_segment(name) as source:
                tables.append(read_points(source, from_number=from_number, footer=reading.footers[name]))
        except (FormatError, StorageError) as error:
            _set_aside(reading, name, error)
            return read_writer_points(reading, writer)
    tables += [_to_table(points, first) for first, points in reading.chunk_points(writer)]
    tables = [table for table in tables if table.num_rows]
    if not tables:
        return segment_schema().empty_table()
    return tables[0] if len(tables) == 1 else sort_points(_concat(tables))


def _iter_segments(reading: RunReading, writer: str) -> Iterator[tuple[str, int]]:
    """Yield the names of a writer's segments, and from which number on their points count.

    Segments that overlap come from different copies of the store; a number stands for the same point in both.
    """
    end = 0
    for file, info in sorted(reading.sound_segments(writer), key=lambda item: item[1].first):
        yield file.name, end if info.first < end else 0
        end = max(end, info.first + info.points)


def _set_aside(reading: RunReading, name: str, error: FormatError | StorageError) -> None:
    reading.note(name, str(error))
    reading.unsound.add(name)


def _to_table(points: PointColumns, first: int) -> pa.Table:
    from localtrack.format.segment import build_table

    return build_table(
        points.key_names,
        points.key_index,
        number=array("q", range(first, first + len(points))),
        step=points.step,
        timestamp_ms=points.timestamp_ms,
        value=points.value,
    )


def _concat(tables: list[pa.Table]) -> pa.Table:
    from localtrack.format.segment_table import concat_points

    return concat_points(tables)


def _is_in_order(table: pa.Table) -> bool:
    """Return whether the rows ascend strictly by (timestamp, step) within each key.

    Then they are in order, and distinct.
    """
    import pyarrow.compute as pc

    from localtrack.format.segment_table import column, key_indices, slice_pair

    if table.num_rows < 2:
        return True
    time_a, time_b = slice_pair(column(table, "timestamp_ms"))
    step_a, step_b = slice_pair(column(table, "step"))
    ascends = pc.or_(pc.less(time_a, time_b), pc.and_(pc.equal(time_a, time_b), pc.less(step_a, step_b)))
    if "key" in table.column_names:
        ascends = pc.or_(ascends, pc.not_equal(*slice_pair(key_indices(table))))
    return bool(pc.all(ascends).as_py())


def _in_history_order(table: pa.Table) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    from localtrack.format.segment_table import column, compact_keys, key_indices, slice_pair

    columns: dict[str, Any] = {}
    if "key" in table.column_names:
        table = compact_keys(table)
        columns["key"] = key_indices(table)
    value = column(table, "value")
    columns |= {
        "timestamp_ms": column(table, "timestamp_ms"),
        "step": column(table, "step"),
        "value": value,
        # Equal points have equal bits, but for NaN, of which JSON knows only one.
        "bits": pc.if_else(pc.is_nan(value), scalar("int64", -1), value.view(pa.int64())),
    }
    ordering = pa.table(columns)
    order = pc.sort_indices(ordering, sort_keys=[(name, "ascending") for name in ordering.column_names])
    ordering, table = ordering.take(order), table.take(order)
    if table.num_rows < 2:
        return table
    repeats = [pc.equal(*slice_pair(column(ordering, name))) for name in ordering.column_names if name != "value"]
    is_repeat = repeats[0]
    for other in repeats[1:]:
        is_repeat = pc.and_(is_repeat, other)
    if not pc.any(is_repeat).as_py():
        return table
    return table.filter(pa.concat_arrays([true_column(), pc.invert(is_repeat)]))
