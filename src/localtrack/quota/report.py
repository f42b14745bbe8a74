"""How near to limits the runs, experiments and the whole of a store are, as users get to see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localtrack.store.quota_use import ModelUse, QuotaUse, RunUse
from localtrack.store.use import Use
from localtrack.types import LoggedModel, RunRow

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(slots=True)
class QuotaReport:
    """How a store stands to its limits, or to those of a service."""

    uses: list[QuotaUse] = field(default_factory=list)
    """The nearest to its limit first."""
    target: str = ""
    """The service whose limits were asked about; empty for the store's own."""
    asked: str = ""
    """Host of the target that was asked what it has already; empty where none was."""
    notes: list[str] = field(default_factory=list)
    """Sentences about what it could not be asked."""

    @property
    def fits(self) -> bool:
        """True: nothing exceeds its limit."""
        return not any(use.is_exceeded for use in self.uses)

    def to_arrow(self) -> pa.Table:
        """Return the uses as an Arrow table, a row each, in their order."""
        import pyarrow as pa

        names = [*QuotaUse.__slots__, "share", "is_exceeded"]
        types: dict[str, Any] = {
            "used": pa.int64(),
            "there": pa.int64(),
            "limit": pa.int64(),
            "per_day": pa.float64(),
            "reached_ms": pa.int64(),
            "share": pa.float64(),
            "is_exceeded": pa.bool_(),
        }
        return pa.table(
            {name: pa.array([getattr(use, name) for use in self.uses], types.get(name, pa.string())) for name in names}
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return the uses as a pandas data frame, a row each, in their order."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame


def run_measures(row: RunRow) -> dict[str, int]:
    """Return what of a run counts towards `run.…` limits, but for what lies in its folder."""
    return {
        "run.metric_steps": sum(metric.count for metric in row.metrics.values()),
        "run.metric_keys": len(row.metrics),
        "run.params": len(row.params),
        "run.tags": len(row.tags),
    }


def use_of_run(row: RunRow) -> RunUse:
    """Return what counts of a run, but for what lies in its folder."""
    info = row.info
    return RunUse(info.run_id, info.experiment_id, info.run_name, info.status, info.start_time, run_measures(row))


def in_folder(use: Use) -> dict[str, int]:
    """Return what of a run's folder counts towards `run.…` limits."""
    return {"run.artifact_bytes": use.artifact_bytes, "run.bytes": use.bytes, "run.files": use.files}


def use_of_model(model: LoggedModel, folder: Use) -> ModelUse:
    """Return what counts of a logged model.

    Args:
        model: The model.
        folder: What lies in its folder.
    """
    counts = {f"logged_model.{name}": len(getattr(model, name)) for name in ("metrics", "params", "tags")}
    return ModelUse(model.model_id, model.experiment_id, model.name or "", counts, folder)
