"""A log of this process: its edits, or its notices.

Begun with its first record, begun anew where the old file cannot go on.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

from localtrack.errors import StorageError
from localtrack.format.headers import encode_header, select_resent
from localtrack.format.jsonlines import encode_record
from localtrack.format.lines import EDITS
from localtrack.storage.base import Appender
from localtrack.storage.syncer import syncer
from localtrack.store.site import STILL_THERE_MS, Site, discard_log, new_writer_id, retire_log, this_writer


class ProcessLog:
    """One appending file per process. Thread-safe; a forked child gets a file of its own."""

    def __init__(self, site: Site, kind: str, to_key: Callable[[str], str]) -> None:
        self._site = site
        self._kind = kind
        self._to_key = to_key
        self._lock = threading.Lock()
        self._log: Appender | None = None
        self._last_ms = 0
        self.writer: str | None = None
        """The id of the current file's writer; None before the first record."""
        _alive.add(self)

    @property
    def size(self) -> int:
        """Bytes of the current file; 0 before the first record."""
        return 0 if self._log is None else self._log.size

    def append(self, *records: list[Any], stamp: int = 0, is_durable: bool = False, is_careful: bool = False) -> None:
        """Append records, in one write.

        Args:
            records: The records.
            stamp: That of the first record, for the header where this begins a file.
            is_durable: Wait for the disk, whatever the store's setting.
            is_careful: Look whether the file is still there even if it was a moment ago.
        """
        data = b"".join(map(encode_record, records))
        with self._lock:
            now_ms = self._site.clock()
            log = self._log
            is_paused = not 0 <= now_ms - self._last_ms < STILL_THERE_MS
            if log is not None and (is_careful or is_paused) and not log.is_in_place():
                self._drop(log)
                log = None
            self._last_ms = now_ms
            if log is None:
                log = self._begin(stamp or now_ms)
            log.append(data)
        # On an object store nothing is there before it was synced; edits are rare, and nobody calls flush after each.
        is_durable |= self._kind == EDITS and not self._site.storage.can_append
        if is_durable or self._site.durability == "call":
            self._sync(log)

    def sync(self) -> None:
        """Make what was appended durable."""
        with self._lock:
            log = self._log
        if log is not None:
            self._sync(log)

    def close(self) -> None:
        """Let go of the file. The next record begins another one."""
        with self._lock:
            if self._log is not None:
                retire_log(self._log)
                self._log = self.writer = None

    def forget_after_fork(self) -> None:
        """Leave the parent's file to the parent."""
        self._lock = threading.Lock()
        if self._log is not None:
            self._log.abandon_after_fork()
            self._log = self.writer = None

    def _sync(self, log: Appender) -> None:
        try:
            log.sync()
        except StorageError as error:
            self._recover(log, error)
            with self._lock:
                log = self._log or log
            log.sync()

    def _begin(self, stamp: int) -> Appender:
        writer = new_writer_id()
        log = self._site.storage.create_log(self._to_key(writer), self._lock)
        header = encode_header(
            self._kind, this_writer(), writer=writer, base_ms=self._site.clock(), stamp=stamp, flock=log.is_locked
        )
        try:
            log.append(header)
        except StorageError:
            discard_log(self._site, log)
            raise
        self._log, self.writer = log, writer
        syncer.add(log, self._recover, store=self._site.storage.uri)
        return log

    def _drop(self, log: Appender) -> None:
        syncer.remove(log)
        log.abandon()
        self._log = None

    def _recover(self, log: Appender, _error: StorageError) -> None:
        """Write to a new file what a failed sync may have lost."""
        with self._lock:
            lost = select_resent(log.take_unsynced())
            if self._log is log:
                self._log = None
            if lost:
                self._begin(self._site.clock()).append(lost)
            syncer.remove(log)
            log.abandon()


_alive: weakref.WeakSet[ProcessLog] = weakref.WeakSet()


def _forget_after_fork() -> None:
    for log in list(_alive):
        log.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
