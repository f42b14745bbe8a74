"""Garbage collection: deleted runs past retention, leftovers, artifacts without a run, files of dead writers."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from localtrack.errors import LocaltrackError
from localtrack.format.edits import EditsState
from localtrack.format.layout import EDITS, EXPERIMENTS, INBOX, PACKS, TEMPORARY_PREFIX, run_folder
from localtrack.storage.base import Storage
from localtrack.storage.locks import maintenance_lock
from localtrack.storage.trees import walk_tree
from localtrack.store.catalog import Catalog
from localtrack.store.cleaning.removal import (
    DAY_MS,
    FolderContent,
    leads_out,
    list_content,
    remove_content,
    why_not,
)
from localtrack.store.cleaning.report import Garbage, GcReport, Spared
from localtrack.store.inbox import Inbox
from localtrack.store.merging import LOCK
from localtrack.store.packing.pack_files import drop_folders
from localtrack.store.run_reading import RunReading, list_run_folders, read_folder
from localtrack.store.site import Site

Positions = Mapping[str, tuple[int, int]]
Progress = Callable[[int, int], None]
"""Called with how many run folders are done, and how many there are."""
WhyKept = Callable[[str, Positions], str]
"""From a run's id and its positions: why it is to be kept, in words; "" if it may go."""

LOCK_PATIENCE_S: Final = 60.0
"""How long the removal of single runs waits for a whole collection to end."""
_BATCH_COUNT: Final = 500
"""Runs whose tombstones are written, and waited for, at once."""


def collect_garbage(
    site: Site,
    catalog: Catalog,
    inbox: Inbox,
    run_ids: Iterable[str],
    *,
    older_than_ms: int,
    is_dry_run: bool,
    why_kept: WhyKept | None = None,
    user: str = "",
    progress: Progress | None = None,
) -> GcReport:
    """Remove what nobody can want any more, or say what that is.

    Args:
        site: The store.
        catalog: Its edits.
        inbox: Where the notices of runs go that are removed.
        run_ids: Deleted runs that may go.
        older_than_ms: How long a run has to be deleted, and artifacts without a run have to be still.
        is_dry_run: Change nothing.
        why_kept: Asked about each run.
        user: Who does it, for the tombstones.
        progress: Told how far the look at all run folders is.

    Raises:
        LockedError: Another process does the same.

    Durability: a tombstone is durable before the first file of its run goes.

    Concurrency: readers and writers go on. A run that is restored before its tombstone is written stays.
    """
    site.require_open()
    report = GcReport(is_dry_run)
    collection = _Collection(site, catalog, inbox, report, older_than_ms, why_kept, user)
    if is_dry_run:
        collection.run(run_ids, progress)
    else:
        with maintenance_lock(site.storage, LOCK):
            collection.run(run_ids, progress)
    return report


def remove_runs(
    site: Site, catalog: Catalog, inbox: Inbox, run_ids: Iterable[str], *, is_dry_run: bool = False, user: str = ""
) -> GcReport:
    """Remove deleted runs for good, however long they have been deleted, and nothing else. As `collect_garbage`."""
    site.require_open()
    report = GcReport(is_dry_run)
    with contextlib.nullcontext() if is_dry_run else maintenance_lock(site.storage, LOCK, timeout_s=LOCK_PATIENCE_S):
        _Collection(site, catalog, inbox, report, 0, None, user).remove(run_ids)
    return report


