"""Moves a spooled store to its destination: what grew is brought over, and what has ended leaves the spool.

Every file keeps its name, and a log at the destination is always a beginning of the one in the spool: so a move can be
cut short at any moment, be repeated, and run beside the writers. FORMAT.md section 14.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Final

from localtrack.errors import ErrorCode, FormatError, LockedError, NotFoundError, StorageError
from localtrack.format.documents import ExperimentDocument, parse_experiment
from localtrack.format.layout import (
    ARTIFACTS,
    EDITS,
    EXPERIMENTS,
    INBOX,
    STORE_FILE,
    TEMPORARY_PREFIX,
    RunFile,
    parse_run_file,
)
from localtrack.storage.base import Entry, Storage
from localtrack.storage.local import FileMark, LocalStorage
from localtrack.storage.opening import open_storage
from localtrack.storage.spool_folders import Spool, confirm_store
from localtrack.store.artifact_merging import merge_artifacts
from localtrack.store.artifacts import iter_files
from localtrack.store.file_copying import copy_named_file
from localtrack.store.folder_reading import FolderReading
from localtrack.store.logparts import append_part, gather_logs, read_log
from localtrack.store.model_reading import ModelReading, list_model_folders
from localtrack.store.run_reading import RunReading, list_run_folders
from localtrack.store.sealing import seal_writer
from localtrack.store.site import ensure_experiment_file, open_site
from localtrack.store.spool_notices import RunNotice, SpoolNotices
from localtrack.store.spool_waiting import look_into
from localtrack.types import Finding

AnyReading = FolderReading[Any, Any]
Maker = type[RunReading] | type[ModelReading]

LOCK_PATIENCE_S: Final = 60.0


@dataclass(slots=True)
class DrainReport:
    """What a move did, and what is left."""

    files_moved: int = 0
    """New at the destination, or longer there."""
    bytes_moved: int = 0
    files_left: int = 0
    """Still in the spool: their writers go on, or they could not be moved."""
    bytes_left: int = 0
    findings: list[Finding] = field(default_factory=list)

    def count(self, bytes_count: int) -> None:
        """Count one file."""
        self.files_moved += 1
        self.bytes_moved += bytes_count


def drain(spool: Spool, *, patience_s: float = LOCK_PATIENCE_S) -> DrainReport:
    """Move everything in a spool to its destination, once.

    Raises:
        StorageError: The destination is away; what was moved until then stays moved.
        LockedError: Another process moves it.
    """
    mover = Mover(spool, open_storage(spool.destination))
    return mover.move(patience_s=patience_s)


class Mover:
    """Moves one spooled store, again and again. Thread-safe; between processes of this machine the spool's lock counts.

    Args:
        spool: What to move.
        back: Where to.
    """

    def __init__(self, spool: Spool, back: Storage) -> None:
        self.spool = spool
        self.back = back
        self.moved_bytes_count = 0
        """Grows as long as a move gets on."""
        self._front = spool.storage
        self._turn = threading.Lock()
        self._notices = SpoolNotices(back)
        self._moved: dict[str, int] = {}
        """By key: how many bytes of a log are known to be at the destination."""
        self._settled: dict[str, tuple[tuple[str, int, int], ...]] = {}
        """By run folder: the files that were there when everything in it had been moved."""

    def move(self, *, patience_s: float = 0.0) -> DrainReport:
        """Bring over what is new, and remove what has ended and is at the destination.

        Args:
            patience_s: How long to wait for another process that moves the same spool.

        Raises:
            StorageError: The destination is away, or the spool cannot be read.
            LockedError: Another process moves it.

        Durability: what the report counts is durable at the destination.
        """
        import filelock

        with self._turn:
            lock = filelock.FileLock(self.spool.lock_path, timeout=patience_s)
            try:
                lock.acquire()
            except filelock.Timeout as error:
                raise LockedError(f"Another process moves the spool {self.spool.path}.") from error
            try:
                return self._move()
            finally:
                lock.release()

    def look_at_all(self) -> None:
        """Have the next move look at every run again, also for writers that have died since."""
        self._settled = {}

    def end(self) -> None:
        """Tell the destination's index that no more comes from here. Nothing is moved after it."""
        self._notices.end()

    def forget_after_fork(self) -> None:
        """Begin anew in the child of a fork."""
        self._turn = threading.Lock()
        self._notices = SpoolNotices(self.back)

    # -- one pass

    def _move(self) -> DrainReport:
        report = DrainReport()
        self._open_back()
        self._move_experiments()
        makers: dict[str, Maker] = dict.fromkeys(list_model_folders(self._front), ModelReading)
        makers |= dict.fromkeys(list_run_folders(self._front), RunReading)  # they name models, which come first
        for folder, make in makers.items():
            files = self._list(folder)
            if not files:
                self._front.remove_folder(folder)
            elif self._settled.get(folder) != files:
                self._move_folder(folder, make, report)
        # Edits last: an edit that speaks of a run finds it.
        for folder in (EDITS, INBOX):
            self._move_parts(folder, report)
        for entry in self._front.entries(EDITS):
            self._move_log(f"{EDITS}/{entry.name}", report)
            self._remove_log(f"{EDITS}/{entry.name}")
        for entry in self._front.entries(INBOX):
            if not entry.is_folder:  # notices of the spool: the destination got its own
                self._front.remove_if_let_go(f"{INBOX}/{entry.name}", entry.size)
        left = look_into(self.spool)
        report.files_left, report.bytes_left = left.files, left.bytes
        return report

    def _open_back(self) -> None:
        """Open the destination; make its store only where none was ever seen."""
        if isinstance(self.back, LocalStorage):
            self.back.must_be_there = bool(self.spool.store_id)
        try:
            site = open_site(self.back, create=not self.spool.store_id)
        except NotFoundError as error:
            raise StorageError(
                f"{self.back.uri} has lost its store: the drive is not mounted, or the store was removed.",
                hint="What is spooled stays until it is back.",
            ) from error
        self.spool = confirm_store(self.spool, site.document.store_id)
        if isinstance(self.back, LocalStorage):
            self.back.must_be_there = True  # else a mount point whose drive goes away now would take what follows

    def _move_experiments(self) -> None:
        there = set(self.back.names(EXPERIMENTS))
        for name in sorted(set(self._front.names(EXPERIMENTS)) - there):
            if not name.endswith(".json"):
                continue
            data = self._front.read(f"{EXPERIMENTS}/{name}")
            try:
                ensure_experiment_file(self.back, parse_experiment(data, where=name))
            except FormatError:
                continue  # a torn or foreign file: it stays

    def _move_folder(self, folder: str, make: Maker, report: DrainReport) -> None:
        self._move_parts(folder, report)
        files = self._list(folder)
        if not files:
            self._front.remove_folder(folder)
            return
        artifacts = self._mark_artifacts(folder)
        entries = [entry for entry in self._front.entries(folder) if not entry.name.startswith(TEMPORARY_PREFIX)]
        # Run logs as they are before anything is copied: what they count and describe is in place by then.
        logs = {entry.name: self._read(f"{folder}/{entry.name}") for entry in entries if _kind(entry) == "log"}
        reading = make(self._front, folder, entries)
        notice = RunNotice(self._notices, reading)
        findings_count = len(report.findings)
        if artifacts:
            there = make(self.back, folder, self.back.entries(folder))
            sizes, problems = merge_artifacts(self.back, reading, there, notice)
            report.findings += problems
            for size in sizes:
                self._count(report, size)
        segments = [file for entry in entries if (file := parse_run_file(entry.name)) and file.kind == "segment"]
        for file in segments:
            self._move_segment(reading, file, report, notice)
        for entry in entries:
            if _kind(entry) == "chunk":
                self._move_log(f"{folder}/{entry.name}", report, notice=notice)
        for name, data in logs.items():
            self._move_log(f"{folder}/{name}", report, data=data, notice=notice)
        if not reading.has_logs or len(report.findings) != findings_count:
            return
        state = reading.state
        ensure_experiment_file(
            self.back, ExperimentDocument(state.experiment_id, state.experiment_name, state.generation)
        )
        if self._list(folder) == files:  # else something was sealed or added meanwhile: the next time
            self._clear(folder, reading, segments, artifacts)
            self._settled[folder] = self._list(folder)

    def _count(self, report: DrainReport, bytes_count: int) -> None:
        report.count(bytes_count)
        self.moved_bytes_count += max(bytes_count, 1)

    # -- files

    def _move_segment(self, reading: AnyReading, file: RunFile, report: DrainReport, notice: RunNotice) -> None:
        key = f"{reading.folder}/{file.name}"
        entry = self.back.stat(key)
        if entry is not None and entry.size == self._size(key):
            return
        notice()
        size = copy_named_file(self.back, key, reading.storage, key, file.digest, report.findings)
        if size is not None:
            self._count(report, size)

    def _move_log(
        self, key: str, report: DrainReport, *, data: bytes | None = None, notice: RunNotice | None = None
    ) -> None:
        """Make the copy at the destination as long as the log is here."""
        if data is None:
            data = self._read(key)
        part = parse_run_file(key.rpartition("/")[2])
        if part is not None and part.part is not None:
            self._move_part(key, data, report)
            return
        data = data[: data.rfind(b"\n") + 1]  # what is torn was never acknowledged, and what replaces it comes later
        if not data or self._moved.get(key) == len(data):
            return
        there = self._moved.get(key)
        if there is None:
            there = self._compare(key, data, report)
        if there is None or there >= len(data):
            return
        if notice is not None:
            notice()
        if not self._put(key, data, there):  # it is not as long as it was: it is looked at anew
            there = self._compare(key, data, report)
            if there is None or (there < len(data) and not self._put(key, data, there)):
                return
        self._moved[key] = len(data)
        self._count(report, len(data) - there)

    def _compare(self, key: str, data: bytes, report: DrainReport) -> int | None:
        """Return how much of a log is at the destination; None if what is there is something else."""
        try:
            there = read_log(self.back, key)
        except FileNotFoundError:
            there = b""
        if data.startswith(there) or there.startswith(data):
            self._moved[key] = min(len(there), len(data))
            return len(there)
        problem = "neither copy is the beginning of the other; both stay as they are"
        report.findings.append(Finding(key, problem, ErrorCode.DIVERGED, "error"))
        return None

    def _put(self, key: str, data: bytes, there: int) -> bool:
        if not self.back.can_append:
            return append_part(self.back, key, data[there:], at=there)
        if there == 0 or not isinstance(self.back, LocalStorage):
            self.back.write(key, data)
            return True
        try:
            return self.back.extend(key, data[there:], at=there)
        except FileNotFoundError:
            return False

    def _move_parts(self, folder: str, report: DrainReport) -> None:
        """Move what an object store did not take: parts of logs that are otherwise there already."""
        for entry in sorted(self._front.entries(folder)):
            file = None if entry.is_folder else parse_run_file(entry.name)
            if file is not None and file.part is not None:
                self._move_log(f"{folder}/{entry.name}", report)
                self._remove_log(f"{folder}/{entry.name}")

    def _move_part(self, key: str, data: bytes, report: DrainReport) -> None:
        """Put a part that could not be sent under its name."""
        if self._moved.get(key) == len(data):
            return
        try:
            there: bytes | None = self.back.read(key)
        except FileNotFoundError:
            there = None
        if there is None:
            self.back.write(key, data)
            self._count(report, len(data))
        elif there != data:
            report.findings.append(Finding(key, "another part has this name", ErrorCode.DIVERGED, "error"))
            return
        self._moved[key] = len(data)

    # -- clearing the spool

    def _clear(self, folder: str, reading: AnyReading, segments: list[RunFile], artifacts: dict[str, FileMark]) -> None:
        """Remove what has ended and is at the destination: the logs last, so that what is left explains itself."""
        self._require_moved(folder, artifacts)
        writers = set(reading.writers)
        open_writers = {writer for writer in writers if not self._is_let_go(folder, reading, writer)}
        if artifacts and not open_writers:
            for path, mark in artifacts.items():
                self._front.remove_if_same(path, mark)
            _remove_empty_folders(self._front, f"{folder}/{ARTIFACTS}")
        for writer in writers - open_writers:
            self._clear_writer(folder, reading, writer, [file for file in segments if file.writer == writer])
        if not self._front.entries(folder):
            self._front.remove_folder(folder)

    def _require_moved(self, folder: str, artifacts: dict[str, FileMark]) -> None:
        """Raise unless all that may be removed is to be seen at the destination, in its store, now.

        A drive may go away while it is written to, and what follows lands in the empty folder where it was mounted.
        """
        entries = self.back.entries(folder)
        names, sizes = {entry.name: entry.size for entry in entries}, gather_logs(entries)
        for entry in self._front.entries(folder):
            key, file = f"{folder}/{entry.name}", parse_run_file(entry.name)
            if file is None or entry.is_folder:
                continue
            wanted = entry.size if file.kind == "segment" else self._moved.get(key, 0)
            found = (
                names.get(entry.name, 0)
                if file.kind == "segment" or file.part is not None
                else sizes.get(entry.name, 0)
            )
            if found < wanted and not (file.kind == "chunk" and self._is_covered(file, names)):
                self._forget(folder)
                raise StorageError(f"{self.back.path(key)} went away after it was written.")
        if any(self.back.stat(key) is None for key in artifacts) or not self.back.exists(STORE_FILE):
            self._forget(folder)
            raise StorageError(f"What was written to {self.back.path(folder)} went away.")

    def _is_covered(self, chunk: RunFile, names: dict[str, int]) -> bool:
        files = (parse_run_file(name) for name in names)
        return any(
            file is not None
            and file.kind == "segment"
            and file.writer == chunk.writer
            and file.first <= chunk.first <= file.last
            for file in files
        )

    def _forget(self, folder: str) -> None:
        """Have the destination's copies looked at anew."""
        for key in [key for key in self._moved if key.startswith(f"{folder}/")]:
            del self._moved[key]

    def _is_let_go(self, folder: str, reading: AnyReading, writer: str) -> bool:
        """Return whether nobody writes to a writer's log any more: it is closed, or nobody holds it."""
        log = reading.logs.get(writer)
        if log is not None and log.lines.closed is not None:
            return True
        name = reading.writers[writer].log_name
        return name is None or self._front.is_log_locked(f"{folder}/{name}") is False

    def _clear_writer(self, folder: str, reading: AnyReading, writer: str, segments: list[RunFile]) -> None:
        files = reading.writers[writer]
        for name in files.chunks.values():
            if not self._remove_log(f"{folder}/{name}", is_let_go=True):
                return
        for file in segments:
            self._front.remove(f"{folder}/{file.name}")
        if segments and isinstance(reading, RunReading):
            # At the destination too a chunk goes when a segment holds its points.
            seal_writer(self.back, folder, writer, run_id=reading.state.run_id, is_final=True)
        for entry in self._front.entries(folder):
            file_ = parse_run_file(entry.name)
            if file_ is not None and file_.writer == writer and file_.kind == "log":
                self._remove_log(f"{folder}/{entry.name}")

    def _remove_log(self, key: str, *, is_let_go: bool = False) -> bool:
        """Remove a log that is whole at the destination and that nobody writes to; return whether it is gone.

        Args:
            key: The log.
            is_let_go: Its writer is known to be gone: then it may also hold nothing.
        """
        moved = self._moved.get(key, 0 if is_let_go else None)
        if moved is None:
            return False
        try:
            data = self._front.read(key)
            if data.rfind(b"\n") + 1 != moved:
                return False
            name = parse_run_file(key.rpartition("/")[2])
            is_part = name is not None and name.part is not None
            if is_part or _is_closed(data):
                self._front.remove(key)
                return True
            return self._front.remove_if_let_go(key, len(data), may_be_empty=is_let_go)
        except FileNotFoundError:
            return True

    def _mark_artifacts(self, folder: str) -> dict[str, FileMark]:
        """Return which files the artifacts of a run are now, by key, to remove only these later."""
        marks: dict[str, FileMark] = {}
        for path, _, _ in iter_files(self._front, folder):
            key = f"{folder}/{ARTIFACTS}/{path}"
            mark = self._front.mark(key)
            if mark is not None:
                marks[key] = mark
        return marks

    # -- looking

    def _read(self, key: str) -> bytes:
        try:
            return self._front.read(key)
        except FileNotFoundError:
            return b""  # a chunk that was sealed since it was listed

    def _size(self, key: str) -> int:
        entry = self._front.stat(key)
        return entry.size if entry is not None else -1

    def _list(self, folder: str) -> tuple[tuple[str, int, int], ...]:
        """Return names, sizes and times of all files of a run, to tell whether something has changed."""
        found: list[tuple[str, int, int]] = []
        pending = [folder]
        while pending:
            key = pending.pop()
            for entry in self._front.entries(key):
                if entry.is_folder:
                    pending.append(f"{key}/{entry.name}")
                elif not entry.name.startswith(TEMPORARY_PREFIX):
                    found.append((f"{key}/{entry.name}", entry.size, entry.mtime_ms))
        return tuple(sorted(found))


def _kind(entry: Entry) -> str | None:
    file = None if entry.is_folder else parse_run_file(entry.name)
    return file.kind if file is not None else None


def _is_closed(data: bytes) -> bool:
    start = data.rfind(b"\n", 0, len(data) - 1) + 1
    return data[start:].startswith(b'["Closed",') and data.endswith(b"\n")


def _remove_empty_folders(storage: Storage, folder: str) -> None:
    for entry in storage.entries(folder):
        if entry.is_folder:
            _remove_empty_folders(storage, f"{folder}/{entry.name}")
    storage.remove_folder(folder)
