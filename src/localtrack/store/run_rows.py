"""What the logs of a run add up to -> the run as searches see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localtrack.format.metric_fold import Folds
from localtrack.format.run_fold import RunState
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
    metrics = {
        key: MetricSummary(fold.last_value, fold.last_step, fold.last_timestamp_ms, fold.min, fold.max, fold.count)
        for key, fold in folds.items()
    }
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
