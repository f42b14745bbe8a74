"""A whole run in the index: what its logs add up to, as JSON. FORMAT.md appendix A."""

from __future__ import annotations

import math
from typing import Any

from localtrack.format.jsonlines import decode_json, decode_value, encode_record, encode_value
from localtrack.format.metric_fold import Folds
from localtrack.format.run_fold import RunState
from localtrack.format.segment_info import MetricFold


def encode_index_row(state: RunState, folds: Folds) -> bytes:
    """Return a run as the bytes of its row, without its artifacts, stamps and problems."""
    return encode_record(
        [
            state.run_id,
            state.experiment_id,
            state.experiment_name,
            state.generation,
            state.name,
            state.user,
            state.status,
            state.start_ms,
            state.end_ms,
            list(state.params.items()),
            list(state.tags.items()),
            [[key, *_encode_fold(fold)] for key, fold in folds.items()],
            list(state.datasets.values()),
            list(state.model_inputs),
            [list(output) for output in state.model_outputs],
        ]
    )


def decode_index_row(data: bytes) -> tuple[RunState, Folds]:
    """Return the run in a row.

    Raises:
        ValueError: It is damaged.
    """
    try:
        (run_id, experiment_id, experiment_name, generation, *rest) = decode_json(data)
        (name, user, status, start_ms, end_ms, params, tags, metrics, datasets, inputs, outputs) = rest
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
            params=dict(params),
            tags=dict(tags),
            datasets={(payload["name"], payload["digest"]): payload for payload in datasets},
            model_inputs=dict.fromkeys(inputs),
            model_outputs=dict.fromkeys((model_id, step) for model_id, step in outputs),
        )
        return state, {key: _decode_fold(*fold) for key, *fold in metrics}
    except (TypeError, AttributeError, LookupError) as error:
        raise ValueError("the row is damaged") from error


def is_same_value(a: float, b: float) -> bool:
    """Return whether two values are the same bits, but for which NaN it is."""
    return (a == b and (a != 0 or math.copysign(1, a) == math.copysign(1, b))) or (a != a and b != b)


def _encode_fold(fold: MetricFold) -> list[Any]:
    value = fold.last_value
    shown = [fold.count, encode_value(value), fold.last_step, fold.last_timestamp_ms]
    if is_same_value(fold.min, value) and is_same_value(fold.max, value):
        return shown
    return [*shown, encode_value(fold.min), encode_value(fold.max)]


def _decode_fold(
    count: int, value: Any, step: int, timestamp_ms: int, least: Any = None, greatest: Any = None
) -> MetricFold:
    last = decode_value(value)
    if least is None:
        return MetricFold(count, last, step, timestamp_ms, last, last)
    return MetricFold(count, last, step, timestamp_ms, decode_value(least), decode_value(greatest))
