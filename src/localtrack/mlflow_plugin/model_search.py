"""Searching logged models: MLflow's language for them, parsed by MLflow, decided here."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from localtrack.mlflow_plugin import host
from localtrack.types import LoggedModel, LoggedModelMetric

_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "IN": lambda value, wanted: value in wanted,
    "NOT IN": lambda value, wanted: value not in wanted,
    "LIKE": lambda value, pattern: _is_like(value, pattern),
    "ILIKE": lambda value, pattern: _is_like(value.lower(), pattern.lower()),
}
_ATTRIBUTES: Final[Mapping[str, Callable[[LoggedModel], Any]]] = {
    "model_id": lambda model: model.model_id,
    "name": lambda model: model.name,
    "model_type": lambda model: model.model_type,
    "source_run_id": lambda model: model.source_run_id,
    "experiment_id": lambda model: model.experiment_id,
    "status": lambda model: model.status.value,
    "status_message": lambda model: model.status_message,
    "artifact_location": lambda model: model.artifact_location,
    "lifecycle_stage": lambda model: model.lifecycle_stage,
    "creation_timestamp_ms": lambda model: model.creation_timestamp,
    "last_updated_timestamp_ms": lambda model: model.last_updated_timestamp,
}
"""By the names of MLflow's columns, to which its parser resolves the aliases."""
_ALIASES: Final = {
    "creation_time": "creation_timestamp_ms",
    "creation_timestamp": "creation_timestamp_ms",
    "last_updated_timestamp": "last_updated_timestamp_ms",
}

Datasets = Sequence[Mapping[str, str]]
Test = Callable[[LoggedModel], bool]


def choose_models(
    models: Iterable[LoggedModel],
    *,
    filter_string: str | None,
    datasets: Datasets,
    order_by: Sequence[Mapping[str, Any]],
) -> list[LoggedModel]:
    """Return the models that match, in order.

    Args:
        models: The models to choose from.
        filter_string: Conditions joined by AND. One on a metric holds when any of its points fulfils it.
        datasets: Only points on one of these count for conditions on metrics; without such a condition, only models
            with a point on one of them are returned.
        order_by: `field_name`, and perhaps `ascending`, `dataset_name`, `dataset_digest`: attributes, or the latest
            value of a metric. What is missing comes last; then the model that was made last comes first.
    """
    tests, has_metrics = _parse(filter_string, datasets)
    if datasets and not has_metrics:
        tests.append(lambda model: any(_is_on(metric, datasets) for metric in model.metrics))
    found = [model for model in models if all(test(model) for test in tests)]
    named = {_column(str(order.get("field_name"))) for order in order_by}
    if "model_id" not in named:
        found.sort(key=lambda model: model.model_id)
    if "creation_timestamp_ms" not in named:
        found.sort(key=lambda model: -model.creation_timestamp)
    for order in reversed(order_by):  # sorting is stable: the first key is applied last
        value_of = _order_value(order)
        found.sort(key=_among_numbers(value_of), reverse=not order.get("ascending", True))
        found.sort(key=_rank(value_of))
    return found


def _parse(filter_string: str | None, datasets: Datasets) -> tuple[list[Test], bool]:
    tests: list[Test] = []
    has_metrics = False
    for condition in host.parse_model_filter(filter_string):
        kind, key = condition.entity.type.value, condition.entity.key
        compare, wanted = _COMPARE[condition.op], condition.value
        if kind == "metrics":
            has_metrics = True
            tests.append(_metric_test(key, compare, wanted, datasets))
        elif kind == "attributes":
            tests.append(_value_test(_attribute(key), compare, wanted))
        else:
            values: Callable[[LoggedModel], Any] = operator.attrgetter(kind)
            tests.append(
                _value_test(lambda model, values=values, key=key: values(model).get(key), compare, wanted)  # type: ignore[misc]
            )
    return tests, has_metrics


def _metric_test(key: str, compare: Callable[[Any, Any], bool], wanted: Any, datasets: Datasets) -> Test:
    return lambda model: any(
        metric.key == key and compare(metric.value, wanted) and (not datasets or _is_on(metric, datasets))
        for metric in model.metrics
    )


def _value_test(value_of: Callable[[LoggedModel], Any], compare: Callable[[Any, Any], bool], wanted: Any) -> Test:
    def test(model: LoggedModel) -> bool:
        value = value_of(model)
        return value is not None and compare(value, wanted)

    return test


def _is_on(metric: LoggedModelMetric, datasets: Datasets) -> bool:
    return any(
        metric.dataset_name == dataset["dataset_name"]
        and ("dataset_digest" not in dataset or metric.dataset_digest == dataset["dataset_digest"])
        for dataset in datasets
    )


def _attribute(name: str) -> Callable[[LoggedModel], Any]:
    found = _ATTRIBUTES.get(name)
    if found is None:
        raise host.refusal(f"Invalid attribute of a logged model: {name!r}.", "INVALID_PARAMETER_VALUE")
    return found


def _column(field_name: str) -> str:
    return _ALIASES.get(field_name, field_name)


def _order_value(order: Mapping[str, Any]) -> Callable[[LoggedModel], Any]:
    field_name = str(order.get("field_name"))
    entity, dot, key = field_name.partition(".")
    if not dot:
        found = _ATTRIBUTES.get(_column(field_name))
        if found is None:
            raise host.refusal(f"Invalid order by field name: {field_name}", "INVALID_PARAMETER_VALUE")
        return found
    if entity != "metrics":
        raise host.refusal(
            f"Invalid order by field name: {field_name}. Only metrics are supported.", "INVALID_PARAMETER_VALUE"
        )
    name, digest = order.get("dataset_name"), order.get("dataset_digest")

    def latest(model: LoggedModel) -> float | None:
        points = [
            metric
            for metric in model.metrics
            if metric.key == key
            and (not name or metric.dataset_name == name)
            and (not digest or metric.dataset_digest == digest)
        ]
        if not points:
            return None
        # Of several at one time and step that of the run whose id comes first.
        points.sort(key=lambda metric: metric.run_id or "")
        return max(points, key=lambda metric: (metric.timestamp, metric.step)).value

    return latest


def _rank(value_of: Callable[[LoggedModel], Any]) -> Callable[[LoggedModel], int]:
    """Return what puts NaN behind numbers, and what is missing behind both, in either direction."""

    def rank(model: LoggedModel) -> int:
        value = value_of(model)
        return 2 if value is None else int(isinstance(value, float) and math.isnan(value))

    return rank


def _among_numbers(value_of: Callable[[LoggedModel], Any]) -> Callable[[LoggedModel], Any]:
    rank = _rank(value_of)
    # What is no number gets a place of its own afterwards; until then it must be comparable.
    return lambda model: (1, value_of(model)) if rank(model) == 0 else (0,)


def _is_like(value: str, pattern: str) -> bool:
    parts = ("." if char == "_" else ".*" if char == "%" else re.escape(char) for char in pattern)
    return re.fullmatch("".join(parts), value, flags=re.DOTALL) is not None
