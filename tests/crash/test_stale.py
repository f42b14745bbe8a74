"""A file that another host replaces or removes while it is read: NFS says ESTALE of it, where a local disk goes on."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.crash.deeds import open_store

from localtrack.api.store import Store
from localtrack.errors import StorageError
from localtrack.storage import local
from localtrack.storage.local import LocalStorage
from localtrack.store.background import sealer

Hook = Callable[[str], None]


class _Handle(io.FileIO):
    """A file of whose reads a hook is told first, and may refuse them."""

    hook: Hook = staticmethod(lambda path: None)

    def readall(self) -> bytes:
        _Handle.hook(str(self.name))
        return super().readall()

    def readinto(self, buffer: Any) -> int:
        _Handle.hook(str(self.name))
        return super().readinto(buffer)


@pytest.fixture
def hooked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Hook], None]:
    """Set what is called before each read of a file of a store."""

    def opening(path: Any, mode: str = "r", **options: Any) -> Any:
        return _Handle(path, "rb") if mode == "rb" else builtins.open(path, mode, **options)

    monkeypatch.setattr(local, "open", opening, raising=False)
    return lambda hook: monkeypatch.setattr(_Handle, "hook", staticmethod(hook))


def stale(path: str) -> OSError:
    return OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)


def test_what_was_replaced_is_read_again(tmp_path: Path, hooked: Callable[[Hook], None]) -> None:
    storage = LocalStorage(str(tmp_path))
    storage.write("a", b"old")
    seen: list[str] = []

    def replace_once(path: str) -> None:
        seen.append(path)
        if len(seen) == 1:
            storage.write("a", b"new")
            raise stale(path)

    hooked(replace_once)
    assert storage.read("a") == b"new"
    assert len(seen) == 2

    def remove(path: str) -> None:
        storage.remove("a")
        raise stale(path)

    hooked(remove)
    with pytest.raises(FileNotFoundError):
        storage.read("a")

    def refuse(path: str) -> None:
        raise stale(path)

    storage.write("a", b"new")
    hooked(refuse)
    with pytest.raises(StorageError, match="Stale"):
        storage.read("a")
    with storage.open("a") as file, pytest.raises(FileNotFoundError):
        file.read()


def test_the_end_of_a_log_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(str(tmp_path))
    storage.write("a", b"0123456789")
    turns = iter([True])
    real = os.read

    def once(fd: int, count: int) -> bytes:
        if next(turns, False):
            raise stale("a")
        return real(fd, count)

    monkeypatch.setattr(os, "read", once)
    assert storage.read_from("a", 4) == b"456789"


@pytest.mark.parametrize("is_merged", [False, True], ids=["chunks are sealed", "segments become one"])
def test_a_history_is_whole_though_another_host_seals_what_is_read(
    tmp_path: Path, hooked: Callable[[Hook], None], is_merged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealer, "ask", lambda *_: None)  # nobody seals before the other host does
    root = str(tmp_path / "store")
    with open_store(root, 2_000) as writing:
        run = writing.start_run("e", context=False)
        for step in range(600):
            run.log_metric("loss", step / 2, step=step)
        writing.flush()
        if is_merged:
            writing.seal()
        (folder,) = (tmp_path / "store" / "runs").glob("*/*")
        suffix = ".parquet" if is_merged else ".points.jsonl"
        files = sorted(path for path in folder.iterdir() if path.name.endswith(suffix))
        assert files
        with Store.open(root) as reading, open_store(root, 2_000) as other:
            removed: list[str] = []

            def seal_meanwhile(path: str) -> None:
                if not removed and path.endswith(suffix):
                    removed.append(path)
                    if is_merged:
                        for step in range(600, 900):
                            run.log_metric("loss", step / 2, step=step)
                    other.seal()
                    raise stale(path)

            hooked(seal_meanwhile)
            history = reading.metric_history(run.run_id).to_pydict()
        assert removed
        assert sorted(history["step"])[:600] == list(range(600))
        hooked(lambda path: None)
        run.end()


def test_a_drive_that_fails_does_not_say_that_there_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(str(tmp_path))
    storage.write("a/b", b"1")
    assert (storage.exists("a/b"), storage.exists("a"), storage.exists("a/b/c"), storage.exists("z")) == (
        *(True, True),
        *(False, False),
    )
    real = os.stat

    def failing(path: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(str(tmp_path)):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path, **options)

    monkeypatch.setattr(os, "stat", failing)
    with pytest.raises(StorageError, match="Input/output error"):
        storage.exists("a/b")
    with pytest.raises(StorageError):
        storage.write_new("a/b", b"2")
