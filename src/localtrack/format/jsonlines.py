"""JSON of records: one fast encoder and decoder for the whole package, and the values that JSON has no numbers for.

orjson is loaded with the first record, not with the package.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

NON_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_encode: Callable[..., bytes] | None = None
_decode: Callable[[bytes | memoryview], Any] | None = None
_options = 0


def encode_value(value: float) -> float | str:
    """Return a metric value as JSON has it: non-finite ones by name."""
    if value - value == 0.0:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def decode_value(value: object) -> float:
    """Return the metric value behind a JSON number or one of the three names, else raise `ValueError`."""
    if type(value) is float or type(value) is int:
        return float(value)
    if type(value) is str and value in NON_FINITE:
        return NON_FINITE[value]
    raise ValueError(f"{value!r} is no metric value")


def encode_record(record: list[Any]) -> bytes:
    """Return a record as the bytes of its line, with the line break. Keys are sorted: equal records are equal bytes."""
    global _encode, _options
    if _encode is None:
        import orjson

        _encode, _options = orjson.dumps, orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS
    return _encode(record, None, _options)


def line_encoder() -> tuple[Callable[..., bytes], int]:
    """Return the function behind `encode_record`, called `f(record, None, options)`, and its options.

    For lines without objects, which have no keys to sort; the hottest path saves a call.
    """
    import orjson

    return orjson.dumps, orjson.OPT_APPEND_NEWLINE


def decode_json(data: bytes | memoryview) -> Any:
    """Return the JSON value in `data`, else raise `ValueError`. Bare words such as `NaN` are refused."""
    global _decode
    if _decode is None:
        import orjson

        _decode = orjson.loads
    return _decode(data)
