"""What MLflow logs to a run: metrics, params and tags."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mlflow.entities import Metric, Param, RunTag

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.format.names import MAX_PARAM_VALUE_CHARS, MAX_TAG_VALUE_CHARS, validate_key, validate_value
from localtrack.format.scalars import to_step, to_timestamp_ms, to_value
from localtrack.mlflow_plugin import host
from localtrack.mlflow_plugin.failures import raises_mlflow_errors
from localtrack.mlflow_plugin.models import ModelMethods
from localtrack.store.open_log import Point
from localtrack.store.run_writer import RunWriter


@raises_mlflow_errors
class LoggingMethods(ModelMethods):
    """What MLflow gives a tracking store to log."""

    def log_metric(self, run_id: str, metric: Metric) -> None:
        """Log one point."""
        if getattr(metric, "model_id", None) is not None:
            self.log_batch(run_id, [metric], [], [])
            return
        value, timestamp = metric.value, metric.timestamp
        host.validate_metric(metric.key, value, timestamp, metric.step)
        at_ms = timestamp if type(timestamp) is int else int(timestamp)
        self.writers.use(run_id, lambda writer: writer.log_point(metric.key, value, metric.step, at_ms))

    def log_param(self, run_id: str, param: Param) -> None:
        """Log one param. The same value again changes nothing."""
        checked = host.validate_param(param.key, param.value)
        self._log(run_id, [], {checked.key: _param_value(checked)}, {}, is_batch=False)

    def set_tag(self, run_id: str, tag: RunTag) -> None:
        """Set one tag."""
        checked = host.validate_tag(tag.key, tag.value)
        self._log(run_id, [], {}, {checked.key: _tag_value(checked)})

    def delete_tag(self, run_id: str, key: str) -> None:
        """Delete a tag of a run."""
        if key not in self.require_active_run(run_id).state.tags:
            raise host.refusal(f"No tag with name: {key} in run with id {run_id}", "RESOURCE_DOES_NOT_EXIST")
        self._log(run_id, [], {}, {key: None})

    def log_batch(
        self, run_id: str, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> None:
        """Log metrics, params and tags at once. A refused batch leaves nothing."""
        host.validate_run_id(run_id)
        metrics, params, tags = host.validate_batch(metrics, params, tags)
        host.validate_batch_limits(metrics, params, tags)
        host.validate_param_keys_unique(params)
        of_models = self.check_model_metrics(run_id, metrics)
        self._log(
            run_id,
            [_point(metric) for metric in metrics],
            {param.key: _param_value(param) for param in params},
            {tag.key: _tag_value(tag) for tag in tags},
        )
        # After the run's own: when this fails the caller logs all of it again, and equal points are one.
        for model_id, model_metrics in of_models.items():
            self.store.add_model_metrics(model_id, model_metrics)

    def record_logged_model(self, run_id: str, mlflow_model: Any) -> None:
        """Note in a tag that a model was logged, as clients before MLflow 3 ask for."""
        from mlflow.models import Model

        if not isinstance(mlflow_model, Model):
            raise TypeError(f"Argument 'mlflow_model' should be mlflow.models.Model, got '{type(mlflow_model)}'")
        known = self.require_active_run(run_id).state.tags.get(host.MLFLOW_LOGGED_MODELS)
        models = [*(json.loads(known) if known else []), mlflow_model.get_tags_dict()]
        tag = host.validate_tag(host.MLFLOW_LOGGED_MODELS, json.dumps(models))
        self._log(run_id, [], {}, {tag.key: tag.value})

    def _log(
        self,
        run_id: str,
        points: list[Point],
        params: dict[str, str],
        tags: dict[str, str | None],
        *,
        is_batch: bool = True,
    ) -> None:
        def log(writer: RunWriter) -> None:
            if params:
                self.writers.learn_params(writer)
            writer.log_batch(points, params, tags)

        try:
            self.writers.use(run_id, log)
        except InvalidInputError as error:
            if error.code != ErrorCode.PARAM_CHANGED:
                raise
            raise self._params_changed(run_id, params, is_batch=is_batch) from error

    def _params_changed(self, run_id: str, params: dict[str, str], *, is_batch: bool) -> Exception:
        """Return what MLflow's SQL store raises; clients look at the text."""
        known = self.read_run(run_id).state.params
        if not is_batch:
            ((key, value),) = params.items()
            return host.refusal(
                f"Changing param values is not allowed. Param with key='{key}' was already logged with "
                f"value='{known.get(key)}' for run ID='{run_id}'. Attempted logging new value '{value}'.",
                "INVALID_PARAMETER_VALUE",
            )
        changed = [
            {"key": key, "old_value": known[key], "new_value": value}
            for key, value in params.items()
            if known.get(key, value) != value
        ]
        return host.refusal(
            f"Changing param values is not allowed. Params were already logged='{changed}' for run ID='{run_id}'.",
            "INVALID_PARAMETER_VALUE",
        )


def _point(metric: Metric) -> Point:
    # A fraction of a millisecond, as of `time.time() * 1000`, is cut off.
    return (
        validate_key(metric.key, "metric"),
        to_value(metric.value, metric.key),
        to_timestamp_ms(int(metric.timestamp)),
        to_step(metric.step),
    )


def _param_value(param: Param) -> str:
    validate_key(param.key, "param")
    if param.value is None:
        raise InvalidInputError(f"Param {param.key!r} has no value.", hint="Give a text.")
    return validate_value(param.value, "param", param.key, MAX_PARAM_VALUE_CHARS, truncate=True)


def _tag_value(tag: RunTag) -> str:
    validate_key(tag.key, "tag")
    return validate_value(tag.value, "tag", tag.key, MAX_TAG_VALUE_CHARS, truncate=True)
