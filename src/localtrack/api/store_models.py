"""Logged models, and what runs read and make, as users call them. Names and meanings are MLflow's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from localtrack.api.model_artifacts import ModelArtifactCalls
from localtrack.api.pages import LoggedModelPage
from localtrack.api.store_experiments import listed
from localtrack.errors import ErrorCode, InvalidInputError, NotFoundError
from localtrack.format.names import validate_key, validate_value
from localtrack.format.scalars import to_step, to_timestamp_ms, to_value
from localtrack.storage.base import Storage
from localtrack.store.catalog import Catalog
from localtrack.types import DEFAULT_EXPERIMENT_ID, Finding, LoggedModel, LoggedModelStatus, ViewType

if TYPE_CHECKING:
    from localtrack.format.modellog import ModelMetric
    from localtrack.store.models import Models
    from localtrack.store.run_writer import RunWriter
    from localtrack.store.runs import Runs

MAX_VALUE_CHARS: Final = 1_000_000
"""Of a param or tag of a logged model. MLflow knows no limit; a longer text belongs into an artifact."""
_BAD_NAME_CHARS: Final = ("/", ":", ".", "%", '"', "'")
"""Source: `_validate_logged_model_name` of mlflow.utils.validation."""


class ModelCalls(ModelArtifactCalls):
    """What a `Store` offers for logged models, and for inputs and outputs of runs that it does not write itself."""

    storage: Storage
    _catalog: Catalog
    _runs: Runs
    _models: Models
    _user: str
    clock: Callable[[], int]
    _add_to_run: Callable[[str, Callable[[RunWriter], None]], None]

    # -- inputs and outputs of runs

    def log_run_inputs(
        self, run_id: str, datasets: Iterable[Any] | None = None, models: Iterable[Any] | None = None
    ) -> None:
        """Add data sets and logged models that a run read, from outside. See `ActiveRun.log_inputs`."""
        payloads, model_ids = checked_inputs(datasets, models)
        self._add_to_run(run_id, lambda writer: writer.log_inputs(payloads, model_ids))

    def log_run_outputs(self, run_id: str, models: Iterable[Any]) -> None:
        """Add logged models that a run made, from outside. See `ActiveRun.log_outputs`."""
        outputs = checked_outputs(models)
        self._add_to_run(run_id, lambda writer: writer.log_outputs(outputs))

    # -- logged models

    def create_logged_model(
        self,
        experiment_id: str = DEFAULT_EXPERIMENT_ID,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        model_type: str | None = None,
        *,
        model_id: str | None = None,
        creation_timestamp: int | None = None,
    ) -> LoggedModel:
        """Make a logged model, PENDING until it is finalized.

        Args:
            experiment_id: Where it belongs.
            name: Its name; a random readable one by default. Several models may have one name.
            source_run_id: The run that makes it.
            tags: First tags.
            params: First params.
            model_type: What kind of model it is: `agent`, `sklearn`.
            model_id: Its id, for a model that comes from elsewhere; a new one by default.
            creation_timestamp: Milliseconds since 1970, UTC; now by default.

        Raises:
            NotFoundError: There is no such experiment.
            InvalidInputError: The experiment is deleted, the name holds `/ : . % " '`, or the id is taken.
        """
        _validate_name(name)
        creation: dict[str, Any] = {"source_run": source_run_id, "model_type": model_type}
        for field, value in creation.items():
            _require_text_or_none(field, value)
        checked_params, checked_tags = _checked(params, "param"), _checked(tags, "tag")
        if creation_timestamp is not None:
            creation["created_ms"] = to_timestamp_ms(creation_timestamp)
        experiment = self._catalog.find(experiment_id)
        if not name:
            from localtrack.api.run_names import random_run_name

            name = random_run_name()
        made = self._models.create(
            experiment,
            {"name": name, **creation},
            model_id=model_id,
            params=checked_params,
            tags=checked_tags,
        )
        return self.get_logged_model(made)

    def get_logged_model(self, model_id: str, allow_deleted: bool = False) -> LoggedModel:
        """Return a logged model.

        Raises:
            NotFoundError: There is none, or it is deleted and `allow_deleted` is False.
        """
        return self._models.entity(self._models.read(model_id, allow_deleted=allow_deleted))

    def finalize_logged_model(
        self, model_id: str, status: str | LoggedModelStatus, status_message: str | None = None
    ) -> LoggedModel:
        """Record that a logged model is READY, or has FAILED, and return it.

        Args:
            model_id: The model.
            status: READY or FAILED; UPLOAD_FAILED is another word for that.
            status_message: Why.

        Raises:
            NotFoundError: There is no such model.
        """
        info: dict[str, Any] = {"status": LoggedModelStatus.parse(status).value}
        _require_text_or_none("status_message", status_message)
        if status_message is not None:
            info["status_message"] = status_message
        self._models.change(model_id, info=info)
        return self.get_logged_model(model_id, allow_deleted=True)

    def set_logged_model_tags(self, model_id: str, tags: Mapping[str, Any]) -> None:
        """Set tags of a logged model. The last value counts."""
        self._models.change(model_id, tags=_checked(tags, "tag"))

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        """Delete a tag of a logged model.

        Raises:
            NotFoundError: There is no such model, or it has no such tag.
        """
        if key not in self._models.read(model_id).state.tags:
            raise NotFoundError(
                f"No tag with key {key!r} found for model with ID {model_id!r}.", code=ErrorCode.TAG_NOT_FOUND
            )
        self._models.change(model_id, tags={key: None})

    def log_logged_model_params(self, model_id: str, params: Mapping[str, Any]) -> None:
        """Add params to a logged model: all of them, or, if one is refused, none.

        Raises:
            InvalidInputError: One has another value already.
        """
        self._models.change(model_id, params=_checked(params, "param"))

    def log_logged_model_metrics(self, model_id: str, metrics: Iterable[Any]) -> None:
        """Add metrics to a logged model, without making them points of a run.

        Args:
            model_id: The model.
            metrics: Each with `key`, `value`, `timestamp`, `step`, and perhaps `run_id`, `dataset_name` and
                `dataset_digest`. One that is there already, all of it equal, changes nothing.
        """
        self._models.change(model_id, metrics=[checked_model_metric(metric) for metric in metrics])

    def delete_logged_model(self, model_id: str) -> None:
        """Delete a logged model; it can be restored. The deletion of its experiment does not do that, as in MLflow."""
        self._models.mark_deleted(model_id, is_deleted=True, user=self._user)

    def restore_logged_model(self, model_id: str) -> None:
        """Take back the deletion of a logged model."""
        if self.get_logged_model(model_id, allow_deleted=True).lifecycle_stage == "deleted":
            self._models.mark_deleted(model_id, is_deleted=False, user=self._user)

    def list_logged_models(
        self,
        experiment_ids: Iterable[str] | None = None,
        view_type: int = ViewType.ACTIVE_ONLY,
        *,
        findings: list[Finding] | None = None,
    ) -> list[LoggedModel]:
        """Return logged models, latest first, then by id.

        Args:
            experiment_ids: Only models of these; all experiments by default.
            view_type: Life-cycle stages to return.
            findings: What is damaged, and so missing or incomplete in the answer, is added here.
        """
        wanted = None if (ids := listed(experiment_ids)) is None else set(map(str, ids))
        edits = self._catalog.read()
        stages = {ViewType.ACTIVE_ONLY: ("active",), ViewType.DELETED_ONLY: ("deleted",)}
        shown = stages.get(view_type, ("active", "deleted"))
        readings = self._models.iterate([] if findings is None else findings, experiment_ids=wanted)
        models = (self._models.entity(reading, edits) for reading in readings)
        found = [model for model in models if model.lifecycle_stage in shown]
        return sorted(found, key=lambda model: (-model.creation_timestamp, model.model_id))

    def search_logged_models(
        self,
        experiment_ids: Iterable[str] | None = None,
        filter_string: str | None = None,
        datasets: Iterable[Mapping[str, Any]] | None = None,
        max_results: int | None = None,
        order_by: Iterable[Mapping[str, Any]] | None = None,
        page_token: str | None = None,
    ) -> LoggedModelPage:
        """Return the logged models that match a filter and are not deleted, in order, one page of them.

        Args:
            experiment_ids: Only models of these; all experiments by default.
            filter_string: For example `metrics.accuracy > 0.9 AND params.depth = '3'`: one of the model's metrics.
            datasets: Dicts with `dataset_name` and perhaps `dataset_digest`: only metrics measured on one of these.
            max_results: Length of a page, at most 50,000; 100 by default.
            order_by: Dicts with `field_name` (an attribute, or `metrics.<key>`, by its latest value), `ascending`,
                `dataset_name`, `dataset_digest`.
            page_token: The token of the page before, whose other arguments must be the same.

        Returns:
            A list with a `token`, which is None on the last page, and `findings`: what was damaged, and so is missing
            or incomplete in the answer.

        Raises:
            InvalidInputError: The filter or another argument cannot be read.
        """
        from localtrack.query.logged_models import search_logged_models

        wanted = None if (ids := listed(experiment_ids)) is None else list(map(str, ids))
        findings: list[Finding] = []
        page = search_logged_models(
            self.list_logged_models(wanted, ViewType.ACTIVE_ONLY, findings=findings),
            experiment_ids=wanted,
            filter_string=filter_string,
            datasets=datasets,
            max_results=max_results,
            order_by=None if order_by is None else list(order_by),
            page_token=page_token,
            now_ms=self.clock(),
        )
        return LoggedModelPage(page, token=page.token, findings=findings)

    # -- for ActiveRun and the plugin

    def let_go_of_deleted_models(self) -> None:
        """Close this process's logs of logged models that are deleted, by whomever, so that they can be removed."""
        self._models.let_go_of_deleted()

    def require_logged_models(self, model_ids: Iterable[str]) -> None:
        """Raise `NotFoundError` if one of these is not there, before something is written that names it."""
        for model_id in model_ids:
            self._models.require(model_id)

    def add_model_metrics(self, model_id: str, metrics: Sequence[ModelMetric]) -> None:
        """Add metrics, checked already, to a logged model."""
        self._models.change(model_id, metrics=metrics)


