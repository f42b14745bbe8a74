"""What targets take: sizes, counts and rates. Numbers that others set, with the date at which they were looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from localtrack.format.quota_presets import PRESETS


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
    quotas: Mapping[str, int] = field(default_factory=dict)
    """By the names of `format.quota.LIMITS`, to foresee what the target will refuse: the same as `localtrack quota`."""
    file_bytes: int | None = None
    refused_tags: frozenset[str] = frozenset()
    """Run tags that the target sets itself."""
    requests_per_s: dict[str, float] = field(default_factory=dict)
    """Per kind of request (`search`, `batch`, `other`) how many a second are sent at most."""
    takes_colons: bool = True
    """In the keys of metrics, params and tags."""
    has_datasets: bool = True
    has_models: bool = True
    """Logged models, and which of them a run read or made."""

    def takes_key(self, key: str) -> bool:
        """Return whether a metric, param or tag can have that key."""
        return self.takes_colons or ":" not in key


MLFLOW: Final = Limits(quotas={item.name: item.value for item in PRESETS["mlflow-oss"]})
"""Source: `mlflow/utils/validation.py` and `mlflow/store/tracking/dbmodels/models.py` of MLflow 3.17."""


def limits_of_mlflow(version: tuple[int, int] | None) -> Limits:
    """Return what an MLflow server takes.

    Args:
        version: Of the server; None where it is not known: what servers of today take.

    Source: `mlflow/utils/validation.py` of MLflow 1.30, 2.0, 2.7, 2.8, 2.9, 2.12, 2.15, 2.16, 2.17, 2.22 and 3.1.
    """
    if version is None:
        return MLFLOW
    return replace(
        MLFLOW,
        param_value_chars=MLFLOW.param_value_chars if version >= (2, 8) else 500,
        tag_value_chars=MLFLOW.tag_value_chars if version >= (2, 17) else 5000,
        takes_colons=version >= (2, 16),
        has_datasets=version >= (2, 4),
        has_models=version >= (3, 0),
    )


DATABRICKS: Final = Limits(
    quotas={item.name: item.value for item in PRESETS["databricks"]},
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
"""Source: docs.databricks.com (sizes; MLflow tracking rate limits), looked up 2026-11; mlflow-export-import (tags)."""
