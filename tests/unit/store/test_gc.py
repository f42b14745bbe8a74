"""Garbage collection removes what is past retention, tombstone first, and nothing that should stay."""

from __future__ import annotations

import datetime
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conformance.library_reading import assert_agreement, read_with_library
from tests.independent.reader import read_store

from localtrack.api.store import Store
from localtrack.api.store_cleanup import parse_duration_ms
from localtrack.errors import InvalidInputError, LockedError, NotFoundError, StorageError
from localtrack.storage.local import LocalStorage
from localtrack.storage.locks import maintenance_lock
from localtrack.store.site import open_site
from localtrack.types import ViewType

NOW_MS = 1_790_000_000_000
DAY_MS = 86_400_000


class Clock:
    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


class Yard:
    """A store whose clock the test sets; files are as old as the clock says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = Clock()
        self.store = Store(open_site(LocalStorage(str(root)), create=True, clock=self.clock), on_error="raise")

    def run(self, experiment: str = "e", *, loss: float = 1.0, points: int = 3, deleted: bool = True) -> str:
        with self.store.start_run(experiment, context=False) as run:
            for step in range(points):
                run.log_metric("loss", loss, step)
            run.log_text("artifact", "folder/a.txt")
        if deleted:
            self.store.delete_run(run.run_id)
        return str(run.run_id)

    def later(self, days: float) -> None:
        self.clock.now_ms += round(days * DAY_MS)

    def folder(self, run_id: str) -> Path:
        (found,) = self.root.glob(f"runs/*/{run_id}")
        return found

    def has_folder(self, run_id: str) -> bool:
        return bool(list(self.root.glob(f"runs/*/{run_id}")))

    def age(self, path: Path, days: float) -> None:
        at_s = self.clock.now_ms / 1000 - days * 86_400
        os.utime(path, (at_s, at_s), follow_symlinks=False)


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path / "store")


def test_what_is_past_retention_goes_and_a_dry_run_says_so_before(yard: Yard) -> None:
    old, kept = yard.run(), yard.run(deleted=False)
    yard.later(29.99)
    young = yard.run()
    assert yard.store.gc(dry_run=False).garbage == []
    yard.later(0.02)
    before = read_store(yard.root)
    planned = yard.store.gc()
    assert [(item.kind, item.run_id) for item in planned.garbage] == [("run", old)]
    size = sum(path.stat().st_size for path in yard.folder(old).rglob("*") if path.is_file())
    assert (planned.runs_count, planned.files_count, planned.bytes_count) == (1, 2, size)
    assert read_store(yard.root) == before, "a dry run changes nothing"
    done = yard.store.gc(dry_run=False)
    assert done.garbage == planned.garbage
    assert not yard.has_folder(old)
    after = read_store(yard.root)
    assert after["runs"].keys() == {young, kept}
    assert after["runs"] == {run_id: before["runs"][run_id] for run_id in (young, kept)}
    with pytest.raises(NotFoundError):
        yard.store.get_run(old)
    assert_agreement(yard.root)
    assert yard.store.check().findings == []
    assert yard.store.gc(dry_run=False).garbage == []


def test_no_merge_brings_it_back(yard: Yard, tmp_path: Path) -> None:
    old = yard.run()
    shutil.copytree(yard.root, tmp_path / "copy")
    yard.later(31)
    yard.store.gc(dry_run=False)
    yard.store.merge(tmp_path / "copy")
    assert yard.has_folder(old)
    assert len(yard.store.search_runs(run_view_type=ViewType.ALL)) == 0
    report = yard.store.gc(dry_run=False)
    assert [item.kind for item in report.garbage] == ["leftovers"]
    assert not yard.has_folder(old)
    assert_agreement(yard.root)


def test_what_a_copy_restored_since_is_shown(yard: Yard, tmp_path: Path) -> None:
    """The copy knew nothing of the removal, and its owner wanted the run back."""
    old = yard.run()
    shutil.copytree(yard.root, tmp_path / "copy")
    yard.later(31)
    yard.store.gc(dry_run=False)
    clock = Clock()
    clock.now_ms = yard.clock.now_ms + 5
    other = Store(open_site(LocalStorage(str(tmp_path / "copy")), create=False, clock=clock), on_error="raise")
    other.restore_run(old)
    yard.store.merge(tmp_path / "copy")
    assert yard.store.get_run(old).info.lifecycle_stage == "active"
    assert_agreement(yard.root)
    yard.store.delete_run(old)
    assert yard.store.get_run(old).info.lifecycle_stage == "deleted"
    assert yard.store.gc(dry_run=False).garbage == [], "it has its retention anew"
    assert_agreement(yard.root)
    yard.later(31)
    assert [item.run_id for item in yard.store.gc(dry_run=False).garbage] == [old]


def test_runs_of_an_experiment_that_was_deleted_go_too(yard: Yard) -> None:
    ids = {yard.run(deleted=False), yard.run(deleted=False)}
    elsewhere = yard.run("other", deleted=False)
    experiment_id = yard.store.get_run(min(ids)).info.experiment_id
    yard.store.delete_experiment(experiment_id)
    yard.later(31)
    assert {item.run_id for item in yard.store.gc(dry_run=False).garbage if item.kind == "run"} == ids
    assert {row.info.run_id for row in yard.store.search_runs(run_view_type=ViewType.ALL)} == {elsewhere}


def test_the_time_a_filter_and_the_best_choose(yard: Yard) -> None:
    ids = [yard.run(loss=float(number)) for number in range(4)]
    other = yard.run("other", loss=9.0)
    yard.later(1)
    assert yard.store.gc().garbage == []
    every = yard.store.gc(older_than="23h")
    assert {item.run_id for item in every.garbage} == {*ids, other}
    chosen = yard.store.gc(older_than=datetime.timedelta(0), filter_string="metrics.loss >= 2")
    assert {item.run_id for item in chosen.garbage} == {*ids[2:], other}
    experiment_id = yard.store.get_run(other).info.experiment_id
    chosen = yard.store.gc(older_than="1m", experiment_ids=[experiment_id])
    assert {item.run_id for item in chosen.garbage} == {other}
    best = yard.store.gc(older_than="0s", keep_best=1, by="metrics.loss ASC")
    assert {item.run_id for item in best.garbage} == set(ids[1:])
    assert {spared.reason for spared in best.spared} == {"it is among the best 1 by metrics.loss ASC"}
    with yard.store.start_run("other", context=False) as run:
        run.log_metric("acc", 1.0)
    yard.store.delete_run(run.run_id)
    best = yard.store.gc(older_than="0s", keep_best=1, by="metrics.acc DESC")
    assert {item.run_id for item in best.garbage} == {other}, "where nothing tells which is best, all stay"
    assert yard.store.gc(older_than="0s", keep_best=1, by="metrics.los ASC").garbage == []
    assert len(yard.store.gc(older_than="0s", keep_best=1, by="start_time DESC").garbage) == 4
    for count, by in ((0, "start_time"), ("2", "start_time"), (1.0, "start_time"), (True, "start_time"), (1, None)):
        with pytest.raises(InvalidInputError):
            yard.store.gc(keep_best=count, by=by)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "30", "d", "3 days", "-1d", "1d1d", "1h1d"])
def test_a_time_that_cannot_be_read_is_refused(yard: Yard, text: str) -> None:
    with pytest.raises(InvalidInputError):
        yard.store.gc(older_than=text)


def test_durations() -> None:
    assert parse_duration_ms("1d2h3m4s") == 93_784_000
    assert parse_duration_ms(datetime.timedelta(milliseconds=5)) == 5
    for wrong in (datetime.timedelta(days=-1), 5, None):
        with pytest.raises(InvalidInputError):
            parse_duration_ms(wrong)  # type: ignore[arg-type]


def test_a_run_that_somebody_may_be_writing_to_stays(yard: Yard) -> None:
    run = yard.store.start_run("e", context=False)
    run.log_metric("loss", 1.0)
    yard.store.delete_run(run.run_id)
    yard.later(31)
    (spared,) = yard.store.gc(dry_run=False).spared
    assert spared.reason == "a process is writing to it"
    run._writer.forget_after_fork()  # as if its process had been killed
    for days in (0, 29):
        for path in yard.folder(run.run_id).iterdir():
            yard.age(path, days)
        (spared,) = yard.store.gc(dry_run=False).spared
        assert "within 30 days" in spared.reason
    for path in yard.folder(run.run_id).iterdir():
        yard.age(path, 30.1)
    assert [item.run_id for item in yard.store.gc(dry_run=False).garbage] == [run.run_id]


def test_a_run_that_is_damaged_stays(yard: Yard) -> None:
    old = yard.run()
    (log,) = yard.folder(old).glob("*.jsonl")
    log.write_bytes(log.read_bytes().replace(b'["info"', b'["inXX"', 1))
    yard.later(31)
    report = yard.store.gc(dry_run=False)
    assert report.garbage == []
    assert "damaged" in report.spared[0].reason
    assert yard.has_folder(old)


def test_the_tombstone_is_durable_before_the_first_file_goes(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    old = yard.run()
    yard.later(31)
    synced: list[str] = []
    fsync, unlink = os.fsync, os.unlink

    def spy_fsync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    def spy_unlink(path: str) -> None:
        if "/runs/" in path:
            (edits,) = yard.root.glob("edits/*.jsonl")
            kind, _, payload = json.loads(edits.read_bytes().splitlines()[-1])
            assert (kind, payload["run"]) == ("tombstone", old)
            assert str(edits) in synced
        unlink(path)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "unlink", spy_unlink)
    yard.store.gc(dry_run=False)
    assert not yard.has_folder(old)


def test_a_run_that_is_restored_meanwhile_stays(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    old = yard.run()
    yard.later(31)
    bury = yard.store._catalog.bury

    def bury_and_restore(*args: object, **named: object) -> None:
        bury(*args, **named)  # type: ignore[arg-type]
        yard.store._catalog.mark_runs("restored", [old])

    monkeypatch.setattr(yard.store._catalog, "bury", bury_and_restore)
    report = yard.store.gc(dry_run=False)
    assert "restored" in report.spared[0].reason
    assert yard.store.get_run(old).info.lifecycle_stage == "active"
    assert_agreement(yard.root)


def test_what_is_written_meanwhile_stays(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    old = yard.run()
    yard.later(31)
    bury = yard.store._catalog.bury
    name = "ab" * 10 + ".jsonl"

    def bury_and_bring(*args: object, **named: object) -> None:
        bury(*args, **named)  # type: ignore[arg-type]
        (log,) = yard.folder(old).glob("*.jsonl")
        (log.parent / name).write_bytes(log.read_bytes().replace(log.stem.encode(), name[:20].encode()))

    monkeypatch.setattr(yard.store._catalog, "bury", bury_and_bring)
    yard.store.gc(dry_run=False)
    assert (yard.folder(old) / name).exists()
    assert yard.store.get_run(old).info.lifecycle_stage == "deleted", "more than was removed: shown again"


def test_unfinished_files_and_artifacts_without_a_run_go(yard: Yard) -> None:
    kept = yard.run(deleted=False)
    places = [yard.root, yard.root / "edits", yard.root / "experiments", yard.folder(kept)]
    places.append(yard.folder(kept) / "artifacts/folder")
    for place in places:
        for name, days in ((".tmp-old", 1.1), (".tmp-new", 0.9)):
            (place / name).write_bytes(b"12345")
            yard.age(place / name, days)
    orphan = yard.root / "runs/2026-01-02" / ("0" * 32)
    young = yard.root / "runs/2026-01-02" / ("1" * 32)
    for folder, days in ((orphan, 31), (young, 29)):
        (folder / "artifacts/deep").mkdir(parents=True)
        (folder / "artifacts/deep/a").write_bytes(b"x")
        for path in (folder / "artifacts/deep/a", folder / "artifacts/deep", folder / "artifacts"):
            yard.age(path, days)
    before = read_with_library(yard.root)["runs"]
    report = yard.store.gc(dry_run=False)
    assert sorted(item.kind for item in report.garbage) == ["artifacts", *["temporary"] * len(places)]
    assert not orphan.exists()
    assert (young / "artifacts/deep/a").exists()
    assert list(yard.root.rglob(".tmp-old")) == []
    assert len(list(yard.root.rglob(".tmp-new"))) == len(places)
    assert read_with_library(yard.root)["runs"] == before


def test_no_link_is_followed_out_of_the_store(yard: Yard, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    for name in ("precious", "deep/precious", ".tmp-precious"):
        (outside / name).write_text("kept")
        yard.age(outside / name, 400)
    old, moved = yard.run(), yard.run()
    folder = yard.folder(old)
    (folder / "artifacts/link").symlink_to(outside)
    (folder / "artifacts/file").symlink_to(outside / "precious")
    yard.folder(moved).rename(tmp_path / "moved")
    (folder.parent / moved).symlink_to(tmp_path / "moved")
    (yard.root / "runs/2026-01-03").symlink_to(outside)
    yard.later(31)
    report = yard.store.gc(dry_run=False)
    assert [item.run_id for item in report.garbage] == [old]
    assert [spared.reason for spared in report.spared] == ["a link leads out of the store"]
    assert not folder.exists()
    assert sorted(path.name for path in outside.rglob("*")) == [".tmp-precious", "deep", "precious", "precious"]
    assert len(list((tmp_path / "moved").rglob("*"))) >= 3


def test_what_no_rule_puts_into_a_run_folder_stays(yard: Yard) -> None:
    old = yard.run()
    (yard.folder(old) / "notes.md").write_text("mine")
    yard.later(31)
    report = yard.store.gc(dry_run=False)
    assert [spared.key.rpartition("/")[2] for spared in report.spared] == ["notes.md"]
    assert [path.name for path in yard.folder(old).iterdir()] == ["notes.md"]


def test_one_at_a_time(yard: Yard) -> None:
    with maintenance_lock(yard.store.storage, "merge"):
        assert yard.store.gc().garbage == []
        with pytest.raises(LockedError):
            yard.store.gc(dry_run=False)


def test_a_removal_that_failed_is_finished_by_the_next(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [yard.run(), yard.run()]
    yard.later(31)
    remove: Callable[[str], None] = LocalStorage.remove
    count = 0

    def fail_at_third(self: LocalStorage, key: str) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise StorageError("no")
        remove(self, key)  # type: ignore[call-arg, arg-type]

    monkeypatch.setattr(LocalStorage, "remove", fail_at_third)
    with pytest.raises(StorageError):
        yard.store.gc(dry_run=False)
    assert len(yard.store.search_runs(run_view_type=ViewType.ALL)) == 0, "both have their tombstones"
    assert_agreement(yard.root)
    report = yard.store.gc(dry_run=False)
    assert [item.kind for item in report.garbage] == ["leftovers"]
    assert not any(yard.has_folder(run_id) for run_id in ids)
