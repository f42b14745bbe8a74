"""What the logs in a folder say to somebody who did not write them: those of a run, or of a logged model.

FORMAT.md sections 4 to 6 and 12.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from localtrack.errors import ErrorCode, StorageError
from localtrack.format.layout import RunFile, is_day_folder, parse_run_file, part_name
from localtrack.format.lines import Lines
from localtrack.format.state_records import FolderState, StateLog
from localtrack.storage.base import Entry, Storage
from localtrack.storage.failures import is_forbidden
from localtrack.storage.once import once
from localtrack.store.logparts import count_parts, gather_logs, read_log
from localtrack.types import Finding

NEWER_HINT: Final = (
    "Update localtrack. If no newer version has written there, the file is damaged: see `localtrack check`, which may "
    "be able to repair it."
)
_TRIES: Final = 10
"""How often a folder is listed anew because a file vanished between listing and reading (it was sealed)."""


@dataclass(slots=True)
class WriterFiles:
    """The files of one writer in a folder, as listed."""

    log_name: str | None = None
    chunks: dict[int, str] = field(default_factory=dict)
    segments: list[RunFile] = field(default_factory=list)


AnyLog = TypeVar("AnyLog", bound=StateLog)
AnyState = TypeVar("AnyState", bound=FolderState)
Reading = TypeVar("Reading", bound="FolderReading[Any, Any]")


class FolderReading(ABC, Generic[AnyLog, AnyState]):
    """A folder as it was at one moment. A subclass says how its logs are parsed and folded."""

    def __init__(self, storage: Storage, folder: str, entries: list[Entry]) -> None:
        self.storage = storage
        self.folder = folder
        self.findings: list[Finding] = []
        self.forbidden: set[str] = set()
        """Files of others that this user may not read: what the rest says may not be all."""
        self._load(entries)

    def _load(self, entries: list[Entry]) -> None:
        self.is_newer = False
        self.entries = entries
        self.changed_ms = max((entry.mtime_ms for entry in entries if not entry.is_folder), default=0)
        self.writers: dict[str, WriterFiles] = {}
        self.logs: dict[str, AnyLog] = {}
        self.log_bytes: dict[str, int] = {}
        self.changed_by_writer_ms: dict[str, int] = {}
        self._sort_files(entries)
        self._read_logs()

    @property
    def has_logs(self) -> bool:
        """Whether at least one log can be read: without, the folder holds nothing that can be shown."""
        return bool(self.logs)

    @property
    def why_newer(self) -> str:
        """Which file only a newer version can read, and why, if there is one."""
        return next((f"{it.key}: {it.what}" for it in self.findings if it.key != self.folder), self.folder)

    @once
    def state(self) -> AnyState:
        """What the logs add up to."""
        state = self._fold()
        self.findings += [Finding(self.folder, problem) for problem in state.problems]
        return state

    def note(self, name: str, problem: str) -> None:
        """Report that something is wrong with a file of the folder."""
        finding = Finding(f"{self.folder}/{name}", problem)
        if finding not in self.findings:
            self.findings.append(finding)

    # -- what a subclass says

    @abstractmethod
    def _parse(self, data: bytes, writer: str) -> AnyLog | Lines:
        """Return what the bytes of a log say; only its lines if it has no sound header."""

    @abstractmethod
    def _place(self, log: AnyLog) -> str:
        """Return the key of the folder in which a log belongs."""

    @abstractmethod
    def _fold(self) -> AnyState:
        """Return what the logs add up to."""

    # -- reading

    def _sort_files(self, entries: list[Entry]) -> None:
        self._parts = count_parts(entries)
        for name in gather_logs(entries):
            file = parse_run_file(name)
            assert file is not None
            files = self.writers.setdefault(file.writer, WriterFiles())
            if file.kind == "log":
                files.log_name = name
            else:
                files.chunks[file.first] = name
        for entry in entries:
            file = parse_run_file(entry.name)
            if file is None:
                continue
            changed_ms = max(self.changed_by_writer_ms.get(file.writer, 0), entry.mtime_ms)
            self.changed_by_writer_ms[file.writer] = changed_ms
            if file.kind == "segment" and not entry.is_folder:
                self.writers.setdefault(file.writer, WriterFiles()).segments.append(file)

    def _read_logs(self) -> None:
        wanted = self.folder.rpartition("/")[2]
        for writer, files in self.writers.items():
            if files.log_name is None:
                self.note(f"{writer}.jsonl", "the log is missing; points of its writer are there")
                continue
            data = self._read_permitted(files.log_name)
            if data is None:
                continue
            log = self._parse(data, writer)
            lines = log if isinstance(log, Lines) else log.lines
            self.log_bytes[writer] = lines.whole_bytes_count
            if not isinstance(log, Lines) and self._place(log) != self.folder:
                if wanted != self._place(log).rpartition("/")[2] or not self.logs:
                    self.note(files.log_name, f"it belongs into {self._place(log)}")
                continue
            if not isinstance(log, Lines) and not lines.newer:
                self.logs[writer] = log
            self._take_problems(files.log_name, lines)

    def _take_problems(self, name: str, lines: Lines) -> None:
        self.is_newer |= lines.newer
        for problem in lines.problems:
            self.note(name, problem)

    def _read_permitted(self, name: str) -> bytes | None:
        """Return the bytes of a log; None, and that is reported, if it lacks its beginning or may not be read."""
        try:
            return self._read(name)
        except FileNotFoundError:
            if not self._lacks_first_part(name):
                raise
            self.note(part_name(name, 0), "this part of the log is missing, and what stands in later ones is not read")
            return None
        except StorageError as error:
            if not is_forbidden(error):
                raise
            self.forbid(name, error)
            return None

    def _lacks_first_part(self, name: str) -> bool:
        """Return whether of a log that is not there later parts are: while one is sealed they are on their way out."""
        listed = {entry.name for entry in self.entries}
        return (
            name in self._parts and part_name(name, 0) not in listed and listed == set(self.storage.names(self.folder))
        )

    def forbid(self, name: str, error: StorageError) -> None:
        """Report that this user may not read a file, or, without a name, the folder."""
        self.forbidden.add(name)
        finding = Finding(f"{self.folder}/{name}" if name else self.folder, error.message, ErrorCode.READ_ONLY)
        if finding not in self.findings:
            self.findings.append(finding)

    def _read(self, name: str) -> bytes:
        return read_log(self.storage, f"{self.folder}/{name}", parts_count=self._parts.get(name))


Maker = Callable[[Storage, str, list[Entry]], Reading]


def read_steadily(storage: Storage, folder: str, make: Maker[Reading]) -> Reading | None:
    """Return what is in a folder now, or None if there is nothing to show and nothing to report."""
    for _ in range(_TRIES):
        try:
            entries = storage.entries(folder)
        except StorageError as error:
            if not is_forbidden(error):
                raise
            reading = make(storage, folder, [])
            reading.forbid("", error)
            return reading
        if folder.count("/") == 1:  # a day that could not be listed a moment ago, so that nobody knows what is in it
            reading = make(storage, folder, [])
            reading.forbid("", StorageError(f"The folder {storage.path(folder)} could not be listed at first."))
            return reading
        try:
            reading = make(storage, folder, entries)
        except FileNotFoundError:
            continue
        return reading if reading.has_logs or reading.findings else None
    raise StorageError(f"The folder {storage.path(folder)} changes faster than it can be read.")


def list_folders(storage: Storage, top: str) -> list[str]:
    """Return the keys of all folders two levels below `runs` or `models`, in order."""
    folders: list[str] = []
    for day in sorted(entry.name for entry in storage.entries(top) if entry.is_folder and is_day_folder(entry.name)):
        try:
            folders += sorted(f"{top}/{day}/{name}" for name in storage.names(f"{top}/{day}"))
        except StorageError as error:
            if not is_forbidden(error):
                raise
            folders.append(f"{top}/{day}")  # whoever reads it reports it
    return folders
