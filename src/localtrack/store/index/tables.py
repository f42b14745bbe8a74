"""The tables of the index as Arrow: their columns, made of Python values, and read back aligned with the rows.

Metrics hold `min` and `max` only where they differ from the last value, which most metrics that are logged once save.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from localtrack.format.arrow_columns import ColumnType, column
from localtrack.format.index_rows import is_same_value
from localtrack.format.metric_fold import Folds
from localtrack.format.run_fold import RunState
from localtrack.types import DATASET_CONTEXT_TAG

if TYPE_CHECKING:
    import pyarrow as pa

NARROW: Final[Mapping[str, ColumnType]] = {
    "run_id": "string",
    "experiment_id": "string",
    "run_name": "string",
    "user_id": "string",
    "status": "string",
    "start_time": "int64",
    "end_time": "int64",
}
TALL_COLUMNS: Final[Mapping[str, Mapping[str, ColumnType]]] = {
    "metrics": {
        "row": "int32",
        "key": "string",
        "value": "double",
        "step": "int64",
        "timestamp": "int64",
        "min": "double",
        "max": "double",
        "count": "int64",
    },
    "params": {"row": "int32", "key": "string", "value": "string"},
    "tags": {"row": "int32", "key": "string", "value": "string"},
    "datasets": {"row": "int32", "key": "string", "name": "string", "digest": "string", "context": "string"},
}
REPEATING: Final = frozenset(["value", "experiment_id", "user_id", "status"])
"""Texts of which many rows have the same: kept as dictionaries in memory."""

_PLAIN_ID: Final = re.compile(r"[0-9a-f]{32}")


def is_plain_id(run_id: str) -> bool:
    """Return whether an id is 32 hex digits, and so kept as 16 bytes."""
    return _PLAIN_ID.fullmatch(run_id) is not None


def to_array(kind: ColumnType, values: Sequence[Any]) -> pa.Array[Any]:
    """Return values as a column of the index; texts have 32-bit offsets."""
    import pyarrow as pa

    made = column(kind, values)
    return made.cast(pa.string()) if kind == "string" else made


def to_repeating(values: Sequence[str | None]) -> pa.Array[Any]:
    """Return texts as a dictionary column."""
    import pyarrow as pa

    places: dict[str, int] = {}
    indices = [None if value is None else places.setdefault(value, len(places)) for value in values]
    return pa.DictionaryArray.from_arrays(column("int32", indices), to_array("string", list(places)))


_NARROW_VALUES: Final[Mapping[str, Callable[[RunState], Any]]] = {
    "run_id": attrgetter("run_id"),
    "experiment_id": attrgetter("experiment_id"),
    "run_name": attrgetter("name"),
    "user_id": attrgetter("user"),
    "status": attrgetter("status"),
    "start_time": attrgetter("start_ms"),
    "end_time": attrgetter("end_ms"),
}


def narrow_values(name: str, states: Iterable[RunState]) -> list[Any]:
    """Return what runs have in one column of the narrow table."""
    return list(map(_NARROW_VALUES[name], states))


def narrow_table(states: Sequence[RunState]) -> pa.Table:
    """Return the narrow table of runs."""
    return to_table(NARROW, {name: narrow_values(name, states) for name in NARROW})


def tall_groups(relation: str, rows: Sequence[tuple[RunState, Folds]]) -> Iterator[tuple[str, pa.Table]]:
    """Yield each key of a tall table, in order, with its rows."""
    columns = TALL_COLUMNS[relation]
    by_key: dict[str, list[tuple[Any, ...]]] = {}
    for number, (state, folds) in enumerate(rows):
        for key, *values in _records(relation, state, folds):
            by_key.setdefault(key, []).append((number, key, *values))
    for key in sorted(by_key):
        by_column = list(zip(*by_key[key], strict=True))
        yield key, to_table(columns, dict(zip(columns, by_column, strict=True)))


def _records(relation: str, state: RunState, folds: Folds) -> Iterable[tuple[Any, ...]]:
    if relation == "params":
        return state.params.items()
    if relation == "tags":
        return state.tags.items()
    if relation == "metrics":
        return (
            (
                key,
                fold.last_value,
                fold.last_step,
                fold.last_timestamp_ms,
                None if is_same_value(fold.min, fold.last_value) else fold.min,
                None if is_same_value(fold.max, fold.last_value) else fold.max,
                fold.count,
            )
            for key, fold in folds.items()
        )
    return (
        ("", payload["name"], payload["digest"], payload["tags"].get(DATASET_CONTEXT_TAG))
        for payload in state.datasets.values()
    )


def to_table(columns: Mapping[str, ColumnType], values: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Return a table of these columns."""
    import pyarrow as pa

    return pa.Table.from_arrays([to_array(kind, values[name]) for name, kind in columns.items()], names=list(columns))


def numbers(count: int) -> pa.Array[Any]:
    """Return 0 … count-1 as int32."""
    return _numbers_up_to(1 << count.bit_length()).slice(0, count)


@lru_cache(maxsize=4)
def _numbers_up_to(count: int) -> pa.Array[Any]:
    import pyarrow as pa

    return pa.Array.from_buffers(pa.int32(), count, [None, pa.py_buffer(array("i", range(count)))])


def int32_array(values: array[int]) -> pa.Array[Any]:
    """Return an `array("i")` as Arrow, without a copy."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.int32(), len(values), [None, pa.py_buffer(values)])


def align(values: pa.Array[Any], rows: pa.Array[Any], count: int) -> pa.Array[Any]:
    """Return a column with a value, or null, for each of `count` rows.

    Args:
        values: What some rows have.
        rows: Which rows, ascending.
        count: How many rows there are.
    """
    if len(rows) == count:
        return values
    import pyarrow.compute as pc

    return values.take(pc.index_in(numbers(count), value_set=rows))


def all_null(kind: ColumnType, count: int, *, is_repeating: bool = False) -> pa.Array[Any]:
    """Return a column without a value, as the other chunks of the column are."""
    import pyarrow as pa

    kinds = {"int32": pa.int32(), "int64": pa.int64(), "double": pa.float64(), "string": pa.string()}
    wanted: Any = pa.dictionary(pa.int32(), pa.string()) if is_repeating else kinds[kind]
    nulls: pa.Array[Any] = pa.nulls(count, wanted)
    return nulls
