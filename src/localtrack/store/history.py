"""The points of a run as one table in history order, whether they lie in logs, chunks or segments.

FORMAT.md sections 8 and 12.4.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

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
        within one, by
        (timestamp, step, value), NaN last.
    """
    tables = [read_writer_points(reading, writer, key) for writer in sorted(reading.writers)]
    tables = [table for table in tables if table.num_rows]
    if not tables:
        from localtrack.format.segment import segment_schema

        return segment_schema().empty_table().drop_columns(["number"])
    table = tables[0] if len(tables) == 1 else _concat(tables)
    table = table.drop_columns(["number"])
    if len(tables) == 1 and _is_in_order(table):
        return table
    return _in_history_order(table)


def read_writer_points(reading: RunReading, writer: str, key: str | None = None) -> pa.Table:
    """Return the points of one writer, each number once, sorted by (key, number)."""
    from localtrack.format.segment import read_points, segment_schema
    from localtrack.format.segment_table import sort_points

    tables: list[pa.Table] = []
    log = reading.logs.get(writer)
    if log is not None and len(log.points):
        tables.append(_to_table(log.points, 0, key))
    end = 0
    for file, info in sorted(reading.sound_segments(writer), key=lambda item: item[1].first):
        try:
            with reading.storage.open(f"{reading.folder}/{file.name}") as source:
                # Segments that overlap come from different copies of the store; a number stands for the same point in
                # both.
                from_number, footer = end if info.first < end else 0, reading.footers[file.name]
                tables.append(read_points(source, key=key, from_number=from_number, footer=footer))
        except (FormatError, StorageError) as error:
            reading.note(file.name, str(error))
            reading.unsound.add(file.name)
            return read_writer_points(reading, writer, key)  # its chunks count, where they are still there
        end = max(end, info.first + info.points)
    tables += [_to_table(points, first, key) for first, points in reading.chunk_points(writer)]
    tables = [table for table in tables if table.num_rows]
    if not tables:
        return segment_schema().empty_table()
    return tables[0] if len(tables) == 1 else sort_points(_concat(tables))


def _to_table(points: PointColumns, first: int, key: str | None) -> pa.Table:
    from localtrack.format.segment import build_table
    from localtrack.format.segment_table import key_rows

    table = build_table(
        points.key_names,
        points.key_index,
        number=array("q", range(first, first + len(points))),
        step=points.step,
        timestamp_ms=points.timestamp_ms,
        value=points.value,
    )
    return table if key is None else key_rows(table, key)


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
    key_a, key_b = slice_pair(key_indices(table))
    time_a, time_b = slice_pair(column(table, "timestamp_ms"))
    step_a, step_b = slice_pair(column(table, "step"))
    ascends = pc.or_(pc.less(time_a, time_b), pc.and_(pc.equal(time_a, time_b), pc.less(step_a, step_b)))
    return bool(pc.all(pc.or_(pc.not_equal(key_a, key_b), ascends)).as_py())


def _in_history_order(table: pa.Table) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    from localtrack.format.segment_table import column, compact_keys, key_indices, slice_pair

    table = compact_keys(table)
    value = column(table, "value")
    ordering = pa.table(
        {
            "key": key_indices(table),
            "timestamp_ms": column(table, "timestamp_ms"),
            "step": column(table, "step"),
            "value": value,
            # Equal points have equal bits, but for NaN, of which JSON knows only one.
            "bits": pc.if_else(pc.is_nan(value), scalar("int64", -1), value.view(pa.int64())),
        }
    )
    order = pc.sort_indices(ordering, sort_keys=[(name, "ascending") for name in ordering.column_names])
    ordering, table = ordering.take(order), table.take(order)
    if table.num_rows < 2:
        return table
    repeats = [pc.equal(*slice_pair(column(ordering, name))) for name in ("key", "timestamp_ms", "step", "bits")]
    is_repeat = repeats[0]
    for other in repeats[1:]:
        is_repeat = pc.and_(is_repeat, other)
    if not pc.any(is_repeat).as_py():
        return table
    return table.filter(pa.concat_arrays([true_column(), pc.invert(is_repeat)]))
