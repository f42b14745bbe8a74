"""Groups and the figures of a dashboard beside the same in pandas, as the notebook that they come from computes them.

The notebook: "Building dashboards with the MLflow search API". It starts from the frame of `search_runs`, floors
`start_time` to days, takes the row of the least value (`idxmin`) of each, and counts run ids by day and by month.
"""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.query.rows import run

from localtrack.errors import InvalidInputError
from localtrack.query.choice import choose_runs
from localtrack.query.dashboards import best_per_day, runs_per_day, runs_per_month
from localtrack.query.frames import to_pandas
from localtrack.query.groups import group_runs
from localtrack.query.search import search_runs
from localtrack.query.snapshot import RowSnapshot
from localtrack.types import RunRow

DAY_MS = 86_400_000
NOW_MS = 1_580_000_000_000  # 26 January 2020, so that months of two years are in reach
USERS = ["ada", "bob", "eve"]


def make_rows(seed: int) -> list[RunRow]:
    dice = random.Random(seed)
    rows = []
    for number in range(dice.choice([0, 1, 5, 60])):
        start_ms = NOW_MS - dice.choice([dice.randrange(20 * DAY_MS), dice.randrange(800 * DAY_MS)])
        user = dice.choice([*USERS, None])
        metrics = {"mae": dice.choice([dice.random(), 0.5, math.nan, math.inf])} if dice.random() < 0.8 else {}
        rows.append(
            run(
                f"{number:04d}",
                start_time=start_ms,
                tags={} if user is None else {"mlflow.user": user},
                metrics=metrics,
                lifecycle_stage="active" if dice.random() < 0.9 else "deleted",
            )
        )
    return rows


def chosen(rows: list[RunRow], filter_string: str = "") -> tuple[RowSnapshot, list[int]]:
    snapshot = RowSnapshot(rows, experiment_names={})
    return snapshot, choose_runs(snapshot, filter_string=filter_string)


def notebook_frame(rows: list[RunRow], filter_string: str = "") -> pd.DataFrame:
    frame = to_pandas(search_runs(rows, filter_string=filter_string, max_results=None))
    for column in ("metrics.mae", "tags.mlflow.user"):
        if column not in frame:
            frame[column] = math.nan
    # An empty frame has no times, as the notebook found out too.
    frame["start_time"] = pd.to_datetime(frame["start_time"], utc=True)
    return frame


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("direction", [None, "max"])
def test_the_best_of_each_day(seed: int, direction: str | None) -> None:
    rows = make_rows(seed)
    frame = notebook_frame(rows)
    recent = frame[frame.start_time >= pd.Timestamp(NOW_MS, unit="ms", tz="UTC") - pd.Timedelta(days=14)].copy()
    recent["Run Date"] = recent.start_time.dt.floor("D")
    # The notebook lets idxmin skip NaN; a day of NaN alone has no best.
    recent = recent[recent["metrics.mae"].notna()].reset_index(drop=True)
    by_day = recent.groupby("Run Date")["metrics.mae"]
    wanted = recent.loc[
        by_day.idxmin() if direction is None else by_day.idxmax(), ["Run Date", "metrics.mae", "run_id"]
    ]

    found = best_per_day(*chosen(rows), "mae", direction=direction, days=14, now_ms=NOW_MS).to_pandas()

    assert list(found.columns) == ["date", "metrics.mae", "run_id", "run_name"]
    assert list(found["date"]) == list(wanted["Run Date"].dt.tz_localize(None))
    assert list(found["metrics.mae"]) == list(wanted["metrics.mae"])
    assert list(found["run_id"]) == list(wanted["run_id"])
    assert str(found["date"].dtype).startswith("datetime64")


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("user", [*USERS[:2], "nobody", None])
def test_runs_of_each_user_and_day(seed: int, user: str | None) -> None:
    rows = make_rows(seed)
    frame = notebook_frame(rows, "" if user is None else f'tags.mlflow.user = "{user}"')
    recent = frame[frame.start_time >= pd.Timestamp(NOW_MS, unit="ms", tz="UTC") - pd.Timedelta(days=14)].copy()
    recent["Run Date"] = recent.start_time.dt.floor("D").dt.strftime("%Y-%m-%d")
    wanted = recent.groupby("Run Date")["run_id"].count()

    found = runs_per_day(*chosen(rows), user=user, days=14, now_ms=NOW_MS).to_pandas()

    assert list(found.columns) == ["date", "user", "runs"]
    by_day = found.groupby(found["date"].dt.strftime("%Y-%m-%d"))["runs"].sum() if len(found) else {}
    assert dict(by_day) == dict(wanted)
    by_user = recent.groupby(["Run Date", "tags.mlflow.user"], dropna=False)["run_id"].count()
    pairs = [(f"{day:%Y-%m-%d}", str(name), int(count)) for day, name, count in found.itertuples(index=False)]
    assert sorted(pairs) == sorted((day, str(name), int(count)) for (day, name), count in by_user.items())


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("year", [2019, None])
def test_totals_of_each_month(seed: int, year: int | None) -> None:
    rows = make_rows(seed)
    frame = notebook_frame(rows)
    if year is not None:
        frame = frame[(frame.start_time >= f"{year}-01-01") & (frame.start_time < f"{year + 1}-01-01")]
    months = frame.groupby([frame.start_time.dt.year, frame.start_time.dt.month, frame.start_time.dt.month_name()])
    wanted = [(y, m, name, int(count)) for (y, m, name), count in months["run_id"].count().items()]

    found = runs_per_month(*chosen(rows), year=year).to_pandas()

    assert list(found.columns) == ["month", "name", "runs"]
    shown = [(month.year, month.month, name, int(count)) for month, name, count in found.itertuples(index=False)]
    assert shown == wanted


