"""Makes what was appended durable in the background, so that a logging call need not wait for the disk.

One thread a process, begun with the first log, gone with the process; it syncs every few seconds, when much waits,
and at exit.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from localtrack import reporting
from localtrack.errors import StorageError
from localtrack.storage.base import Appender

INTERVAL_S: Final = 5.0
"""What a host that dies may take with it, with durability `process`."""
HEARTBEAT_S: Final = 30.0
"""Half of what FORMAT.md section 15 asks for."""

OnFailure = Callable[[Appender, StorageError], None]


@dataclass(slots=True)
class _Owing:
    """A log, and what was found when it was last synced."""

    log: Appender
    store: str
    on_failure: OnFailure
    synced_size: int = 0
    is_retired: bool = False
    """True: forgotten with the next sync that leaves nothing owed."""
    is_told: bool = False
    """True: it was said that it cannot be synced, and that has not changed since."""

    @property
    def is_quiet(self) -> bool:
        return self.log.size == self.synced_size and not self.log.has_backlog


class Syncer:
    """Knows the logs of this process, and which of them owe the disk something."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, without the logs: also for the child of a fork, where the parent's logs are the parent's."""
        self._changed = threading.Condition()
        self._owing: dict[int, _Owing] = {}
        self._thread: threading.Thread | None = None
        self._is_hurried = False
        self._is_ended = False
        self._next_heartbeat_s = 0.0

    def add(self, log: Appender, on_failure: OnFailure, *, store: str) -> None:
        """Sync a log from now on.

        Args:
            log: The log.
            on_failure: Called from the syncing thread when a sync failed. It has to write what may be lost to another
                file, and to `remove` this one.
            store: The URI of its store, for whoever asks about one store.
        """
        with self._changed:
            self._owing[id(log)] = _Owing(log, store, on_failure)
            if self._thread is None and not self._is_ended:
                _end_with_multiprocessing()
                self._thread = threading.Thread(target=self._run, name="localtrack-sync", daemon=True)
                self._thread.start()

    def retire(self, log: Appender) -> None:
        """Sync a closed log once more, then forget it."""
        with self._changed:
            if id(log) in self._owing:
                self._owing[id(log)].is_retired = True

    def remove(self, log: Appender) -> None:
        """Forget a log."""
        with self._changed:
            self._owing.pop(id(log), None)

    def hurry(self) -> None:
        """Sync now, in the background."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()

    def logs(self) -> list[Appender]:
        """Return the logs that it knows."""
        with self._changed:
            return [owing.log for owing in self._owing.values()]

    def sync_all(
        self, *, store: str | None = None, heartbeat: bool = False, in_background: bool = False
    ) -> list[StorageError]:
        """Sync everything that was appended before this call, and return what failed after the failure was handled.

        Args:
            store: Only the logs of this store.
            heartbeat: Show of logs that did not grow that their writer is alive.
            in_background: Leave out logs whose medium wants fewer syncs, and failures that were returned before: of a
                log that can neither be synced nor be written elsewhere, as on a disk that is gone, nothing is new.

        Concurrency: any thread may call it; two at once do the work twice.
        """
        with self._changed:
            wanted = [owing for owing in self._owing.values() if store in (None, owing.store)]
        failures: list[StorageError] = []
        for owing in sorted(wanted, key=lambda owing: not owing.is_retired):
            if in_background and not owing.is_retired and not owing.log.is_due():
                continue
            found = self._sync(owing, heartbeat=heartbeat)
            if not (in_background and owing.is_told):
                failures += found
            owing.is_told = bool(found)
        return failures

    def _sync(self, owing: _Owing, *, heartbeat: bool) -> list[StorageError]:
        log, size = owing.log, owing.log.size
        try:
            if not owing.is_quiet:
                log.sync()
            elif heartbeat:
                log.touch()
        except FileNotFoundError:
            self.remove(log)  # packed or removed by somebody since it was closed
            return []
        except StorageError as error:
            if log.is_retryable:
                return [error]
            try:
                owing.on_failure(log, error)
            except StorageError as second:
                return [error, second]
            return [error]
        except OSError as error:
            reporting.debug("touching %s failed: %s", log.key, error)
            return []
        with self._changed:
            if not log.has_backlog:
                owing.synced_size = size
                if owing.is_retired and log.size == size:
                    self._owing.pop(id(log), None)
        return []

    def end(self) -> None:
        """Sync everything, for the last time. What comes later is synced by its caller only."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()
        for error in self.sync_all():
            reporting.warn("%s", error)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._is_hurried and not self._is_ended:
                    self._changed.wait(INTERVAL_S)
                self._is_hurried = False
                if self._is_ended:
                    return
            now_s = time.monotonic()
            heartbeat = now_s >= self._next_heartbeat_s
            if heartbeat:
                self._next_heartbeat_s = now_s + HEARTBEAT_S
            for error in self.sync_all(heartbeat=heartbeat, in_background=True):
                reporting.warn("%s", error)


def _end_with_multiprocessing() -> None:
    """In a process that `multiprocessing` started, which runs no `atexit` functions, sync at its end all the same."""
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is not None and process is not None and process.parent_process() is not None:
        util.Finalize(None, syncer.end, exitpriority=0)


syncer = Syncer()
atexit.register(syncer.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=syncer.forget)
