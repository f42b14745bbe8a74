"""Runs brought back from a server, in memory here; `test_mlflow_server.py` does the same with a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from localtrack import Store
from localtrack.cli import app
from localtrack.cli.documents import FIELDS
from localtrack.errors import LocaltrackError, NotFoundError
from tests.sync.front import Front
from tests.sync.pushing import push
from tests.sync.stand_in import StandIn
from tests.sync.stores import START_MS, add_to_store, make_store


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Front, Store]]:
    """A server that a store was pushed to."""
    with Front(StandIn()) as front, make_store(tmp_path / "store") as store:
        push(store, front.url)
        yield front, store


def points(store: Store, run_id: str) -> set[tuple[object, ...]]:
    rows = store.metric_history(run_id).to_pylist()
    return {(r["key"], r["step"], r["timestamp_ms"], str(r["value"] + 0.0)) for r in rows}


def assert_alike(store: Store, origin: Store) -> None:
    here = {row.info.run_id: row for row in store.search_runs()}
    there = {row.info.run_id: row for row in origin.search_runs()}
    assert here.keys() == there.keys()
    for run_id, row in here.items():
        assert (dict(row.params), dict(row.tags)) == (dict(there[run_id].params), dict(there[run_id].tags))
        assert (row.info.status, row.info.start_time, row.info.end_time) == (
            there[run_id].info.status,
            there[run_id].info.start_time,
            there[run_id].info.end_time,
        )
        # The greatest number is infinity: that is how databases keep it.
        wanted = {
            (*p[:3], str(float("inf")) if p[3] == "1.7976931348623157e+308" else p[3]) for p in points(origin, run_id)
        }
        assert points(store, run_id) == wanted


def test_what_was_pushed_comes_back(tmp_path: Path, served: tuple[Front, Store]) -> None:
    front, store = served
    with Store.open(tmp_path / "pulled") as pulled:
        report = pulled.pull(front.url)
        assert (report.runs_added, report.is_complete) == (4, True)
        assert_alike(pulled, store)
        front.reset()
        assert pulled.pull(front.url).changes_count == 0
        assert [request for request in front.requests if "get-history" in request.path] == []
        add_to_store(store)
        push(store, front.url)
        report = pulled.pull(front.url)
        assert (report.runs_added, report.runs_extended) == (1, 1)
        assert_alike(pulled, store)


def test_the_store_that_runs_came_from_gets_nothing_twice(served: tuple[Front, Store]) -> None:
    front, store = served
    before = {row.info.run_id: points(store, row.info.run_id) for row in store.search_runs()}
    counts = {row.info.run_id: store.metric_history(row.info.run_id).num_rows for row in store.search_runs()}
    report = store.pull(front.url)
    assert (report.runs_added, report.points_added) == (0, 0)
    assert {row.info.run_id: points(store, row.info.run_id) for row in store.search_runs()} == before
    assert {row.info.run_id: store.metric_history(row.info.run_id).num_rows for row in store.search_runs()} == counts


def test_runs_of_others_keep_their_ids(tmp_path: Path) -> None:
    stand_in = StandIn()
    with Front(stand_in) as front, Store.open(tmp_path / "store") as store:
        created = stand_in._runs_create(
            {"experiment_id": "0", "start_time": START_MS, "run_name": "theirs", "tags": []}
        )
        run_id = created["run"]["info"]["run_id"]
        row = {"key": "loss", "value": 0.5, "timestamp": START_MS, "step": 1}
        stand_in._runs_log_batch({"run_id": run_id, "metrics": [row], "params": [{"key": "a", "value": "b"}]})
        assert store.pull(front.url, run_ids=[run_id]).runs_added == 1
        run = store.get_run(run_id)
        assert (run.info.run_name, run.data.params, run.data.metrics) == ("theirs", {"a": "b"}, {"loss": 0.5})
        with pytest.raises(NotFoundError, match="no run nothing"):
            store.pull(front.url, run_ids=["nothing"])
        with pytest.raises(NotFoundError, match="no experiment 'nowhere'"):
            store.pull(front.url, experiment_names=["nowhere"])


def test_a_pull_that_was_cut_short_is_completed(tmp_path: Path, served: tuple[Front, Store]) -> None:
    front, store = served
    front.reset()
    with Store.open(tmp_path / "counted") as counted:
        counted.pull(front.url)
    count = len(front.requests)
    assert count > 8
    for number in range(count):
        with Store.open(tmp_path / f"{number}") as pulled:
            front.reset()
            # A server that stays away: what is tried again fails, too.
            front.faults = dict.fromkeys(range(number, number + 400), "refuse")
            with pytest.raises(LocaltrackError):
                pulled.pull(front.url)
            front.reset()
            pulled.pull(front.url)
            assert_alike(pulled, store)


def test_the_command(tmp_path: Path, served: tuple[Front, Store]) -> None:
    front, _ = served
    place = ["--store", str(tmp_path / "pulled")]
    answer = CliRunner().invoke(app, ["pull", "--from", front.url, *place])
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.startswith(f"{front.url}: 4 runs added, 0 extended, 0 unchanged")
    answer = CliRunner().invoke(app, ["pull", "--from", front.url, *place, "--json"])
    assert all(f'"{name}"' in answer.stdout for name in FIELDS["pull"].split(", "))
