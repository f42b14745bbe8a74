"""The index is kept by nobody in particular, stays small, and is never trusted further than it deserves."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.property.index_world import assert_index_agrees

from localtrack.api.store import Store
from localtrack.errors import ErrorCode, StorageError
from localtrack.format.layout import run_folder
from localtrack.query.frames import to_arrow, to_pandas
from localtrack.storage.local import LocalStorage
from localtrack.store.index import live_run, run_watch, search_index
from localtrack.store.index.columns import ColumnCache
from localtrack.store.index.manifest import MANIFEST
from localtrack.store.index.tables import numbers
from localtrack.types import Dataset, DatasetInput, LoggedModelOutput, ViewType


def log_runs(root: Path, count: int) -> list[str]:
    ids = []
    with Store.open(root) as store:
        for number in range(count):
            with store.start_run("e", context=False) as run:
                run.log_metrics({"loss": number / 10, "acc": float("nan")} if number % 3 else {"loss": number / 10})
                run.log_params({"lr": "0.1"} if number % 2 else {})
            ids.append(run.run_id)
    return ids


def index_files(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("index/v1/*"))


def test_short_jobs_leave_a_bounded_inbox_and_index(tmp_path: Path) -> None:
    root = tmp_path / "store"
    most = 0
    for number in range(150):
        log_runs(root, 1)
        if number % 10 == 9:
            most = max(most, len(list((root / "inbox").iterdir())))
    assert most <= 70
    assert 0 < len(index_files(root)) <= 5 * 6 + 1
    with Store.open(root) as store:
        assert len(store.search_runs()) == 150


def count_watches() -> int:
    """Return how many queues of the kernel this process has open."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing itself had one open
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
    return links.count("anon_inode:inotify")


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is the Linux kernel's")
def test_runs_that_go_on_are_not_looked_at_while_the_kernel_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_watch, "WORTH_COUNT", 2)
    monkeypatch.setattr(live_run, "RACY_MS", 0)
    looked: list[str] = []
    look = LocalStorage.look

    def look_and_tell(storage: LocalStorage, keys: Sequence[str]) -> list[tuple[int, int] | None]:
        looked.extend(key for key in keys if key.count("/") > 1)  # not at days
        return look(storage, keys)

    monkeypatch.setattr(LocalStorage, "look", look_and_tell)
    watches_count = count_watches()
    root = tmp_path / "store"
    with Store.open(root) as writing, Store.open(root) as store:
        runs = [writing.start_run("e", context=False) for _ in range(4)]
        for number, run in enumerate(runs):
            run.log_metric("loss", number, step=0)

        def losses() -> list[float]:
            looked.clear()
            found = store.search_runs(order_by=["start_time"])
            by_id = {row.info.run_id: row.metrics["loss"].value for row in found}
            return [by_id[run.run_id] for run in runs if run.run_id in by_id]

        for _ in range(3):
            assert losses() == [0, 1, 2, 3]
        assert looked == []
        runs[1].log_metric("loss", 0.5, step=1)
        assert losses() == [0, 0.5, 2, 3]
        assert looked == []
        runs[1].log_metric("loss", 0.25, step=2)
        runs[3].log_params({"lr": "1"})
        assert losses() == [0, 0.25, 2, 3]
        assert [row.info.run_id for row in store.search_runs(filter_string="params.lr = '1'")] == [runs[3].run_id]
        runs[0].end()
        with Store.open(root) as third, third.start_run(run_id=runs[2].run_id, resume="must") as again:
            again.log_metric("loss", 9, step=9)
        assert losses() == [0, 0.25, 9, 3]
        folder = root / run_folder(runs[3].run_id)
        writing.flush()  # what is owed to the disk would be written anew once its file is gone
        shutil.copytree(folder, tmp_path / "aside")
        shutil.rmtree(folder)
        assert losses() == [0, 0.25, 9]
        shutil.copytree(tmp_path / "aside", folder)
        assert losses() == [0, 0.25, 9, 3]
        folder.parent.rename(tmp_path / "day")
        assert losses() == []
        (tmp_path / "day").rename(folder.parent)
        assert losses() == [0, 0.25, 9, 3]
        assert_index_agrees(store)
        assert count_watches() == watches_count + 1
    assert count_watches() == watches_count


