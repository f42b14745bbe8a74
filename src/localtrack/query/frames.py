"""Runs, experiments and logged models -> Arrow, pandas and Polars tables.

Runs have the columns of `mlflow.search_runs`: run_id, experiment_id, status, artifact_uri, start_time, end_time, then
`metrics.<key>`, `params.<key>`, `tags.<key>`, sorted by key within each group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from localtrack.errors import MissingPackageError
from localtrack.types import Experiment, LoggedModel, RunRow

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


def to_arrow(rows: Iterable[RunRow]) -> pa.Table:
    """Return runs as an Arrow table: text, float64 metrics, UTC timestamps in ms; null where a run has no value."""
    import pyarrow as pa

    rows = list(rows)
    infos = [row.info for row in rows]
    moment = pa.timestamp("ms", tz="UTC")
    columns = {
        "run_id": pa.array([i.run_id for i in infos], pa.string()),
        "experiment_id": pa.array([i.experiment_id for i in infos], pa.string()),
        "status": pa.array([i.status for i in infos], pa.string()),
        "artifact_uri": pa.array([i.artifact_uri for i in infos], pa.string()),
        "start_time": pa.array([i.start_time for i in infos], moment),
        "end_time": pa.array([i.end_time for i in infos], moment),
    }
    for name, values in _key_columns(rows, missing=None):
        columns[name] = pa.array(values, pa.float64() if name.startswith("metrics.") else pa.string())
    return pa.table(columns)


def to_pandas(rows: Iterable[RunRow]) -> pd.DataFrame:
    """Return runs as the data frame that `mlflow.search_runs` returns, column types included.

    Raises:
        MissingPackageError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingPackageError.of("This frame", "pandas", extra="pandas") from error

    rows = list(rows)
    infos = [row.info for row in rows]
    columns: dict[str, Sequence[Any]] = {
        "run_id": [i.run_id for i in infos],
        "experiment_id": [i.experiment_id for i in infos],
        "status": [i.status for i in infos],
        "artifact_uri": [i.artifact_uri for i in infos],
        # Moments one by one, not as a column: pandas then infers the same types as for MLflow, also for empty columns.
        "start_time": [pd.Timestamp(i.start_time, unit="ms", tz="UTC") for i in infos],
        "end_time": [pd.NaT if i.end_time is None else pd.Timestamp(i.end_time, unit="ms", tz="UTC") for i in infos],
    }
    columns.update(_key_columns(rows, missing=float("nan")))
    return pd.DataFrame(columns)


def models_to_pandas(models: Iterable[LoggedModel]) -> pd.DataFrame:
    """Return logged models as the data frame that `mlflow.search_logged_models` returns: a column for each field.

    Raises:
        MissingPackageError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingPackageError.of("This frame", "pandas", extra="pandas") from error

    return pd.DataFrame([model.to_dictionary() | {"status": model.status} for model in models])


def experiments_to_arrow(experiments: Iterable[Experiment]) -> pa.Table:
    """Return experiments as an Arrow table.

    Columns: experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time (UTC), then
    `tags.<key>`, sorted by key.
    """
    import pyarrow as pa

    rows = list(experiments)
    moment = pa.timestamp("ms", tz="UTC")
    texts = ("experiment_id", "name", "artifact_location", "lifecycle_stage")
    columns: dict[str, Any] = {name: pa.array([getattr(e, name) for e in rows], pa.string()) for name in texts}
    for name in ("creation_time", "last_update_time"):
        columns[name] = pa.array([getattr(e, name) for e in rows], moment)
    columns.update(_text_columns("tags", [e.tags for e in rows]))
    return pa.table(columns)


def models_to_arrow(models: Iterable[LoggedModel]) -> pa.Table:
    """Return logged models as an Arrow table.

    Columns: model_id, name, experiment_id, source_run_id, model_type, status, status_message, artifact_location,
    lifecycle_stage, creation_timestamp, last_updated_timestamp (UTC), then `metrics.<key>` (the latest point),
    `params.<key>`, `tags.<key>`, sorted by key within each group.
    """
    import pyarrow as pa

    rows = list(models)
    moment = pa.timestamp("ms", tz="UTC")
    texts = [
        *("model_id", "name", "experiment_id", "source_run_id", "model_type", "status", "status_message"),
        *("artifact_location", "lifecycle_stage"),
    ]
    columns: dict[str, Any] = {
        name: pa.array([None if (value := getattr(m, name)) is None else str(value) for m in rows], pa.string())
        for name in texts
    }
    for name in ("creation_timestamp", "last_updated_timestamp"):
        columns[name] = pa.array([getattr(m, name) for m in rows], moment)
    latest = [{p.key: p.value for p in sorted(m.metrics, key=lambda p: (p.timestamp, p.step))} for m in rows]
    for key in sorted(set().union(*latest)):
        columns[f"metrics.{key}"] = pa.array([values.get(key) for values in latest], pa.float64())
    columns.update(_text_columns("params", [m.params for m in rows]))
    columns.update(_text_columns("tags", [m.tags for m in rows]))
    return pa.table(columns)


def _text_columns(group: str, mappings: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    import pyarrow as pa

    keys = sorted(set().union(*mappings))
    return {f"{group}.{key}": pa.array([mapping.get(key) for mapping in mappings], pa.string()) for key in keys}


def to_polars(rows: Iterable[RunRow]) -> pl.DataFrame:
    """Return runs as a Polars data frame, with the columns and types of `to_arrow`.

    Raises:
        MissingPackageError: Polars is not installed.
    """
    try:
        import polars as pl
    except ImportError as error:
        raise MissingPackageError.of("This frame", "Polars", extra="polars") from error

    frame = pl.from_arrow(to_arrow(rows))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _key_columns(rows: Sequence[RunRow], *, missing: float | None) -> Iterable[tuple[str, list[Any]]]:
    """Yield a column for each key of each group; `missing` stands where a run has no such metric."""
    groups: list[tuple[str, list[Mapping[str, Any]], float | None]] = [
        ("metrics", [{key: m.value for key, m in row.metrics.items()} for row in rows], missing),
        ("params", [row.params for row in rows], None),
        ("tags", [row.tags for row in rows], None),
    ]
    for group, mappings, absent in groups:
        for key in sorted(set().union(*mappings)):
            yield f"{group}.{key}", [mapping.get(key, absent) for mapping in mappings]
