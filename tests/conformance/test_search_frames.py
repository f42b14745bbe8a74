"""The data frame of a search has the columns, the groups of columns and the types that `mlflow.search_runs` gives."""

from __future__ import annotations

import math
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from tests.unit.query.rows import BASE_MS, metric, run

from localtrack.query.frames import to_pandas
from localtrack.types import RunRow

SHAPES: dict[str, list[RunRow]] = {
    "empty": [],
    "one finished run": [run("a", metrics={"loss": 0.5}, params={"lr": "0.1"}, tags={"team": "red"})],
    "one run that goes on": [run("a", status="RUNNING", end_time=None)],
    "runs that lack each other's keys": [
        run("a", metrics={"loss": 0.5, "nan": math.nan}, params={"lr": "0.1", "z": ""}, tags={"é": "1"}),
        run("b", metrics={"acc": 1.0}, params={"opt": "adam"}, start_time=BASE_MS - 1, status="RUNNING", end_time=None),
        run("c", start_time=BASE_MS - 123_456_789, end_time=BASE_MS + 7, status="FAILED"),
    ],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_frame_is_that_of_mlflow(tmp_path: Path, shape: str) -> None:
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment_id = client.create_experiment("frames", artifact_location=str(tmp_path / "artifacts"))
    rows = []
    for row in SHAPES[shape]:
        made = client.create_run(experiment_id, row.info.start_time, run_name=row.info.run_name)
        metrics = [Metric(k, m.value, m.timestamp, m.step) for k, m in row.metrics.items()]
        params = [Param(k, v) for k, v in row.params.items()]
        client.log_batch(made.info.run_id, metrics, params, [RunTag(k, v) for k, v in row.tags.items()])
        if row.info.end_time is not None:
            client.set_terminated(made.info.run_id, row.info.status, row.info.end_time)
        seen = client.get_run(made.info.run_id)
        rows.append(
            run(
                seen.info.run_id,
                metrics={k: metric(v) for k, v in seen.data.metrics.items()},
                params=seen.data.params,
                tags=seen.data.tags,
                run_name=seen.info.run_name,
                experiment_id=experiment_id,
                status=seen.info.status,
                start_time=seen.info.start_time,
                end_time=seen.info.end_time,
                artifact_uri=seen.info.artifact_uri,
            )
        )
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    try:
        theirs = mlflow.search_runs([experiment_id])
    finally:
        mlflow.set_tracking_uri(before)
    assert isinstance(theirs, pd.DataFrame)
    ours = to_pandas(rows)
    # MLflow orders the keys within a group by the chance of a set; here they are sorted.
    groups = [name.partition(".")[0] for name in theirs.columns]
    assert [name.partition(".")[0] for name in ours.columns] == groups
    pd.testing.assert_frame_equal(ours, theirs[list(ours.columns)])
    assert len(theirs.columns) == len(ours.columns)
