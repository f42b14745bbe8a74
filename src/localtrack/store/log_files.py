"""The files that this process appends to in the folder of a run or a logged model: begun, full, gone, closed.

FORMAT.md sections 6 to 8 and 13.
"""

from __future__ import annotations

import os
import threading
import weakref
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from localtrack.errors import ErrorCode, StateError, StorageError
from localtrack.format.headers import encode_closed, select_resent
from localtrack.format.jsonlines import encode_record
from localtrack.format.layout import chunk_name, log_name
from localtrack.format.lines import POINTS
from localtrack.format.metric_fold import Folds, encode_folds
from localtrack.format.points import count_points
from localtrack.storage.base import Appender
from localtrack.storage.syncer import syncer
from localtrack.store.background import sealer
from localtrack.store.open_log import DefinedSets, OpenLog, create_open_log
from localtrack.store.run_quota import RunQuota
from localtrack.store.site import LOG_POINTS_BYTES, NOTICE_AGAIN_MS, STILL_THERE_MS, Site, new_writer_id, retire_log
from localtrack.store.subject import Subject


class LogFiles:
    """A log, and in a run the chunk that points go to once the log is long. What has an underscore wants the lock."""

    def __init__(self, site: Site, subject: Subject, *, stamp: int) -> None:
        self.site = site
        self.subject = subject
        self.folder = subject.folder
        self.writer = ""
        """The id of the writer whose files these are; changes where the old ones cannot go on."""
        self.is_closed = False
        self.is_alone = False
        """True: this writer made what it is about, so that what it knows is all there is (but for later writers)."""
        self._is_in_new_folder = False
        self._stamp = stamp
        self._lock = threading.Lock()
        self._clock = site.clock
        self._last_ms = 0
        self._log: OpenLog | None = None
        self._chunk: OpenLog | None = None
        self._chunks_count = 0
        self._points_count = 0  # of this writer, all its files
        self._log_points_count = 0  # of its log, once there are chunks
        self._past_bytes = 0  # in files that are not open any more
        # Where points go now. Without one (`_is_due`), the next point has to begin a file.
        self._points_log: OpenLog | None = None
        self._sets: DefinedSets = {}
        self._append: Callable[[bytes], object] = self._no_file
        self._limit_bytes = 0
        self._is_full = self._is_due = True
        self.quota: RunQuota | None = None
        """Limits to keep; None without any."""
        self._is_synced_each_call = site.durability == "call"
        # A file tells by itself every 64 KiB that it is time to look at its size; smaller limits want a look each time.
        self._is_careful = self._is_synced_each_call or min(site.log_points_bytes, site.chunk_bytes) < LOG_POINTS_BYTES
        _alive.add(self)

    @property
    def has_begun(self) -> bool:
        """True: there is a log, and it is open."""
        return self._log is not None

    @property
    def written_bytes(self) -> int:
        """How much this process has written, ever."""
        return self._past_bytes + sum(log.file.size for log in (self._log, self._chunk) if log is not None)

    def close_points(self) -> int:
        """Close the chunk that is open, and return how many chunks this writer has begun. Points may still follow."""
        with self._lock:
            self._close_chunk()
            return self._chunks_count

    def forget_after_fork(self) -> None:
        """In the child of a fork: leave the parent's files to the parent, and begin own ones with the next record."""
        self._lock = threading.Lock()
        for log in (self._log, self._chunk):
            if log is not None:
                log.file.abandon_after_fork()
        self._log = self._chunk = None
        self._points_count = 0
        self.is_alone = False
        if self.quota is not None:
            self.quota.forget_after_fork()
        self._direct_points_to(None)

    # -- before a write

    def _prepare(self, now_ms: int, *, for_points: bool = True) -> None:
        """Make sure that there is a file to write to, still there after a pause, and with room for points."""
        if self._log is None:
            self._require_open()
            self._begin_log()
        elif not 0 <= now_ms - self._last_ms < STILL_THERE_MS:
            self._look_for_files(now_ms)
        if for_points and self._is_full:
            self._require_open()
            self._roll()
        self._last_ms = now_ms

    def _is_paused(self, now_ms: int) -> bool:
        return not 0 <= now_ms - self._last_ms < STILL_THERE_MS

    def _require_open(self) -> None:
        self.site.require_open()
        if self.is_closed:
            raise StateError(
                f"{self.subject.noun.capitalize()} {self.subject.id} has ended.",
                code=ErrorCode.RUN_ENDED,
                hint="Resume it with start_run(run_id=…), or start another one.",
            )

    def _look_for_files(self, now_ms: int) -> None:
        if not 0 <= now_ms - self._last_ms < NOTICE_AGAIN_MS:
            self._announce()  # readers may look at the run no more
        logs = [log for log in (self._log, self._chunk) if log is not None]
        if all(log.file.is_in_place() for log in logs):
            return
        # Packed or removed by somebody who took this process for dead. What was written is safe there; what comes would
        # not be seen.
        for log in logs:
            syncer.remove(log.file)
            log.file.abandon()
        self._begin_log()

    # -- files

    def _announce(self) -> None:
        """Say that this process is about to write: before each log that is begun, and after a long pause."""

    def _begin_log(self, records: Sequence[list[Any]] = (), *, lost_from: OpenLog | None = None) -> None:
        """Create a log of a new writer, with first records; with `lost_from` also with what that file may have lost."""
        self._announce()
        writer, now_ms = new_writer_id(), self._clock()
        stamp = self._next_stamp(now_ms)
        lines = [encode_record([kind, self._next_stamp(now_ms), payload]) for kind, payload in records]
        points_count = 0
        if lost_from is not None:
            lost = select_resent(lost_from.file.take_unsynced())
            lines += [*lost_from.definitions, lost]
            points_count = count_points(lost)
        log = create_open_log(
            self.site,
            f"{self.folder}/{log_name(writer)}",
            self._lock,
            kind=self.subject.header_kind,
            writer=writer,
            base_ms=now_ms if lost_from is None else lost_from.base_ms,
            stamp=stamp,
            more=self.subject.header_fields,
            lines=lines,
            in_new_folder=self._is_in_new_folder,
        )
        if lost_from is not None:
            log.next_set = lost_from.next_set
            log.remember(lost_from.sets, lost_from.definitions)
        self._past_bytes = self.written_bytes
        self.is_alone &= not self.writer
        if self.quota is not None:
            self.quota.begin_writer(writer, before_count=self._points_count)
        self.writer, self._log, self._chunk, self._chunks_count = writer, log, None, 0
        self._points_count, self._last_ms, self._is_in_new_folder = points_count, now_ms, False
        syncer.add(log.file, partial(self._recover, log), store=self.site.storage.uri)
        self._direct_points_to(log, self.site.log_points_bytes)

    def _roll(self) -> None:
        """Close the chunk that is full, and let the next points go to a new one."""
        if self.quota is not None:
            self.quota.admit_chunk()
        if self._chunk is not None:
            self._close_chunk()
            syncer.hurry()  # what waits for a sync is kept in memory
        number, now_ms = self._chunks_count, self._clock()
        key = f"{self.folder}/{chunk_name(self.writer, number)}"
        if number == 0:
            self._log_points_count = self._points_count
        try:
            chunk = create_open_log(
                self.site,
                key,
                self._lock,
                kind=POINTS,
                writer=self.writer,
                base_ms=now_ms,
                stamp=self._next_stamp(now_ms),
                more={"run": self.subject.id, "chunk": number, "first": self._points_count},
            )
        except StorageError:
            if self.site.storage.exists(key):  # it could not be removed either: its number is used up
                self._chunks_count = number + 1
            raise
        chunk.first_point = self._points_count
        self._chunk, self._chunks_count = chunk, number + 1
        syncer.add(chunk.file, partial(self._recover, chunk), store=self.site.storage.uri)
        self._direct_points_to(chunk, self.site.chunk_bytes)

    def _close_chunk(self) -> None:
        chunk = self._chunk
        if chunk is None:
            return
        chunk.close_chunk(stamp=self._next_stamp(self._clock()), points_count=self._points_count)
        self._past_bytes += chunk.file.size
        self._chunk = None
        self._direct_points_to(None)
        retire_log(chunk.file)
        sealer.ask(self.site.storage, self.folder, self.writer, self.subject.id)

    def _direct_points_to(self, log: OpenLog | None, limit_bytes: int = 0) -> None:
        self._points_log, self._limit_bytes = log, limit_bytes
        if log is None:
            self._sets, self._append = {}, self._no_file
        else:
            self._sets, self._append = log.sets, log.file.append
        self._look_at_size()

    def _no_file(self, data: bytes) -> None:
        raise AssertionError("a writer without a file begins one before it writes")

    def _look_at_size(self) -> None:
        self._is_full = self._points_log is None or self._points_log.file.size >= self._limit_bytes
        self._is_due = self._is_full or (self.quota is not None and self.quota.is_near(self._points_count))

    def _next_stamp(self, now_ms: int) -> int:
        self._stamp = max(now_ms, self._stamp + 1)
        return self._stamp

    # -- durability

    def _sync_if_asked(self) -> None:
        """With durability `call`, wait for the disk, letting go of the lock meanwhile."""
        if not self._is_synced_each_call:
            return
        logs = [log for log in (self._log, self._chunk) if log is not None]
        self._lock.release()
        try:
            for log in logs:
                try:
                    log.file.sync()
                except StorageError as error:
                    self._recover(log, log.file, error)
                    if self._log is not None:
                        self._log.file.sync()
        finally:
            self._lock.acquire()

    def _recover(self, failed: OpenLog, _file: Appender, _error: StorageError) -> None:
        """After a failed sync: write what may be lost to the log of a new writer, and go on there."""
        with self._lock:
            if failed is self._log or failed is self._chunk or failed.file.take_unsynced():
                old = [log for log in (self._log, self._chunk) if log is not None and log is not failed]
                self._begin_log(lost_from=failed)
                for log in old:
                    retire_log(log.file)
                if self.is_closed:
                    retire_log(self._close_log())
            syncer.remove(failed.file)
            failed.file.abandon()

    def _close_log(self, *records: list[Any], folds: Folds | None = None) -> Appender:
        """Append last records and the `Closed` record, in one write, and return the file, to be let go of."""
        assert self._log is not None
        file, now_ms = self._log.file, self._clock()
        file.settle()
        lines = b"".join(encode_record([kind, self._next_stamp(now_ms), payload]) for kind, payload in records)
        if folds is not None:
            lines += encode_record(["fold", encode_folds(folds)])
        closed = encode_closed(
            self._next_stamp(now_ms),
            bytes_count=file.size + len(lines),
            crc=zlib.crc32(lines, file.checksum()),
            points=self._log_points_count if self._chunks_count else self._points_count,
            more={"chunks": self._chunks_count, "points_all": self._points_count},
        )
        file.append(lines + closed, is_last=True)
        self.is_closed, self._log = True, None
        self._direct_points_to(None)
        return file

    def _let_go(self, file: Appender) -> None:
        """Hand a log that was closed to the background, or wait for it where the end is an acknowledgement."""
        if not self.site.storage.can_append:
            file.sync()
        retire_log(file)
        if self._is_synced_each_call:
            syncer.sync_all()


_alive: weakref.WeakSet[LogFiles] = weakref.WeakSet()


def _forget_after_fork() -> None:
    for files in list(_alive):
        files.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
