"""Locks for maintenance: never needed to log, and never broken because they are old.

Where a lock of the operating system reaches everybody who might do the same (a local disk, NFS, SMB, a cluster file
system) it is taken with `filelock`, and goes with its process. Elsewhere (FUSE, mounts with locks of their own, object
stores that know conditional puts) a file that only one can create stands for it; that one stays when its process dies,
until `localtrack unlock`. Either way the owner stands beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from localtrack.errors import LockedError, StorageError
from localtrack.format.layout import LOCKS
from localtrack.storage.base import Storage
from localtrack.storage.failures import show_path, to_storage_error
from localtrack.storage.locallog import is_locked
from localtrack.storage.process import ProcessIdentity, boot_id, pid_namespace, process_start, this_process

OWNER_SUFFIX: Final = ".owner.json"
KERNEL_SUFFIX: Final = ".lock"
FILE_SUFFIX: Final = ".held.json"
_POLL_S: Final = 0.05

OwnerState = Literal["alive", "dead", "unknown"]


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a lock, as it says itself."""

    process: ProcessIdentity
    since_ms: int
    """Milliseconds since 1970, UTC, by the owner's clock."""

    def describe(self) -> str:
        """Return who it is, for a message."""
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since_ms / 1000))
        return f"process {self.process.pid} on {self.process.host or 'an unknown host'}, since {since}"

    def judge(self) -> OwnerState:
        """Return whether the process still runs; `unknown` where only its own host can tell. Age says nothing."""
        process = self.process
        if not process.boot or process.boot != boot_id():
            is_this_host = bool(process.host) and process.host == this_process().host
            # The same host has booted since; what ran before is gone. Hosts with one name would be mistaken here,
            # so it is only said, and nothing follows by itself.
            return "dead" if is_this_host and process.boot and boot_id() else "unknown"
        if not process.pidns or process.pidns != pid_namespace() or not process.start:
            return "unknown"
        return "alive" if process_start(process.pid) == process.start else "dead"


@dataclass(frozen=True, slots=True)
class HeldLock:
    """A lock that somebody holds, or has left."""

    name: str
    key: str
    """The file that stands for it."""
    owner: Owner | None
    """None where nobody has written it, or it cannot be read."""
    is_file: bool
    """True: the file is the lock. False: the operating system holds it, as long as its process lives."""

    @property
    def state(self) -> OwnerState:
        """Whether its owner still runs."""
        if not self.is_file:
            return "alive"
        return "unknown" if self.owner is None else self.owner.judge()


