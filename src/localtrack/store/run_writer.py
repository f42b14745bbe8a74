"""This process's hand in one run: it appends what is logged, and closes and seals at the end.

FORMAT.md sections 6, 7 and 13.

The path of one point (`log_point`) is the hottest of the package: one dictionary look-up, one format, one `write`.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

from localtrack.errors import ErrorCode, InvalidInputError, StateError, StorageError
from localtrack.format.documents import ExperimentDocument
from localtrack.format.headers import encode_closed, encode_header, select_resent
from localtrack.format.jsonlines import decode_json, encode_record, encode_value, float_encoder
from localtrack.format.layout import chunk_name, log_name, run_folder
from localtrack.format.lines import LOG, POINTS
from localtrack.format.metric_fold import Folds, combine_folds, encode_folds
from localtrack.format.names import MAX_INT64, MIN_INT64, validate_key
from localtrack.format.points import PointReader
from localtrack.format.run_fold import RunState
from localtrack.format.scalars import to_step, to_timestamp_ms, to_value
from localtrack.storage.base import Appender
from localtrack.storage.syncer import syncer
from localtrack.store.background import sealer
from localtrack.store.inbox import Inbox
from localtrack.store.logparts import read_log
from localtrack.store.site import (
    LOG_POINTS_BYTES,
    STILL_THERE_MS,
    Site,
    new_writer_id,
    retire_log,
    this_writer,
    wall_clock_ms,
)

Point = tuple[str, float, int, int]
"""Key, value, timestamp in ms, step; checked."""


_SHORT_DT_MS: Final = 100_000
_SHORT_DS: Final = 10_000
"""From these differences on a key set is defined anew, so that a point keeps to some 35 bytes."""
_FAR_BACK: Final = -(2**62)
"""A step so far before the base would not fit into 64 bits as a difference."""
_REBASE_POINTS_COUNT: Final = 1_000
"""But not more often than this, so that definitions stay below a tenth of a byte a point."""


class _Set(NamedTuple):
    """A key set as `log_point` uses it."""

    number: int
    base_ms: int
    base_step: int
    until_points_count: int
    """It is not defined anew before the writer has this many points."""

    def is_far_from(self, timestamp_ms: int, step: int, points_count: int) -> bool:
        """Return whether it is time, or necessary, to define the set anew for a point."""
        dt, ds = timestamp_ms - self.base_ms, step - self.base_step
        if ds <= _FAR_BACK:
            return True
        return (ds >= _SHORT_DS or dt >= _SHORT_DT_MS) and points_count >= self.until_points_count


@dataclass(slots=True)
class _OpenLog:
    """A log that points can go to, and the key sets that are defined in it."""

    file: Appender
    base_ms: int
    sets: dict[str | tuple[str, ...], _Set] = field(default_factory=dict)
    definitions: list[bytes] = field(default_factory=list)
    next_set: int = 0
    points_count: int = 0


class RunWriter:
    """Appends to one run. Thread-safe; the child of a fork gets logs of its own.

    Args:
        site: The store.
        run_id: The run.
        experiment: Its experiment, for the header.
        inbox: Where the notice goes that must come before the first write.
        known: What the run's other logs say, for a run that exists.
    """

    def __init__(
        self, site: Site, run_id: str, experiment: ExperimentDocument, inbox: Inbox, known: RunState | None = None
    ) -> None:
        self.site = site
        self._inbox = inbox
        self.run_id = run_id
        self.experiment = experiment
        self.folder = run_folder(run_id)
        self.params: dict[str, str] = dict(known.params) if known else {}
        self.tags: dict[str, str] = dict(known.tags) if known else {}
        self.writer = ""
        self.is_closed = False
        self._is_alone = known is None
        self._stamp = known.greatest_stamp if known else 0
        self._lock = threading.Lock()
        self._clock = site.clock
        self._clock_ns = time.time_ns if site.clock is wall_clock_ms else lambda: site.clock() * 1_000_000
        self._dumps = float_encoder()
        self._log: _OpenLog | None = None
        self._chunk: _OpenLog | None = None
        self._chunks_count = 0
        self._points_count = 0  # of this writer, all its files
        self._last_ms = 0
        # What `log_point` needs of the file that points go to now.
        self._sets: dict[str | tuple[str, ...], _Set] = {}
        self._limit_bytes = 0  # of the file; more and the next points go to another one
        self._is_due = True  # something must be done before the next points are written
        self._append: Callable[[bytes], object] = self._no_file
        self._is_synced_each_call = site.durability == "call"
        # Files tell by themselves every 64 KiB that it is time to look at their size; smaller limits want a look each
        # time.
        self._is_careful = self._is_synced_each_call or min(site.log_points_bytes, site.chunk_bytes) < LOG_POINTS_BYTES
        _alive.add(self)

    # -- beginning

    def begin(self, *records: list[Any]) -> None:
        """Create the log and write its header and first records, in one write.

        Args:
            records: State records without their stamps: `[kind, payload]`.
        """
        with self._lock:
            self._begin_log(records)
            self._sync_if_asked()

    def _begin_log(self, records: Sequence[list[Any]] = (), *, lost_from: _OpenLog | None = None) -> None:
        """Create a log of a new writer; with `lost_from`, one that also holds what that file may have lost."""
        self._inbox.notice_open(self.run_id, self.experiment.experiment_id)
        writer = new_writer_id()
        file = self.site.storage.create_log(
            f"{self.folder}/{log_name(writer)}", self._lock, in_new_folder=self._is_alone
        )
        now_ms = self._clock()
        log = _OpenLog(file, lost_from.base_ms if lost_from else now_ms)
        stamp = self._next_stamp(now_ms)
        header = encode_header(
            LOG,
            this_writer(),
            writer=writer,
            base_ms=log.base_ms,
            stamp=stamp,
            flock=file.is_locked,
            more={
                "run": self.run_id,
                "experiment_id": self.experiment.experiment_id,
                "experiment_name": self.experiment.name,
                "generation": self.experiment.generation,
            },
        )
        lines = [header]
        for kind, payload in records:
            lines.append(encode_record([kind, self._next_stamp(now_ms), payload]))
        points_count = 0
        if lost_from is not None:
            log.sets, log.next_set = dict(lost_from.sets), lost_from.next_set
            log.definitions = list(lost_from.definitions)
            lines += log.definitions
            lost = select_resent(lost_from.file.take_unsynced())
            lines.append(lost)
            points_count = _count_points(lost)
        try:
            file.append(b"".join(lines))
        except StorageError:
            file.close()
            self.site.storage.remove(file.key)
            raise
        self.writer, self._log, self._chunk, self._chunks_count = writer, log, None, 0
        self._points_count = log.points_count = points_count
        self._last_ms = now_ms
        syncer.add(file, partial(self._recover, log))
        self._direct_points_to(log, self.site.log_points_bytes)

    def _direct_points_to(self, log: _OpenLog, limit_bytes: int) -> None:
        self._sets, self._append = log.sets, log.file.append
        self._limit_bytes = limit_bytes
        self._is_due = log.file.size >= limit_bytes

    def _no_file(self, data: bytes) -> None:
        raise AssertionError("a writer without a file begins one before it writes")

    def _look_at_size(self) -> None:
        target = self._chunk or self._log
        self._is_due = target is None or target.file.size >= self._limit_bytes

    # -- points

    def log_point(self, key: str, value: Any, step: Any = None, timestamp: Any = None) -> None:
        """Append one point. See `ActiveRun.log_metric`, for which this stands in."""
        if type(key) is not str:
            key = validate_key(key, "metric")
        if type(value) is not float:
            value = to_value(value, key)
        if type(step) is not int or not MIN_INT64 <= step <= MAX_INT64:
            step = to_step(step)
        with self._lock:
            now_ms = self._clock_ns() // 1_000_000
            if timestamp is None:
                timestamp = now_ms
            elif type(timestamp) is not int or not 0 <= timestamp <= MAX_INT64:
                timestamp = to_timestamp_ms(timestamp)
            if self._is_due or not 0 <= now_ms - self._last_ms < STILL_THERE_MS:
                self._prepare(now_ms)
            self._last_ms = now_ms
            found = self._sets.get(key)
            if found is None or value - value != 0.0:
                self._append_points([(key, value, timestamp, step)])
                return
            number, base_ms, base_step, until = found
            dt, ds = timestamp - base_ms, step - base_step
            if (not _FAR_BACK < ds < _SHORT_DS or dt >= _SHORT_DT_MS) and (
                self._points_count >= until or ds <= _FAR_BACK
            ):
                del self._sets[key]
                self._append_points([(key, value, timestamp, step)])
                return
            # orjson for the float, which is its strength; a whole line of it would keep a block of 1 KiB in memory
            # until the next sync.
            line = b"[%d,%d,%d,%b]\n" % (number, dt, ds, self._dumps(value))
            is_time_to_look = self._append(line)
            self._points_count += 1
            if is_time_to_look or self._is_careful:
                self._look_at_size()
                self._sync_if_asked()

    def log_set(self, metrics: Mapping[str, Any], step: Any = 0, timestamp_ms: Any = None) -> None:
        """Append one point for each key, all with the same step and time, as one record."""
        keys, values = tuple(metrics), list(metrics.values())
        if not keys:
            return
        if set(map(type, values)) != {float}:
            values = [to_value(value, str(key)) for key, value in metrics.items()]
        if type(step) is not int or not MIN_INT64 <= step <= MAX_INT64:
            step = to_step(step)
        with self._lock:
            now_ms = self._clock()
            timestamp_ms = now_ms if timestamp_ms is None else to_timestamp_ms(timestamp_ms)
            if self._is_due or not 0 <= now_ms - self._last_ms < STILL_THERE_MS:
                self._prepare(now_ms)
            self._last_ms = now_ms
            lines: list[bytes] = []
            name = keys[0] if len(keys) == 1 else keys
            found = self._sets.get(name)
            if found is None or found.is_far_from(timestamp_ms, step, self._points_count):
                for key in keys:
                    validate_key(key, "metric")
                found = self._define(keys, timestamp_ms, step, lines)
            point = [found.number, timestamp_ms - found.base_ms, step - found.base_step, *values]
            total = sum(values)
            if total - total != 0.0:  # a value that is not finite, or a sum that overflows
                point[3:] = map(encode_value, values)
            lines.append(encode_record(point))
            self._append_lines(lines)
            if len(lines) > 1:
                self._remember({name: found}, lines[:-1])
            self._points_count += len(keys)
            self._sync_if_asked()

    def log_points(self, points: Sequence[Point]) -> None:
        """Append points as one record."""
        if not points:
            return
        with self._lock:
            now_ms = self._clock()
            if self._is_due or not 0 <= now_ms - self._last_ms < STILL_THERE_MS:
                self._prepare(now_ms)
            self._last_ms = now_ms
            self._append_points(points)

    def _append_points(self, points: Sequence[Point]) -> None:
        lines: list[bytes] = []
        fresh: dict[str | tuple[str, ...], _Set] = {}
        encoded = self._encode_points(points, lines, fresh)
        lines.append(encode_record(encoded[0] if len(encoded) == 1 else ["p", encoded]))
        self._append_lines(lines)
        self._remember(fresh, lines[:-1])
        self._points_count += len(points)
        self._sync_if_asked()

    def _encode_points(
        self, points: Sequence[Point], lines: list[bytes], fresh: dict[str | tuple[str, ...], _Set]
    ) -> list[list[Any]]:
        """Return points as lists; definitions of keys that are new go to `lines`, their numbers to `fresh`."""
        encoded: list[list[Any]] = []
        for key, value, timestamp_ms, step in points:
            found = fresh.get(key) or self._sets.get(key)
            if found is None or step - found.base_step <= _FAR_BACK:
                found = fresh[key] = self._define((validate_key(key, "metric"),), timestamp_ms, step, lines)
            encoded.append([found.number, timestamp_ms - found.base_ms, step - found.base_step, encode_value(value)])
        return encoded

    def _define(self, keys: tuple[str, ...], timestamp_ms: int, step: int, lines: list[bytes]) -> _Set:
        """Return a new key set, whose definition goes to `lines`."""
        target = self._chunk or self._log
        assert target is not None
        number = target.next_set
        target.next_set += 1  # a number whose definition fails to be written is not used again
        record: list[Any] = ["k", number, list(keys)]
        base_ms, base_step = target.base_ms, 0
        if step >= _SHORT_DS or timestamp_ms - base_ms >= _SHORT_DT_MS:
            base_ms, base_step = timestamp_ms, step if 0 <= step <= -_FAR_BACK else 0
            record += [base_ms, base_step]
        lines.append(encode_record(record))
        return _Set(number, base_ms, base_step, self._points_count + _REBASE_POINTS_COUNT)

    def _remember(self, sets: Mapping[str | tuple[str, ...], _Set], definitions: list[bytes]) -> None:
        """Use key sets from now on, as their definitions are in the file."""
        target = self._chunk or self._log
        assert target is not None
        target.sets.update(sets)
        target.definitions += definitions

    def _append_lines(self, lines: list[bytes]) -> None:
        if self._append(lines[0] if len(lines) == 1 else b"".join(lines)) or self._is_careful:
            self._look_at_size()

    def _prepare(self, now_ms: int) -> None:
        """Before a write: look whether the file is still there after a pause, and begin a new one when it is full."""
        self._require_open()
        if self._log is None:
            self._begin_log()
        elif not 0 <= now_ms - self._last_ms < STILL_THERE_MS:
            self._look_for_files()
        if self._is_due:
            self._roll()

    def _look_for_files(self) -> None:
        assert self._log is not None
        logs = [log for log in (self._log, self._chunk) if log is not None]
        if all(log.file.is_in_place() for log in logs):
            return
        # Packed or removed by somebody who took this process for dead: what stands there is safe, what comes would not
        # be seen.
        for log in logs:
            syncer.remove(log.file)
            log.file.abandon()
        self._begin_log()

    def _roll(self) -> None:
        """Close the chunk that is full, and let the next points go to a new one."""
        if self._chunk is not None:
            self._close_chunk()
            syncer.hurry()  # what waits for a sync is kept in memory
        number = self._chunks_count
        assert self._log is not None
        file = self.site.storage.create_log(f"{self.folder}/{chunk_name(self.writer, number)}", self._lock)
        now_ms = self._clock()
        chunk = _OpenLog(file, now_ms)
        header = encode_header(
            POINTS,
            this_writer(),
            writer=self.writer,
            base_ms=now_ms,
            stamp=self._next_stamp(now_ms),
            flock=file.is_locked,
            more={"run": self.run_id, "chunk": number, "first": self._points_count},
        )
        try:
            file.append(header)
        except StorageError:
            file.close()
            self.site.storage.remove(file.key)
            raise
        if number == 0:
            self._log.points_count = self._points_count
        chunk.points_count = self._points_count  # so far; the difference at the end is what the chunk holds
        self._chunk, self._chunks_count = chunk, number + 1
        syncer.add(file, partial(self._recover, chunk))
        self._direct_points_to(chunk, self.site.chunk_bytes)

    def _close_chunk(self) -> None:
        chunk = self._chunk
        if chunk is None:
            return
        file = chunk.file
        file.settle()
        file.append(
            encode_closed(
                self._next_stamp(self._clock()),
                bytes_count=file.size,
                crc=file.checksum(),
                points=self._points_count - chunk.points_count,
            ),
            is_last=True,
        )
        self._chunk = None
        retire_log(file)
        sealer.ask(self.site.storage, self.folder, self.writer, self.run_id)

    # -- state

    def set_params(self, params: Mapping[str, str]) -> None:
        """Append params that are checked already, but for those that have the same value.

        Raises:
            InvalidInputError: One has another value already; nothing was written.
        """
        with self._lock:
            self._write_state(self._new_params(params), {}, ())

    def set_tags(self, tags: Mapping[str, str | None]) -> None:
        """Append tags that are checked already; a value of None deletes."""
        with self._lock:
            self._write_state({}, tags, ())

    def set_info(self, info: Mapping[str, Any]) -> None:
        """Append an `info` record."""
        with self._lock:
            self._append_state(["info", info])
            self._sync_if_asked()

    def note_artifact(self, path: str, bytes_count: int, sha256: str) -> None:
        """Append the record of an artifact that is in place."""
        with self._lock:
            self._append_state(["artifact", {"path": path, "bytes": bytes_count, "sha256": sha256}])
            self._sync_if_asked()

    def log_batch(self, points: Sequence[Point], params: Mapping[str, str], tags: Mapping[str, str | None]) -> None:
        """Append metrics, params and tags that are checked already.

        While the points of a run stay in its log, a batch is one record: there as a whole or not at all, whatever
        happens.
        """
        with self._lock:
            self._write_state(self._new_params(params), tags, points)

    def _new_params(self, params: Mapping[str, str]) -> dict[str, str]:
        known = self.params
        fresh: dict[str, str] = {}
        for key, value in params.items():
            old = known.get(key)
            if old is None:
                fresh[key] = value
            elif old != value:
                raise InvalidInputError(
                    f"Param {key!r} of run {self.run_id} is {_shortened(old)!r} and cannot be changed to "
                    f"{_shortened(value)!r}.",
                    code=ErrorCode.PARAM_CHANGED,
                    hint="Changing param values is not allowed; log it under another key, or as a tag.",
                )
        return fresh

    def _write_state(self, params: Mapping[str, str], tags: Mapping[str, str | None], points: Sequence[Point]) -> None:
        if points and not params and not tags:
            self._prepare_if_due()
            self._append_points(points)
            return
        if points:
            self._prepare_if_due()
        if points and self._chunk is None:
            self._append_batch(params, tags, points)
        else:
            if points:
                self._append_points(points)
            self._append_state(*[[kind, items] for kind, items in (("param", params), ("tag", tags)) if items])
        self.params.update(params)
        for key, value in tags.items():
            if value is None:
                self.tags.pop(key, None)
            else:
                self.tags[key] = value
        self._sync_if_asked()

    def _append_batch(self, params: Mapping[str, str], tags: Mapping[str, str | None], points: Sequence[Point]) -> None:
        lines: list[bytes] = []
        fresh: dict[str | tuple[str, ...], _Set] = {}
        payload: dict[str, Any] = {"points": self._encode_points(points, lines, fresh)}
        payload.update({name: items for name, items in (("params", params), ("tags", tags)) if items})
        lines.append(encode_record(["batch", self._next_stamp(self._clock()), payload]))
        self._append_lines(lines)
        self._remember(fresh, lines[:-1])
        self._points_count += len(points)

    def _append_state(self, *records: list[Any]) -> None:
        if not records:
            return
        self._prepare_if_due(roll=False)
        assert self._log is not None
        now_ms = self._clock()
        data = b"".join(encode_record([kind, self._next_stamp(now_ms), payload]) for kind, payload in records)
        if (self._log.file.append(data) or self._is_careful) and self._chunk is None:
            self._look_at_size()

    def _prepare_if_due(self, *, roll: bool = True) -> None:
        now_ms = self._clock()
        if self._log is None or not 0 <= now_ms - self._last_ms < STILL_THERE_MS or (roll and self._is_due):
            if roll:
                self._prepare(now_ms)
            else:
                self._require_open()
                if self._log is None:
                    self._begin_log()
                else:
                    self._look_for_files()
        self._last_ms = now_ms

    def _next_stamp(self, now_ms: int) -> int:
        self._stamp = max(now_ms, self._stamp + 1)
        return self._stamp

    def _require_open(self) -> None:
        self.site.require_open()
        if self.is_closed:
            raise StateError(
                f"Run {self.run_id} has ended.",
                code=ErrorCode.RUN_ENDED,
                hint="Resume it with start_run(run_id=…), or start another one.",
            )

    # -- durability

    def _sync_if_asked(self) -> None:
        """With durability `call`, wait for the disk. The lock is held by the caller, and let go of meanwhile."""
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
                    assert self._log is not None
                    self._log.file.sync()
        finally:
            self._lock.acquire()

    def _recover(self, failed: _OpenLog, _file: Appender, _error: StorageError) -> None:
        """After a failed sync: write what may be lost to the log of a new writer, and go on there."""
        with self._lock:
            if failed.file.take_unsynced():
                old = [log for log in (self._log, self._chunk) if log is not None and log is not failed]
                self._begin_log(lost_from=failed)
                for log in old:
                    retire_log(log.file)
            syncer.remove(failed.file)
            failed.file.abandon()

    # -- end

    def close_points(self) -> int:
        """Close the chunk that is open, and return how many chunks this writer has begun. Points may still follow."""
        with self._lock:
            self._close_chunk()
            if self._log is not None and self._chunks_count:
                self._is_due, self._append = True, self._no_file
            return self._chunks_count

    def close(self, *records: list[Any], sealed: Folds | None = None) -> tuple[int, Folds | None]:
        """Append last records and the `Closed` record, in one write, and let go of the log.

        Args:
            records: State records without their stamps.
            sealed: What the points in chunks add up to, if there are chunks and it is known.

        Returns:
            The log's size in bytes, and what all points of this writer add up to, if that is known.
        """
        with self._lock:
            if self._log is None:
                self._begin_log()
            log = self._log
            assert log is not None
            if self._chunk is not None:
                self._close_chunk()
                sealed = None  # points came after `close_points`, and nobody knows what they add up to
            now_ms = self._clock()
            file = log.file
            file.settle()
            folds = self._fold_log(log, sealed)
            lines = b"".join(encode_record([kind, self._next_stamp(now_ms), payload]) for kind, payload in records)
            closed = encode_closed(
                self._next_stamp(now_ms),
                bytes_count=file.size + len(lines),
                crc=zlib.crc32(lines, file.checksum()),
                points=log.points_count if self._chunks_count else self._points_count,
                more={
                    "chunks": self._chunks_count,
                    "points_all": self._points_count,
                    "fold": None if folds is None else encode_folds(folds),
                },
            )
            file.append(lines + closed, is_last=True)
            self.is_closed = True
            self._is_due, self._append = True, self._no_file
            size = file.size
        if not self.site.storage.can_append:
            file.sync()  # on an object store the end of a run is an acknowledgement
        retire_log(file)
        if self._is_synced_each_call:
            syncer.sync_all()
        return size, folds

    def _fold_log(self, log: _OpenLog, sealed: Folds | None) -> Folds | None:
        """Return what this writer's points add up to; None if its chunks are not known."""
        if self._chunks_count and sealed is None:
            return None
        if not self._points_count:
            return {}
        data = log.file.recall()
        if data is None:
            data = read_log(self.site.storage, log.file.key)
        reader = PointReader(log.base_ms)
        for record in reader.take_points(decode_json(b"[" + data[:-1].replace(b"\n", b",") + b"]")):
            if record[0] == "batch":
                for point in record[2].get("points", []):
                    reader.take_point(point)
        own = reader.columns.fold()
        return combine_folds([own, sealed]) if sealed else own

    def forget_after_fork(self) -> None:
        """In the child of a fork: leave the parent's files to the parent, and begin own ones with the next record."""
        self._lock = threading.Lock()
        for log in (self._log, self._chunk):
            if log is not None:
                log.file.abandon()
        self._log = self._chunk = None
        self._is_due, self._append = True, self._no_file
        self._is_alone = False

    @property
    def has_begun(self) -> bool:
        """True: there is a log of this writer."""
        return self._log is not None

    @property
    def is_alone(self) -> bool:
        """True: this writer made the run, so that what it knows is all there is (but for writers that came later)."""
        return self._is_alone


def _count_points(lines: bytes) -> int:
    count = 0
    for line in lines.splitlines():
        record = decode_json(line)
        if type(record[0]) is int:
            count += len(record) - 3
        elif record[0] == "p":
            count += sum(len(point) - 3 for point in record[1])
        elif record[0] == "batch":
            count += sum(len(point) - 3 for point in record[2].get("points", []))
    return count


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"


_alive: weakref.WeakSet[RunWriter] = weakref.WeakSet()


def _forget_after_fork() -> None:
    for writer in list(_alive):
        writer.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
