"""Locks for maintenance: never needed to log, never broken by age."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from localtrack.errors import LockedError
from localtrack.format.layout import LOCKS
from localtrack.storage.base import Storage
from localtrack.storage.failures import show_path, to_storage_error


@contextmanager
def maintenance_lock(storage: Storage, name: str, *, timeout_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of one kind of maintenance on a store, for as long as the block runs.

    Args:
        storage: The store's bytes.
        name: What is maintained: `merge`, `compact`.
        timeout_s: How long to wait for another process that holds it.

    Raises:
        LockedError: Another process holds it.

    Concurrency: between hosts it is as good as the file system's locks. On object stores, which have none, nothing is
        locked.
    """
    if not storage.is_local:
        yield
        return
    import filelock

    storage.make_folder(LOCKS)
    path = storage.path(f"{LOCKS}/{name}.lock")
    lock = filelock.FileLock(path, timeout=timeout_s)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise LockedError(f"Another process holds {path}.", hint="Wait until it is done, and try again.") from error
    except OSError as error:
        raise to_storage_error(error, f"Locking {show_path(path)}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # what was to be done is done; the lock goes with the process at the latest
            lock.release()
