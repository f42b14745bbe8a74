"""Searches look at no more than they have to, and still see all that was acknowledged."""

from __future__ import annotations

import shutil
import sys
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.property.index_world import assert_index_agrees
from tests.unit.store.test_index_upkeep import log_runs

from localtrack.api.store import Store
from localtrack.errors import StorageError
from localtrack.format.layout import run_folder
from localtrack.storage.kept_files import KeptFiles
from localtrack.storage.kernel_watch import KernelWatch
from localtrack.storage.local import LocalStorage
from localtrack.store.index import live_run, lookout, run_index, run_watch, search_index

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify is the Linux kernel's")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the operating system since the list was cleared last: looks, listings, watches."""
    calls: list[str] = []
    look, names, watch_again = LocalStorage.look, LocalStorage.names, KernelWatch.watch_again

    def look_and_tell(storage: LocalStorage, keys: Sequence[str]) -> list[tuple[int, int] | None]:
        calls.extend(f"look at {key}" for key in keys if key.count("/") > 1)
        return look(storage, keys)

    def names_and_tell(storage: LocalStorage, key: str) -> list[str]:
        calls.extend(f"list {key}" for _ in range(key.startswith("runs/")))
        return names(storage, key)

    def watch_and_tell(watch: KernelWatch, key: str) -> bool:
        calls.append(f"watch {key}")
        return watch_again(watch, key)

    monkeypatch.setattr(run_watch, "WORTH_COUNT", 2)
    for module in (live_run, run_index):
        monkeypatch.setattr(module, "RACY_MS", 0)
    monkeypatch.setattr(LocalStorage, "look", look_and_tell)
    monkeypatch.setattr(LocalStorage, "names", names_and_tell)
    monkeypatch.setattr(KernelWatch, "watch_again", watch_and_tell)
    return calls


def kept_open(store: Store) -> KeptFiles:
    """Return the files that searches of a store keep open."""
    return store._index._index._lookout.watch._busy


@only_linux
def test_logs_that_grow_from_search_to_search_are_kept_open_and_read(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "_ALL_EVERY", 5)
    root = tmp_path / "store"
    with Store.open(root) as writing, Store.open(root) as store:
        runs = [writing.start_run("e", context=False) for _ in range(4)]

        def losses() -> list[float]:
            asked.clear()
            by_id = {row.info.run_id: row for row in store.search_runs()}
            return [by_id[run.run_id].metrics["loss"].value for run in runs if run.run_id in by_id]

        for step in range(12):
            for number, run in enumerate(runs):
                run.log_metric("loss", step + number, step=step)
            assert losses() == [step, step + 1, step + 2, step + 3]
            if step > 2:
                assert (asked, len(kept_open(store).fds)) == ([], 4)
        runs[0].log_metric("loss", 100, step=100)
        assert losses() == [100, 12, 13, 14]
        assert {ask.split("/")[2] for ask in asked} == {run.run_id for run in runs[1:]}  # still: watched again
        assert len(kept_open(store).fds) == 1
        runs[0].log_params({"lr": "1"})
        runs[0].log_metric("loss", 101, step=101)
        assert losses() == [101, 12, 13, 14]
        assert [row.info.run_id for row in store.search_runs(filter_string="params.lr = '1'")] == [runs[0].run_id]
        assert_index_agrees(store)
        assert not kept_open(store).fds

        for step in range(200, 204):  # and what is done to the folder of one that is kept open
            for run in runs:
                run.log_metric("loss", step, step=step)
            assert losses() == [step] * 4
        assert len(kept_open(store).fds) == 4
        folder = root / run_folder(runs[3].run_id)
        (log,) = folder.glob("*.jsonl")
        writing.flush()
        (tmp_path / "copy").write_bytes(log.read_bytes() + b'["param",9999999999999,{"from":"copy"}]\n')
        (tmp_path / "copy").rename(log)
        assert losses() == [203] * 4
        assert len(store.search_runs(filter_string="params.from = 'copy'")) == 1
        shutil.rmtree(root / run_folder(runs[2].run_id))
        assert losses() == [203] * 3
        runs[0].end()
        assert losses() == [203] * 3
        assert len(store.search_runs(filter_string="status = 'FINISHED'")) == 1
        assert_index_agrees(store)
        kept = weakref.ref(kept_open(store))
    assert kept() is None


