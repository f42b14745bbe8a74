"""Many runs deleted and restored at once, as the hosted service does it: by time, at most 10,000, and by filter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import localtrack
from localtrack.api import store_cleanup
from localtrack.api.store import Store
from localtrack.errors import InvalidInputError, NotFoundError, StateError
from localtrack.storage.local import LocalStorage
from localtrack.store.site import open_site
from localtrack.types import ViewType

NOW_MS = 1_790_000_000_000


class Clock:
    now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    return Store(open_site(LocalStorage(str(tmp_path / "store")), create=True, clock=clock), on_error="raise")


def fill(store: Store, count: int) -> tuple[str, list[str]]:
    """Make runs that started 0, 10, 20 … ms after `NOW_MS`; return their experiment and ids, and one run elsewhere."""
    ids = []
    for number in range(count):
        with store.start_run("e", start_time=NOW_MS + 10 * number, context=False, tags={"n": number}) as run:
            ids.append(run.run_id)
    store.start_run("other", start_time=NOW_MS, context=False).end()
    return store.get_run(ids[0]).info.experiment_id, ids


def active(store: Store, view: int = ViewType.ACTIVE_ONLY) -> set[str]:
    return {row.info.run_id for row in store.search_runs(experiment_names=["e"], run_view_type=view)}


def test_runs_that_started_then_or_before_are_deleted(store: Store) -> None:
    experiment_id, ids = fill(store, 5)
    assert store.delete_runs(experiment_id, NOW_MS + 20) == 3
    assert active(store) == set(ids[3:])
    assert store.delete_runs(experiment_id, NOW_MS + 20) == 0
    assert len(store.search_runs()) == 3


def test_the_oldest_come_first_where_the_number_is_limited(store: Store) -> None:
    experiment_id, ids = fill(store, 5)
    assert store.delete_runs(experiment_id, NOW_MS + 1_000, max_runs=2) == 2
    assert active(store) == set(ids[2:])


def test_all_of_them_are_one_record(store: Store, tmp_path: Path) -> None:
    experiment_id, ids = fill(store, 5)
    (log,) = (tmp_path / "store/edits").iterdir()
    before = log.read_bytes()
    assert store.delete_runs(experiment_id, NOW_MS + 1_000) == 5
    (line,) = log.read_bytes()[len(before) :].splitlines()
    kind, _, payload = json.loads(line)
    assert (kind, payload["op"], payload["runs"]) == ("runs", "deleted", ids)


def test_runs_that_were_deleted_then_or_later_are_restored_the_last_first(store: Store, clock: Clock) -> None:
    experiment_id, ids = fill(store, 5)
    for run_id in ids:
        clock.now_ms += 1_000
        store.delete_run(run_id)
    assert store.restore_runs(experiment_id, NOW_MS + 5_001) == 0
    assert store.restore_runs(experiment_id, NOW_MS + 3_000, max_runs=1) == 1
    assert active(store) == {ids[4]}
    assert store.restore_runs(experiment_id, NOW_MS + 3_000) == 2
    assert active(store) == set(ids[2:])


def test_by_filter(store: Store) -> None:
    experiment_id, ids = fill(store, 5)
    assert store.delete_runs(experiment_id, filter_string="tags.n IN ('1', '4')") == 2
    assert active(store) == {ids[0], ids[2], ids[3]}
    assert store.delete_runs(experiment_id, NOW_MS, filter_string="tags.n != '7'") == 1
    assert store.restore_runs(experiment_id, filter_string="tags.n = '4'") == 1
    assert active(store) == {ids[2], ids[3], ids[4]}


def test_calls_that_are_limited_delete_and_restore_all_of_them_one_after_the_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More runs than a call deletes: each says how many it was, and the next goes on where it ended."""
    experiment_id, ids = fill(store, 25)
    monkeypatch.setattr(store_cleanup, "MAX_BULK_COUNT", 10)
    last_ms = NOW_MS + 10_000
    left = list(ids)
    for count in (10, 10, 5, 0):
        assert store.delete_runs(experiment_id, last_ms) == count
        left = left[count:]
        assert active(store) == set(left)
    assert len(store.search_runs(max_results=None)) == 1  # that of the other experiment
    assert [store.restore_runs(experiment_id, 0) for _ in range(4)] == [10, 10, 5, 0]
    assert active(store) == set(ids)
    assert [store.delete_runs(experiment_id, filter_string="tags.n != '7'") for _ in range(4)] == [10, 10, 4, 0]
    assert active(store) == {ids[7]}


def test_a_filter_is_read_by_itself_before_a_time_is_added_to_it(store: Store) -> None:
    experiment_id, ids = fill(store, 3)
    for text in ("tags.n = '0') OR (tags.n = '1'", "tags.n = '0' OR", ")"):
        with pytest.raises(InvalidInputError):
            store.delete_runs(experiment_id, NOW_MS + 1_000, filter_string=text)
    assert store.delete_runs(experiment_id, NOW_MS + 10, filter_string="tags.n = '0' OR tags.n = '2'") == 1
    assert active(store) == set(ids[1:])


def test_a_call_without_a_choice_deletes_nothing(store: Store) -> None:
    experiment_id, ids = fill(store, 2)
    for call in (store.delete_runs, store.restore_runs):
        with pytest.raises(InvalidInputError):
            call(experiment_id)
        for max_runs in (0, -1, 10_001, 1.5, True):
            with pytest.raises(InvalidInputError):
                call(experiment_id, NOW_MS + 1_000, max_runs)
        for time_ms in ("yesterday", 1.5, -1, 2**70):
            with pytest.raises(InvalidInputError):
                call(experiment_id, time_ms)
        with pytest.raises(NotFoundError):
            call("17", NOW_MS)
    assert active(store) == set(ids)


def test_an_experiment_that_is_deleted_keeps_its_runs_deleted(store: Store) -> None:
    experiment_id, ids = fill(store, 2)
    store.delete_experiment(experiment_id)
    for call in (store.delete_runs, store.restore_runs):
        with pytest.raises(StateError):
            call(experiment_id, NOW_MS + 1_000)
    store.restore_experiment(experiment_id)
    assert active(store) == set(ids)


def test_the_fluent_functions_have_the_arguments_of_the_hosted_service(tmp_path: Path) -> None:
    localtrack.set_tracking_uri(tmp_path / "fluent")
    try:
        with localtrack.start_run() as run:
            started_ms = run.info.start_time
        assert localtrack.delete_runs("0", started_ms - 1) == 0
        assert localtrack.delete_runs("0", started_ms, max_runs=5) == 1
        assert localtrack.get_run(run.run_id).info.lifecycle_stage == "deleted"
        assert localtrack.restore_runs("0", started_ms, max_runs=5) == 1
        assert localtrack.get_run(run.run_id).info.lifecycle_stage == "active"
    finally:
        localtrack.set_tracking_uri(None)
