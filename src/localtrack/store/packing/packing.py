"""Which runs go into packs, and the way there and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from localtrack.errors import ErrorCode, StateError
from localtrack.format.edits import EditsState
from localtrack.format.layout import ARTIFACTS, PACKS, TEMPORARY_PREFIX, log_name, parse_run_file
from localtrack.storage.locks import maintenance_lock
from localtrack.storage.packed import Pack, PackedStorage
from localtrack.storage.place_clock import clock_of_place
from localtrack.store.cleaning.removal import QUIET_MS, leads_out, remove_emptied_folder
from localtrack.store.inbox import Inbox
from localtrack.store.logparts import put_log
from localtrack.store.merging import LOCK
from localtrack.store.packing.pack_files import (
    MAX_MEMBERS_COUNT,
    MAX_PACK_BYTES,
    PackedFile,
    drop_folders,
    put_pack,
    read_sound,
)
from localtrack.store.packing.report import PackReport, UnpackReport
from localtrack.store.run_reading import RunReading, list_run_folders, read_folder
from localtrack.store.site import Site
from localtrack.types import TERMINAL_STATUSES

Progress = Callable[[int, int], None]

DEFAULT_MAX_RUN_BYTES: Final = 1024 * 1024
"""Larger runs gain little: theirs are few files for many bytes."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A run that can be packed."""

    reading: RunReading
    files: tuple[PackedFile, ...]

    @property
    def bytes_count(self) -> int:
        return sum(len(file.data) for file in self.files)


def pack_runs(
    site: Site,
    inbox: Inbox,
    edits: EditsState,
    *,
    older_than_ms: int,
    max_run_bytes: int = DEFAULT_MAX_RUN_BYTES,
    is_dry_run: bool = False,
    progress: Progress | None = None,
) -> PackReport:
    """Put the files of finished small runs into packs, and remove them from their folders.

    Args:
        site: The store.
        inbox: Where the notices of runs go whose files move.
        edits: What the store's edits say.
        older_than_ms: How long a run has to be still. Less than a minute is for stores that nobody writes to: a process
            whose file goes before it has synced it writes what may be lost again, to another file.
        max_run_bytes: How large a run may be, artifacts aside.
        is_dry_run: Change nothing.
        progress: Told how many run folders are done, and how many there are.

    Raises:
        LockedError: Another process packs, merges or removes.
        StateError: The store lies where files are not counted, on an object store; or its packs are behind a link that
            leads out of it.

    Durability: a pack is durable before the first file that it holds goes.

    Concurrency: readers and writers may go on. Who reads a run meanwhile finds its files in the folder or in the pack.
    """
    site.require_open()
    packs, report = site.packs, PackReport(is_dry_run)
    if not packs.can_append:
        raise StateError(
            "A store on an object store is not packed.",
            code=ErrorCode.UNSUPPORTED,
            hint="Packing is for file systems, which count files.",
        )
    _require_packs_inside(site)
    if is_dry_run:
        for candidate in _candidates(site, edits, report, older_than_ms, max_run_bytes, progress):
            report.runs_count += 1
            report.bytes_before += candidate.bytes_count
        return report
    site.sync()  # a file of this process that is still owed to the disk would be written anew once it is gone
    with maintenance_lock(packs, LOCK):
        small = [pack for pack in packs.packs().values() if _is_small(pack)]
        batch: list[_Candidate] = []
        bytes_count = members_count = 0
        for candidate in _candidates(site, edits, report, older_than_ms, max_run_bytes, progress):
            batch.append(candidate)
            bytes_count += candidate.bytes_count
            members_count += len(candidate.files)
            if bytes_count > MAX_PACK_BYTES or members_count > MAX_MEMBERS_COUNT:
                _pack(site, inbox, batch, small, report)
                batch, small, bytes_count, members_count = [], [], 0, 0
        if batch:
            _pack(site, inbox, batch, small, report)
    return report


def unpack_runs(site: Site, inbox: Inbox, run_folders: Iterable[str] | None = None) -> UnpackReport:
    """Put the files of packed runs back into their folders.

    Args:
        site: The store.
        inbox: Where the notices of runs go whose files move.
        run_folders: Keys of run folders; all that are packed by default.

    Raises:
        LockedError: Another process packs, merges or removes.
        StateError: The packs are behind a link that leads out of the store.
        FormatError: A pack is damaged.

    Durability: the files are durable before the pack goes.
    """
    site.require_open()
    _require_packs_inside(site)
    packs, report = site.packs, UnpackReport()
    wanted = None if run_folders is None else set(run_folders)
    with maintenance_lock(packs, LOCK):
        chosen = {
            m.folder for pack in packs.packs().values() for m in pack.members if wanted is None or m.folder in wanted
        }
        for folder in sorted(chosen):
            reading = read_folder(packs, folder)
            if reading is not None and reading.is_run:
                inbox.notice_open(reading.state.run_id, reading.state.experiment_id)
            for name, (pack, member) in packs.members_of(folder).items():
                there = packs.inner.stat(f"{folder}/{name}")
                if there is None or there.size < member.size:
                    put_log(packs.inner, f"{folder}/{name}", read_sound(packs, pack, member).data)
                    report.files_written += 1
            report.runs_count += 1
        report.packs_removed = drop_folders(packs, chosen)
    return report