@only_linux
def test_more_growing_logs_than_may_be_kept_open_are_watched(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (8, 8))
    root = tmp_path / "store"
    with Store.open(root) as writing, Store.open(root) as store:
        runs = [writing.start_run("e", context=False) for _ in range(5)]
        for step in range(8):
            for run in runs:
                run.log_metric("loss", step, step=step)
            asked.clear()
            assert [row.metrics["loss"].value for row in store.search_runs()] == [step] * 5
            if step > 2:
                assert (len(kept_open(store).fds), len(asked)) == (2, 3)
                assert all(ask.startswith("watch ") for ask in asked)


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """No search takes it for worth while to write an index."""
    monkeypatch.setattr(search_index, "WORTH_RUNS", 10**9)
    monkeypatch.setattr(search_index, "WORTH_FILES", 10**9)


@pytest.mark.usefixtures("no_index")
@pytest.mark.parametrize("worth_count", [2, 10**9], ids=["told by the kernel", "looking"])
def test_before_there_is_an_index_notices_that_stay_show_that_none_is_missing(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch, worth_count: int
) -> None:
    monkeypatch.setattr(run_watch, "WORTH_COUNT", worth_count)
    root = tmp_path / "store"
    ids = [log_runs(root, 1)[0] for _ in range(6)]
    with Store.open(root) as store, Store.open(root) as other:

        def tagged() -> int:
            asked.clear()
            return len(store.search_runs(filter_string="tags.note = 'new'"))

        assert tagged() == 0
        assert tagged() == 0
        assert asked == []
        other.set_run_tags(ids[0], {"note": "new"})
        assert tagged() == 1
        other.set_run_tags(ids[1], {"note": "new"})
        shutil.rmtree(root / "inbox")  # with the notice of it
        assert tagged() == 2
        other.set_run_tags(ids[2], {"note": "new"})
        assert tagged() == 3
        assert_index_agrees(store)


@pytest.mark.usefixtures("no_index")
def test_where_an_index_was_removed_notices_that_stay_show_nothing(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_watch, "WORTH_COUNT", 10**9)
    root = tmp_path / "store"
    ids = log_runs(root, 6)
    with Store.open(root) as writing, Store.open(root) as store:
        run = writing.start_run("e", context=False)  # its process's notices stay
        assert len(store.search_runs()) == 7
        log_runs(root, 1)
        with Store.open(root) as other:
            other.set_run_tags(ids[0], {"note": "new"})
        with Store.open(root) as other:
            other.compact()  # removes the notices of those that have ended
        shutil.rmtree(root / "index")
        assert len(store.search_runs(filter_string="tags.note = 'new'")) == 1
        assert len(store.search_runs()) == 8
        run.end()
        assert_index_agrees(store)
        asked.clear()
        assert len(store.search_runs()) == 8
        assert any(ask.startswith("list runs/") for ask in asked)


@pytest.mark.parametrize("failure", [StorageError("no answer"), KeyboardInterrupt()])
@pytest.mark.parametrize("has_index", [True, False])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_what_a_search_that_was_cut_off_had_heard_of_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, has_index: bool, failure: BaseException
) -> None:
    root = tmp_path / "store"
    run_ids = log_runs(root, 4)
    with Store.open(root) as store, Store.open(root) as one, Store.open(root) as other:
        if has_index:
            store.compact()
        assert len(store.search_runs()) == 4
        for writer, run_id in zip((one, other, one), run_ids, strict=False):
            run = writer.attach_run(run_id)
            run.set_tag("changed", "yes")
            run.detach()
        calls = 0

        def fail_once(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(storage: LocalStorage, key: str, *more: Any) -> Any:
                nonlocal calls
                if key.startswith("inbox/") or key == "runs":  # two files of notices, then the folders of days
                    calls += 1
                    if calls == at + 1:
                        raise failure
                return real(storage, key, *more)

            return call

        with monkeypatch.context() as patched:
            for name in ("read_from", "names"):
                patched.setattr(LocalStorage, name, fail_once(getattr(LocalStorage, name)))
            with pytest.raises(type(failure)):
                store.search_runs()
        assert {row.info.run_id for row in store.search_runs(filter_string="tags.changed = 'yes'")} == set(run_ids[:3])
        assert_index_agrees(store)
