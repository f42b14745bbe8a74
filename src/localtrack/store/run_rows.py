"""What the logs of a run add up to -> the run as searches see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from operator import itemgetter
from typing import Any, Final

from localtrack.format.metric_fold import Folds
from localtrack.format.run_fold import RunState
from localtrack.format.segment_info import MetricFold
from localtrack.types import (
    Dataset,
    DatasetInput,
    InputTag,
    LifecycleStage,
    LoggedModelInput,
    LoggedModelOutput,
    MetricSummary,
    RunInfo,
    RunRow,
)

_FOLD_FIELDS: Final = ("last_value", "last_step", "last_timestamp_ms", "min", "max", "count")
"""What the fields of a summary are called in a fold."""
_summary_of: Final = itemgetter(*map(MetricFold._fields.index, _FOLD_FIELDS))
_make_summary: Final[Callable[[tuple[Any, ...]], MetricSummary]] = partial(tuple.__new__, MetricSummary)
"""As `MetricSummary._make`, at a third of the time: a page of runs has hundreds."""


def build_row(state: RunState, folds: Folds, *, lifecycle_stage: LifecycleStage, artifact_uri: str) -> RunRow:
    """Return a run as searches see it.

    Args:
        state: What its state records add up to.
        folds: What its points add up to.
        lifecycle_stage: What the edits of the store say.
        artifact_uri: Where its artifacts lie.
    """
    info = RunInfo(
        run_id=state.run_id,
        experiment_id=state.experiment_id,
        run_name=state.name,
        user_id=state.user,
        status=state.status,
        start_time=state.start_ms,
        end_time=state.end_ms,
        lifecycle_stage=lifecycle_stage,
        artifact_uri=artifact_uri,
    )
    metrics = dict(zip(folds, map(_make_summary, map(_summary_of, folds.values())), strict=True))
    return RunRow(
        info,
        state.params,
        state.tags,
        metrics,
        tuple(map(_to_dataset_input, state.datasets.values())),
        tuple(map(LoggedModelInput, state.model_inputs)),
        tuple(LoggedModelOutput(model_id, step) for model_id, step in state.model_outputs),
    )


def _to_dataset_input(payload: Mapping[str, Any]) -> DatasetInput:
    """Return what the payload of a `dataset` record says."""
    dataset = Dataset(
        payload["name"],
        payload["digest"],
        payload["source_type"],
        payload["source"],
        payload.get("schema"),
        payload.get("profile"),
    )
    return DatasetInput(dataset, tuple(InputTag(*item) for item in payload["tags"].items()))
