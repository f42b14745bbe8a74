"""What counts towards limits, counted three times: by the library, by SQL over its views, by the independent reader."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tests.independent.packs import unpacked
from tests.independent.reader import read_store
from tests.independent.runs import read_run, run_key

from localtrack.api.store import Store
from localtrack.quota.report import run_measures
from localtrack.store.quota_use import RunUse
from localtrack.store.run_counts import COUNTED
from localtrack.types import ViewType


def count_by_library(store: Store) -> dict[str, dict[str, int]]:
    """Return per run what counts towards `run.…` limits, but for files and bytes."""
    counts = {}
    for row in store.search_runs(run_view_type=ViewType.ALL, max_results=None):
        measures = run_measures(row)
        counts[row.info.run_id] = {name: measures[f"run.{name}"] for name in ("metric_steps", "metric_keys", *_STATE)}
    return counts


def count_by_columns(store: Store) -> dict[str, dict[str, int]]:
    """The same, by the columns of the index, as for a page of more than a thousand runs."""
    page = store.search_runs(run_view_type=ViewType.ALL, max_results=None)
    assert page._snapshot is not None
    uses: list[RunUse] = page._snapshot.uses(page._numbers, COUNTED)
    rows = page.rows
    assert [(use.name, use.experiment_id, use.status, use.start_ms) for use in uses] == [
        (row.info.run_name, row.info.experiment_id, row.info.status, row.info.start_time) for row in rows
    ]
    return {use.run_id: {name: use.counts[f"run.{name}"] for name in COUNTED} for use in uses}


_STATE = ("params", "tags")


def count_by_sql(store: Store) -> dict[str, dict[str, int]]:
    """The same, by SQL over the views; of metric steps those that a history shows, each point once."""
    counts: dict[str, dict[str, int]] = {
        run_id: dict.fromkeys(("metric_steps", "metric_keys", *_STATE), 0)
        for run_id in _column(store, "SELECT run_id, 0 AS n FROM runs")
    }
    for name, query in (
        ("params", "SELECT run_id, count(*) AS n FROM params GROUP BY run_id"),
        ("tags", "SELECT run_id, count(*) AS n FROM tags GROUP BY run_id"),
        ("metric_keys", "SELECT run_id, count(*) AS n FROM metrics GROUP BY run_id"),
        ("metric_steps", "SELECT run_id, count(*) AS n FROM metric_history GROUP BY run_id"),
    ):
        for run_id, count in _column(store, query).items():
            counts[run_id][name] = count
    return counts


def _column(store: Store, query: str) -> dict[str, int]:
    table = store.sql(query).to_arrow().to_pydict()
    return dict(zip(table["run_id"], table["n"], strict=True))


def assert_counts(root: Path) -> None:
    """Hold the three against each other. A run that is damaged is left out: a fold may know of points that are gone."""
    expected: dict[str, Any] = read_store(root)
    damaged = {"/".join(key.split("/")[:3]) for key, kind in expected["findings"] if kind != "empty"}
    with Store.open(str(root), create=False) as store:
        by_library, by_sql = count_by_library(store), count_by_sql(store)
        assert count_by_columns(store) == by_library
        uses = store.quota(limits={"store.runs": 10**9, "experiment.runs": 10**9}).uses
    assert by_library.keys() == by_sql.keys() == expected["runs"].keys()
    with unpacked(root, []) as loose:
        for run_id, run in expected["runs"].items():
            if run_key(run_id) in damaged:
                continue
            written = sum(count for _, count in read_run(loose, run_key(run_id)).positions.values())
            shown = {
                "metric_keys": len({point[0] for point in run["points"]}),
                **{name: len(run[name]) for name in _STATE},
            }
            assert by_library[run_id] == shown | {"metric_steps": written}, run_id
            assert by_sql[run_id] == shown | {"metric_steps": len(run["points"])}, run_id
    per_experiment = Counter(run["experiment_id"] for run in expected["runs"].values())
    told = {use.id: use.used for use in uses if use.limit_name == "experiment.runs"}
    assert {id_: count for id_, count in told.items() if count} == per_experiment
    assert [use.used for use in uses if use.limit_name == "store.runs"] == [len(expected["runs"])]
