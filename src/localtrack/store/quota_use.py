"""How what there is stands to limits: for those of a store, those of a service, and what a push would send. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from localtrack.format.quota import LIMITS, Limit
from localtrack.store.use import NOTHING, Use

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


@dataclass(frozen=True, slots=True)
class RunUse:
    """What counts of one run."""

    run_id: str
    experiment_id: str
    name: str
    """For people."""
    status: str
    start_ms: int
    counts: dict[str, int]
    """By the names of limits on runs."""


@dataclass(frozen=True, slots=True)
class ModelUse:
    """What counts of one logged model."""

    model_id: str
    experiment_id: str
    name: str
    counts: Mapping[str, int]
    """By the names of limits on logged models."""
    folder: Use = NOTHING
    """What lies in its folder, which counts for its experiment and the store."""


@dataclass(slots=True)
class StoreUse:
    """All that counts, before it is held against limits."""

    runs: Sequence[RunUse]
    experiment_names: Mapping[str, str]
    experiment_tags: Mapping[str, int]
    """Per experiment id how many tags it has."""
    models: Sequence[ModelUse] = ()
    store_id: str = ""
    whole: Use = field(default_factory=Use)
    """The whole tree, all files and folders."""
    there: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Per (limit name, id of the run or experiment) how much more a target has already."""


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
    groups: dict[str, list[RunUse]] = defaultdict(list)
    for run in use.runs:
        groups[run.experiment_id].append(run)
        for limit_name in wanted & run.counts.keys():
            used = run.counts[limit_name]
            add(limit_name, run.run_id, run.name, used, _run_growth(run, used, now_ms))
    models: dict[str, list[ModelUse]] = defaultdict(list)
    for model in use.models:
        models[model.experiment_id].append(model)
    for experiment_id in sorted(use.experiment_names.keys() | groups.keys()):
        runs = groups.get(experiment_id, [])
        name = use.experiment_names.get(experiment_id, experiment_id)
        totals = _totals("experiment", runs, models.get(experiment_id, ()))
        totals |= {
            "experiment.tags": use.experiment_tags.get(experiment_id, 0),
            "experiment.logged_models": len(models.get(experiment_id, ())),
        }
        for limit_name in wanted & totals.keys():
            add(limit_name, experiment_id, name, totals[limit_name], _growth_of(limit_name, runs, now_ms))
    totals = _totals("store", use.runs, use.models) | {
        "store.logged_models": len(use.models),
        "store.bytes": use.whole.bytes,
        "store.files": use.whole.files,
    }
    for limit_name in wanted & totals.keys():
        add(limit_name, use.store_id, "", totals[limit_name], _growth_of(limit_name, use.runs, now_ms))
    for model in use.models:
        for limit_name, used in model.counts.items():
            add(limit_name, model.model_id, model.name, used, None)
    return sorted(found, key=lambda item: (-item.share, item.limit_name, item.id))


def _totals(level: str, runs: Iterable[RunUse], models: Iterable[ModelUse]) -> dict[str, int]:
    names = ("metric_steps", "artifact_bytes", "bytes", "files")
    totals = {f"{level}.runs": 0} | dict.fromkeys((f"{level}.{name}" for name in names), 0)
    for run in runs:
        totals[f"{level}.runs"] += 1
        for name in names:
            totals[f"{level}.{name}"] += run.counts.get(f"run.{name}", 0)
    for model in models:
        for name in names:
            totals[f"{level}.{name}"] += model.folder.of(name)
    return totals


def _run_growth(run: RunUse, used: int, now_ms: int) -> float | None:
    """Return how much a run grows a day, as it did on average since it began; 0.0 once it has ended."""
    if run.status not in ("RUNNING", "SCHEDULED"):
        return 0.0
    past_ms = now_ms - run.start_ms
    return used / past_ms * DAY_MS if past_ms > 0 else None


def _growth_of(limit_name: str, runs: Iterable[RunUse], now_ms: int) -> float | None:
    """Return how much an experiment or store grows a day: what the runs of the last days brought."""
    measure_name = limit_name.partition(".")[2]
    if measure_name != "runs" and f"run.{measure_name}" not in LIMITS:
        return None
    recent = [run for run in runs if run.start_ms >= now_ms - _RECENT_DAYS * DAY_MS]
    if not recent:
        return 0.0
    days = max((now_ms - min(run.start_ms for run in recent)) / DAY_MS, 1 / 24)
    return sum(1 if measure_name == "runs" else run.counts.get(f"run.{measure_name}", 0) for run in recent) / days
