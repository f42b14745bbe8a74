"""Metric values and steps as users give them, to the float and the integer that the format keeps."""

from __future__ import annotations

from typing import Any

from localtrack.errors import InvalidInputError
from localtrack.format.names import MAX_INT64, MIN_INT64


def to_value(value: Any, key: str) -> float:
    """Return a metric value as a float.

    Of numbers, bools, NumPy and PyTorch scalars, and text like `"1.5"`, as MLflow takes them.

    Raises:
        InvalidInputError: It is none of these, or an integer beyond the range of a float.
    """
    if type(value) is float:
        return value
    try:
        # A tensor or array of one element; plain numbers have no `item`, NumPy scalars give themselves as Python ones.
        item = getattr(value, "item", None)
        return float(item() if item is not None else value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InvalidInputError(
            f"The value of metric {key!r} must be one number, not {_shown(value)}.", hint=f"({error})"
        ) from error


def to_step(step: Any) -> int:
    """Return a step as an integer of 64 bits; None counts as 0.

    Raises:
        InvalidInputError: It is no whole number, or too large.
    """
    if step is None:
        return 0
    return _to_int64(step, "A step")


def to_timestamp_ms(timestamp_ms: Any) -> int:
    """Return a time as an integer of milliseconds since 1970.

    Raises:
        InvalidInputError: It is no whole number, negative, or too large.
    """
    number = _to_int64(timestamp_ms, "A timestamp in milliseconds")
    if number < 0:
        raise InvalidInputError(
            f"A timestamp must not be negative: {number}.", hint="Give milliseconds since 1970, UTC."
        )
    return number


def _to_int64(value: Any, what: str) -> int:
    if type(value) is int:
        number = value
    else:
        try:
            item = getattr(value, "item", None)
            value = item() if item is not None else value
            number = int(value)
            if number != value:
                raise ValueError("it is not whole")
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise InvalidInputError(f"{what} must be a whole number, not {_shown(value)}.") from error
    if not MIN_INT64 <= number <= MAX_INT64:
        raise InvalidInputError(f"{what} must fit into 64 bits: {number}.")
    return number


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # a user's class may fail in any way, and this is for a message only
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}…"
