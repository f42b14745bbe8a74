"""What localtrack hands out, as MLflow's entities."""

from __future__ import annotations

from mlflow.entities import Experiment, ExperimentTag, Metric, Param, Run, RunData, RunInfo, RunTag

from localtrack import types
from localtrack.mlflow_plugin import host
from localtrack.mlflow_plugin.locations import LOCATION_TAG, Locations


def to_experiment(experiment: types.Experiment, locations: Locations) -> Experiment:
    """Return an experiment as MLflow's."""
    return Experiment(
        experiment.experiment_id,
        experiment.name,
        locations.of_experiment(experiment.tags),
        experiment.lifecycle_stage,
        tags=[ExperimentTag(key, value) for key, value in experiment.tags.items() if key != LOCATION_TAG],
        creation_time=experiment.creation_time,
        last_update_time=experiment.last_update_time,
    )


def to_run_info(info: types.RunInfo, artifact_uri: str) -> RunInfo:
    """Return what describes a run as MLflow's."""
    return host.make_run_info(
        run_id=info.run_id,
        experiment_id=info.experiment_id,
        user_id=info.user_id,
        status=info.status,
        start_time=info.start_time,
        end_time=info.end_time,
        lifecycle_stage=info.lifecycle_stage,
        artifact_uri=artifact_uri,
        run_name=info.run_name,
    )


def to_run(row: types.RunRow, artifact_uri: str) -> Run:
    """Return a run as MLflow's."""
    data = RunData(
        metrics=[Metric(key, last.value, last.timestamp, last.step) for key, last in row.metrics.items()],
        params=[Param(key, value) for key, value in row.params.items()],
        tags=[RunTag(key, value) for key, value in row.tags.items()],
    )
    return Run(to_run_info(row.info, artifact_uri), data)