def test_deleting_runs_does_not_write_the_index(tmp_path: Path) -> None:
    root = tmp_path / "store"
    ids = log_runs(root, 20)
    with Store.open(root) as store:
        store.compact()
        before = index_files(root), (root / "index/v1" / MANIFEST).read_bytes()
        store.delete_run(*ids[:15])
        assert len(store.search_runs()) == 5
        assert len(store.search_runs(run_view_type=ViewType.DELETED_ONLY)) == 15
        store.restore_run(*ids[:5])
        assert len(store.search_runs()) == 10
    assert (index_files(root), (root / "index/v1" / MANIFEST).read_bytes()) == before


def test_runs_with_data_sets_and_models_are_answered_from_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "store"
    with Store.open(root) as store:
        for number in range(8):
            with store.start_run("e", context=False) as run:
                run.log_metrics({"loss": number / 10})
                run.log_inputs([DatasetInput(Dataset("iris", f"d{number}", "local", "x"))], [f"m-in{number}"])
                run.log_outputs([LoggedModelOutput(f"m-out{number}", number)])
        store.compact()
    read: list[str] = []
    plain = LocalStorage.read

    def spy(self: LocalStorage, key: str) -> bytes:
        read.append(key)
        return plain(self, key)

    monkeypatch.setattr(LocalStorage, "read", spy)
    with Store.open(root) as store:
        page = store.search_runs(filter_string="datasets.name = 'iris'", order_by=["metrics.loss"])
        found = [row.to_run() for row in page]
        assert page.findings == []
        assert [key for key in read if key.startswith("runs/")] == []
        assert [run.inputs.dataset_inputs[0].dataset.digest for run in found] == [f"d{n}" for n in range(8)]
        assert [run.inputs.model_inputs[0].model_id for run in found] == [f"m-in{n}" for n in range(8)]
        assert [run.outputs.model_outputs for run in found] == [(LoggedModelOutput(f"m-out{n}", n),) for n in range(8)]
        monkeypatch.undo()
        assert_index_agrees(store)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b'"index":1', b'"index":2'),
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data.replace(b"manifest", b"m") + b"more\n",
    ],
)
def test_a_manifest_that_is_none_is_left_aside_and_made_anew(tmp_path: Path, change: Any) -> None:
    root = tmp_path / "store"
    log_runs(root, 8)
    with Store.open(root) as store:
        store.compact()
    path = root / "index/v1" / MANIFEST
    path.write_bytes(change(path.read_bytes()))
    with Store.open(root) as store:
        found = store.search_runs()
        assert len(found) == 8
        assert all(str(path) in finding.what for finding in found.findings)
        store.compact()
        assert store.search_runs().findings == []
        assert_index_agrees(store)


def test_an_index_of_another_store_does_not_count(tmp_path: Path) -> None:
    log_runs(tmp_path / "a", 8)
    log_runs(tmp_path / "b", 3)
    with Store.open(tmp_path / "a") as store:
        store.compact()
    (tmp_path / "a/index").rename(tmp_path / "b/index")
    with Store.open(tmp_path / "b") as store:
        assert len(store.search_runs()) == 3
        assert_index_agrees(store)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(4, len(data), 7):
        data[place] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_flip, lambda path: path.write_bytes(path.read_bytes()[:-9]), Path.unlink])
