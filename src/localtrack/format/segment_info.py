"""What the footer of a segment says of it, as JSON beside Parquet's own metadata.

Format: FORMAT.md, "Segments". Standard library only, so that whoever needs just the words does not load PyArrow.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeVar

from localtrack.errors import ErrorCode, FormatError

_T = TypeVar("_T")

SEGMENT_FORMAT: Final = 1
METADATA_KEY: Final = b"localtrack"
KEYS_LIMIT_COUNT: Final = 10_000
"""With more keys than this the footer leaves the folds out: it is read whole, whatever one wants of the segment."""

_NUMBER_NAMES: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class MetricFold(NamedTuple):
    """What the points of one key in one segment add up to."""

    count: int  # type: ignore[assignment]  # shadows tuple.count, which nobody calls on a fold
    last_value: float
    """Value of the greatest (step, timestamp, value). NaN is compared as 0 and loses to a zero."""
    last_step: int
    last_timestamp_ms: int
    min: float
    """Least value, NaN left out; NaN if there is nothing else. -0.0 is less than 0.0."""
    max: float
    """Greatest value, NaN left out; NaN if there is nothing else."""

    def add_point(self, value: float, step: int, timestamp_ms: int) -> MetricFold:
        """Return the fold with one point more."""
        least, most = self.min, self.max
        # As most often: no tie, which the sign of a zero or the time decides, and no NaN.
        if step == self.last_step or not (least < value or value < least) or not (most < value or value < most):
            return self.combine(MetricFold(1, value, step, timestamp_ms, value, value))
        if value < least:
            least = value
        elif value > most:
            most = value
        if step > self.last_step:
            return MetricFold(self.count + 1, value, step, timestamp_ms, least, most)
        return MetricFold(self.count + 1, self.last_value, self.last_step, self.last_timestamp_ms, least, most)

    def combine(self, other: MetricFold) -> MetricFold:
        """Return the fold of both sets of points together; they may not share a point. Commutative and associative."""
        if self.last_step != other.last_step:
            last = self if self.last_step > other.last_step else other
        else:
            last = max(self, other, key=_last_rank)
        least, most = self.min, self.max
        if other.min < least:
            least = other.min
        elif not least < other.min:  # equal, where the sign of zero counts, or NaN
            least = min(_numbers(least, other.min), key=_value_rank, default=math.nan)
        if other.max > most:
            most = other.max
        elif not most > other.max:
            most = max(_numbers(most, other.max), key=_value_rank, default=math.nan)
        return MetricFold(
            self.count + other.count, last.last_value, last.last_step, last.last_timestamp_ms, least, most
        )


class SegmentInfo(NamedTuple):
    """What a segment holds."""

    run: str
    writer: str
    chunks: tuple[int, int]
    """First and last of the chunks that were sealed."""
    first: int = 0
    """Least point number; 0 if there are no points."""
    points: int = 0
    """How many rows there are."""
    distinct: bool = True
    """True: no two rows have the same key, step, timestamp and value. False: two may have."""
    keys: Mapping[str, MetricFold] | None = None
    """The fold of each key; None when there are more than 10,000 of them."""


def encode_info(info: SegmentInfo) -> bytes:
    """Return the footer's JSON for `info`."""
    document: dict[str, Any] = {
        "format": SEGMENT_FORMAT,
        "run": info.run,
        "writer": info.writer,
        "chunks": list(info.chunks),
        "first": info.first,
        "points": info.points,
        "distinct": info.distinct,
    }
    if info.keys is not None and len(info.keys) <= KEYS_LIMIT_COUNT:
        document["keys"] = {key: [_encode_number(item) for item in fold] for key, fold in info.keys.items()}
    text = json.dumps(document, sort_keys=True, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.encode()


def parse_info(data: bytes) -> SegmentInfo:
    """Return what the footer's JSON says.

    Raises:
        FormatError: With code `DAMAGED` if it is not what FORMAT.md asks for, `NEWER_FORMAT` if it is newer.
    """
    try:
        document = json.loads(data)
        format_version = _integer(document["format"])
        if format_version > SEGMENT_FORMAT:
            raise FormatError(
                f"The segment has format {format_version}; this version reads up to {SEGMENT_FORMAT}.",
                code=ErrorCode.NEWER_FORMAT,
                hint="Update localtrack.",
            )
        first_chunk, last_chunk = document["chunks"]
        keys = document.get("keys")
        info = SegmentInfo(
            run=_typed(document["run"], str),
            writer=_typed(document["writer"], str),
            chunks=(_integer(first_chunk), _integer(last_chunk)),
            first=_integer(document["first"]),
            points=_integer(document["points"]),
            distinct=_typed(document["distinct"], bool),
            keys=None if keys is None else {key: _parse_fold(fold) for key, fold in keys.items()},
        )
    except FormatError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FormatError(f"The metadata of the segment is damaged: {error!r}.") from error
    if format_version < 1 or not 0 <= info.chunks[0] <= info.chunks[1] or info.first < 0 or info.points < 0:
        raise FormatError("The metadata of the segment is damaged: a number is out of its range.")
    if info.keys is not None and sum(fold.count for fold in info.keys.values()) != info.points:
        raise FormatError("The metadata of the segment is damaged: its keys do not add up to its points.")
    return info


def _value_rank(value: float) -> tuple[float, int]:
    """Order floats totally: NaN counts as 0 and comes before -0.0, which comes before 0.0."""
    if math.isnan(value):
        return 0.0, -2
    return value, -1 if value == 0 and math.copysign(1.0, value) < 0 else 0


def _last_rank(fold: MetricFold) -> tuple[int, int, tuple[float, int]]:
    return fold.last_step, fold.last_timestamp_ms, _value_rank(fold.last_value)


def _numbers(*values: float) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def _encode_number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _parse_fold(fold: list[Any]) -> MetricFold:
    count, value, step, timestamp_ms, least, greatest = fold
    return MetricFold(
        _integer(count), _number(value), _integer(step), _integer(timestamp_ms), _number(least), _number(greatest)
    )


def _number(value: object) -> float:
    if isinstance(value, str):
        return _NUMBER_NAMES[value]
    # JSON does not tell 1 from 1.0, and other writers need not.
    return float(_integer(value) if type(value) is int else _typed(value, float))


def _integer(value: object) -> int:
    return _typed(value, int)


def _typed(value: object, kind: type[_T]) -> _T:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value
