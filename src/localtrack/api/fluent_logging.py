"""The fluent functions that log to the active run, and start one if there is none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from localtrack.api import active_model
from localtrack.api.fluent import run_to_log_to

if TYPE_CHECKING:
    from localtrack.api.run import ActiveRun


class RunOperations:
    """What MLflow returns for `synchronous=False`. Here the call has been made: there is nothing to wait for."""

    def wait(self) -> None:
        """Return at once."""


def log_metric(
    key: str,
    value: float,
    step: int | None = None,
    synchronous: bool | None = None,
    timestamp: int | None = None,
    run_id: str | None = None,
    model_id: str | None = None,
    dataset: Any = None,
) -> RunOperations | None:
    """Log one point of a metric.

    Args:
        key: Name of the metric.
        value: A number; NaN and infinities are kept. NumPy and PyTorch scalars are taken too.
        step: Any integer of 64 bits; 0 by default.
        synchronous: Accepted for MLflow's sake: every call is made before it returns.
        timestamp: Milliseconds since 1970, UTC; now by default.
        run_id: The run to log to; the active one by default.
        model_id: The logged model that it was measured on; by default the active one, else what the run made at that
            step.
        dataset: The data set that it was measured on, as for `log_input`. Kept with a model only, as in MLflow.

    Returns:
        None, or with `synchronous=False` an object with a method `wait`.

    Raises:
        InvalidInputError: Key, value, step or timestamp break a rule; nothing was written.
        NotFoundError: There is no such logged model; nothing was written.
        StorageError: It could not be written. Logging it again later is safe.
    """
    run = run_to_log_to(run_id)
    # As in MLflow, a time of 0 is none.
    if model_id is None and dataset is None and not active_model.uses_count:
        run.log_metric(key, value, step, timestamp or None)
    else:
        from localtrack.format.names import validate_key

        _log_linked(run, {validate_key(key, "metric"): value}, step, timestamp or None, model_id, dataset)
    return RunOperations() if synchronous is False else None


def log_metrics(
    metrics: Mapping[str, float],
    step: int | None = None,
    synchronous: bool | None = None,
    run_id: str | None = None,
    timestamp: int | None = None,
    model_id: str | None = None,
    dataset: Any = None,
) -> RunOperations | None:
    """Log one point of each of several metrics, with one step and time: all of them, or, if one is refused, none."""
    run = run_to_log_to(run_id)
    if model_id is None and dataset is None and not active_model.uses_count:
        run.log_metrics(metrics, step, timestamp or None)
    else:
        _log_linked(run, metrics, step, timestamp or None, model_id, dataset)
    return RunOperations() if synchronous is False else None


def log_param(key: str, value: Any, synchronous: bool | None = None) -> Any:
    """Log a param, and return its value. The same value again changes nothing.

    Raises:
        InvalidInputError: It has another value already, or key or value break a rule.
    """
    run_to_log_to().log_param(key, value)
    return RunOperations() if synchronous is False else value


def log_params(
    params: Mapping[str, Any], synchronous: bool | None = None, run_id: str | None = None
) -> RunOperations | None:
    """Log params: all of them, or, if one is refused, none."""
    run_to_log_to(run_id).log_params(params)
    return RunOperations() if synchronous is False else None


def set_tag(key: str, value: Any, synchronous: bool | None = None) -> RunOperations | None:
    """Set a tag of the active run. The last value counts."""
    run_to_log_to().set_tag(key, value)
    return RunOperations() if synchronous is False else None


def set_tags(tags: Mapping[str, Any], synchronous: bool | None = None) -> RunOperations | None:
    """Set tags of the active run: all of them, or, if one is refused, none."""
    run_to_log_to().set_tags(tags)
    return RunOperations() if synchronous is False else None


def delete_tag(key: str) -> None:
    """Delete a tag of the active run.

    Raises:
        NotFoundError: The run has no such tag.
    """
    run_to_log_to().delete_tag(key)


def log_artifact(
    local_path: str | os.PathLike[str], artifact_path: str | None = None, run_id: str | None = None
) -> None:
    """Copy a file, or a folder with all that it holds, into the run's artifacts.

    Args:
        local_path: What to copy.
        artifact_path: The folder among the artifacts to put it in; the topmost by default.
        run_id: The run; the active one by default.
    """
    run_to_log_to(run_id).log_artifact(local_path, artifact_path)


def log_artifacts(
    local_dir: str | os.PathLike[str], artifact_path: str | None = None, run_id: str | None = None
) -> None:
    """Copy what a folder holds into the run's artifacts."""
    run_to_log_to(run_id).log_artifacts(local_dir, artifact_path)


def log_text(text: str, artifact_file: str, run_id: str | None = None) -> None:
    """Write a text as an artifact, in UTF-8."""
    run_to_log_to(run_id).log_text(text, artifact_file)


def log_dict(dictionary: Any, artifact_file: str, run_id: str | None = None) -> None:
    """Write a dict or list as an artifact: YAML if the name ends so, else JSON."""
    run_to_log_to(run_id).log_dict(dictionary, artifact_file)


def log_figure(figure: Any, artifact_file: str, *, save_kwargs: dict[str, Any] | None = None) -> None:
    """Write a Matplotlib or Plotly figure as an artifact, in the format that the name's ending says."""
    run_to_log_to().log_figure(figure, artifact_file, save_kwargs=save_kwargs)


def log_image(
    image: Any,
    artifact_file: str | None = None,
    key: str | None = None,
    step: int | None = None,
    timestamp: int | None = None,
    synchronous: bool | None = False,
) -> None:
    """Write a PIL image or an array as an artifact: under a name, or under a key and step as MLflow shows series.

    Args:
        image: The image.
        artifact_file: Its name among the artifacts.
        key: Instead of the name, what the series is called.
        step: Which of the series it is; 0 by default.
        timestamp: Milliseconds since 1970, UTC; now by default.
        synchronous: Accepted for MLflow's sake: the image is there on return.
    """
    run_to_log_to().log_image(image, artifact_file, key=key, step=step, timestamp=timestamp)


def log_table(data: Any, artifact_file: str, run_id: str | None = None) -> None:
    """Write a table (a dict of columns or a DataFrame) as an artifact, or add its rows to the table that is there."""
    run_to_log_to(run_id).log_table(data, artifact_file)


def flush_async_logging() -> None:
    """Return when everything that this process has logged is on the disk. Nothing is ever pending."""
    from localtrack.api.fluent_store import flush

    flush()


def _log_linked(
    run: ActiveRun,
    metrics: Mapping[str, float],
    step: int | None,
    timestamp: int | None,
    model_id: str | None,
    dataset: Any,
) -> None:
    model_id = model_id or active_model.get_active_model_id()
    if model_id is None and dataset is None and not run.has_model_outputs:
        run.log_metrics(metrics, step, timestamp)
    else:
        run.log_linked(metrics, step, timestamp, model_id=model_id, dataset=dataset)
