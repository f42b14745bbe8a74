"""A whole run in the index: what its logs add up to, as JSON and numbers. FORMAT.md appendix A."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from localtrack.format.jsonlines import decode_json, encode_record
from localtrack.format.metric_fold import Folds
from localtrack.format.run_fold import RunState
from localtrack.format.segment_info import MetricFold

_make_fold: Final[Callable[[tuple[Any, ...]], MetricFold]] = partial(tuple.__new__, MetricFold)
"""As `MetricFold._make`, at a third of the time: a page of runs has hundreds."""


def encode_index_row(state: RunState, folds: Folds) -> bytes:
    """Return a run as the bytes of its row, without its id, artifacts, stamps and problems: a line, and numbers behind.

    Texts that most runs share stand last in the line, where compression finds them in one piece.
    """
    all_folds = list(folds.values())
    ranged = [
        place
        for place, fold in enumerate(all_folds)
        if not (is_same_value(fold.min, fold.last_value) and is_same_value(fold.max, fold.last_value))
    ]
    line = encode_record(
        [
            state.experiment_id,
            state.experiment_name,
            state.generation,
            state.name,
            state.user,
            state.status,
            state.start_ms,
            state.end_ms,
            [fold.last_step for fold in all_folds],
            _encode_column([fold.count for fold in all_folds]),
            _encode_column([fold.last_timestamp_ms - state.start_ms for fold in all_folds]),
            True if ranged and len(ranged) == len(all_folds) else ranged,
            list(state.params.values()),
            list(state.tags.values()),
            list(state.datasets.values()),
            list(state.model_inputs),
            [list(output) for output in state.model_outputs],
            list(state.params),
            list(state.tags),
            list(folds),
        ]
    )
    numbers = [fold.last_value for fold in all_folds]
    for place in ranged:
        numbers += all_folds[place].min, all_folds[place].max
    return line + struct.pack(f"<{len(numbers)}d", *numbers)


def decode_index_row(run_id: str, data: bytes) -> tuple[RunState, Folds]:
    """Return the run in a row.

    Args:
        run_id: Its id, which the row does not say.
        data: The row.

    Raises:
        ValueError: It is damaged.
    """
    try:
        line, _, packed = data.partition(b"\n")
        (experiment_id, experiment_name, generation, name, user, status, start_ms, end_ms, *rest) = decode_json(line)
        (steps, counts, times_ms, ranged, params, tags, datasets, inputs, outputs, *keys) = rest
        param_keys, tag_keys, metric_keys = keys
        state = RunState(
            run_id=run_id,
            experiment_id=experiment_id,
            experiment_name=experiment_name,
            generation=generation,
            name=name,
            user=user,
            status=status,
            start_ms=start_ms,
            end_ms=end_ms,
            params=dict(zip(param_keys, params, strict=True)),
            tags=dict(zip(tag_keys, tags, strict=True)),
            datasets={(payload["name"], payload["digest"]): payload for payload in datasets},
            model_inputs=dict.fromkeys(inputs),
            model_outputs=dict.fromkeys((model_id, step) for model_id, step in outputs),
        )
        count = len(metric_keys)
        places = range(count) if ranged is True else ranged
        numbers = struct.unpack(f"<{count + 2 * len(places)}d", packed)
        least, greatest = list(numbers[:count]), list(numbers[:count])
        for place, at in zip(places, range(count, len(numbers), 2), strict=True):
            least[place], greatest[place] = numbers[at : at + 2]
        columns = (
            _decode_column(counts, count),
            numbers[:count],
            steps,
            [start_ms + time_ms for time_ms in _decode_column(times_ms, count)],
            least,
            greatest,
        )
        return state, dict(zip(metric_keys, map(_make_fold, zip(*columns, strict=True)), strict=True))
    except (TypeError, AttributeError, LookupError, struct.error) as error:
        raise ValueError("the row is damaged") from error


def _encode_column(numbers: list[int]) -> list[int] | int:
    """Return numbers, or the one that all of several are."""
    return numbers[0] if len(numbers) > 1 and numbers.count(numbers[0]) == len(numbers) else numbers


def _decode_column(numbers: Sequence[int] | int, count: int) -> Sequence[int]:
    return [numbers] * count if isinstance(numbers, int) else numbers


def pack_row(row: bytes, packer: Any) -> bytes:
    """Return a row as it is kept: its line compressed, its numbers, and a checksum of both.

    Args:
        row: The row.
        packer: A fresh copy of the compressor.
    """
    line, _, numbers = row.partition(b"\n")
    packed: bytes = packer.compress(line) + packer.flush() + numbers
    return packed + zlib.crc32(packed).to_bytes(4, "little")


def unpack_row(packed: bytes, dictionary: bytes) -> bytes:
    """Return a row from what is kept of it.

    Raises:
        ValueError: It is damaged.
    """
    body = packed[:-4]
    if zlib.crc32(body) != int.from_bytes(packed[-4:], "little"):
        raise ValueError("the checksum does not fit")
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS, zdict=dictionary)
    try:
        line = unpacker.decompress(body)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacker.eof:
        raise ValueError("it ends early")
    return line + b"\n" + unpacker.unused_data


def is_same_value(a: float, b: float) -> bool:
    """Return whether two values are the same bits, but for which NaN it is."""
    return (a == b and (a != 0 or math.copysign(1, a) == math.copysign(1, b))) or (a != a and b != b)
