"""Hosts whose clocks are wrong: nothing is lost, and every reader sees the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.independent.reader import read_store

from localtrack.api.store import Store
from localtrack.storage.capabilities import MEDIA
from localtrack.storage.local import LocalStorage
from localtrack.store.index import compaction
from localtrack.store.site import open_site, wall_clock_ms

HOUR_MS = 3_600_000
NOW_MS = 1_790_000_000_000


class SkewedClock:
    """A host's clock: all advance alike, and are wrong by so much."""

    def __init__(self, skew_ms: int) -> None:
        self.skew_ms = skew_ms
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        self.now_ms += 1
        return self.now_ms + self.skew_ms


def open_on_host(root: Path, skew_ms: int) -> Store:
    return Store(open_site(LocalStorage(str(root)), create=True, clock=SkewedClock(skew_ms)), on_error="raise")


@pytest.mark.parametrize("skew_ms", [-HOUR_MS, HOUR_MS, -10 * 365 * 24 * HOUR_MS])
def test_who_has_seen_the_others_record_comes_after_it_whatever_the_clocks_say(tmp_path: Path, skew_ms: int) -> None:
    with open_on_host(tmp_path, 0) as first:
        run = first.start_run("e", context=False)
        run.set_tag("state", "first")
        run.end("FAILED")
    with open_on_host(tmp_path, skew_ms) as second:
        again = second.start_run(run_id=run.run_id)
        again.set_tag("state", "second")
        again.end("FINISHED")
    with Store.open(tmp_path) as reader:
        found = reader.get_run(run.run_id)
        assert (found.data.tags["state"], found.info.status) == ("second", "FINISHED")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["slow first", "fast first"])
def test_of_two_that_do_not_see_each_other_the_faster_clock_wins_and_nothing_else_is_lost(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    stores = [open_on_host(tmp_path, -HOUR_MS), open_on_host(tmp_path, HOUR_MS)]
    run = stores[0].start_run("e", context=False)
    hands = [run, stores[1].attach_run(run.run_id)]
    for place in order:
        hands[place].set_tag("state", f"host {place}")
        hands[place].log_param(f"p{place}", place)
        hands[place].log_metric("loss", float(place), step=place, timestamp=NOW_MS)
    hands[1].detach()
    run.end()
    for store in stores:
        store.close()
    with Store.open(tmp_path) as reader:
        data = reader.get_run(run.run_id).data
        assert data.tags["state"] == "host 1"
        assert data.params == {"p0": "0", "p1": "1"}
        assert reader.metric_history(run.run_id).num_rows == 2
    read = read_store(tmp_path)["runs"][run.run_id]
    assert (read["tags"]["state"], read["params"]) == ("host 1", {"p0": "0", "p1": "1"})


def change(store: Store, run_id: str, number: int) -> None:
    (store.delete_run if number % 2 else store.restore_run)(run_id)


def test_deleting_and_restoring_from_hosts_in_turn_is_taken_in_turn(tmp_path: Path) -> None:
    with open_on_host(tmp_path, 0) as store, store.start_run("e", context=False) as run:
        pass
    skews = [HOUR_MS, -HOUR_MS, 0, -2 * HOUR_MS]
    for number, skew_ms in enumerate(skews, 1):
        with open_on_host(tmp_path, skew_ms) as store:
            change(store, run.run_id, number)
            assert store.get_run(run.run_id).info.lifecycle_stage == ("deleted" if number % 2 else "active")


def test_a_clock_that_steps_back_while_a_run_goes_on(tmp_path: Path) -> None:
    store = open_on_host(tmp_path, 0)
    run = store.start_run("e", context=False)
    run.set_tag("state", "before")
    clock: SkewedClock | Callable[[], int] = store.clock
    assert isinstance(clock, SkewedClock)
    clock.skew_ms = -HOUR_MS
    run.set_tag("state", "after")
    for step in range(5):
        run.log_metric("loss", float(step), step=step)
    run.end()
    store.close()
    with Store.open(tmp_path) as reader:
        assert reader.get_run(run.run_id).data.tags["state"] == "after"
        assert reader.metric_history(run.run_id).num_rows == 5


class SharedStorage(LocalStorage):
    """A drive of which other hosts write to, and whose locks they do not see."""

    capabilities = MEDIA["fuse"]  # type: ignore[assignment]


@pytest.mark.parametrize("way", ["gc", "pack", "compact"])
def test_a_host_that_is_years_ahead_does_not_take_what_others_write_for_forsaken(tmp_path: Path, way: str) -> None:
    ahead_ms = 10 * 365 * 24 * HOUR_MS
    root = tmp_path / "store"
    with Store(open_site(SharedStorage(str(root)), create=True), on_error="raise") as here:
        run = here.start_run("e", context=False)
        guest = here.attach_run(run.run_id)
        guest.log_metric("loss", 0.5, step=1)
        here.flush()
        run.end()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compaction, "_own_clock_ms", lambda: wall_clock_ms() + ahead_ms)
            site = open_site(SharedStorage(str(root)), create=False, clock=lambda: wall_clock_ms() + ahead_ms)
            with Store(site, on_error="raise") as there:
                if way == "gc":
                    here.delete_run(run.run_id)
                    report = there.gc(older_than="0s", dry_run=False)
                    assert ["within 30 days" in spared.reason for spared in report.spared] == [True]
                    here.restore_run(run.run_id)
                elif way == "pack":
                    assert there.pack(older_than="0s").runs_count == 0
                else:
                    there.compact()
                    assert len(list((root / "inbox").glob("*.jsonl"))) >= 1
        guest.log_metric("loss", 0.25, step=2)  # less than a minute later: it does not look whether its file is there
        guest.detach()
    with Store.open(root) as store:
        assert store.metric_history(run.run_id).to_pydict()["value"] == [0.5, 0.25]
        assert [row.metrics["loss"].count for row in store.search_runs()] == [2]
    run_read = read_store(root)["runs"][run.run_id]
    assert sorted(step for _, _, step, _ in run_read["points"]) == [1, 2]
    assert list((root / "locks").glob(".tmp-*")) == []