class _Collection:
    """The work on one store."""

    def __init__(
        self,
        site: Site,
        catalog: Catalog,
        inbox: Inbox,
        report: GcReport,
        older_than_ms: int,
        why_kept: WhyKept | None,
        user: str,
    ) -> None:
        self._site = site
        self._storage: Storage = site.storage
        self._catalog = catalog
        self._inbox = inbox
        self._report = report
        self._older_than_ms = older_than_ms
        self._why_kept = why_kept
        self._user = user
        self._packed: set[str] = set()  # folders of which nothing may be left in packs

    def run(self, run_ids: Iterable[str], progress: Progress | None) -> None:
        """Do all of it."""
        self._remove_leftovers()
        self.remove(run_ids)
        self._remove_unowned(progress)

    def remove(self, run_ids: Iterable[str]) -> None:
        """Remove those of the runs that may go."""
        if not self._report.is_dry_run:
            self._site.sync()  # a file of this process that is owed to the disk would be written anew once it is gone
        remaining = iter(run_ids)
        while batch := list(itertools.islice(remaining, _BATCH_COUNT)):
            self._remove_runs(batch)
        if self._packed:
            drop_folders(self._site.packs, self._packed)

    def _remove_leftovers(self) -> None:
        """Finish what a removal that was cut short has left, or a merge has brought back."""
        edits = self._catalog.read()
        for run_id, tombstone in edits.tombstones.items():
            folder = run_folder(run_id)
            if not self._storage.exists(folder):
                continue
            reading = read_folder(self._storage, folder)
            if reading is None or not reading.is_run or reading.is_newer or leads_out(self._storage, folder):
                continue
            if edits.is_removed(run_id, reading.positions):
                content = list_content(self._storage, folder)
                self._note(Garbage("leftovers", folder, len(content.files), content.bytes_count, run_id), content)
                if not self._report.is_dry_run:
                    self._remove(folder, content, set(tombstone.positions))

    def _remove_runs(self, run_ids: list[str]) -> None:
        edits = self._catalog.read()
        found = [item for run_id in run_ids if (item := self._look_at(run_id, edits)) is not None]
        for garbage, content, reading in found:
            self._note(garbage, content)
            if not self._report.is_dry_run:
                self._inbox.notice_open(reading.state.run_id, reading.state.experiment_id)
        if self._report.is_dry_run or not found:
            return
        self._catalog.bury({item.state.run_id: item.positions for _, _, item in found}, user=self._user)
        edits = self._catalog.read()
        for _, content, reading in found:
            # What came since the look, or was restored since, is not what the tombstone speaks of.
            now = read_folder(self._storage, reading.folder)
            if now is not None and now.is_run and not edits.is_removed(reading.state.run_id, now.positions):
                self._report.spared.append(Spared(reading.folder, "it was restored, or written to, meanwhile"))
                continue
            self._remove(reading.folder, content, set(reading.writers))

    def _look_at(self, run_id: str, edits: EditsState) -> tuple[Garbage, FolderContent, RunReading] | None:
        folder = run_folder(run_id)
        reading = read_folder(self._storage, folder)
        if reading is None or not reading.is_run or reading.state.run_id != run_id:
            return None
        state = reading.state
        deleted_ms = edits.deleted_ms(run_id, state.experiment_id)
        now_ms = self._site.clock()
        if (
            deleted_ms is None
            or now_ms - deleted_ms < self._older_than_ms
            or edits.is_removed(run_id, reading.positions)
        ):
            return None
        reason = why_not(self._storage, reading, now_ms=now_ms)
        if not reason and self._why_kept is not None:
            reason = self._why_kept(run_id, reading.positions)
        if reason:
            self._report.spared.append(Spared(folder, reason))
            return None
        content = list_content(self._storage, folder)
        packed_bytes = sum(member.stored_bytes for _, member in self._site.packs.members_of(folder).values())
        garbage = Garbage(
            "run",
            folder,
            len(content.files),
            content.bytes_count + packed_bytes,
            run_id,
            state.experiment_id,
            deleted_ms,
        )
        return garbage, content, reading

    def _remove(self, folder: str, content: FolderContent, writers: set[str]) -> None:
        remove_content(self._storage, folder, content, only_writers=writers, now_ms=self._site.clock())
        if self._site.packs.members_of(folder):
            self._packed.add(folder)

    def _note(self, garbage: Garbage, content: FolderContent) -> None:
        self._report.garbage.append(garbage)
        self._report.spared += [Spared(key, "no rule of the format puts it there") for key in content.others]

    # -- what no run owns

    def _remove_unowned(self, progress: Progress | None) -> None:
        gone = {item.key for item in self._report.garbage}
        for folder in (EXPERIMENTS, EDITS, INBOX, PACKS, ""):
            for entry in self._storage.entries(folder):
                if not entry.is_folder and entry.name.startswith(TEMPORARY_PREFIX):
                    self._remove_temporary(f"{folder}/{entry.name}".lstrip("/"), entry.size, entry.mtime_ms)
        folders = list_run_folders(self._storage)
        for number, folder in enumerate(folders):
            if folder not in gone and not leads_out(self._storage, folder):
                self._look_at_folder(folder)
            if progress is not None:
                progress(number + 1, len(folders))

    def _look_at_folder(self, folder: str) -> None:
        entries = self._storage.entries(folder)
        has_folders = any(entry.is_folder for entry in entries)
        if not has_folders and not any(entry.name.startswith(TEMPORARY_PREFIX) for entry in entries):
            return
        content = list_content(self._storage, folder)
        last_ms = max((entry.mtime_ms for entry in (*content.files, *content.folders)), default=0)
        is_owned = any(not entry.is_folder and entry.name.endswith((".jsonl", ".parquet")) for entry in entries)
        is_owned |= any(".jsonl.part" in entry.name for entry in entries)
        if has_folders and not is_owned and content.folders and not content.others:
            # A merge brings artifacts before the log that describes them: what is still for so long was given up.
            if self._site.clock() - last_ms >= max(self._older_than_ms, DAY_MS):
                self._note(Garbage("artifacts", folder, len(content.files), content.bytes_count), content)
                if not self._report.is_dry_run:
                    self._remove(folder, content, set())
            return
        for key, size, mtime_ms in self._temporaries(folder):
            self._remove_temporary(key, size, mtime_ms)

    def _temporaries(self, folder: str) -> Iterator[tuple[str, int, int]]:
        for entry in walk_tree(self._storage, folder):
            if not entry.is_folder and entry.key.rpartition("/")[2].startswith(TEMPORARY_PREFIX):
                yield entry.key, entry.size, entry.mtime_ms

    def _remove_temporary(self, key: str, size: int, mtime_ms: int) -> None:
        if self._site.clock() - mtime_ms < DAY_MS:
            return
        self._report.garbage.append(Garbage("temporary", key, 1, size))
        if self._report.is_dry_run:
            return
        try:
            self._storage.remove(key)
        except LocaltrackError as error:  # of another user, say: the rest can go
            self._report.garbage.pop()
            self._report.spared.append(Spared(key, str(error)))
