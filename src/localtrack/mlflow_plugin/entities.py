"""What localtrack hands out, as MLflow's entities."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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
    Param,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunOutputs,
    RunTag,
)

from localtrack import types
from localtrack.mlflow_plugin import host
from localtrack.mlflow_plugin.locations import LOCATION_TAG, Locations
from localtrack.storage.once import once

if TYPE_CHECKING:
    from localtrack.query.run_values import RunValues


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
    """The data of a run, whose points are made into MLflow's objects when somebody asks: most look at values only.

    Shows and pickles itself as what it stands for.
    """

    def __init__(
        self, metrics: dict[str, float], params: dict[str, str], tags: dict[str, str], whole: Callable[[], types.RunRow]
    ) -> None:
        self._metrics = metrics
        self._params = params
        self._tags = tags
        self._whole = whole

    @once
    def row(self) -> types.RunRow:
        """The whole run, as localtrack has it."""
        return self._whole()

    @once
    def _metric_objs(self) -> list[Metric]:
        return [Metric(key, last.value, last.timestamp, last.step) for key, last in self.row.metrics.items()]

    @classmethod
    def _properties(cls) -> list[str]:
        return list(RunData._properties())

    def __reduce__(self) -> tuple[Any, ...]:
        params = [Param(*item) for item in self._params.items()]
        return RunData, (self._metric_objs, params, [RunTag(*item) for item in self._tags.items()])


class StoredRun(Run):
    """A run whose inputs and outputs are looked up when somebody asks. As `StoredRunData`."""

    def __init__(self, info: RunInfo, data: StoredRunData) -> None:
        self._info = info
        self._data = data

    @once
    def _inputs(self) -> RunInputs:
        row = self._data.row
        return RunInputs(
            dataset_inputs=[to_dataset_input(item) for item in row.datasets],
            model_inputs=[LoggedModelInput(item.model_id) for item in row.model_inputs],
        )

    @once
    def _outputs(self) -> RunOutputs:
        return RunOutputs([LoggedModelOutput(item.model_id, item.step) for item in self._data.row.model_outputs])

    @classmethod
    def _properties(cls) -> list[str]:
        return list(Run._properties())

    def __reduce__(self) -> tuple[Any, ...]:
        return Run, (self._info, self._data, self._inputs, self._outputs)


# What users see in a notebook: these are nothing but runs.
StoredRunData.__name__ = RunData.__name__
StoredRun.__name__ = Run.__name__


def to_run(row: types.RunRow, artifact_uri: str) -> Run:
    """Return a run as MLflow's."""

    def whole() -> types.RunRow:
        return row

    metrics = {key: last.value for key, last in row.metrics.items()}
    data = StoredRunData(metrics, dict(row.params), dict(row.tags), whole)
    return StoredRun(to_run_info(row.info, artifact_uri), data)


def to_run_of_many(values: RunValues, artifact_uri: str, whole: Callable[[], types.RunRow]) -> Run:
    """Return a run of a long list as MLflow's.

    Args:
        values: What is shown of it.
        artifact_uri: Where its artifacts lie.
        whole: Gives the rest.
    """
    run_id, experiment_id, run_name, user_id, status, start_time, end_time, stage, metrics, params, tags = values
    info = host.make_run_info(
        run_id=run_id,
        experiment_id=experiment_id,
        user_id=user_id,
        status=status,
        start_time=start_time,
        end_time=end_time,
        lifecycle_stage=stage,
        artifact_uri=artifact_uri,
        run_name=run_name,
    )
    return StoredRun(info, StoredRunData(metrics, params, tags, whole))


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
