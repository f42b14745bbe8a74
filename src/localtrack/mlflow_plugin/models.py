"""Logged models, and what runs read and make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlflow.entities import (
    DatasetInput,
    LoggedModel,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelParameter,
    LoggedModelStatus,
    LoggedModelTag,
    Metric,
)

from localtrack import types
from localtrack.api.store_models import checked_inputs, checked_model_metric, checked_outputs
from localtrack.errors import NotFoundError
from localtrack.format.modellog import ModelMetric
from localtrack.mlflow_plugin import host
from localtrack.mlflow_plugin.entities import to_logged_model
from localtrack.mlflow_plugin.failures import model_not_found, raises_mlflow_errors
from localtrack.mlflow_plugin.runs import RunMethods

MAX_DATASETS_COUNT = 1000
"""Data sets that one answer names. Source: `_search_datasets` of MLflow's SQL store."""


@raises_mlflow_errors
class ModelMethods(RunMethods):
    """What MLflow asks a tracking store about logged models, inputs and outputs."""

    # -- inputs and outputs

    def log_inputs(
        self,
        run_id: str,
        datasets: list[DatasetInput] | None = None,
        models: list[LoggedModelInput] | None = None,
    ) -> None:
        """Log data sets and models that a run read. What is there already changes nothing."""
        host.validate_run_id(run_id)
        if datasets is not None:
            if not isinstance(datasets, list):
                raise TypeError(f"Argument 'datasets' should be a list, got '{type(datasets)}'")
            host.validate_dataset_inputs(datasets)
        payloads, model_ids = checked_inputs(datasets, models)
        self.writers.use(run_id, lambda writer: writer.log_inputs(payloads, model_ids))

    def log_outputs(self, run_id: str, models: list[LoggedModelOutput]) -> None:
        """Log models that a run made. What is there already changes nothing."""
        outputs = checked_outputs(models)
        self.writers.use(run_id, lambda writer: writer.log_outputs(outputs))

    def _search_datasets(self, experiment_ids: Iterable[str]) -> list[Any]:
        """Return name, digest and context of the data sets that runs of some experiments read."""
        page = self.store.search_runs(
            experiment_ids=[self.check_experiment_id(experiment_id) for experiment_id in experiment_ids],
            max_results=None,
            run_view_type=types.ViewType.ALL,
        )
        found = {
            (row.info.experiment_id, item.dataset.name, item.dataset.digest, item.context): None
            for row in page
            for item in row.datasets
        }
        return [host.make_dataset_summary(*fields) for fields in list(found)[:MAX_DATASETS_COUNT]]

    # -- logged models

    def create_logged_model(
        self,
        experiment_id: str,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: Sequence[LoggedModelTag] | None = None,
        params: Sequence[LoggedModelParameter] | None = None,
        model_type: str | None = None,
    ) -> LoggedModel:
        """Make a logged model, which is PENDING until it is finalized."""
        host.validate_logged_model_name(name)
        self.writers.watch()
        experiment = self.require_active_experiment(experiment_id)
        made = self.store.create_logged_model(
            experiment.experiment_id,
            name or host.random_run_name(),
            source_run_id,
            {tag.key: tag.value for tag in tags or ()},
            {param.key: param.value for param in params or ()},
            model_type,
        )
        return self._shown_model(made)

    def get_logged_model(self, model_id: str, allow_deleted: bool = False) -> LoggedModel:
        """Return a logged model."""
        return self._shown_model(self._find_model(model_id, allow_deleted=allow_deleted))

    def search_logged_models(
        self,
        experiment_ids: list[str],
        filter_string: str | None = None,
        datasets: list[dict[str, Any]] | None = None,
        max_results: int | None = None,
        order_by: list[dict[str, Any]] | None = None,
        page_token: str | None = None,
    ) -> Any:
        """Return a page of the logged models that match."""
        if datasets and not all(dataset.get("dataset_name") for dataset in datasets):
            raise host.refusal("`dataset_name` in the `datasets` clause must be specified.", "INVALID_PARAMETER_VALUE")
        page = self.store.search_logged_models(
            [self.check_experiment_id(experiment_id) for experiment_id in experiment_ids],
            filter_string,
            datasets,
            max_results or None,
            order_by,
            page_token,
        )
        return host.PagedList([self._shown_model(model) for model in page], page.token)

    def finalize_logged_model(self, model_id: str, status: LoggedModelStatus) -> LoggedModel:
        """Set the status of a logged model: ready, or failed."""
        self._find_model(model_id)
        return self._shown_model(self.store.finalize_logged_model(model_id, status.value))

    def set_logged_model_tags(self, model_id: str, tags: Sequence[LoggedModelTag]) -> None:
        """Set tags of a logged model."""
        self._find_model(model_id)
        self.store.set_logged_model_tags(model_id, {tag.key: tag.value for tag in tags})

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        """Delete a tag of a logged model."""
        self._find_model(model_id)
        self.store.delete_logged_model_tag(model_id, key)

    def log_logged_model_params(self, model_id: str, params: Sequence[LoggedModelParameter]) -> None:
        """Add params to a logged model."""
        self._find_model(model_id)
        self.store.log_logged_model_params(model_id, {param.key: param.value for param in params})

    def delete_logged_model(self, model_id: str) -> None:
        """Delete a logged model."""
        self._find_model(model_id)
        self.store.delete_logged_model(model_id)

    # -- for the other methods

    def check_model_metrics(self, run_id: str, metrics: Iterable[Metric]) -> Mapping[str, list[ModelMetric]]:
        """Return the metrics that were measured on logged models, by model; raise if one of these is not there."""
        found: dict[str, list[ModelMetric]] = {}
        for metric in metrics:
            model_id = getattr(metric, "model_id", None)
            if model_id is not None:
                found.setdefault(model_id, []).append(checked_model_metric(metric)._replace(run_id=run_id))
        for model_id in found:
            self._find_model(model_id)
        return found

    def _find_model(self, model_id: str, *, allow_deleted: bool = True) -> types.LoggedModel:
        self.writers.watch()
        try:
            return self.store.get_logged_model(model_id, allow_deleted)
        except NotFoundError as error:
            raise model_not_found(model_id) from error

    def _shown_model(self, model: types.LoggedModel) -> LoggedModel:
        return to_logged_model(
            model, self.locations.of_model(model.model_id, self.experiment_tags(model.experiment_id))
        )
