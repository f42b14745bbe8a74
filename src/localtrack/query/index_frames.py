"""Many runs of an index -> Arrow and pandas tables, column by column: no row is ever put together.

The columns, their order and their types are those of `query.frames`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from localtrack.errors import MissingPackageError
from localtrack.store.index.view import IndexView

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_TEXTS: Final = ("run_id", "experiment_id", "status", "artifact_uri")
_TIMES: Final = ("start_time", "end_time")
_GROUPS: Final = ("metrics", "params", "tags")


def view_to_arrow(view: IndexView, numbers: Sequence[int]) -> pa.Table:
    """Return runs of a view as `frames.to_arrow` does.

    Args:
        view: The runs.
        numbers: Which, in order.
    """
    import pyarrow as pa

    places = places_of(numbers)
    moment = pa.timestamp("ms", tz="UTC")
    columns = {name: _texts(view.narrow(name).take(places)) for name in _TEXTS}
    columns |= {name: view.narrow(name).take(places).cast(moment) for name in _TIMES}
    for name, column in _key_columns(view, places):
        columns[name] = column if pa.types.is_floating(column.type) else _texts(column)
    return pa.table(columns)


def view_to_pandas(view: IndexView, numbers: Sequence[int]) -> pd.DataFrame:
    """Return runs of a view as `frames.to_pandas` does.

    Args:
        view: The runs.
        numbers: Which, in order; at least one.

    Raises:
        MissingPackageError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingPackageError.of("This frame", "pandas", extra="pandas") from error
    import pyarrow as pa

    # What pandas infers for values one by one, as MLflow hands them to it, depends on its version.
    text_type = pd.Series(["text", None]).dtype
    time_type = pd.Series([pd.Timestamp(0, unit="ms", tz="UTC"), pd.NaT]).dtype
    no_time: Any = pd.Series([pd.NaT] * len(numbers))
    table = view_to_arrow(view, numbers)
    columns: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_floating(column.type):
            columns[name] = column.to_numpy()
        elif pa.types.is_timestamp(column.type):
            columns[name] = no_time if column.null_count == len(column) else column.to_pandas().astype(time_type)
        else:
            columns[name] = column.to_pandas().astype(text_type)
    return pd.DataFrame(columns, copy=False)


def _key_columns(view: IndexView, places: pa.Array[Any]) -> Iterator[tuple[str, pa.ChunkedArray[Any]]]:
    """Yield a column for each key that one of the runs has, by group and key."""
    for group in _GROUPS:
        for key in view.keys(group):
            column = view.key_column(group, key, "value").take(places)
            if column.null_count < len(column):
                yield f"{group}.{key}", column


def places_of(numbers: Sequence[int]) -> pa.Array[Any]:
    """Return row numbers as Arrow, to take these rows of a column."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.int32(), len(numbers), [None, pa.py_buffer(array("i", numbers))])


def _texts(column: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    import pyarrow as pa

    return column.cast(pa.string())
