"""Rows for the tests of search, said in as few words as possible."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from localtrack.errors import InvalidInputError
from localtrack.query.search import search_runs
from localtrack.types import DATASET_CONTEXT_TAG, Dataset, DatasetInput, InputTag, MetricSummary, RunInfo, RunRow

BASE_MS = 1_700_000_000_000


def metric(value: float, *, low: float | None = None, high: float | None = None) -> MetricSummary:
    return MetricSummary(value, 3, BASE_MS, value if low is None else low, value if high is None else high, 7)


def data_set(name: str, digest: str, context: str | None = None) -> DatasetInput:
    tags = () if context is None else (InputTag(DATASET_CONTEXT_TAG, context),)
    return DatasetInput(Dataset(name, digest, "local", "{}"), tags)


def run(
    run_id: str,
    *,
    metrics: Mapping[str, float | MetricSummary] | None = None,
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    datasets: tuple[DatasetInput, ...] = (),
    **info: object,
) -> RunRow:
    described: dict[str, object] = {
        "experiment_id": "0",
        "run_name": f"name-{run_id}",
        "user_id": "ada",
        "status": "FINISHED",
        "start_time": BASE_MS,
        "end_time": BASE_MS + 1_000,
        "lifecycle_stage": "active",
        "artifact_uri": f"runs/{run_id}/artifacts",
    } | info
    summaries = {k: m if isinstance(m, MetricSummary) else metric(m) for k, m in (metrics or {}).items()}
    named_tags = {"mlflow.runName": str(described["run_name"])} | dict(tags or {})
    return RunRow(RunInfo(run_id=run_id, **described), params or {}, named_tags, summaries, datasets)  # type: ignore[arg-type]


def found(rows: list[RunRow], filter_string: str | None = "", **search: object) -> list[str]:
    return [row.info.run_id for row in search_runs(rows, filter_string=filter_string, **search)]  # type: ignore[arg-type]


def refusal(filter_string: str, **search: object) -> str:
    """Return what is said when the filter is refused."""
    with pytest.raises(InvalidInputError) as caught:
        search_runs([], filter_string=filter_string, **search)  # type: ignore[arg-type]
    assert caught.value.code == "invalid_filter"
    return str(caught.value)
