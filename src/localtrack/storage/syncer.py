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
from typing import Final

from localtrack import reporting
from localtrack.errors import StorageError
from localtrack.storage.base import Appender

INTERVAL_S: Final = 5.0
"""What a host that dies may take with it, with durability `process`."""
HEARTBEAT_S: Final = 30.0
"""Half of what FORMAT.md section 15 asks for."""

OnFailure = Callable[[Appender, StorageError], None]


class Syncer:
    """Knows the logs of this process, and which of them owe the disk something."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, without the logs: also for the child of a fork, where the parent's logs are the parent's."""
        self._changed = threading.Condition()
        self._logs: dict[int, tuple[Appender, OnFailure]] = {}
        self._synced_sizes: dict[int, int] = {}
        self._retired: dict[int, tuple[Appender, OnFailure]] = {}
        self._told: set[int] = set()
        self._thread: threading.Thread | None = None
        self._is_hurried = False
        self._is_ended = False
        self._next_heartbeat_s = 0.0

    def add(self, log: Appender, on_failure: OnFailure) -> None:
        """Sync a log from now on.

        Args:
            log: The log.
            on_failure: Called from the syncing thread when a sync failed. It has to write what may be lost to another
                file, and to `remove` this one.
        """
        with self._changed:
            self._logs[id(log)] = (log, on_failure)
            self._synced_sizes[id(log)] = 0
            if self._thread is None and not self._is_ended:
                _end_with_multiprocessing()
                self._thread = threading.Thread(target=self._run, name="localtrack-sync", daemon=True)
                self._thread.start()

    def retire(self, log: Appender) -> None:
        """Sync a closed log once more, then forget it."""
        with self._changed:
            item = self._logs.pop(id(log), None)
            if item is not None:
                self._retired[id(log)] = item

    def remove(self, log: Appender) -> None:
        """Forget a log."""
        with self._changed:
            for known in (self._logs, self._retired):
                known.pop(id(log), None)
            self._synced_sizes.pop(id(log), None)
            self._told.discard(id(log))

    def hurry(self) -> None:
        """Sync now, in the background."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()

    def sync_all(self, *, heartbeat: bool = False, only_due: bool = False) -> list[StorageError]:
        """Sync everything that was appended before this call, and return what failed after the failure was handled.

        Args:
            heartbeat: Show of logs that did not grow that their writer is alive.
            only_due: Leave out logs whose medium wants fewer syncs.

        Concurrency: any thread may call it; two at once do the work twice.
        """
        with self._changed:
            retired, active = list(self._retired.values()), list(self._logs.values())
        if only_due:
            active = [item for item in active if item[0].is_due()]
        failures: list[StorageError] = []
        for log, on_failure in [*retired, *active]:
            size = log.size
            is_quiet = self._synced_sizes.get(id(log)) == size and not log.has_backlog
            try:
                if not is_quiet:
                    log.sync()
                elif heartbeat:
                    log.touch()
            except FileNotFoundError:
                self.remove(log)  # packed or removed by somebody since it was closed
                continue
            except StorageError as error:
                failures.append(error)
                if log.is_retryable:
                    if only_due and id(log) in self._told:
                        failures.pop()  # said before, and nothing has changed since
                    self._told.add(id(log))
                    continue
                try:
                    on_failure(log, error)
                except StorageError as second:
                    failures.append(second)
                continue
            except OSError as error:
                reporting.debug("touching %s failed: %s", log.key, error)
                continue
            with self._changed:
                self._told.discard(id(log))
                if log.has_backlog:
                    continue
                if id(log) in self._retired and log.size == size:
                    del self._retired[id(log)]
                    self._synced_sizes.pop(id(log), None)
                elif id(log) in self._logs:
                    self._synced_sizes[id(log)] = size
        return failures

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
            for error in self.sync_all(heartbeat=heartbeat, only_due=True):
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
