"""The questions of a dashboard: the best value of each day, runs of each user and day, totals of each month.

Days and months are those of UTC. Source of the questions: Databricks' notebook "Building dashboards with the MLflow
search API".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from localtrack.errors import InvalidInputError
from localtrack.query.charts import Chart, ChartKind
from localtrack.query.choice import ask_about
from localtrack.query.directions import require_direction
from localtrack.query.snapshot import RunSnapshot

USER_TAG: Final = "mlflow.user"

_DAY_MS: Final = 86_400_000
_MAX_TIME_MS: Final = 253_402_300_799_999
"""The end of the year 9999: runs said to begin later, or long before 1970, have no day."""


def best_per_day(
    snapshot: RunSnapshot, numbers: Sequence[int], key: str, *, direction: str | None, days: int | None, now_ms: int
) -> Chart:
    """Return the best last value of a metric among the runs that began on each day.

    Args:
        snapshot: Where the runs are.
        numbers: The runs, in an order that breaks ties.
        key: The metric. NaN is never best.
        direction: `min` or `max`; by default what the name of the metric tells.
        days: Only runs that began in the last so many days; None for all.
        now_ms: When the days end, milliseconds since 1970.

    Returns:
        Columns `date`, `metrics.<key>`, `run_id`, `run_name`; days without a value are left out.
    """
    order = "ASC" if require_direction(key, direction) == "min" else "DESC"
    query = f"""
        SELECT make_timestamp_ms(start_time)::DATE AS date, value, run_id, run_name
        FROM chosen JOIN runs USING (row) JOIN metrics USING (row)
        WHERE NOT isnan(value) AND start_time BETWEEN $since AND $last
        QUALIFY row_number() OVER (PARTITION BY date ORDER BY value {order}, place) = 1
        ORDER BY date
    """
    table = ask_about(snapshot, numbers, query, keys={"metrics": [key]}, parameters=_span(days, now_ms))
    title = f"metrics.{key}"
    return Chart(table.rename_columns(["date", title, "run_id", "run_name"]), ChartKind.LINE, "date", title)


def runs_per_day(
    snapshot: RunSnapshot, numbers: Sequence[int], *, user: str | None, days: int | None, now_ms: int
) -> Chart:
    """Return how many runs each user began on each day.

    Args:
        snapshot: Where the runs are.
        numbers: The runs.
        user: Only those of this user, as the tag `mlflow.user` has it.
        days: Only runs that began in the last so many days; None for all.
        now_ms: When the days end, milliseconds since 1970.

    Returns:
        Columns `date`, `user` (null without the tag), `runs`; what would be 0 is left out.
    """
    query = """
        SELECT make_timestamp_ms(start_time)::DATE AS date, value AS user, count(*) AS runs
        FROM chosen JOIN runs USING (row) LEFT JOIN tags USING (row)
        WHERE start_time BETWEEN $since AND $last AND ($user IS NULL OR value = $user)
        GROUP BY ALL ORDER BY date, user NULLS LAST
    """
    parameters = {**_span(days, now_ms), "user": user}
    table = ask_about(snapshot, numbers, query, keys={"tags": [USER_TAG]}, parameters=parameters)
    return Chart(table, ChartKind.STACKED_BARS, "date", "runs", "user")


def runs_per_month(snapshot: RunSnapshot, numbers: Sequence[int], *, year: int | None) -> Chart:
    """Return how many runs began in each month.

    Args:
        snapshot: Where the runs are.
        numbers: The runs.
        year: Only this one; all by default.

    Returns:
        Columns `month` (its first day), `name` (January …), `runs`; months without runs are left out.
    """
    if year is not None and (type(year) is not int or not 1 <= year <= 9999):
        raise InvalidInputError(f"{str(year)[:40]!r} is no year.")
    query = """
        SELECT date_trunc('month', make_timestamp_ms(start_time))::DATE AS month, monthname(month) AS name,
            count(*) AS runs
        FROM chosen JOIN runs USING (row)
        WHERE start_time BETWEEN $since AND $last AND ($year IS NULL OR year(make_timestamp_ms(start_time)) = $year)
        GROUP BY ALL ORDER BY month
    """
    parameters = {"since": -_MAX_TIME_MS, "last": _MAX_TIME_MS, "year": year}
    table = ask_about(snapshot, numbers, query, keys={}, parameters=parameters)
    return Chart(table, ChartKind.BARS, "month", "runs")


def _span(days: int | None, now_ms: int) -> dict[str, int]:
    if days is not None and (type(days) is not int or days < 1):
        raise InvalidInputError(f"days={str(days)[:40]!r} is no whole number from 1 on.")
    return {"since": -_MAX_TIME_MS if days is None else now_ms - days * _DAY_MS, "last": _MAX_TIME_MS}
