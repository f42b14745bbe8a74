"""Rows -> Arrow tables, the shape that a compiled search reads. The index makes tables of the same shape.

    runs         row, run_id, experiment_id, experiment_name, run_name, user_id, status, start_time, end_time,
                 duration_ms, lifecycle_stage, artifact_uri
    experiments  row, experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time
    metrics      row, key, value, step, timestamp, min, max, count
    params       row, key, value
    tags         row, key, value
    datasets     row, name, digest, context
    models       row, model_id, name, experiment_id, status, status_message, model_type, source_run_id,
                 artifact_location, lifecycle_stage, creation_timestamp, last_updated_timestamp
    model_metrics  row, key, value

`row` is the place of the run, experiment or logged model in the input; the tall tables but for `datasets` and
`model_metrics` hold a key at most once for a row. Times are milliseconds since 1970. A statement reads the *wide*
relation: `row`, `stage` (the place of the life-cycle stage in `STAGES`), those columns of the narrow relation that it
names, and a column for each key of a tall one that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from localtrack.format.arrow_columns import ColumnType, column
from localtrack.query.expression import Field
from localtrack.types import Experiment, LoggedModel, Metric, RunRow

if TYPE_CHECKING:
    import pyarrow as pa

Rows = Sequence[RunRow] | Sequence[Experiment] | Sequence[LoggedModel]

STAGES: Final = ("active", "deleted")
RUN_COLUMNS: Final = (
    *("run_id", "experiment_id", "experiment_name", "run_name", "user_id", "status", "start_time", "end_time"),
    *("duration_ms", "lifecycle_stage", "artifact_uri"),
)
"""The columns of `runs` besides `row`."""

_TALL_COLUMNS: Final[Mapping[str, Mapping[str, ColumnType]]] = {
    "metrics": {
        "row": "int32",
        "key": "string",
        "value": "double",
        "step": "int64",
        "timestamp": "int64",
        "min": "double",
        "max": "double",
        "count": "int64",
    },
    "params": {"row": "int32", "key": "string", "value": "string"},
    "tags": {"row": "int32", "key": "string", "value": "string"},
    "datasets": {"row": "int32", "name": "string", "digest": "string", "context": "string"},
}


def runs_relation(rows: Sequence[RunRow], *, experiment_names: Mapping[str, str]) -> pa.Table:
    """Return the narrow relation of runs.

    Args:
        rows: The runs.
        experiment_names: Name by experiment id; a run of an experiment that is not in it has no `experiment_name`.
    """
    infos = [row.info for row in rows]
    return _table(
        {
            "row": ("int32", range(len(infos))),
            "run_id": ("string", [i.run_id for i in infos]),
            "experiment_id": ("string", [i.experiment_id for i in infos]),
            "experiment_name": ("string", [experiment_names.get(i.experiment_id) for i in infos]),
            "run_name": ("string", [i.run_name for i in infos]),
            "user_id": ("string", [i.user_id for i in infos]),
            "status": ("string", [i.status for i in infos]),
            "start_time": ("int64", [i.start_time for i in infos]),
            "end_time": ("int64", [i.end_time for i in infos]),
            "duration_ms": ("int64", [None if i.end_time is None else i.end_time - i.start_time for i in infos]),
            "lifecycle_stage": ("string", [i.lifecycle_stage for i in infos]),
            "artifact_uri": ("string", [i.artifact_uri for i in infos]),
        }
    )


def experiments_relation(experiments: Sequence[Experiment]) -> pa.Table:
    """Return the narrow relation of experiments."""
    return _table(
        {
            "row": ("int32", range(len(experiments))),
            "experiment_id": ("string", [e.experiment_id for e in experiments]),
            "name": ("string", [e.name for e in experiments]),
            "artifact_location": ("string", [e.artifact_location for e in experiments]),
            "lifecycle_stage": ("string", [e.lifecycle_stage for e in experiments]),
            "creation_time": ("int64", [e.creation_time for e in experiments]),
            "last_update_time": ("int64", [e.last_update_time for e in experiments]),
        }
    )


def models_relation(models: Sequence[LoggedModel]) -> pa.Table:
    """Return the narrow relation of logged models."""
    texts = (
        *("model_id", "name", "experiment_id", "status_message", "model_type", "source_run_id", "artifact_location"),
        "lifecycle_stage",
    )
    return _table(
        {"row": ("int32", range(len(models)))}
        | {name: ("string", [getattr(model, name) for model in models]) for name in texts}
        | {"status": ("string", [model.status.value for model in models])}
        | {
            name: ("int64", [getattr(model, name) for model in models])
            for name in ("creation_timestamp", "last_updated_timestamp")
        }
    )


def model_metrics_relation(metrics: Sequence[Sequence[Metric]]) -> pa.Table:
    """Return the metrics of logged models, every one of them.

    Args:
        metrics: Those of each model, in the order of the models.
    """
    rows = [(number, metric) for number, of_model in enumerate(metrics) for metric in of_model]
    return _table(
        {
            "row": ("int32", [number for number, _ in rows]),
            "key": ("string", [metric.key for _, metric in rows]),
            "value": ("double", [metric.value for _, metric in rows]),
        }
    )


def tall_relation(name: str, rows: Rows, *, keys: Collection[str] | None = None) -> pa.Table:
    """Return a tall relation: metrics, params, tags or datasets.

    Args:
        name: Which one.
        rows: The runs, or for `tags` also experiments.
        keys: The keys to hold; None for all. Data sets have none.
    """
    records: Callable[[Any, Collection[str] | None], Iterable[tuple[Any, ...]]] = {
        "metrics": lambda row, wanted: ((k, *summary) for k, summary in _picked(row.metrics, wanted)),
        "params": lambda row, wanted: _picked(row.params, wanted),
        "tags": lambda row, wanted: _picked(row.tags, wanted),
        "datasets": lambda row, _: ((d.dataset.name, d.dataset.digest, d.context) for d in row.datasets),
    }[name]
    columns = _TALL_COLUMNS[name]
    values: list[tuple[Any, ...]] = [
        (number, *record) for number, row in enumerate(rows) for record in records(row, keys)
    ]
    by_column = list(zip(*values, strict=True)) or [()] * len(columns)
    return _table({column: (kind, by_column[i]) for i, (column, kind) in enumerate(columns.items())})


def wide_relation(narrow: pa.Table, rows: Rows, fields: Mapping[str, Field]) -> pa.Table:
    """Return the wide relation of runs or experiments.

    Args:
        narrow: Their narrow relation, which is taken over whole.
        rows: The runs or experiments.
        fields: The keys of tall relations that become columns, by the name of the column.
    """
    stages = [STAGES.index((row.info if isinstance(row, RunRow) else row).lifecycle_stage) for row in rows]
    wide = narrow.append_column("stage", column("int32", stages))
    for name, field in fields.items():
        mappings = [getattr(row, field.relation) for row in rows]
        values = [mapping.get(field.key) for mapping in mappings]
        if field.relation == "metrics":
            values = [None if summary is None else getattr(summary, field.column) for summary in values]
        wide = wide.append_column(name, column(_TALL_COLUMNS[field.relation][field.column], values))
    return wide


def _picked(values: Mapping[str, Any], keys: Collection[str] | None) -> Iterable[tuple[str, Any]]:
    if keys is None:
        return values.items()
    return [(key, values[key]) for key in keys if key in values]


def _table(columns: Mapping[str, tuple[ColumnType, Sequence[Any]]]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_arrays([column(kind, values) for kind, values in columns.values()], names=list(columns))
