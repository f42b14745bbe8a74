"""A disk that is gone under one store is no other store's business, and is told of once."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localtrack.api.store import Store
from localtrack.errors import StorageError
from localtrack.storage.syncer import syncer


@pytest.fixture
def disk_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Let the disk of a folder fail from now on, whatever is opened, made or synced there."""
    gone: list[str] = []

    def fail_there(path: object) -> None:
        if gone and str(path).startswith(tuple(gone)):
            raise OSError(errno.EIO, "Input/output error", str(path))

    def guard(name: str, path_of: Callable[[object], object]) -> None:
        real = getattr(os, name)

        def guarded(first: object, *rest: object, **options: object) -> object:
            fail_there(path_of(first))
            return real(first, *rest, **options)

        monkeypatch.setattr(os, name, guarded)

    for name in ("open", "mkdir"):
        guard(name, lambda path: path)
    guard("fsync", lambda fd: os.readlink(f"/proc/self/fd/{fd}"))
    yield lambda path: gone.append(path)
    gone.clear()


def test_the_flush_of_a_store_is_about_that_store(tmp_path: Path, disk_of: Callable[[str], None]) -> None:
    with Store.open(tmp_path / "sound") as sound, Store.open(tmp_path / "gone") as lost:
        runs = [store.start_run("e", context=False) for store in (sound, lost)]
        for run in runs:
            run.log_metric("loss", 0.5, step=1)
        disk_of(str(tmp_path / "gone"))
        sound.flush()
        runs[0].flush()
        with pytest.raises(StorageError, match=r"gone.*could not be synced"):
            lost.flush()
        runs[0].end()
        for log in syncer.logs():
            if str(getattr(log, "path", "")).startswith(str(tmp_path / "gone")):
                syncer.remove(log)


def test_a_disk_that_stays_away_is_told_of_once(tmp_path: Path, disk_of: Callable[[str], None]) -> None:
    with Store.open(tmp_path / "gone") as lost:
        run = lost.start_run("e", context=False)
        run.log_metric("loss", 0.5, step=1)
        disk_of(str(tmp_path / "gone"))
        first = syncer.sync_all(in_background=True)
        assert any("Input/output error" in str(error) for error in first)
        assert syncer.sync_all(in_background=True) == []
        run.log_metric("loss", 0.4, step=2)
        assert syncer.sync_all(in_background=True) == []
        assert syncer.sync_all(store=lost.uri) != [], "whoever asks is told, as often as they ask"
        for log in syncer.logs():
            syncer.remove(log)
