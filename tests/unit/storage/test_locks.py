"""Maintenance locks: who holds one, and that age alone breaks none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from localtrack.errors import LockedError
from localtrack.storage.capabilities import MEDIA
from localtrack.storage.local import LocalStorage
from localtrack.storage.locks import HeldLock, break_lock, list_locks, maintenance_lock
from localtrack.storage.objects import ObjectStorage
from localtrack.storage.process import this_process

HOLDER = """
import os, sys, time
from localtrack.storage.capabilities import MEDIA
from localtrack.storage.local import LocalStorage
from localtrack.storage.locks import maintenance_lock
storage = LocalStorage(sys.argv[1])
storage.capabilities = MEDIA[sys.argv[2]]
with maintenance_lock(storage, "merge"):
    print("held", flush=True)
    if sys.argv[3] == "die":
        os.kill(os.getpid(), 9)
    time.sleep(60)
"""


def storage_on(path: Path, medium: str) -> LocalStorage:
    storage = LocalStorage(str(path))
    storage.capabilities = MEDIA[medium]
    return storage


@pytest.fixture(params=["local", "nfs", "fuse", "unknown"])
def medium(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def hold(path: Path, medium: str, what: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), medium, what], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    if what == "die":
        process.communicate()
    return process


@pytest.fixture
def held(tmp_path: Path, medium: str) -> Iterator[subprocess.Popen[str]]:
    process = hold(tmp_path, medium, "stay")
    yield process
    process.kill()
    process.communicate()


def test_a_lock_that_a_process_holds_keeps_out_and_says_whose_it_is(
    tmp_path: Path, medium: str, held: subprocess.Popen[str]
) -> None:
    storage = storage_on(tmp_path, medium)
    with (
        pytest.raises(LockedError, match=f"process {held.pid} on {this_process().host}"),
        maintenance_lock(storage, "merge"),
    ):
        pass
    (lock,) = list_locks(storage)
    assert lock.owner is not None
    assert (lock.name, lock.state, lock.owner.process.pid) == ("merge", "alive", held.pid)
    assert lock.owner.process.boot == this_process().boot
    with maintenance_lock(storage, "compact"):  # another kind of maintenance
        assert len(list_locks(storage)) == 2


def test_an_old_lock_is_not_broken(tmp_path: Path, medium: str, held: subprocess.Popen[str]) -> None:
    for path in (tmp_path / "locks").iterdir():
        os.utime(path, (1, 1))
        if path.suffix == ".json":
            path.write_text(json.dumps({**json.loads(path.read_text()), "since_ms": 1}))
    storage = storage_on(tmp_path, medium)
    with pytest.raises(LockedError), maintenance_lock(storage, "merge"):
        pass
    assert held.poll() is None


def test_what_a_dead_process_leaves(tmp_path: Path, medium: str) -> None:
    process = hold(tmp_path, medium, "die")
    storage = storage_on(tmp_path, medium)
    if medium in ("local", "nfs"):  # the operating system has let go of it
        assert list_locks(storage) == []
    else:
        with (
            pytest.raises(LockedError, match="That process is gone: `localtrack unlock`"),
            maintenance_lock(storage, "merge"),
        ):
            pass
        (lock,) = list_locks(storage)
        assert (lock.is_file, lock.state) == (True, "dead")
        assert lock.owner is not None
        assert lock.owner.process.pid == process.pid
        assert break_lock(storage, lock)
    with maintenance_lock(storage, "merge"):
        pass
    assert list_locks(storage) == []


def test_of_a_process_on_another_host_nobody_knows(tmp_path: Path) -> None:
    storage = storage_on(tmp_path, "fuse")
    key = "locks/merge.held.json"
    with maintenance_lock(storage, "merge"):
        record = json.loads(storage.read(key))
    storage.write(key, json.dumps({**record, "host": "node7", "boot": "other"}).encode())
    (lock,) = list_locks(storage)
    assert lock.state == "unknown"
    with pytest.raises(LockedError, match="if it is gone for sure"), maintenance_lock(storage, "merge"):
        pass


def test_a_lock_that_changed_hands_is_not_removed(tmp_path: Path) -> None:
    storage = storage_on(tmp_path, "fuse")
    with maintenance_lock(storage, "merge"):
        (seen,) = list_locks(storage)
    time.sleep(0.002)
    with maintenance_lock(storage, "merge"):
        assert not break_lock(storage, seen)
        assert len(list_locks(storage)) == 1


def test_who_comes_back_after_its_lock_was_removed_leaves_that_of_the_next_one(tmp_path: Path) -> None:
    storage = storage_on(tmp_path, "fuse")
    with ExitStack() as next_one:
        with maintenance_lock(storage, "merge"):
            (seen,) = list_locks(storage)
            assert break_lock(storage, seen)  # somebody took it for dead
            next_one.enter_context(maintenance_lock(storage, "merge"))
        with pytest.raises(LockedError), maintenance_lock(storage, "merge"):
            pass
    assert list_locks(storage) == []


def test_a_lock_of_the_operating_system_cannot_be_broken(tmp_path: Path) -> None:
    storage = storage_on(tmp_path, "local")
    with maintenance_lock(storage, "merge"):
        (lock,) = list_locks(storage)
        with pytest.raises(LockedError, match="It goes when that process ends"):
            break_lock(storage, lock)


def test_a_lock_that_nobody_can_read_is_shown(tmp_path: Path) -> None:
    storage = storage_on(tmp_path, "fuse")
    storage.make_folder("locks")
    storage.write("locks/merge.held.json", b"not JSON")
    assert list_locks(storage) == [HeldLock("merge", "locks/merge.held.json", None, True)]
    with pytest.raises(LockedError, match="another process"), maintenance_lock(storage, "merge"):
        pass


def test_waiting_for_a_lock(tmp_path: Path, medium: str) -> None:
    process = hold(tmp_path, medium, "stay")
    storage = storage_on(tmp_path, medium)
    began = time.monotonic()
    with pytest.raises(LockedError), maintenance_lock(storage, "merge", timeout_s=0.3):
        pass
    assert time.monotonic() - began >= 0.3
    process.kill()
    process.communicate()


def test_object_stores_lock_where_they_know_conditional_puts() -> None:
    storage = ObjectStorage.at(f"memory://locks-{os.urandom(4).hex()}")
    with maintenance_lock(storage, "merge"), pytest.raises(LockedError), maintenance_lock(storage, "merge"):
        pass
    assert list_locks(storage) == []
    storage.capabilities = storage.capabilities._replace(can_put_if_absent=False)
    with maintenance_lock(storage, "merge"), maintenance_lock(storage, "merge"):
        assert list_locks(storage) == []
