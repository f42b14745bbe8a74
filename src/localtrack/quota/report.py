"""How near to limits the runs, experiments and the whole of a store are, how fast they grow, when they get there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from localtrack.format.quota import LIMITS, Limit
from localtrack.store.use import Use
from localtrack.types import LoggedModel, RunRow

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

DAY_MS: Final = 86_400_000
_RECENT_DAYS: Final = 30
"""Growth of experiments and stores is that of so many last days."""


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """How something stands to one limit."""

    level: str
    id: str
    """Of the run, experiment or logged model; the store's id."""
    name: str
    """Of the run or experiment, for people."""
    limit_name: str
    used: int
    limit: int
    action: str
    per_day: float | None
    """How much it grows a day; None where that cannot be told, 0.0 for a run that has ended."""
    reached_ms: int | None
    """When it gets to the limit if it goes on so, milliseconds since 1970, UTC."""
    source: str = ""
    """Where the limit was read, for one of a service."""
    as_of: str = ""
    there: int = 0
    """How much of that the target has besides what is here, where it was asked."""

    @property
    def share(self) -> float:
        """Used part of the limit; 1.0 is all of it."""
        return self.used / self.limit if self.limit else float("inf") if self.used else 0.0

    @property
    def is_exceeded(self) -> bool:
        """True: there is more than the limit allows."""
        return self.used > self.limit


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


@dataclass(slots=True)
class StoreUse:
    """All that counts, before it is held against limits."""

    rows: list[RunRow]
    folders: Mapping[str, Use]
    """Per run id; empty where no limit on bytes or files is asked about."""
    experiment_names: Mapping[str, str]
    experiment_tags: Mapping[str, int]
    """Per experiment id how many tags it has."""
    models: list[LoggedModel]
    store_id: str
    whole: Use
    """The whole tree, all files and folders."""
    there: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Per (limit name, id of the run or experiment) how much more a target has already."""
    run_tags: Mapping[str, int] = field(default_factory=dict)
    """Per run id how many tags it has where it is to go, if not as many as here."""


def run_measures(row: RunRow, folder: Use) -> dict[str, int]:
    """Return what of a run counts towards `run.…` limits."""
    return {
        "run.metric_steps": sum(metric.count for metric in row.metrics.values()),
        "run.metric_keys": len(row.metrics),
        "run.params": len(row.params),
        "run.tags": len(row.tags),
        "run.artifact_bytes": folder.artifact_bytes,
        "run.bytes": folder.bytes,
        "run.files": folder.files,
    }


def measure(
    use: StoreUse,
    limits: Mapping[str, Limit],
    *,
    now_ms: int,
    sources: Mapping[str, tuple[str, str]] | None = None,
) -> list[QuotaUse]:
    """Hold the use of a store against limits.

    Args:
        use: What counts.
        limits: By name; those that are not known are passed over.
        now_ms: Milliseconds since 1970, UTC.
        sources: By limit where it was read, and when.

    Returns:
        A use for each limit and each thing that it is about, the nearest to its limit first.
    """
    sources = sources or {}
    found: list[QuotaUse] = []

    def add(limit_name: str, id_: str, name: str, used: int, per_day: float | None) -> None:
        limit = limits.get(limit_name)
        if limit is None:
            return
        there = use.there.get((limit_name, id_), 0)
        used += there
        reached_ms = None
        if per_day and used < limit.value:
            reached_ms = now_ms + round((limit.value - used) / per_day * DAY_MS)
        level, source = LIMITS[limit_name].level, sources.get(limit_name, ("", ""))
        found.append(QuotaUse(level, id_, name, limit_name, used, *limit, per_day, reached_ms, *source, there))

    wanted = set(limits) & set(LIMITS)
    groups: dict[str, list[tuple[RunRow, dict[str, int]]]] = defaultdict(list)
    for row in use.rows:
        measures = run_measures(row, use.folders.get(row.info.run_id, Use()))
        groups[row.info.experiment_id].append((row, measures))
        for limit_name in wanted & measures.keys():
            used = measures[limit_name]
            if limit_name == "run.tags":
                used = use.run_tags.get(row.info.run_id, used)
            add(limit_name, row.info.run_id, row.info.run_name, used, _run_growth(row, used, now_ms))
    experiments = use.experiment_names.keys() | groups.keys()
    models_count = Counter(model.experiment_id for model in use.models)
    for experiment_id in sorted(experiments):
        runs = groups.get(experiment_id, [])
        name = use.experiment_names.get(experiment_id, experiment_id)
        totals = _totals("experiment", runs)
        totals |= {
            "experiment.tags": use.experiment_tags.get(experiment_id, 0),
            "experiment.logged_models": models_count[experiment_id],
        }
        for limit_name in wanted & totals.keys():
            add(limit_name, experiment_id, name, totals[limit_name], _growth_of(limit_name, runs, now_ms))
    everything = [item for runs in groups.values() for item in runs]
    totals = _totals("store", everything) | {
        "store.logged_models": len(use.models),
        "store.bytes": use.whole.bytes,
        "store.files": use.whole.files,
    }
    for limit_name in wanted & totals.keys():
        add(limit_name, use.store_id, "", totals[limit_name], _growth_of(limit_name, everything, now_ms))
    for model in use.models:
        for measure_name in ("metrics", "params", "tags"):
            used = len(getattr(model, measure_name))
            add(f"logged_model.{measure_name}", model.model_id, model.name or "", used, None)
    return sorted(found, key=lambda item: (-item.share, item.limit_name, item.id))


def _totals(level: str, runs: Iterable[tuple[RunRow, dict[str, int]]]) -> dict[str, int]:
    names = ("metric_steps", "artifact_bytes", "bytes", "files")
    totals = {f"{level}.runs": 0} | dict.fromkeys((f"{level}.{name}" for name in names), 0)
    for _, measures in runs:
        totals[f"{level}.runs"] += 1
        for name in names:
            totals[f"{level}.{name}"] += measures[f"run.{name}"]
    return totals


def _run_growth(row: RunRow, used: int, now_ms: int) -> float | None:
    """Return how much a run grows a day, as it did on average since it began; 0.0 once it has ended."""
    if row.info.status not in ("RUNNING", "SCHEDULED"):
        return 0.0
    past_ms = now_ms - row.info.start_time
    return used / past_ms * DAY_MS if past_ms > 0 else None


def _growth_of(limit_name: str, runs: list[tuple[RunRow, dict[str, int]]], now_ms: int) -> float | None:
    """Return how much an experiment or store grows a day: what the runs of the last days brought."""
    measure_name = limit_name.partition(".")[2]
    if measure_name != "runs" and f"run.{measure_name}" not in LIMITS:
        return None
    recent = [item for item in runs if item[0].info.start_time >= now_ms - _RECENT_DAYS * DAY_MS]
    if not recent:
        return 0.0
    days = max((now_ms - min(row.info.start_time for row, _ in recent)) / DAY_MS, 1 / 24)
    return sum(1 if measure_name == "runs" else measures[f"run.{measure_name}"] for _, measures in recent) / days
