"""The columns of what people log as a table: dicts, without pandas where they are plain, and DataFrames."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Final

from localtrack.errors import InvalidInputError, MissingPackageError

Columns = dict[Any, list[Any]]
"""Name (text, number or tuple of these) → one value a row, each of which JSON has a form for, or an image."""

_PLAIN: Final = frozenset([str, int, float, bool, type(None)])


def to_columns(data: Any) -> Columns:
    """Return the columns of a dict or pandas DataFrame.

    A dict whose values are lists of one length is a table, other values in it go to each row; any other dict is one
    row.

    Raises:
        InvalidInputError: It is neither, or holds what JSON has no form for, or needs pandas, which is missing.
    """
    if is_frame(data):
        return _frame_columns(data)
    if not isinstance(data, Mapping):
        raise InvalidInputError(f"log_table needs a dict of columns or a pandas DataFrame, not {type(data).__name__}.")
    columns = _plain_columns(data)
    if columns is not None:
        return columns
    pandas = _import_pandas()
    try:
        return _frame_columns(pandas.DataFrame(dict(data)))
    except ValueError:  # no columns of one length: one row, as in MLflow
        return _frame_columns(pandas.DataFrame([dict(data)]))


def is_frame(data: Any) -> bool:
    """Return whether `data` is a pandas DataFrame, without importing pandas."""
    return "pandas" in sys.modules and isinstance(data, sys.modules["pandas"].DataFrame)


def is_image(value: Any) -> bool:
    """Return whether a cell is a PIL image, or an object like one (`mlflow.Image`)."""
    return (
        type(value) not in _PLAIN
        and hasattr(value, "size")
        and all(callable(getattr(value, name, None)) for name in ("save", "resize"))
    )


def _plain_columns(data: Mapping[Any, Any]) -> Columns | None:
    """Return the columns of a dict of plain values and images, None if it takes pandas to understand it."""
    for value in data.values():
        cells = value if type(value) in (list, tuple) else (value,)
        if type(value) is dict or not all(_is_cell(cell) or is_image(cell) for cell in cells):
            return None
    names = [_to_name(name) for name in data]
    lengths = {len(value) for value in data.values() if isinstance(value, list | tuple)}
    if len(lengths) != 1:
        return {name: [value] for name, value in zip(names, data.values(), strict=True)}
    (count,) = lengths
    return {
        name: _promote(list(value) if isinstance(value, list | tuple) else [value] * count)
        for name, value in zip(names, data.values(), strict=True)
    }


def _promote(values: list[Any]) -> list[Any]:
    """Return a column as a DataFrame holds it: integers beside floats or gaps become floats."""
    kinds = {type(value) for value in values}
    if kinds <= {int, float, type(None)} and int in kinds and len(kinds) > 1:
        return [None if value is None else float(value) for value in values]
    return values


def _frame_columns(frame: Any) -> Columns:
    columns = {_to_name(name): _series_values(frame.iloc[:, i]) for i, name in enumerate(frame.columns)}
    if len(columns) != len(frame.columns):
        raise InvalidInputError("The columns of a table must have different names.")
    return columns


def _series_values(series: Any) -> list[Any]:
    values: list[Any] = series.tolist()
    if all(_is_cell(value) or is_image(value) for value in values):
        return values
    try:
        # Dates, arrays, categories, pandas' own gaps: as pandas writes them.
        text = series.to_json(orient="values", date_format="iso", double_precision=15)
    except (OverflowError, TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"The column {series.name!r} cannot be written as JSON: {error}.") from error
    decoded: list[Any] = json.loads(text)
    return decoded


def _is_cell(value: Any) -> bool:
    """Return whether JSON has a form for a value and all that is inside."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind in (list, tuple):
        return all(_is_cell(item) for item in value)
    return kind is dict and all(type(key) is str and _is_cell(item) for key, item in value.items())


def _to_name(name: Any) -> Any:
    if type(name) in _PLAIN:
        return name
    return tuple(_to_name(part) for part in name) if isinstance(name, tuple) else str(name)


def _import_pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise MissingPackageError.of(
            "A table with values other than texts, numbers, lists and dicts",
            "pandas",
            extra="pandas",
            otherwise="give a dict of lists",
        ) from error
    return pandas
