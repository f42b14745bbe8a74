"""A sync that fails: what it was to make durable is written elsewhere, and outlives the end of the old file."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.crash.deeds import open_store
from tests.independent.reader import read_store

from localtrack.api.run import ActiveRun
from localtrack.api.store import Store
from localtrack.errors import StateError
from localtrack.storage.syncer import syncer

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to name what is synced")


REAL_WRITE = os.write


class Disk:
    """Knows how much of each file is on the disk. What a failed sync was to write is gone, even if the next works."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.broken: set[str] = set()
        """Names, or ends of names, of files whose sync fails."""
        self._durable: dict[str, int] = {}
        self._frozen: set[str] = set()
        self._real_fsync = os.fsync

    def fsync(self, fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if path.endswith(tuple(self.broken)) and path.startswith(str(self.root)):
            self._frozen.add(path)
            raise OSError(errno.EIO, "Input/output error")
        self._real_fsync(fd)
        if path not in self._frozen:
            self._durable[path] = os.fstat(fd).st_size

    def die(self) -> None:
        """Leave what the host's death leaves at worst."""
        for path in self.root.rglob("*.jsonl"):
            os.truncate(path, min(self._durable.get(str(path), 0), path.stat().st_size))


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(tmp_path / "store")
    monkeypatch.setattr(os, "fsync", disk.fsync)
    return disk


def steps(root: Path, run_id: str) -> list[int]:
    """Return the steps of a run's points by both readers, which must agree."""
    with Store.open(str(root), create=False) as store:
        shown = sorted(store.metric_history(run_id).column("step").to_pylist())
    assert shown == sorted(step for _, _, step, _ in read_store(root)["runs"][run_id]["points"])
    return shown


def log(run: ActiveRun, first: int, last: int) -> None:
    for step in range(first, last):
        run.log_metric("m", float(step), step)


def names(root: Path, ending: str) -> set[str]:
    return {path.name for path in root.rglob("*" + ending)}


def run_logs(root: Path) -> set[str]:
    return {path.name for path in (root / "runs").rglob("*.jsonl") if path.name.count(".") == 1}


@pytest.mark.parametrize("small_bytes", [None, 2_000], ids=["log", "chunks"])
def test_everything_is_written_again(disk: Disk, small_bytes: int | None) -> None:
    store = open_store(str(disk.root), small_bytes)
    run = store.start_run("e", context=False)
    log(run, 0, 150)
    assert syncer.sync_all() == []
    log(run, 150, 300)
    run.set_tag("after", "the good sync")
    disk.broken = run_logs(disk.root) | names(disk.root, "points.jsonl")
    assert syncer.sync_all() != []
    disk.broken = set()
    log(run, 300, 400)
    run.set_tag("later", "still")
    store.flush()
    disk.die()
    assert steps(disk.root, run.run_id) == list(range(400))
    assert store.get_run(run.run_id).data.tags.items() >= {("after", "the good sync"), ("later", "still")}
    run.end()
    assert steps(disk.root, run.run_id) == list(range(400))
    assert store.get_run(run.run_id).info.status == "FINISHED"


@pytest.mark.parametrize("part", [1, 3, 9, 11])
def test_what_is_torn_is_not_written_again(disk: Disk, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(disk.root))
    run = store.start_run("e", context=False)
    log(run, 0, 10)
    assert syncer.sync_all() == []
    with monkeypatch.context() as patch:
        for length in (6, part):  # the second write is the marker of what the first has torn
            patch.setattr(os, "write", short_write(length))
            with pytest.raises(OSError, match="No space"):
                run.log_metric("m", 10.0, 10)
    log(run, 10, 20)
    disk.broken = run_logs(disk.root)
    assert syncer.sync_all() != []
    disk.broken = set()
    log(run, 20, 30)
    store.flush()
    disk.die()
    assert steps(disk.root, run.run_id) == list(range(30))
    assert store.describe_run(run.run_id).findings == ()


def short_write(length: int) -> Any:
    """Return a `write` that writes some bytes, and from then on finds the disk full."""
    left = [length]

    def write(fd: int, data: Any) -> int:
        part = memoryview(data)[: left[0]]
        if not part:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= len(part)
        return REAL_WRITE(fd, part)

    return write


def test_a_file_that_owes_nothing_is_left_all_the_same(disk: Disk) -> None:
    """With durability `call` the run log is synced with each point, also if it did not grow."""
    store = open_store(str(disk.root), 1_000, durability="call")
    run = store.start_run("e", context=False)
    log(run, 0, 60)
    assert names(disk.root, ".parquet") | names(disk.root, "points.jsonl")
    disk.broken = run_logs(disk.root)
    log(run, 60, 61)
    disk.broken = set()
    run.set_tag("after", "it")
    log(run, 61, 100)
    disk.die()
    assert steps(disk.root, run.run_id) == list(range(100))
    assert store.get_run(run.run_id).data.tags["after"] == "it"
    run.end()


def test_a_run_that_has_ended_stays_so(disk: Disk) -> None:
    store = open_store(str(disk.root))
    run = store.start_run("e", context=False)
    log(run, 0, 50)
    disk.broken = run_logs(disk.root)
    run.end()
    assert syncer.sync_all() != []
    disk.broken = set()
    with pytest.raises(StateError, match="has ended"):
        run.log_metric("m", 1.0, 1_000)
    with pytest.raises(StateError, match="has ended"):
        run.set_tag("a", "b")
    store.flush()
    disk.die()
    assert steps(disk.root, run.run_id) == list(range(50))
    assert store.get_run(run.run_id).info.status == "FINISHED"


def test_a_close_that_fails_is_a_sync_that_failed(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network drive tells of a lost write when the file is closed, and then no more."""
    store = open_store(str(disk.root))
    run = store.start_run("e", context=False)
    log(run, 0, 50)
    (name,) = run_logs(disk.root)
    real = os.close

    def close(fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        real(fd)
        if path.endswith(name):
            disk._frozen.add(path)
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close)
        run.end()
    store.flush()
    disk.die()
    assert steps(disk.root, run.run_id) == list(range(50))
    assert store.get_run(run.run_id).info.status == "FINISHED"


def test_edits_are_written_again(disk: Disk) -> None:
    store = open_store(str(disk.root))
    first, second = store.create_experiment("first"), store.create_experiment("second")
    store.rename_experiment(first, "renamed")
    disk.broken = {path.name for path in (disk.root / "edits").iterdir()}
    assert syncer.sync_all() != []
    disk.broken = set()
    store.delete_experiment(second)
    store.flush()
    disk.die()
    with Store.open(str(disk.root)) as again:
        assert again.get_experiment(first).name == "renamed"
        assert again.get_experiment(second).lifecycle_stage == "deleted"


def test_a_chunk_that_cannot_begin_and_cannot_be_removed_is_left(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(disk.root), 1_000)
    run = store.start_run("e", context=False)

    def write(fd: int, data: bytes) -> int:
        if b'["Points"' in data:
            raise OSError(errno.EIO, "Input/output error")
        return REAL_WRITE(fd, data)

    def unlink(path: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        patch.setattr(os, "unlink", unlink)
        with pytest.raises(OSError, match="failed"):
            log(run, 0, 1_000)
    step = len(steps(disk.root, run.run_id))
    log(run, step, 200)
    run.end()
    assert steps(disk.root, run.run_id) == list(range(200))
    assert store.describe_run(run.run_id).findings == ()


def test_a_run_with_a_torn_line_ends_like_another(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(disk.root))
    run = store.start_run("e", context=False)
    log(run, 0, 10)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", short_write(7))
        with pytest.raises(OSError, match="No space"):
            log(run, 10, 11)
    log(run, 10, 20)
    run.end()
    assert steps(disk.root, run.run_id) == list(range(20))
    row = store.describe_run(run.run_id).row
    assert (row.info.status, row.metrics["m"].count, row.metrics["m"].value) == ("FINISHED", 20, 19.0)
