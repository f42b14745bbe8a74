"""Which views there are, and their columns: the names that `localtrack help sql` documents."""

from __future__ import annotations

from typing import Final

_ID: Final = "VARCHAR"
_TIME: Final = "TIMESTAMP WITH TIME ZONE"

VIEWS: Final[dict[str, dict[str, str]]] = {
    "runs": {
        "run_id": _ID,
        "run_name": "VARCHAR",
        "experiment_id": _ID,
        "experiment_name": "VARCHAR",
        "user_id": "VARCHAR",
        "status": "VARCHAR",
        "start_time": _TIME,
        "end_time": _TIME,
        "duration_ms": "BIGINT",
        "lifecycle_stage": "VARCHAR",
        "artifact_uri": "VARCHAR",
    },
    "params": {"run_id": _ID, "key": "VARCHAR", "value": "VARCHAR"},
    "metrics": {
        "run_id": _ID,
        "key": "VARCHAR",
        "value": "DOUBLE",
        "step": "BIGINT",
        "timestamp_ms": "BIGINT",
        "min": "DOUBLE",
        "max": "DOUBLE",
        "count": "BIGINT",
    },
    "metric_history": {
        "run_id": _ID,
        "key": "VARCHAR",
        "step": "BIGINT",
        "timestamp_ms": "BIGINT",
        "value": "DOUBLE",
    },
    "tags": {"run_id": _ID, "key": "VARCHAR", "value": "VARCHAR"},
    "datasets": {
        "run_id": _ID,
        "name": "VARCHAR",
        "digest": "VARCHAR",
        "source_type": "VARCHAR",
        "source": "VARCHAR",
        "schema": "VARCHAR",
        "profile": "VARCHAR",
        "context": "VARCHAR",
        "tags": "MAP(VARCHAR, VARCHAR)",
    },
    "experiments": {
        "experiment_id": _ID,
        "name": "VARCHAR",
        "artifact_location": "VARCHAR",
        "lifecycle_stage": "VARCHAR",
        "creation_time": _TIME,
        "last_update_time": _TIME,
        "tags": "MAP(VARCHAR, VARCHAR)",
    },
    "models": {
        "model_id": _ID,
        "name": "VARCHAR",
        "experiment_id": _ID,
        "source_run_id": _ID,
        "model_type": "VARCHAR",
        "status": "VARCHAR",
        "status_message": "VARCHAR",
        "artifact_location": "VARCHAR",
        "lifecycle_stage": "VARCHAR",
        "creation_time": _TIME,
        "last_update_time": _TIME,
        "metrics": "MAP(VARCHAR, DOUBLE)",
        "params": "MAP(VARCHAR, VARCHAR)",
        "tags": "MAP(VARCHAR, VARCHAR)",
    },
    "artifacts": {"run_id": _ID, "path": "VARCHAR", "size_bytes": "BIGINT"},
}
"""View -> column -> type. Times are UTC; `timestamp_ms` is milliseconds since 1970, UTC, exactly as logged."""

MEANINGS: Final[dict[str, str]] = {
    "runs": "one row a run, deleted ones too (lifecycle_stage)",
    "params": "one row a param of a run",
    "metrics": "one row a metric of a run: its last value, and what its points add up to",
    "metric_history": "one row a point; name run_id and key, or the whole store is read",
    "tags": "one row a tag of a run",
    "datasets": "one row a data set that a run read; schema and profile are JSON, context is one of the tags",
    "experiments": "one row an experiment, deleted ones too; tags['team'] is one tag",
    "models": "one row a logged model, deleted ones too; metrics holds the latest point of each",
    "artifacts": "one row a file among the artifacts of a run; name run_id, or all folders are listed",
}
