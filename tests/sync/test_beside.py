"""What stands beside a push: comparing, following, the state of targets, another store as the target."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from localtrack import Store
from localtrack.errors import InvalidInputError, NotFoundError, SyncError, UnreachableError
from localtrack.sync.options import PushOptions
from localtrack.sync.push import Push
from localtrack.sync.report import PushProgress, PushReport
from localtrack.sync.target import resolve_target
from localtrack.sync.watch import watch
from tests.sync.comparison import compare_store
from tests.sync.front import Front
from tests.sync.pushing import push
from tests.sync.stand_in import StandIn
from tests.sync.stores import HASTE, START_MS, add_entities, make_store


def test_a_push_only_reads_the_store_and_tells_how_far_it_is(tmp_path: Path) -> None:
    with Front(StandIn()) as front, make_store(tmp_path / "store", artifacts=True) as store:
        store.flush()

        def files() -> dict[Path, tuple[int, bytes]]:
            paths = [path for path in (tmp_path / "store").rglob("*") if path.is_file() and "sync" not in path.parts]
            return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths if "locks" not in path.parts}

        before, told = files(), []

        def tell(so_far: PushProgress) -> None:
            assert so_far.last is not None
            told.append((so_far.runs_done, so_far.runs_count, so_far.last.outcome, so_far.points_sent))

        report = store.sync(front.url, workers=1, progress=tell)
        assert report.is_complete, report
        assert files() == before
        assert [(done, count, outcome) for done, count, outcome, _ in told] == [(n, 4, "sent") for n in range(1, 5)]
        assert told[-1][3] == report.points_sent


def verify(store: Store, url: str) -> PushReport:
    return Push(store._site, store._catalog, resolve_target(url), PushOptions(patience=HASTE)).verify()


def test_verify_tells_what_differs_and_changes_nothing(tmp_path: Path) -> None:
    stand_in = StandIn()
    with Front(stand_in) as front, make_store(tmp_path / "store") as store:
        assert verify(store, front.url).count("failed") == 4
        push(store, front.url)
        report = verify(store, front.url)
        assert (report.count("already_there"), report.is_complete) == (4, True)
        shutil.rmtree(tmp_path / "store" / "sync")
        assert verify(store, front.url).count("already_there") == 4
        remote = next(run for run in stand_in.runs.values() if len(run["points"].get("loss", [])) > 100)
        remote["points"]["loss"].pop(7)
        remote["params"]["lr"] = "0.2"
        front.reset()
        report = verify(store, front.url)
        (failed,) = (run for run in report.runs if run.outcome == "failed")
        assert failed.reason == "param 'lr' differs"
        remote["params"]["lr"] = "0.1"
        (failed,) = (run for run in verify(store, front.url).runs if run.outcome == "failed")
        assert failed.reason == "metric 'loss' has 1099 points, not 1100"
        assert {r.path.partition("?")[0].rpartition("/")[2] for r in front.requests if r.method == "POST"} == {"search"}


def test_status_says_what_ledgers_say(tmp_path: Path) -> None:
    with Front(StandIn()) as front, make_store(tmp_path / "store") as store:
        assert store.sync_targets() == []
        with store.start_run("live", context=False):
            front.faults = dict.fromkeys(range(40, 1000), "cut_before")
            push(store, front.url, workers_count=1)
            front.faults.clear()
            (target,) = store.sync_targets()
            assert target.runs_count + target.cut_short_count == 5
            assert target.cut_short_count > 0
            push(store, front.url)
            (target,) = store.sync_targets()
        assert (target.runs_count, target.running_count, target.cut_short_count) == (5, 1, 0)
        assert target.target == front.url
        assert abs(target.last_push_ms - store.clock()) < 3_600_000
        logs = sorted((tmp_path / "store" / "sync").glob("*/push-*.json"))
        assert [json.loads(log.read_text("utf-8"))["complete"] for log in logs] == [False, True]
        logs[-1].write_text("{")
        assert [target.target for target in store.sync_targets()] == [target.key]


def test_a_watch_follows_runs_to_their_end(tmp_path: Path) -> None:
    """A store that comes later, vanishes and is there again, a target that is away for a while, a run that goes on."""
    stand_in = StandIn(appends_duplicates=True)
    stop, events = threading.Event(), []

    def push_once() -> PushReport:
        with Store.open(tmp_path / "store", create=False) as store:
            return push(store, front.url)

    with Front(stand_in) as front:
        watching = threading.Thread(
            target=watch,
            args=(push_once,),
            kwargs={"heard": lambda *what: events.append(what), "interval_s": 0.01, "stop": stop},
        )
        watching.start()
        try:
            _wait_until(lambda: any(isinstance(error, NotFoundError) for _, error in events))
            with Store.open(tmp_path / "store") as store:
                with store.start_run("live", context=False) as run:
                    for step in range(5):
                        run.log_metric("loss", step, step=step, timestamp=START_MS + step)
                        _wait_until(lambda step=step: _points(stand_in) == step + 1)
                        if step == 2:
                            front.faults = dict.fromkeys(
                                range(len(front.requests), len(front.requests) + 40), "cut_before"
                            )
                _wait_until(lambda: [r["info"]["status"] for r in stand_in.runs.values()] == ["FINISHED"])
                (tmp_path / "store").rename(tmp_path / "away")
                heard_count = len(events)
                _wait_until(lambda: any(isinstance(error, NotFoundError) for _, error in events[heard_count:]))
                (tmp_path / "away").rename(tmp_path / "store")
                with store.start_run("live", run_name="later", context=False) as run:
                    run.log_metric("loss", 9.0, step=9, timestamp=START_MS + 9)
                _wait_until(lambda: [r["info"]["status"] for r in stand_in.runs.values()] == ["FINISHED"] * 2)
                stop.set()
                watching.join(30)
                assert compare_store(front.url, store) == []
        finally:
            stop.set()
            watching.join(30)
        assert not watching.is_alive()


def _points(stand_in: StandIn) -> int:
    return sum(len(run["points"].get("loss", [])) for run in list(stand_in.runs.values()))


def _wait_until(condition: object) -> None:
    deadline = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_watch_ends_where_credentials_are_refused() -> None:
    def push_once() -> PushReport:
        raise SyncError("no", code="sync_denied")  # type: ignore[arg-type]

    with pytest.raises(SyncError):
        watch(push_once, heard=lambda *_: None, interval_s=0.01)


def test_a_watch_waits_longer_and_longer() -> None:
    class Stop(threading.Event):
        waited: list[float]

        def wait(self, timeout: float | None = None) -> bool:
            self.waited.append(timeout or 0.0)
            if len(self.waited) == 12:
                self.set()
            return self.is_set()

    stop = Stop()
    stop.waited = []

    def push_once() -> PushReport:
        raise UnreachableError("away")

    watch(push_once, heard=lambda *_: None, interval_s=5.0, stop=stop)
    assert [round(wait) for wait in stop.waited] == [10, 20, 40, 80, 160, 300, 300, 300, 300, 300, 300, 300]


def test_a_store_as_the_target_gets_the_chosen_runs(tmp_path: Path) -> None:
    with make_store(tmp_path / "store", artifacts=True) as store, Store.open(tmp_path / "other") as other:
        add_entities(store)
        report = store.sync(tmp_path / "other", experiment_names=["models"])
        assert (report.merged_count, report.models_sent) == (2, 1)
        assert {row.info.run_name for row in other.search_runs()} == {"maker", "user"}
        assert len(other.list_logged_models()) == 1
        store.sync(tmp_path / "other", filter_string="run_name LIKE 'child%'")
        assert len(other.search_runs()) == 4
        store.sync(tmp_path / "other")
        assert len(other.search_runs()) == 6
        for row in store.search_runs():
            tables = [one.metric_history(row.info.run_id).to_pylist() for one in (other, store)]
            assert str(tables[0]) == str(tables[1])  # NaN does not equal itself
        assert store.sync(tmp_path / "other").unchanged_count == 6
        with pytest.raises(InvalidInputError, match="the store itself"):
            store.sync(tmp_path / "store")
        with pytest.raises(NotFoundError):
            store.sync(tmp_path / "nowhere")


def test_a_read_only_store_has_its_ledger_with_the_user(tmp_path: Path) -> None:
    """As somebody else, since the superuser may write everywhere."""
    with make_store(tmp_path / "store"):
        pass
    script = (
        "import sys, localtrack.storage.local as local\n"
        "from localtrack.errors import StorageError\n"
        "real = local.LocalStorage.create_log\n"
        "def refuse(self, key, lock, **more):\n"
        "    if str(self.path('')).startswith(sys.argv[1]): raise StorageError('read-only')\n"
        "    return real(self, key, lock, **more)\n"
        "local.LocalStorage.create_log = refuse\n"
        "from tests.sync.pushing import push\n"
        "from localtrack import Store\n"
        "report = push(Store.open(sys.argv[1]), sys.argv[2])\n"
        "print(report.count('sent'), report.unchanged_count)\n"
    )
    with Front(StandIn(appends_duplicates=True)) as front:
        for wanted in ("4 0", "0 4"):
            command = [sys.executable, "-c", script, str(tmp_path / "store"), front.url]
            done = subprocess.run(
                command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=120
            )
            assert done.stdout.strip() == wanted, done.stderr
    assert list((tmp_path / "home" / "state").rglob("*.jsonl"))
