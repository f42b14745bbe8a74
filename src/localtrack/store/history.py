"""The points of a run as one table in history order, whether they lie in logs, chunks or segments. FORMAT.md sections 8 and 12.4."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from localtrack.errors import FormatError, StorageError
from localtrack.format.points import PointColumns
from localtrack.store.run_reading import FileVanishedError, RunReading

if TYPE_CHECKING:
    import pyarrow as pa


def read_history(reading: RunReading, key: str | None = None) -> pa.Table:
    """Return points of a run, each once.

    Args:
        reading: The run.
        key: Only this metric; None for all.

    Returns:
        Columns `key` (dictionary of strings), `step`, `timestamp_ms` (int64), `value` (double), sorted by key and, within one, by
        (timestamp, step, value), NaN last.
    """
    import pyarrow as pa

    tables = [read_writer_points(reading, writer, key) for writer in sorted(reading.writers)]
    tables = [table for table in tables if table.num_rows]
    if not tables:
        from localtrack.format.segment import segment_schema

        return segment_schema().empty_table().drop_columns(["number"])
    table = tables[0] if len(tables) == 1 else _concat(tables)
    table = table.drop_columns(["number"])
    if len(tables) == 1 and _is_in_order(table):
        return table
    return _in_history_order(pa, table)


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
                # Segments that overlap come from different copies of the store; a number stands for the same point in both.
                tables.append(read_points(source, key=key, from_number=end if info.first < end else 0))
        except FileNotFoundError:
            raise FileVanishedError(file.name) from None
        except (FormatError, StorageError) as error:
            reading.note(file.name, str(error))
            continue
        end = max(end, info.first + info.points)
    tables += [_to_table(points, first, key) for first, points in reading.chunk_points(writer)]
    tables = [table for table in tables if table.num_rows]
    if not tables:
        return segment_schema().empty_table()
    return tables[0] if len(tables) == 1 else sort_points(_concat(tables))


def _to_table(points: PointColumns, first: int, key: str | None) -> pa.Table:
    import pyarrow.compute as pc

    from localtrack.format.segment import build_table

    table = build_table(
        points.key_names,
        points.key_index,
        number=array("q", range(first, first + len(points))),
        step=points.step,
        timestamp_ms=points.timestamp_ms,
        value=points.value,
    )
    return table if key is None else table.filter(pc.equal(table.column("key"), key))


def _concat(tables: list[pa.Table]) -> pa.Table:
    from localtrack.format.segment_table import concat_points

    return concat_points(tables)


def _is_in_order(table: pa.Table) -> bool:
    """Return whether the rows ascend strictly by (timestamp, step) within each key: then they are in order, and distinct."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from localtrack.format.segment_table import key_indices, slice_pair

    if table.num_rows < 2:
        return True
    key_a, key_b = slice_pair(key_indices(table))
    time_a, time_b = slice_pair(table.column("timestamp_ms"))
    step_a, step_b = slice_pair(table.column("step"))
    ascends = pc.or_(pc.less(time_a, time_b), pc.and_(pc.equal(time_a, time_b), pc.less(step_a, step_b)))
    ok: pa.Scalar = pc.all(pc.or_(pc.not_equal(key_a, key_b), ascends))
    return bool(ok.as_py())


def _in_history_order(pa: Any, table: pa.Table) -> pa.Table:
    import pyarrow.compute as pc

    from localtrack.format.segment_table import compact_keys, key_indices

    table = compact_keys(table).combine_chunks()
    index = key_indices(table)
    value = table.column("value").combine_chunks()
    value = value.chunk(0) if isinstance(value, pa.ChunkedArray) else value
    # Equal means equal bits, but for NaN, of which JSON knows only one.
    bits = pc.if_else(pc.is_nan(value), pa.scalar(-1, pa.int64()), value.view(pa.int64()))
    columns = {
        "index": index,
        "timestamp_ms": table.column("timestamp_ms"),
        "step": table.column("step"),
        "value": value,
        "bits": bits,
    }
    ordering = pa.table(columns)
    order = pc.sort_indices(ordering, sort_keys=[(name, "ascending") for name in columns])
    ordering, table = ordering.take(order), table.take(order)
    if table.num_rows > 1:
        fresh = [True]
        differs = None
        for name in ("index", "timestamp_ms", "step", "bits"):
            column = ordering.column(name).combine_chunks()
            column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
            other = pc.not_equal(column.slice(1), column.slice(0, len(column) - 1))
            differs = other if differs is None else pc.or_(differs, other)
        keep = pa.concat_arrays([pa.array(fresh), differs])
        if not pc.all(keep).as_py():
            table = table.filter(keep)
    return table
