"""What localtrack hands out, as MLflow's entities."""

from __future__ import annotations

from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    ExperimentTag,
    InputTag,
    LoggedModel,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunOutputs,
)

from localtrack import types
from localtrack.mlflow_plugin import host
from localtrack.mlflow_plugin.locations import LOCATION_TAG, Locations
from localtrack.storage.once import once


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


class StoredRunData(RunData):
    """The data of a run, whose points are made into MLflow's objects when somebody asks: most look at values only."""

    def __init__(self, row: types.RunRow) -> None:
        self._row = row
        self._metrics = {key: last.value for key, last in row.metrics.items()}
        self._params = dict(row.params)
        self._tags = dict(row.tags)

    @once
    def _metric_objs(self) -> list[Metric]:
        return [Metric(key, last.value, last.timestamp, last.step) for key, last in self._row.metrics.items()]


def to_run(row: types.RunRow, artifact_uri: str) -> Run:
    """Return a run as MLflow's."""
    data = StoredRunData(row)
    inputs = RunInputs(
        dataset_inputs=[to_dataset_input(item) for item in row.datasets],
        model_inputs=[LoggedModelInput(item.model_id) for item in row.model_inputs],
    )
    outputs = RunOutputs([LoggedModelOutput(item.model_id, item.step) for item in row.model_outputs])
    return Run(to_run_info(row.info, artifact_uri), data, inputs, outputs)


def to_dataset_input(item: types.DatasetInput) -> DatasetInput:
    """Return a data set that a run read as MLflow's."""
    dataset = Dataset(**item.dataset.to_dictionary())
    return DatasetInput(dataset, [InputTag(tag.key, tag.value) for tag in item.tags])


def to_logged_model(model: types.LoggedModel, artifact_location: str) -> LoggedModel:
    """Return a logged model as MLflow's."""
    return LoggedModel(
        experiment_id=model.experiment_id,
        model_id=model.model_id,
        name=model.name,
        artifact_location=artifact_location,
        creation_timestamp=model.creation_timestamp,
        last_updated_timestamp=model.last_updated_timestamp,
        model_type=model.model_type,
        source_run_id=model.source_run_id,
        status=LoggedModelStatus(model.status.value),
        status_message=model.status_message,
        tags=dict(model.tags),
        params=dict(model.params),
        metrics=[
            Metric(
                metric.key,
                metric.value,
                metric.timestamp,
                metric.step,
                model_id=model.model_id,
                dataset_name=metric.dataset_name,
                dataset_digest=metric.dataset_digest,
                run_id=metric.run_id,
            )
            for metric in model.metrics
        ],
    )
