"""The clock of the place where a store lies, by which the times of its files are given."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from localtrack.errors import StorageError
from localtrack.format.layout import LOCKS, TEMPORARY_PREFIX
from localtrack.storage.base import Storage


def clock_of_place(storage: Storage, clock: Callable[[], int]) -> Callable[[], int]:
    """Return a clock of this host that is not ahead of the place's, to tell by it how old files of other hosts are.

    A host whose clock is a month ahead would take what others write right now to have been still for a month.

    Args:
        storage: Where the files lie. A file is written there, and removed.
        clock: The host's own: milliseconds since 1970, UTC.

    Returns:
        `clock` itself where nobody else writes, or where nothing can be written, and so nothing removed.
    """
    if not storage.capabilities.is_shared:
        return clock
    key = f"{LOCKS}/{TEMPORARY_PREFIX}{os.urandom(8).hex()}"
    before_ms = clock()
    try:
        storage.write(key, b"\n")
        entry = storage.stat(key)
    except StorageError:
        return clock
    finally:
        with contextlib.suppress(StorageError):  # gc removes it
            storage.remove(key)
    if entry is None or not entry.mtime_ms:
        return clock
    ahead_ms = max(before_ms - entry.mtime_ms, 0)
    return lambda: clock() - ahead_ms