def checked_inputs(
    datasets: Iterable[Any] | None, models: Iterable[Any] | None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the payloads of data sets and the ids of models that a run read, else raise `InvalidInputError`."""
    from localtrack.api.dataset_inputs import encode_dataset_input

    payloads = [encode_dataset_input(dataset_input) for dataset_input in datasets or ()]
    return payloads, [_model_id_of(model) for model in models or ()]


def checked_outputs(models: Iterable[Any]) -> list[tuple[str, int]]:
    """Return id and step of each model that a run made, else raise `InvalidInputError`."""
    return [(_model_id_of(model), to_step(getattr(model, "step", 0))) for model in models]


def checked_model_metric(metric: Any) -> ModelMetric:
    """Return a metric of a logged model as its log has it, else raise `InvalidInputError`."""
    from localtrack.format.modellog import ModelMetric

    if not all(hasattr(metric, name) for name in ("key", "value", "timestamp", "step")):
        raise InvalidInputError(f"{str(metric)[:60]!r} is not a metric.", hint="Give objects of localtrack.Metric.")
    dataset = getattr(metric, "dataset_name", None), getattr(metric, "dataset_digest", None)
    if dataset.count(None) == 1:
        raise InvalidInputError("Both dataset_name and dataset_digest must be provided if one is provided")
    run_id = getattr(metric, "run_id", None)
    for name, value in (("run_id", run_id), ("dataset_name", dataset[0]), ("dataset_digest", dataset[1])):
        _require_text_or_none(name, value)
    return ModelMetric(
        validate_key(metric.key, "metric"),
        to_value(metric.value, metric.key),
        to_timestamp_ms(metric.timestamp),
        to_step(metric.step),
        run_id,
        None if dataset[0] is None else (dataset[0], str(dataset[1])),
    )


def _model_id_of(model: Any) -> str:
    from localtrack.format.ids import parse_model_id

    return parse_model_id(model if isinstance(model, str) else getattr(model, "model_id", None))


def _checked(values: Mapping[str, Any] | None, kind: str) -> dict[str, str]:
    return {
        validate_key(key, kind): validate_value(value, kind, key, MAX_VALUE_CHARS, truncate=False)
        for key, value in (values or {}).items()
    }


def _validate_name(name: object) -> None:
    if name is None:
        return
    if not isinstance(name, str) or not name or any(char in name for char in _BAD_NAME_CHARS):
        raise InvalidInputError(
            f"Invalid model name ({name!r}) provided. Model name must be a non-empty string and cannot contain the "
            f"following characters: {_BAD_NAME_CHARS}",
            code=ErrorCode.INVALID_NAME,
        )
    _require_text_or_none("name", name)


def _require_text_or_none(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be a text, not {type(value).__name__}.")
    validate_value(value, "field", name, MAX_VALUE_CHARS, truncate=False)
