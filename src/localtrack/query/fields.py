"""Which fields a filter can name: MLflow's names for runs, experiments and logged models, and localtrack's own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from localtrack.query.expression import Field, Kind

RUN_NAME_TAG: Final = "mlflow.runName"

METRIC_COLUMNS: Final[Mapping[str, str]] = {"min": "min", "max": "max", "latest": "value"}
"""Functions over a metric, and the column of `metrics` that each reads."""


METRIC_RELATIONS: Final = frozenset({"metrics", "model_metrics"})
"""Tall relations whose values are numbers."""


class Scope(NamedTuple):
    """The fields of one kind of thing that can be searched.

    Args:
        relation: The narrow relation.
        entities: What may stand before the dot, in lower case, and the relation that it means.
        attributes: Fields by their bare name, in lower case.
        datasets: Fields of a data set, by name.
        sort_attributes: Attributes that are ordered by another column than they are filtered by.
        many: Relations that hold any number of rows for one thing, each condition on which looks for a row of its own.
        functions: What may stand around a metric, in lower case, and the column that it reads.
    """

    relation: str
    entities: Mapping[str, str]
    attributes: Mapping[str, Field]
    datasets: Mapping[str, Field] = MappingProxyType({})
    sort_attributes: Mapping[str, Field] = MappingProxyType({})
    many: frozenset[str] = frozenset()
    functions: Mapping[str, str] = MappingProxyType({})

    def attribute(self, name: str, *, for_order: bool = False) -> Field | None:
        """Return the attribute of that name or alias, if there is one."""
        folded = name.lower()
        if for_order and folded in self.sort_attributes:
            return self.sort_attributes[folded]
        return self.attributes.get(folded)


def _aliases(relation: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, relation)


def _columns(relation: str, kind: Kind, *names: str) -> dict[str, Field]:
    return {name: Field(relation, name, kind) for name in names}


# MLflow filters by the tag, because the attribute was empty before 1.30, and orders by the attribute.
_RUN_NAME = Field("tags", "value", Kind.TEXT, RUN_NAME_TAG)
_RUN_NAME_ATTRIBUTE = Field("runs", "run_name", Kind.TEXT)
_START_TIME = Field("runs", "start_time", Kind.TIME)

RUNS: Final = Scope(
    relation="runs",
    entities=_aliases("metrics", "metric", "metrics")
    | _aliases("params", "param", "params", "parameter", "parameters")
    | _aliases("tags", "tag", "tags")
    | _aliases("runs", "attribute", "attributes", "attr", "run")
    | _aliases("datasets", "dataset", "datasets"),
    attributes=_columns("runs", Kind.TEXT, "run_id", "user_id", "status", "artifact_uri", "lifecycle_stage")
    | _columns("runs", Kind.TEXT, "experiment_name")
    | _columns("runs", Kind.ID, "experiment_id")
    | _columns("runs", Kind.TIME, "end_time")
    | _columns("runs", Kind.DURATION, "duration_ms")
    | {"start_time": _START_TIME, "created": _START_TIME, "run_name": _RUN_NAME, "run name": _RUN_NAME},
    datasets=_columns("datasets", Kind.TEXT, "name", "digest", "context"),
    sort_attributes={"run_name": _RUN_NAME_ATTRIBUTE, "run name": _RUN_NAME_ATTRIBUTE},
    many=frozenset({"datasets"}),
    functions=METRIC_COLUMNS,
)

EXPERIMENTS: Final = Scope(
    relation="experiments",
    entities=_aliases("tags", "tag", "tags") | _aliases("experiments", "attribute", "attributes", "attr", "experiment"),
    attributes=_columns("experiments", Kind.TEXT, "name", "artifact_location", "lifecycle_stage")
    | _columns("experiments", Kind.ID, "experiment_id")
    | _columns("experiments", Kind.TIME, "creation_time", "last_update_time"),
)

_MODEL_CREATED = Field("models", "creation_timestamp", Kind.TIME)
_MODEL_UPDATED = Field("models", "last_updated_timestamp", Kind.TIME)

LOGGED_MODELS: Final = Scope(
    relation="models",
    entities=_aliases("model_metrics", "metric", "metrics")
    | _aliases("params", "param", "params", "parameter", "parameters")
    | _aliases("tags", "tag", "tags")
    | _aliases("models", "attribute", "attributes", "attr", "model"),
    attributes=_columns("models", Kind.TEXT, "model_id", "name", "status", "model_type", "source_run_id")
    | _columns("models", Kind.TEXT, "status_message", "artifact_location", "lifecycle_stage")
    | _columns("models", Kind.ID, "experiment_id")
    | dict.fromkeys(("creation_timestamp", "creation_time", "creation_timestamp_ms"), _MODEL_CREATED)
    | dict.fromkeys(("last_updated_timestamp", "last_updated_timestamp_ms"), _MODEL_UPDATED),
    many=frozenset({"model_metrics"}),
)
