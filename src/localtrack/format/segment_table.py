"""Tables of points in memory: made from what was logged, put in order, handed to pandas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from localtrack.errors import InvalidInputError
from localtrack.format import arrow_columns

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from localtrack.format.points import PointColumns

    Column = Sequence[int] | Sequence[float] | memoryview | pa.Array[Any] | pa.ChunkedArray[Any]


HISTORY_COLUMNS: Final = ("step", "timestamp_ms", "value")
"""What a point is besides its key; its number is only a place in a file."""


@cache
def segment_schema() -> pa.Schema:
    """Return the columns of a table of points; `key` is dictionary-encoded in memory, a plain string in the file."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("key", pa.dictionary(pa.int32(), pa.string()), nullable=False),
            pa.field("number", pa.int64(), nullable=False),
            pa.field("step", pa.int64(), nullable=False),
            pa.field("timestamp_ms", pa.int64(), nullable=False),
            pa.field("value", pa.float64(), nullable=False),
        ]
    )


@cache
def history_schema() -> pa.Schema:
    """Return the columns of a table of points of one key."""
    import pyarrow as pa

    return pa.schema([segment_schema().field(name) for name in HISTORY_COLUMNS])


def build_history(points: PointColumns, key: str) -> pa.Table:
    """Return the points of one key as a table of `history_schema()`, in the order in which they were logged."""
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = history_schema()
    if key not in points.key_names:
        return schema.empty_table()
    columns = [_column(getattr(points, field.name), field.type) for field in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    if len(points.key_names) == 1:
        return table
    wanted = arrow_columns.scalar("int32", points.key_names.index(key))
    return table.filter(pc.equal(_column(points.key_index, pa.int32()), wanted))


def build_table(
    key_names: Sequence[str], key_index: Column, *, number: Column, step: Column, timestamp_ms: Column, value: Column
) -> pa.Table:
    """Return the points as a table sorted by (key, number).

    Columns of the right width with a buffer (`array.array`, NumPy) are not copied element by element.

    Args:
        key_names: The names that `key_index` points into. A name may stand there twice, or be used by no row.
        key_index: For each point, which name; 32-bit.
        number: The writer's number of each point. In ascending order this is fast; any order is right.
        step: Step of each point; 64-bit.
        timestamp_ms: Milliseconds since 1970, UTC, of each point; 64-bit.
        value: Value of each point; 64-bit.

    Returns:
        A table of `segment_schema()` whose dictionary holds just the keys in use, sorted.

    Raises:
        InvalidInputError: If the columns differ in length or an index points to no name.
    """
    import pyarrow as pa

    index = _column(key_index, pa.int32())
    columns = [_column(item, pa.int64()) for item in (number, step, timestamp_ms)]
    columns.append(_column(value, pa.float64()))
    if any(len(column) != len(index) or column.null_count for column in columns):
        raise InvalidInputError("The columns of points differ in length, or lack values.")
    try:
        keys = pa.DictionaryArray.from_arrays(index, _texts(key_names))
    except (pa.ArrowInvalid, pa.ArrowIndexError) as error:
        raise InvalidInputError(f"A point has a key index outside of the {len(key_names)} key names.") from error
    return sort_points(pa.Table.from_arrays([keys, *columns], schema=segment_schema()))


def sort_points(table: pa.Table) -> pa.Table:
    """Return `table` sorted by (key, number), each column in one piece, with the keys in use as a sorted dictionary.

    Fast where the numbers of each key already ascend: then a stable sort on the key alone does it.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    table = compact_keys(table)
    index = key_indices(table)
    if not _ascends(index):
        # Counting sort as long as there are few keys: stable, and several times faster than sorting by two columns.
        table = table.take(pc.array_sort_indices(index))
        index = key_indices(table)
    numbers = column(table, "number")
    if _ascends_within(index, numbers):
        return table
    pair = pa.table({"key": index, "number": numbers})
    return table.take(pc.sort_indices(pair, sort_keys=[("key", "ascending"), ("number", "ascending")]))


def compact_keys(table: pa.Table) -> pa.Table:
    """Return `table` in one piece, its keys as indices into the sorted dictionary of just those that are in use."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if any(column.num_chunks != 1 for column in table.columns):
        table = table.unify_dictionaries().combine_chunks()
    keys = column(table, "key")
    if len(keys.dictionary) == 1 and table.num_rows:
        return table
    names: list[str] = keys.dictionary.to_pylist()
    used: list[int] = pc.unique(keys.indices).to_pylist()
    ranked = sorted({names[i] for i in used})
    if ranked == names:
        return table
    rank_of = {name: rank for rank, name in enumerate(ranked)}
    ranks = arrow_columns.column("int32", [rank_of.get(name, 0) for name in names])
    keys = pa.DictionaryArray.from_arrays(ranks.take(keys.indices), _texts(ranked))
    return table.set_column(0, table.schema.field("key"), keys)


def concat_points(tables: Iterable[pa.Table]) -> pa.Table:
    """Return the tables one after the other, in one piece, under one dictionary; an empty table if there are none."""
    import pyarrow as pa

    parts = list(tables)
    if not parts:
        return segment_schema().empty_table().combine_chunks()
    return compact_keys(pa.concat_tables(parts))


def column(table: pa.Table, name: str) -> Any:
    """Return the column as one array."""
    import pyarrow as pa

    chunked = table.column(name)
    if chunked.num_chunks == 0:
        return pa.array([], chunked.type)
    return chunked.chunk(0) if chunked.num_chunks == 1 else pa.concat_arrays(chunked.unify_dictionaries().chunks)


def key_rows(table: pa.Table, key: str) -> pa.Table:
    """Return the rows of one key of a sorted table, without copying them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = column(table, "key")
    rank: int = pc.index(keys.dictionary, arrow_columns.scalar("string", key).cast(pa.string())).as_py()
    if rank < 0:
        return table.slice(0, 0)
    wanted = arrow_columns.scalar("int32", rank)
    start: int = pc.index(keys.indices, wanted).as_py()
    return table.slice(start, pc.sum(pc.equal(keys.indices, wanted)).as_py())


def repeat_key(key: str, count: int) -> pa.Array[Any]:
    """Return the column of keys where all rows have the same."""
    import pyarrow as pa

    indices = pa.Array.from_buffers(pa.int32(), count, [None, pa.py_buffer(bytes(4 * count))])
    return pa.DictionaryArray.from_arrays(indices, _texts([key]))


def key_indices(table: pa.Table) -> Any:
    """Return the dictionary index of each row's key; in a sorted table equal to the rank of the key."""
    return column(table, "key").indices


def points_to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return the points as a DataFrame with the columns of the table; `key` has pandas' own string type."""
    import pyarrow as pa

    keys = table.column("key").cast(pa.large_string())
    # The copy is for the caller, who may assign to it: blocks that share memory with Arrow are read-only.
    return table.set_column(0, "key", keys).to_pandas(split_blocks=True).copy()


def _column(values: Any, kind: Any) -> Any:
    import pyarrow as pa

    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.Array):
        return values.cast(kind)
    try:
        view = memoryview(values)
    except TypeError:
        return pa.array(values, kind)
    wanted = "d" if pa.types.is_floating(kind) else "ilq"
    if view.format in wanted and view.itemsize * 8 == kind.bit_width and view.contiguous and view.ndim == 1:
        return pa.Array.from_buffers(kind, len(view), [None, pa.py_buffer(view)])
    return pa.array(view.tolist(), kind)


def _ascends(index: Any) -> bool:
    """Tell whether no entry is less than the one before."""
    import pyarrow.compute as pc

    if len(index) < 2:
        return True
    return bool(pc.all(pc.less_equal(index.slice(0, len(index) - 1), index.slice(1))).as_py())


def _ascends_within(index: Any, numbers: Any) -> bool:
    """Tell whether, in rows whose `index` ascends, the numbers ascend (or repeat) as long as the index is the same."""
    import pyarrow.compute as pc

    if len(index) < 2:
        return True
    before = slice_pair(index)
    numbers_pair = slice_pair(numbers)
    return bool(pc.all(pc.or_(pc.not_equal(*before), pc.less_equal(*numbers_pair))).as_py())


def slice_pair(values: Any) -> tuple[Any, Any]:
    """Return the entries without the last and without the first, so that each stands beside the one after it."""
    return values.slice(0, len(values) - 1), values.slice(1)


def _texts(texts: Sequence[str]) -> Any:
    import pyarrow as pa

    return arrow_columns.column("string", texts).cast(pa.string())