def _require_packs_inside(site: Site) -> None:
    if leads_out(site.storage, PACKS):
        raise StateError(
            f"{PACKS} in {site.storage.uri} is a link that leads out of the store; nothing is changed there.",
            hint="Put the folder itself in place of the link.",
        )


def _is_small(pack: Pack) -> bool:
    """Return whether a pack is so small that the next one takes its files in, so that packs stay few."""
    size = sum(member.size for member in pack.members)
    return not pack.problem and size < MAX_PACK_BYTES // 4 and len(pack.members) < MAX_MEMBERS_COUNT // 4


def _candidates(
    site: Site,
    edits: EditsState,
    report: PackReport,
    older_than_ms: int,
    max_run_bytes: int,
    progress: Progress | None,
) -> Iterator[_Candidate]:
    folders = list_run_folders(site.storage)
    clock = clock_of_place(site.storage, site.clock)
    for number, folder in enumerate(folders):
        if progress is not None:
            progress(number + 1, len(folders))
        loose = site.packs.inner.names(folder)
        if not any(parse_run_file(name) for name in loose):
            continue  # packed, whole
        reading = read_folder(site.storage, folder)
        if reading is None:
            continue
        reason = _why_not(site, reading, edits, older_than_ms, now_ms=clock())
        size = sum(entry.size for entry in reading.entries if not entry.is_folder)
        if not reason and size > max_run_bytes:
            reason = "it is large"
        files = None if reason else _read_files(site.packs, reading)
        if files is None:
            report.left[reason or "it changes"] += 1
        else:
            yield _Candidate(reading, files)


def _why_not(site: Site, reading: RunReading, edits: EditsState, older_than_ms: int, *, now_ms: int) -> str:
    """Return why a run is not packed, in words; "" if it can be."""
    if not reading.is_run or reading.is_newer:
        return "it cannot be read"
    if leads_out(site.storage, reading.folder):
        return "a link leads out of the store"
    state = reading.state
    if state.status not in TERMINAL_STATUSES:
        return "it has not ended"
    if older_than_ms and now_ms - max(reading.changed_ms, state.end_ms or 0) < older_than_ms:
        return "it ended a short time ago"
    for writer, log in reading.logs.items():
        if log.lines.closed is None:
            is_quiet = now_ms - reading.changed_by_writer_ms.get(writer, 0) >= QUIET_MS
            if not is_quiet or site.storage.is_log_locked(f"{reading.folder}/{log_name(writer)}"):
                return "a log of it was not closed"
    for files in reading.writers.values():
        if files.chunks or len(files.segments) > 1:
            return "its points are not sealed to one segment"
    if reading.state.run_id in edits.tombstones and edits.is_removed(reading.state.run_id, reading.positions):
        return "it was removed for good"
    reading.look_closely()
    if any(finding.key != reading.folder for finding in reading.findings):
        return "it is damaged"
    return ""


def _read_files(packs: PackedStorage, reading: RunReading) -> tuple[PackedFile, ...] | None:
    """Return the loose files of a run; None if there is one that no pack may hold."""
    files: list[PackedFile] = []
    for entry in packs.inner.entries(reading.folder):
        file = parse_run_file(entry.name)
        if entry.name == ARTIFACTS:
            continue
        if file is None or file.part is not None or entry.is_folder or entry.name.startswith(TEMPORARY_PREFIX):
            return None
        key = f"{reading.folder}/{entry.name}"
        try:
            data = packs.inner.read(key)
        except FileNotFoundError:
            return None
        if len(data) != entry.size:
            return None
        files.append(PackedFile(key, data, entry.mtime_ms))
    return tuple(files)


def _pack(site: Site, inbox: Inbox, batch: list[_Candidate], small: list[Pack], report: PackReport) -> None:
    """Write one pack of these runs and of what small packs hold, then remove what lies in it now."""
    packs = site.packs
    for candidate in batch:
        inbox.notice_open(candidate.reading.state.run_id, candidate.reading.state.experiment_id)
    files = {file.key: file for candidate in batch for file in candidate.files}
    for pack in small:
        for member in pack.members:
            known = files.get(member.key)
            if known is None or len(known.data) < member.size:
                files[member.key] = read_sound(packs, pack.name, member)
    name, size = put_pack(packs, files.values())
    report.packs_written += 1
    report.bytes_after += size
    for candidate in batch:
        report.runs_count += 1
        report.bytes_before += candidate.bytes_count
        for file in _last_logs(candidate.files):
            there = packs.inner.stat(file.key)
            if there is not None and there.size == len(file.data):  # else it has grown, and counts
                packs.remove(file.key)
                report.files_removed += 1
        report.files_removed += remove_emptied_folder(packs, candidate.reading.folder, now_ms=site.clock())
    for pack in small:
        if pack.name != name:
            packs.remove(f"{PACKS}/{pack.name}")


def _last_logs(files: tuple[PackedFile, ...]) -> list[PackedFile]:
    return sorted(files, key=lambda file: (file.key.endswith(".jsonl"), file.key))
