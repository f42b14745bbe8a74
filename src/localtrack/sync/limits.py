"""What targets take: sizes, counts and rates. Numbers that others set, with the date at which they were looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from localtrack.format.quota import LIMITS
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

    def find_breaches(self, counts: Mapping[str, int], *, owner: str = "It") -> list[str]:
        """Return a sentence for each quota that is exceeded.

        Args:
            counts: By name of the limit what counts towards it.
            owner: What has all that.
        """
        return [
            f"{owner} has {counts[name]} {LIMITS[name].meaning}; the target takes {limit}."
            for name, limit in self.quotas.items()
            if counts.get(name, 0) > limit
        ]


MLFLOW: Final = Limits(quotas={item.name: item.value for item in PRESETS["mlflow-oss"]})
"""Source: `mlflow/utils/validation.py` and `mlflow/store/tracking/dbmodels/models.py` of MLflow 3.17."""

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