@contextmanager
def maintenance_lock(storage: Storage, name: str, *, timeout_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of one kind of maintenance on a store, for as long as the block runs.

    Args:
        storage: The store's bytes.
        name: What is maintained: `merge`, `compact`.
        timeout_s: How long to wait for another process that holds it.

    Raises:
        LockedError: Another process holds it.

    Concurrency: it holds between all hosts, except on object stores without conditional puts, where nothing is locked
        (`Capabilities.can_put_if_absent`).
    """
    if not storage.is_local:
        if storage.capabilities.can_put_if_absent:
            with _file_lock(storage, name, timeout_s):
                yield
        else:
            yield
        return
    storage.make_folder(LOCKS)
    if reaches_everybody(storage):
        with _kernel_lock(storage, name, timeout_s):
            yield
    else:
        with _file_lock(storage, name, timeout_s):
            yield


def reaches_everybody(storage: Storage) -> bool:
    """Return whether a lock of the operating system keeps out all who could do the same maintenance."""
    able = storage.capabilities
    return able.locks == "all hosts" or (able.locks == "this machine" and not able.is_shared)


def list_locks(storage: Storage) -> list[HeldLock]:
    """Return the locks that are held, or were left behind, by name."""
    found: list[HeldLock] = []
    for name in sorted(storage.names(LOCKS)):
        key = f"{LOCKS}/{name}"
        if name.endswith(FILE_SUFFIX):
            found.append(HeldLock(name.removesuffix(FILE_SUFFIX), key, _read_owner(storage, key), True))
        elif name.endswith(KERNEL_SUFFIX) and storage.is_local and is_locked(storage.path(key)):
            short = name.removesuffix(KERNEL_SUFFIX)
            found.append(HeldLock(short, key, _read_owner(storage, f"{LOCKS}/{short}{OWNER_SUFFIX}"), False))
    return found


def break_lock(storage: Storage, lock: HeldLock) -> bool:
    """Remove a lock file that somebody has looked at and wants gone; return whether it was still that one.

    Raises:
        LockedError: The operating system holds it: it goes when its process ends.
    """
    if not lock.is_file:
        owner = lock.owner.describe() if lock.owner is not None else "a process that has not said who it is"
        raise LockedError(
            f"The lock {lock.name} is held by {owner}.",
            hint="It goes when that process ends.",
        )
    if _read_owner(storage, lock.key) != lock.owner:
        return False
    storage.remove(lock.key)
    return True


@contextmanager
def _kernel_lock(storage: Storage, name: str, timeout_s: float) -> Iterator[None]:
    import filelock

    path, owner_key = storage.path(f"{LOCKS}/{name}{KERNEL_SUFFIX}"), f"{LOCKS}/{name}{OWNER_SUFFIX}"
    # Everybody in the group has to be able to take it; the umask still counts.
    lock = filelock.FileLock(path, timeout=timeout_s, mode=0o666 & ~_umask())
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise _held(path, _read_owner(storage, owner_key)) from error
    except OSError as error:
        raise to_storage_error(error, f"Locking {show_path(path)}") from error
    try:
        with contextlib.suppress(StorageError):  # it only tells others whom they wait for
            storage.write(owner_key, _encode_owner())
        yield
    finally:
        with contextlib.suppress(OSError):  # what was to be done is done; the lock goes with the process at the latest
            storage.remove(owner_key)
        with contextlib.suppress(OSError):
            lock.release()


@contextmanager
def _file_lock(storage: Storage, name: str, timeout_s: float) -> Iterator[None]:
    key = f"{LOCKS}/{name}{FILE_SUFFIX}"
    deadline = time.monotonic() + timeout_s
    data = _encode_owner()
    while not storage.write_new(key, data):
        if time.monotonic() >= deadline:
            raise _held(storage.path(key), _read_owner(storage, key))
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        # Where it cannot be removed it stays, and `localtrack unlock` says whose it was. It may be another's by now:
        # somebody took this process for dead, and removed its lock.
        with contextlib.suppress(StorageError, FileNotFoundError):
            if storage.read(key) == data:
                storage.remove(key)


def _held(path: str, owner: Owner | None) -> LockedError:
    who = owner.describe() if owner is not None else "another process"
    hint = "Wait until it is done, and try again."
    if owner is not None and owner.judge() == "dead":
        hint = "That process is gone: `localtrack unlock` takes its lock away."
    elif owner is not None and owner.judge() == "unknown":
        hint = "Wait until it is done; if it is gone for sure, `localtrack unlock` takes its lock away."
    return LockedError(f"{path} is held by {who}.", hint=hint)


def _encode_owner() -> bytes:
    # The random part tells one holding from the next by the same process.
    record = {**this_process()._asdict(), "since_ms": time.time_ns() // 1_000_000, "holding": os.urandom(8).hex()}
    return json.dumps(record, sort_keys=True).encode() + b"\n"


def _read_owner(storage: Storage, key: str) -> Owner | None:
    try:
        record: Any = json.loads(storage.read(key))
    except (FileNotFoundError, ValueError, StorageError):
        return None
    if not isinstance(record, dict):
        return None
    texts = {name: str(record.get(name, "")) for name in ("host", "boot", "pidns", "start")}
    pid, since_ms = record.get("pid"), record.get("since_ms")
    if type(pid) is not int or type(since_ms) is not int:
        return None
    return Owner(ProcessIdentity(pid=pid, **texts), since_ms)


def _umask() -> int:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            line = next(line for line in file if line.startswith("Umask:"))
        return int(line.split()[1], 8)
    except (OSError, StopIteration, ValueError):  # asking otherwise means setting it, for all threads
        return 0o022
