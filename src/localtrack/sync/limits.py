"""What targets take: sizes, counts and rates. Numbers that others set, with the date at which they were looked up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

AS_OF: Final = "2026-11"
"""When the numbers were looked up. Servers enforce their own; these serve to foresee what they will refuse."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one kind of target takes."""

    batch_entities_count: int = 1000
    batch_metrics_count: int = 1000
    batch_params_count: int = 100
    batch_tags_count: int = 100
    batch_bytes: int = 900_000
    """Of the body of a log-batch request; servers refuse 1 MB."""
    param_value_chars: int = 6000
    tag_value_chars: int = 8000
    run_name_chars: int = 250
    run_params_count: int | None = None
    run_tags_count: int | None = None
    run_points_count: int | None = None
    experiment_runs_count: int | None = None
    file_bytes: int | None = None
    refused_tags: frozenset[str] = frozenset()
    """Run tags that the target sets itself."""
    requests_per_s: dict[str, float] = field(default_factory=dict)
    """Per kind of request (`search`, `batch`, `other`) how many a second are sent at most."""


MLFLOW: Final = Limits()
"""Source: `mlflow/utils/validation.py` and `mlflow/store/tracking/dbmodels/models.py` of MLflow 3.17."""

DATABRICKS: Final = Limits(
    run_params_count=1600,
    run_tags_count=1600,
    run_points_count=1_000_000,
    experiment_runs_count=500_000,
    file_bytes=5 * 1024**3,
    refused_tags=frozenset(
        [
            "mlflow.user",
            "mlflow.log-model.history",
            "mlflow.rootRunId",
            "mlflow.experiment.sourceType",
            "mlflow.experiment.sourceId",
        ]
    ),
    requests_per_s={"search": 6.0, "batch": 40.0, "other": 100.0},
)
"""Source: docs.databricks.com (resource limits; MLflow tracking rate limits), mlflow-export-import (tags)."""
