"""The fluent functions for logged models, and for what runs read and make. Names, arguments, meanings are MLflow's."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Literal, overload

from localtrack import reporting
from localtrack.api import active
from localtrack.api.active_model import ActiveModel, get_active_model_id
from localtrack.api.argument_types import explain_wrong_types
from localtrack.api.dataset_inputs import describe_dataset
from localtrack.api.fluent import run_to_log_to
from localtrack.api.fluent_experiments import active_experiment_id
from localtrack.api.fluent_store import active_store
from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.types import DatasetInput, LoggedModel, LoggedModelInput, LoggedModelOutput, LoggedModelStatus

if TYPE_CHECKING:
    import pandas as pd

EXTERNAL_TAG = "mlflow.model.isExternal"


class _LastModel(threading.local):
    model_id: str | None = None


_last = _LastModel()


# -- what runs read and make


def log_input(
    dataset: Any = None,
    context: str | None = None,
    tags: dict[str, str] | None = None,
    model: LoggedModelInput | None = None,
) -> None:
    """Log a data set or a logged model that the active run reads. Starts a run if there is none.

    Args:
        dataset: An `mlflow.data` data set, or anything with name, digest and source, such as a `Dataset`.
        context: What it is read for: `training`, `eval`.
        tags: Other input tags.
        model: The logged model.

    Raises:
        InvalidInputError: It is no data set, or context or tags are given without one.
    """
    run = run_to_log_to()
    datasets = [_describe(dataset, context, tags)]
    run.log_inputs([known for known in datasets if known is not None], [model] if model else None)


@explain_wrong_types
def log_inputs(
    datasets: list[Any] | None = None,
    contexts: list[str | None] | None = None,
    tags_list: list[dict[str, str] | None] | None = None,
    models: list[LoggedModelInput | None] | None = None,
) -> None:
    """Log data sets and logged models that the active run reads. Starts a run if there is none.

    Args:
        datasets: The data sets, as for `log_input`; None stands for none.
        contexts: What each is read for; as many as data sets.
        tags_list: Other input tags of each; as many as data sets.
        models: The logged models.

    Raises:
        InvalidInputError: The lists are not of one length, or one of the data sets is none.
    """
    run = run_to_log_to()
    datasets, contexts, tags_list = datasets or [], contexts or [], tags_list or []
    if not len(datasets) == len(contexts) == len(tags_list):
        raise InvalidInputError("log_inputs requires datasets, contexts and tags_list to have the same length.")
    described = [_describe(*item) for item in zip(datasets, contexts, tags_list, strict=True)]
    run.log_inputs([known for known in described if known is not None], [model for model in models or () if model])


def log_outputs(models: list[LoggedModelOutput] | None = None) -> None:
    """Log logged models that the active run made. Starts a run if there is none."""
    run_to_log_to().log_outputs(models or ())


# -- logged models


@explain_wrong_types
def initialize_logged_model(
    name: str | None = None,
    source_run_id: str | None = None,
    tags: dict[str, str] | None = None,
    params: dict[str, str] | None = None,
    model_type: str | None = None,
    experiment_id: str | None = None,
) -> LoggedModel:
    """Make a logged model that is PENDING until `finalize_logged_model`.

    Args:
        name: Its name; a random readable one by default.
        source_run_id: The run that makes it; the active one by default.
        tags: First tags.
        params: First params.
        model_type: What kind of model it is.
        experiment_id: Where it belongs; the experiment of the active run by default, else the active one.
    """
    model = _create(name, source_run_id, tags, params, model_type, experiment_id)
    _last.model_id = model.model_id
    return model


@explain_wrong_types
def create_external_model(
    name: str | None = None,
    source_run_id: str | None = None,
    tags: dict[str, str] | None = None,
    params: dict[str, str] | None = None,
    model_type: str | None = None,
    experiment_id: str | None = None,
) -> LoggedModel:
    """Make a logged model that is READY at once, because what it consists of lies elsewhere.

    Arguments as for `initialize_logged_model`. It keeps params and metrics, and no files.
    """
    tags = {**(tags or {}), EXTERNAL_TAG: "true"}
    model = _create(name, source_run_id, tags, params, model_type, experiment_id)
    _last.model_id = model.model_id
    return finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def finalize_logged_model(
    model_id: str,
    status: Literal["READY", "FAILED"] | LoggedModelStatus,
) -> LoggedModel:
    """Record that a logged model is READY, or has FAILED, and return it.

    Raises:
        NotFoundError: There is no such model.
    """
    return active_store().finalize_logged_model(model_id, status)


def get_logged_model(model_id: str) -> LoggedModel:
    """Return a logged model.

    Raises:
        NotFoundError: There is none, or it is deleted.
    """
    return active_store().get_logged_model(model_id)


def last_logged_model() -> LoggedModel | None:
    """Return the model that this thread made last, as it is now; None if it made none."""
    return None if _last.model_id is None else get_logged_model(_last.model_id)


@overload
def search_logged_models(
    experiment_ids: list[str] | None = ...,
    filter_string: str | None = ...,
    datasets: list[dict[str, str]] | None = ...,
    max_results: int | None = ...,
    order_by: list[dict[str, Any]] | None = ...,
    output_format: Literal["pandas"] = ...,
) -> pd.DataFrame: ...
@overload
def search_logged_models(
    experiment_ids: list[str] | None = ...,
    filter_string: str | None = ...,
    datasets: list[dict[str, str]] | None = ...,
    max_results: int | None = ...,
    order_by: list[dict[str, Any]] | None = ...,
    *,
    output_format: Literal["list"],
) -> list[LoggedModel]: ...
@explain_wrong_types
def search_logged_models(
    experiment_ids: list[str] | None = None,
    filter_string: str | None = None,
    datasets: list[dict[str, str]] | None = None,
    max_results: int | None = None,
    order_by: list[dict[str, Any]] | None = None,
    output_format: Literal["pandas", "list"] = "pandas",
) -> pd.DataFrame | list[LoggedModel]:
    """Return the logged models that match a filter, in order, all pages of them.

    Args:
        experiment_ids: Only models of these; those of the active experiment by default.
        filter_string: For example `metrics.accuracy > 0.9 AND params.depth = '3'`.
        datasets: Dicts with `dataset_name` and perhaps `dataset_digest`: only metrics measured on one of these.
        max_results: How many at most; all by default.
        order_by: Dicts with `field_name` and perhaps `ascending`, `dataset_name`, `dataset_digest`.
        output_format: `pandas` or `list`.

    Raises:
        InvalidInputError: An argument cannot be read.
        LocaltrackError: A data frame is asked for and pandas is not installed.
    """
    if output_format not in ("pandas", "list"):
        raise InvalidInputError(
            f"Unsupported output format: {output_format!r}.",
            code=ErrorCode.INVALID_VALUE,
            hint="Supported values are 'pandas' and 'list'.",
        )
    from localtrack.api.pages import LoggedModelPage
    from localtrack.query.pages import MAX_RESULTS

    store = active_store()
    found = LoggedModelPage()
    token = None
    while max_results is None or len(found) < max_results:
        page = store.search_logged_models(
            experiment_ids or [active_experiment_id(store)],
            filter_string,
            datasets,
            MAX_RESULTS if max_results is None else max_results,
            order_by,
            token,
        )
        if page.findings and not found:
            first = page.findings[0]
            reporting.warn(
                "%d findings in the store, so logged models may be missing or incomplete here; the first: %s (%s)",
                len(page.findings),
                first.what,
                first.key,
            )
        found += page
        token = page.token
        if token is None:
            break
    if max_results is not None:
        del found[max_results:]
    return found.to_pandas() if output_format == "pandas" else list(found)


def log_model_params(params: dict[str, str], model_id: str | None = None) -> None:
    """Log params of a logged model: all of them, or, if one is refused, none.

    Args:
        params: The params.
        model_id: The model; the active one by default.

    Raises:
        NotFoundError: There is no such model.
        InvalidInputError: One has another value already, or no model is active.
    """
    active_store().log_logged_model_params(model_id or get_active_model_id(), params)  # type: ignore[arg-type]


def set_logged_model_tags(model_id: str, tags: dict[str, Any]) -> None:
    """Set tags of a logged model. The last value counts."""
    active_store().set_logged_model_tags(model_id, tags)


def delete_logged_model_tag(model_id: str, key: str) -> None:
    """Delete a tag of a logged model.

    Raises:
        NotFoundError: There is no such model, or it has no such tag.
    """
    active_store().delete_logged_model_tag(model_id, key)


def set_active_model(*, name: str | None = None, model_id: str | None = None) -> ActiveModel:
    """Let the metrics of this thread belong to a logged model; as a context manager until the end of the block.

    Args:
        name: The latest model of that name in the active experiment; made if there is none.
        model_id: The model of that id.

    Raises:
        NotFoundError: There is no model of that id.
        InvalidInputError: Neither is given, or the model has another name.
    """
    if model_id is not None:
        model = get_logged_model(model_id)
        if name is not None and model.name != name:
            raise InvalidInputError(
                f"LoggedModel with model_id {model_id!r} has name {model.name!r}, which does not match the provided "
                f"name {name!r}."
            )
        return ActiveModel(model)
    if name is None:
        raise InvalidInputError("Either name or model_id must be provided.")
    store = active_store()
    named = [model for model in store.list_logged_models([active_experiment_id(store)]) if model.name == name]
    if len(named) > 1:
        reporting.warn("There are %d logged models with the name %r; the latest becomes active.", len(named), name)
    return ActiveModel(named[0] if named else create_external_model(name))


def _create(
    name: str | None,
    source_run_id: str | None,
    tags: dict[str, str] | None,
    params: dict[str, str] | None,
    model_type: str | None,
    experiment_id: str | None,
) -> LoggedModel:
    from localtrack.api.context import capture_context

    entry = active.top()
    store = active_store() if entry is None else entry.store
    if entry is not None:
        source_run_id = source_run_id or entry.run.run_id
        experiment_id = experiment_id or entry.run.experiment_id
    return store.create_logged_model(
        experiment_id or active_experiment_id(store),
        name,
        source_run_id,
        {**capture_context(), **(tags or {})},
        params,
        model_type,
    )


def _describe(dataset: Any, context: str | None, tags: dict[str, str] | None) -> DatasetInput | None:
    if dataset is None:
        if context or tags:
            raise InvalidInputError("`dataset` must be specified if `context` or `tags` is specified.")
        return None
    return describe_dataset(dataset, context, tags)
