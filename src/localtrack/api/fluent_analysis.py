"""The fluent questions over many runs, under names that MLflow does not have. They look at the whole store.

Each is the method of the same name on the active `Store`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from localtrack.api.fluent_store import active_store
from localtrack.types import Run, RunRow

if TYPE_CHECKING:
    import pyarrow as pa

    from localtrack.query.charts import Chart
    from localtrack.query.comparison import Comparison
    from localtrack.query.frame import Frame
    from localtrack.query.histories import Axis
    from localtrack.query.sql.result import Parameters, SqlResult


def sql(query: str, parameters: Parameters | None = None) -> SqlResult:
    """Return the answer to a SELECT over the views of the store. See `Store.sql`."""
    return active_store().sql(query, parameters)


def metric_history(run_id: str, key: str | None = None, *, max_points: int | None = None) -> pa.Table:
    """Return the points of a run, or of one of its metrics. See `Store.metric_history`."""
    return active_store().metric_history(run_id, key, max_points=max_points)


def align_histories(run_ids: Iterable[str], key: str, *, by: Axis = "step", **options: Any) -> Chart:
    """Return one metric of many runs side by side. See `Store.align_histories`."""
    return active_store().align_histories(run_ids, key, by=by, **options)


def compare(
    runs: Iterable[str | Run | RunRow],
    *,
    baseline: str | None = None,
    metrics: Collection[str] | None = None,
    minimize: Collection[str] = (),
    maximize: Collection[str] = (),
) -> Comparison:
    """Hold runs against each other. See `Store.compare`."""
    return active_store().compare(runs, baseline=baseline, metrics=metrics, minimize=minimize, maximize=maximize)


def group_runs(
    filter_string: str | None = "",
    *,
    by: Sequence[str] | None = None,
    ignore: Collection[str] | None = None,
    metrics: Sequence[str] | None = None,
    **scope: Any,
) -> Frame:
    """Take runs together that agree in their params, as repetitions over seeds do. See `Store.group_runs`."""
    return active_store().group_runs(filter_string, by=by, ignore=ignore, metrics=metrics, **scope)


def best_per_day(
    metric: str, filter_string: str | None = "", *, direction: str | None = None, days: int | None = 14, **scope: Any
) -> Chart:
    """Return the best last value of a metric on each day. See `Store.best_per_day`."""
    return active_store().best_per_day(metric, filter_string, direction=direction, days=days, **scope)


def runs_per_day(
    filter_string: str | None = "", *, user: str | None = None, days: int | None = 14, **scope: Any
) -> Chart:
    """Return how many runs each user began on each day. See `Store.runs_per_day`."""
    return active_store().runs_per_day(filter_string, user=user, days=days, **scope)


def runs_per_month(filter_string: str | None = "", *, year: int | None = None, **scope: Any) -> Chart:
    """Return how many runs began in each month. See `Store.runs_per_month`."""
    return active_store().runs_per_month(filter_string, year=year, **scope)
