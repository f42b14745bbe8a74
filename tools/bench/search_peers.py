"""What searches are measured beside: plain DuckDB on one Parquet file, and MLflow on SQLite with the same runs."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tools.bench import mlflow_peer
from tools.make_store.shapes import Shape, iter_runs

FILTER = "metrics.metric3 < 0.5 and params.param2 = '0.1'"
ORDER = "metrics.metric4 DESC"
BEST_COUNT = 50


def open_duckdb(folder: Path, shape: Shape) -> Callable[[], Any]:
    """Write the runs as one wide Parquet file, a column a key, and return a search of it for whole rows."""
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "runs.parquet"
    rows = [
        {"run_id": state.run_id, "start_time": state.start_ms, "status": state.status}
        | {f"metrics.{key}": fold.last_value for key, fold in folds.items()}
        | {f"params.{key}": value for key, value in state.params.items()}
        | {f"tags.{key}": value for key, value in state.tags.items()}
        for state, folds in iter_runs(shape)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    connection = duckdb.connect(config={"threads": 2})
    query = (
        f"SELECT * FROM read_parquet('{path}') WHERE \"metrics.metric3\" < 0.5 AND \"params.param2\" = '0.1' "
        f'ORDER BY "metrics.metric4" DESC LIMIT {BEST_COUNT}'
    )
    return lambda: connection.execute(query).fetchall()


def open_mlflow(folder: Path, shape: Shape) -> Any:
    """Return an `MlflowClient` whose SQLite file has the runs, which are written into its tables directly."""
    client = mlflow_peer.open_client(folder)
    experiment_id = client.create_experiment("bench")
    connection = sqlite3.connect(folder / "mlflow.db")
    with connection:
        for state, folds in iter_runs(shape):
            _insert(
                connection,
                "runs",
                [
                    {
                        "run_uuid": state.run_id,
                        "name": state.name,
                        "user_id": state.user,
                        "status": state.status,
                        "source_type": "LOCAL",
                        "start_time": state.start_ms,
                        "end_time": state.end_ms,
                        "lifecycle_stage": "active",
                        "artifact_uri": f"{folder}/{state.run_id}/artifacts",
                        "experiment_id": experiment_id,
                    }
                ],
            )
            for table, values in (("params", state.params), ("tags", state.tags)):
                rows = [{"run_uuid": state.run_id, "key": key, "value": value} for key, value in values.items()]
                _insert(connection, table, rows)
            points = [
                {
                    "run_uuid": state.run_id,
                    "key": key,
                    "value": fold.last_value,
                    "timestamp": fold.last_timestamp_ms,
                    "step": fold.last_step,
                    "is_nan": math.isnan(fold.last_value),
                }
                for key, fold in folds.items()
            ]
            _insert(connection, "latest_metrics", points)
            _insert(connection, "metrics", points)
    connection.close()
    return client, experiment_id


def _insert(connection: sqlite3.Connection, table: str, rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        names = ", ".join(f'"{name}"' for name in row)
        connection.execute(
            f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})",
            list(row.values()),
        )
