"""What all parts of the independent reader share: findings, strict JSON, numbers."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

INT64 = range(-(2**63), 2**63)
NUMBERS_BY_NAME = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
WINDOWS_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


@dataclass(frozen=True, order=True)
class Finding:
    """Something in a store that must or should be reported.

    Kinds: `damaged` (a line, or a header), `crc`, `count` (points in a closed file), `gap` (point numbers), `segment`,
    `name` (content of another name), `misplaced`, `other` (a name of no rule), `newer`, `unknown_type`, `empty`,
    `no_run` and `no_model` (record), `param`, `pack`, `same_name`, `artifact`, and for a store that is refused
    `missing`.
    """

    key: str
    kind: str
    """What is wrong, as one word: that of the rule that is broken."""


class Refused(Exception):
    """This reader may not read the store, and says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.key}: {finding.kind}")
        self.finding = finding


def is_int(value: Any) -> bool:
    return type(value) is int and value in INT64


def is_count(value: Any) -> bool:
    return is_int(value) and value >= 0


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def parse_json(data: bytes) -> Any:
    """Return what `data` says as JSON in the sense of 5.1.

    Raises:
        ValueError: If it is no such JSON.
    """
    text = data.decode("utf-8")
    return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_int64)


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


def _int64(text: str) -> int:
    value = int(text)
    if value not in INT64:
        raise ValueError(f"{text} needs more than 64 bits")
    return value


def is_value(value: Any) -> bool:
    if isinstance(value, str):
        return value in NUMBERS_BY_NAME
    return type(value) in (int, float)


def to_float(value: Any) -> float:
    """Return a metric value (5.1) as a float."""
    return NUMBERS_BY_NAME[value] if isinstance(value, str) else float(value)


def to_json(value: float) -> float | str:
    """Return a float as a metric value, the inverse of `to_float`."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
