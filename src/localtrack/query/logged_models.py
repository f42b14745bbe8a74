"""Searching logged models: the same language and compiler as for runs, over other fields.

A condition on a metric holds if any of the model's metrics of that key fulfils it; with data sets, any that was
measured on one of these.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.format.arrow_columns import column
from localtrack.query.compile import compile_search
from localtrack.query.expression import And, Condition, Expression, Field, Kind, Not, Or, OrderKey
from localtrack.query.fields import LOGGED_MODELS
from localtrack.query.grammar import parse_filter
from localtrack.query.pages import Page, validate_max_results
from localtrack.query.relations import model_metrics_relation, models_relation, wide_relation
from localtrack.query.search import one_more
from localtrack.query.snapshot import select_from
from localtrack.types import LoggedModel, Metric

LoggedModelPage = Page[LoggedModel]

DEFAULT_MAX_RESULTS: Final = 100
"""Source: SEARCH_LOGGED_MODEL_MAX_RESULTS_DEFAULT of mlflow.store.tracking."""

_LATEST: Final = "latest"
"""The relation of the metrics that models are ordered by: each is a column of its own, by the number of its key."""
_CREATED: Final = LOGGED_MODELS.attributes["creation_timestamp"]
_ID: Final = LOGGED_MODELS.attributes["model_id"]


class DatasetFilter(NamedTuple):
    """Which data set a metric must have been measured on."""

    name: str | None
    digest: str | None

    def accepts(self, metric: Metric) -> bool:
        """Return whether a metric was measured on it."""
        return self.name in (None, metric.dataset_name) and self.digest in (None, metric.dataset_digest)


class LatestMetric(NamedTuple):
    """A metric that models are ordered by."""

    key: str
    dataset: DatasetFilter

    def value_of(self, model: LoggedModel) -> float | None:
        """Return the value of the latest one, by timestamp and step, then by least run; None if there is none."""
        found = [metric for metric in model.metrics if metric.key == self.key and self.dataset.accepts(metric)]
        if not found:
            return None
        newest = max((metric.timestamp, metric.step) for metric in found)
        newest_ones = [metric for metric in found if (metric.timestamp, metric.step) == newest]
        return min(newest_ones, key=lambda metric: metric.run_id or "").value


def search_logged_models(
    models: Iterable[LoggedModel],
    *,
    experiment_ids: Sequence[str] | None = None,
    filter_string: str | None = None,
    datasets: Iterable[Mapping[str, Any]] | None = None,
    max_results: int | None = None,
    order_by: Sequence[Mapping[str, Any]] | None = None,
    page_token: str | None = None,
    now_ms: int | None = None,
) -> LoggedModelPage:
    """Return the logged models that match a filter and are not deleted, in order, one page of them.

    Args:
        models: The models to choose from.
        experiment_ids: What the models were chosen by; a page token counts for the same ones only.
        filter_string: Which; empty for all.
        datasets: Dicts with `dataset_name` and perhaps `dataset_digest`: conditions on metrics look only at those that
            were measured on one of these. Without such a condition: models that have any metric measured on one.
        max_results: Length of a page, 1 to 50,000; 100 by default.
        order_by: Dicts with `field_name` (an attribute, or `metrics.<key>`, by its latest value), `ascending` (True by
            default), and for a metric perhaps `dataset_name` and `dataset_digest`. Models without the value come last.
            Ties are broken by creation, latest first, then by id.
        page_token: The token of the page before.
        now_ms: What `now()` stands for, milliseconds since 1970; the present by default.

    Raises:
        InvalidInputError: An argument cannot be read.
    """
    _require_dicts(order_by or (), '{"field_name": "metrics.loss", "ascending": True}')
    _require_dicts(datasets or (), '{"dataset_name": "march"}')
    wanted = _parse_datasets(datasets)
    query = {
        "experiment_ids": experiment_ids,
        "filter_string": filter_string or None,
        "order_by": [dict(item) for item in order_by or ()] or None,
    }
    offset = _parse_token(page_token, query)
    max_results = max_results or DEFAULT_MAX_RESULTS
    validate_max_results(max_results)
    expression = parse_filter(filter_string, LOGGED_MODELS, now_ms=now_ms)
    order, latest = _parse_order(order_by)
    models = list(models)
    metrics: list[Sequence[Metric]] = [model.metrics for model in models]
    if wanted:
        metrics = [[m for m in of_model if any(dataset.accepts(m) for dataset in wanted)] for of_model in metrics]
        if not _names_metrics(expression):
            kept = [number for number, of_model in enumerate(metrics) if of_model]
            models, metrics = [models[number] for number in kept], [metrics[number] for number in kept]
    statement = compile_search(
        LOGGED_MODELS, expression, order, stages=("active",), limit=one_more(max_results), offset=offset
    )
    plain = {name: field for name, field in statement.fields.items() if field.relation != _LATEST}
    wide = wide_relation(models_relation(models), models, plain)
    for name, field in statement.fields.items():
        if field.relation == _LATEST:
            values = [latest[int(field.key)].value_of(model) for model in models]
            wide = wide.append_column(name, column("double", values))
    tables = {"models": wide}
    if statement.many:
        tables["model_metrics"] = model_metrics_relation(metrics)
    numbers = select_from(statement, tables)
    token = _encode_token(query, offset + max_results) if len(numbers) > max_results else None
    return Page((models[number] for number in numbers[:max_results]), token)


def _require_dicts(items: Any, example: str) -> None:
    if not isinstance(items, Iterable) or not all(isinstance(item, Mapping) for item in items):
        raise InvalidInputError(
            f"A list of dicts is wanted, not {str(items)[:40]!r}.",
            code=ErrorCode.INVALID_VALUE,
            hint=f"Such as [{example}].",
        )


def _parse_datasets(datasets: Iterable[Mapping[str, Any]] | None) -> list[DatasetFilter]:
    found = [DatasetFilter(item.get("dataset_name"), item.get("dataset_digest")) for item in datasets or ()]
    if not all(dataset.name for dataset in found):
        raise InvalidInputError("`dataset_name` in the `datasets` clause must be specified.")
    return found


def _parse_order(order_by: Sequence[Mapping[str, Any]] | None) -> tuple[list[OrderKey], list[LatestMetric]]:
    keys: list[OrderKey] = []
    latest: list[LatestMetric] = []
    for item in order_by or ():
        name = item.get("field_name")
        if not isinstance(name, str):
            raise InvalidInputError("A key of an ordering is a dict with a `field_name`.")
        field = _order_field(name, item, latest)
        if all(key.field != field for key in keys):
            keys.append(OrderKey(field, is_ascending=bool(item.get("ascending", True))))
    for key in (OrderKey(_CREATED, is_ascending=False), OrderKey(_ID)):
        if all(known.field != key.field for known in keys):
            keys.append(key)
    return keys, latest


def _order_field(name: str, item: Mapping[str, Any], latest: list[LatestMetric]) -> Field:
    entity, dot, key = name.partition(".")
    relation = LOGGED_MODELS.entities.get(entity)
    if dot and relation == "model_metrics":
        dataset = DatasetFilter(item.get("dataset_name") or None, item.get("dataset_digest") or None)
        metric = LatestMetric(key.strip("`"), dataset)
        if metric not in latest:
            latest.append(metric)
        return Field(_LATEST, "value", Kind.NUMBER, str(latest.index(metric)))
    if dot and relation != "models":
        raise InvalidInputError(f"Invalid order by field name: {name}. Only metrics are supported.")
    field = LOGGED_MODELS.attributes.get(key if dot else name)
    if field is None:
        raise InvalidInputError(
            f"Invalid order by field name: {name}",
            hint=f"Use metrics.<key>, or one of {', '.join(sorted(LOGGED_MODELS.attributes))}.",
        )
    return field


def _names_metrics(expression: Expression | None) -> bool:
    match expression:
        case Condition(field):
            return field.relation == "model_metrics"
        case Not(part):
            return _names_metrics(part)
        case And(parts) | Or(parts):
            return any(map(_names_metrics, parts))
        case _:
            return False


def _encode_token(query: Mapping[str, Any], offset: int) -> str:
    """Return the token of the page that begins at a row of the answer to a query; MLflow's form."""
    return base64.b64encode(json.dumps({**query, "offset": offset}).encode()).decode()


def _parse_token(token: str | None, query: Mapping[str, Any]) -> int:
    if not token:
        return 0
    try:
        known = json.loads(base64.b64decode(token, validate=True))
        offset = known["offset"]
        if type(offset) is not int or not 0 <= offset < 2**62:
            raise ValueError
    except (ValueError, binascii.Error, TypeError, LookupError, RecursionError) as error:
        raise InvalidInputError(
            f"Invalid page token: {str(token)[:40]!r}.",
            code=ErrorCode.INVALID_VALUE,
            hint="Pass the token of the page before, or none for the first page.",
        ) from error
    # As it comes out of JSON: a tuple that was given is a list there.
    asked = json.loads(json.dumps(dict(query)))
    names = {
        "experiment_ids": "Experiment IDs in the page token do not match the requested experiment IDs.",
        "filter_string": "Filter string in the page token does not match the requested filter string.",
        "order_by": "Order by in the page token does not match the requested order by.",
    }
    for name, message in names.items():
        if known.get(name) != asked[name]:
            raise InvalidInputError(message, hint=f"Expected: {asked[name]}. Found: {known.get(name)}")
    return int(offset)