VALUES = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.5, math.nan, math.inf, -math.inf])


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_groups_are_those_of_pandas(data: st.DataObject) -> None:
    rows = [
        run(
            f"{number:03d}",
            params=data.draw(
                st.fixed_dictionaries(
                    {"seed": st.just(str(number))}, optional={"lr": st.sampled_from(["0.1", "1e-2", "x"])}
                )
            ),
            tags=data.draw(st.sampled_from([{}, {"team": "a"}, {"team": "b"}])),
            metrics=data.draw(st.dictionaries(st.sampled_from(["loss", "acc"]), VALUES)),
        )
        for number in range(data.draw(st.integers(0, 12)))
    ]
    by = data.draw(st.sampled_from([None, ["lr"], ["params.lr", "tags.team"], ["tags.team"], []]))
    found = group_runs(*chosen(rows), by=by)

    titles = [name for name in found.columns if name.startswith(("params.", "tags."))]
    plain = by if by is not None else (["lr"] if any("lr" in row.params for row in rows) else [])
    assert titles == [name if "." in name else f"params.{name}" for name in plain]
    groups: dict[tuple[str | None, ...], list[RunRow]] = {}
    for row in rows:
        key = tuple((row.params if t.startswith("params.") else row.tags).get(t.partition(".")[2]) for t in titles)
        groups.setdefault(key, []).append(row)
    records = list(found)
    assert {tuple(record[t] for t in titles) for record in records} == set(groups)
    assert len(records) == len(groups)
    for record, metric in itertools.product(records, sorted({key for row in rows for key in row.metrics})):
        members = groups[tuple(record[t] for t in titles)]
        assert record["runs"] == len(members)
        values = pd.Series([row.metrics[metric].value for row in members if metric in row.metrics], dtype="float64")
        assert record[f"metrics.{metric}.count"] == len(values)
        is_finite = all(map(math.isfinite, values))
        _assert_close(record[f"metrics.{metric}.mean"], values.mean() if is_finite else math.nan, values, 1)
        _assert_close(record[f"metrics.{metric}.std"], values.std(ddof=1) if is_finite else math.nan, values, 2)


def _assert_close(ours: float | None, theirs: float, values: Any, needed_count: int) -> None:
    if len(values) < needed_count:
        assert ours is None
        return
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9 * max(1.0, abs(values).max()), nan_ok=True)


def test_groups_are_ordered_by_number_where_params_are_numbers() -> None:
    rows = [run(lr, params={"lr": lr}) for lr in ("10", "9", "1e-3", "auto")] + [run("none")]
    found = group_runs(*chosen(rows), by=["lr"])
    assert [record["params.lr"] for record in found] == ["1e-3", "9", "10", "auto", None]


def test_seeds_do_not_make_groups_unless_asked() -> None:
    rows = [run(str(n), params={"lr": "0.1", "seed": str(n), "fold": str(n % 2)}, metrics={"m": n}) for n in range(4)]
    assert [record["runs"] for record in group_runs(*chosen(rows))] == [2, 2]
    assert [record["runs"] for record in group_runs(*chosen(rows), ignore=["seed", "fold"])] == [4]
    assert len(group_runs(*chosen(rows), by=["seed"])) == 4
    assert len(group_runs(*chosen(rows, "params.fold = 1"), by=["seed"])) == 2
    with pytest.raises(InvalidInputError, match="list"):
        group_runs(*chosen(rows), by="lr")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="too many"):
        group_runs(*chosen(rows), by=[f"p{n}" for n in range(1_001)])


def test_names_cannot_reach_the_statement() -> None:
    hostile = "x' OR 1=1; DROP TABLE runs; -- \" $k0 {}"
    rows = [run("a", params={hostile: "1"}, tags={hostile: "2"}, metrics={hostile: 3.0})]
    found = group_runs(*chosen(rows), by=[hostile, f"tags.{hostile}"], metrics=[hostile])
    assert next(iter(found))[f"metrics.{hostile}.mean"] == 3.0
    day = best_per_day(*chosen(rows), hostile, direction="min", days=None, now_ms=NOW_MS)
    assert next(iter(day))[f"metrics.{hostile}"] == 3.0
    assert len(runs_per_day(*chosen(rows), user=hostile, days=None, now_ms=NOW_MS)) == 0


def test_times_that_no_calendar_knows_have_no_day() -> None:
    rows = [run("a", start_time=2**62, metrics={"mae": 1.0}), run("b", start_time=-(2**62)), run("c", start_time=-1)]
    assert len(best_per_day(*chosen(rows), "mae", direction=None, days=None, now_ms=NOW_MS)) == 0
    assert [str(r["date"]) for r in runs_per_day(*chosen(rows), user=None, days=None, now_ms=NOW_MS)] == ["1969-12-31"]
    assert [r["name"] for r in runs_per_month(*chosen(rows), year=None)] == ["December"]


@pytest.mark.parametrize("days", [0, -1, 1.5, "7"])
def test_days_without_sense_are_refused(days: Any) -> None:
    with pytest.raises(InvalidInputError):
        runs_per_day(*chosen([]), user=None, days=days, now_ms=NOW_MS)


@pytest.mark.parametrize("year", [0, "2019", 10_000])
def test_years_without_sense_are_refused(year: Any) -> None:
    with pytest.raises(InvalidInputError):
        runs_per_month(*chosen([]), year=year)
