"""A log on a medium without append: gathered in memory, sent as numbered parts. FORMAT.md section 5.4.

What waits is bounded: a part is cut at `PART_BYTES`, and what the store does not take goes to a spool on the local
disk, part by part, from where it is sent when the store takes it again, or by `localtrack drain`.
"""

from __future__ import annotations

import time
import zlib
from collections import deque
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

from localtrack import reporting
from localtrack.errors import LocaltrackError, StorageError
from localtrack.format.layout import RUNS, part_name

if TYPE_CHECKING:
    from localtrack.storage.local import LocalStorage
    from localtrack.storage.objects import ObjectStorage

PART_BYTES: Final = 1024 * 1024
"""So much is kept in memory before a part is sent without being asked for."""
WAITING_BYTES: Final = 8 * 1024 * 1024
"""From so much on, parts that were not sent yet go to the spool, and memory is free again."""
RECALL_BYTES: Final = 256 * 1024
"""A log no longer than this is kept in memory as a whole, to fold it at the end of a short run without reading it."""


@dataclass(slots=True)
class _Part:
    number: int
    size: int
    data: bytes | None
    """None: it lies in the spool."""


class ObjectLog:
    """See `Appender`: lines are gathered, and sent as parts when they are synced, or many."""

    is_retryable = True

    def __init__(self, storage: ObjectStorage, key: str, lock: Lock) -> None:
        self.key = key
        self.size = 0
        self.is_locked = False
        self._storage = storage
        self._lock = lock
        self._sending = Lock()
        self._crc = 0
        self._lines: list[bytes] = []
        self._lines_bytes = 0
        self._waiting: deque[_Part] = deque()
        self._waiting_bytes = 0  # in memory
        self._parts_count = 0
        self._early: list[bytes] | None = []
        self._begun_s = self._sent_s = time.monotonic()

    @property
    def has_backlog(self) -> bool:
        """See `Appender.has_backlog`."""
        return bool(self._waiting)

    def is_due(self) -> bool:
        """See `Appender.is_due`: notices at once, since they must be seen before what they tell of."""
        if self._waiting or not self.key.startswith(f"{RUNS}/"):
            return True
        now_s = time.monotonic()
        return now_s - self._sent_s >= self._storage.capabilities.flush_after_s(now_s - self._begun_s)

    def append(self, data: bytes, *, is_last: bool = False) -> bool:
        """See `Appender.append`. In memory only: `sync` is what acknowledges.

        Raises:
            StorageError: The store takes nothing, and neither does the spool.
        """
        del is_last
        if self._waiting_bytes + self._lines_bytes >= WAITING_BYTES:
            self._spool()
        self.size += len(data)
        self._crc = zlib.crc32(data, self._crc)
        self._lines.append(data)
        self._lines_bytes += len(data)
        if self._early is not None:
            self._early.append(data)
            if self.size > RECALL_BYTES:
                self._early = None
        if self._lines_bytes >= PART_BYTES:
            self._cut()
            from localtrack.storage.syncer import syncer

            syncer.hurry()
        return True

    def settle(self) -> None:
        """See `Appender.settle`: parts are whole."""

    def recall(self) -> bytes | None:
        """See `Appender.recall`."""
        return None if self._early is None else b"".join(self._early)

    def checksum(self) -> int:
        """See `Appender.checksum`."""
        return self._crc

    def is_in_place(self) -> bool:
        """See `Appender.is_in_place`: what others remove are parts, and later ones do not need them."""
        return True

    def take_unsynced(self) -> bytes:
        """See `Appender.take_unsynced`."""
        return b"".join([*(part.data or b"" for part in self._waiting), *self._lines])

    def sync(self) -> None:
        """See `Appender.sync`. What the store does not take is durable in the spool on return, and sent later.

        Raises:
            StorageError: Neither the store nor the spool takes it. It stays in memory.
        """
        with self._sending:
            with self._lock:
                self._cut()
            try:
                self._send()
            except StorageError as error:
                with self._lock:
                    self._spool()
                self._storage.note_failure(error)

    def touch(self) -> None:
        """See `Appender.touch`: an object store keeps the time of the last part."""

    def close(self) -> None:
        """See `Appender.close`."""

    def abandon(self) -> None:
        """See `Appender.abandon`."""
        self._lines, self._lines_bytes = [], 0
        self._waiting, self._waiting_bytes = deque(), 0

    def abandon_after_fork(self) -> None:
        """See `Appender.abandon_after_fork`."""
        self.abandon()

    # -- parts

    def _cut(self) -> None:
        """Make a part of the lines. Wants the lock."""
        if self._lines:
            data = b"".join(self._lines)
            self._waiting.append(_Part(self._parts_count, len(data), data))
            self._waiting_bytes += len(data)
            self._parts_count += 1
            self._lines, self._lines_bytes = [], 0

    def _send(self) -> None:
        """Send parts in order until none waits. Each is sent again as it is until the store confirms it."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._sent_s = time.monotonic()
                    return
                part = self._waiting[0]
                data = part.data
            key = part_name(self.key, part.number)
            if data is None:
                try:
                    data = self._storage.spool().read(key)
                except FileNotFoundError:  # `localtrack drain` has sent it
                    data = b""
            if data:
                self._storage.write(key, data)
                self._storage.note_success()
            with self._lock:
                self._waiting.popleft()
                if part.data is not None:
                    self._waiting_bytes -= part.size
            if part.data is None:
                self._storage.spool().remove(key)

    def _spool(self) -> None:
        """Keep all parts that wait on the local disk. Wants the lock.

        A part that is being sent meanwhile is kept as well: sending the same part again changes nothing.
        """
        self._cut()
        spool: LocalStorage | None = None
        for part in self._waiting:
            if part.data is None:
                continue
            try:
                spool = spool or self._storage.spool()
                spool.write(part_name(self.key, part.number), part.data)
            except LocaltrackError as error:
                raise StorageError(
                    f"{self._storage.uri} takes nothing, and neither does the spool: {error.message}",
                    hint="What was logged since stays in memory and is tried again.",
                ) from error
            self._waiting_bytes -= part.size
            part.data = None
        if spool is not None:
            reporting.debug("parts of %s wait in the spool %s", self.key, spool.uri)
