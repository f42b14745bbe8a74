"""Python values -> Arrow columns and scalars, without `pyarrow.array` and `pyarrow.scalar`.

Those import pandas, where it is installed, to see whether they were given a series: 0.3 s of the first search of a
process, more than all else together, and an error while the interpreter ends. Buffers are handed over here instead.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

if TYPE_CHECKING:
    import pyarrow as pa

ColumnType: TypeAlias = Literal["int32", "int64", "double", "string"]

_TYPE_CODES: Final = {"int32": "i", "int64": "q", "double": "d"}


def column(kind: ColumnType, values: Sequence[Any]) -> pa.Array[Any]:
    """Return values as an Arrow array, None as null; texts become `large_string`."""
    import pyarrow as pa

    null_count = values.count(None)
    validity = pa.py_buffer(_bitmap(values)) if null_count else None
    if kind == "string":
        # Half a character, which UTF-8 cannot write, becomes "?": one damaged row must not hide the others.
        parts = [b"" if value is None else value.encode("utf-8", "replace") for value in values]
        offsets = array("q", accumulate(map(len, parts), initial=0))
        buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(b"".join(parts))]
        return pa.Array.from_buffers(pa.large_string(), len(values), buffers, null_count)
    arrow_type = {"int32": pa.int32(), "int64": pa.int64(), "double": pa.float64()}[kind]
    numbers = [0 if value is None else value for value in values] if null_count else list(values)
    filled = array(_TYPE_CODES[kind], numbers)
    return pa.Array.from_buffers(arrow_type, len(values), [validity, pa.py_buffer(filled)], null_count)


def _bitmap(values: Sequence[Any]) -> bytes:
    """Return Arrow's validity bits: one a value, the first value in the lowest bit of the first byte."""
    bits = "".join("0" if value is None else "1" for value in reversed(values))
    return int(bits, 2).to_bytes((len(values) + 7) // 8, "little")


def scalar(kind: ColumnType, value: Any) -> pa.Scalar[Any]:
    """Return one value, or null, as an Arrow scalar."""
    return cast("pa.Scalar[Any]", column(kind, [value])[0])


def true_column() -> pa.BooleanArray:
    """Return one True."""
    import pyarrow as pa

    return cast("pa.BooleanArray", pa.Array.from_buffers(pa.bool_(), 1, [None, pa.py_buffer(b"\1")]))