def test_a_damaged_segment_is_named_and_nothing_is_missing(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    sound = tmp_path / "sound"
    log_runs(sound, 8)
    with Store.open(sound) as store:
        store.log_run_inputs(store.search_runs()[0].info.run_id, [DatasetInput(Dataset("d", "1", "local", "x"))])
        store.compact()
        frame = store.search_runs(max_results=None).to_pandas().drop(columns="artifact_uri")
    paths = [path for path in sound.glob("index/v1/*") if path.name != MANIFEST]
    assert len(paths) == 7
    for path in paths:
        root = tmp_path / path.name
        shutil.copytree(sound, root)
        damage(root / "index/v1" / path.name)
        with Store.open(root) as store:
            page = store.search_runs(max_results=None, filter_string="metrics.loss < 0.35", order_by=["params.lr"])
            asked = store.search_runs(filter_string="datasets.name = 'd'")
            everything = store.search_runs(max_results=None)
            pd.testing.assert_frame_equal(everything.to_pandas().drop(columns="artifact_uri"), frame)
            assert (len(page), len(asked)) == (4, 1)
            for finding in [*page.findings, *asked.findings, *everything.findings]:
                assert (finding.key, path.name in finding.what) == ("index", True), finding
            assert page.findings or asked.findings or everything.findings


def test_a_store_that_may_not_be_written_to_has_its_index_in_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = tmp_path / "store", tmp_path / "cache"
    log_runs(root, 12)
    monkeypatch.setenv("LOCALTRACK_CACHE_DIR", str(cache))
    monkeypatch.setattr(search_index, "WORTH_RUNS", 5)
    allowed = LocalStorage.make_folder

    def refuse(self: LocalStorage, key: str) -> None:
        if self.root == str(root):
            raise StorageError("The file system is read-only.", code=ErrorCode.READ_ONLY)
        allowed(self, key)

    monkeypatch.setattr(LocalStorage, "make_folder", refuse)
    before = sorted(path for path in root.rglob("*"))
    for _ in range(2):
        with Store.open(root) as store:
            assert_index_agrees(store)
            assert len(store.search_runs()) == 12
    assert sorted(path for path in root.rglob("*")) == before
    (manifest,) = cache.rglob(MANIFEST)
    assert json.loads(manifest.read_text().splitlines()[0])[0]["store"] == store.store_id
    monkeypatch.undo()
    monkeypatch.setenv("LOCALTRACK_CACHE_DIR", str(cache))
    log_runs(root, 1)  # whoever may write goes on
    with Store.open(root) as store:
        assert_index_agrees(store)


def test_where_neither_store_nor_cache_can_be_written_to_searches_answer_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "store"
    log_runs(root, 12)
    monkeypatch.setenv("LOCALTRACK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(search_index, "WORTH_RUNS", 5)

    def refuse(self: LocalStorage, key: str) -> None:
        raise StorageError("The file system is read-only.", code=ErrorCode.READ_ONLY)

    monkeypatch.setattr(LocalStorage, "make_folder", refuse)
    with Store.open(root) as store:
        for _ in range(3):
            assert len(store.search_runs()) == 12
        assert_index_agrees(store)


@pytest.mark.parametrize("count", [0, 1, 9])
def test_frames_by_columns_are_those_by_rows(tmp_path: Path, count: int) -> None:
    root = tmp_path / "store"
    log_runs(root, count)
    with Store.open(root) as store:
        store.compact()
        if count > 1:
            store.start_run("e", context=False).log_metrics({"later": 1.0})
        page = store.search_runs(max_results=None, order_by=["metrics.loss DESC"])
        pd.testing.assert_frame_equal(page.to_pandas(), to_pandas(page.rows))
        columns, rows = page.to_arrow(), to_arrow(page.rows)
        assert columns.schema == rows.schema
        assert repr(columns.to_pylist()) == repr(rows.to_pylist())  # NaN does not equal itself
        assert page.to_polars().columns == page.to_arrow().column_names


def test_only_so_many_columns_are_kept() -> None:
    cache = ColumnCache(limit_bytes=10_000)
    for number in range(10):
        cache.get(("segment", str(number)), lambda: numbers(1_000))
        assert cache.used_bytes <= 10_000
    read: list[int] = []
    cache.get(("segment", "9"), lambda: read.append(1))
    assert read == []
    cache.get(("segment", "0"), lambda: read.append(1))
    assert read == [1]
    cache.keep_segments(set())
    assert cache.used_bytes == 0


def test_the_setting_bounds_the_columns_of_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_runs(tmp_path / "store", 120)
    monkeypatch.setenv("LOCALTRACK_SEARCH_MEMORY", "1KB")
    with Store.open(tmp_path / "store") as store:
        store.compact()
        for order in (["metrics.loss"], ["metrics.acc"], ["params.lr"], ["end_time"], ["metrics.loss DESC"]):
            assert len(store.search_runs(order_by=order)) == 120
            columns = store._index._columns
            # What a search needs at once it gets; one column may be larger than the bound.
            assert columns.used_bytes <= columns.limit_bytes == 1024 or len(columns._columns) == 1
