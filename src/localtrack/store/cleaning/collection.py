"""Garbage collection: what is past retention, leftovers, artifacts that nobody owns, files of dead writers."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from localtrack.errors import LocaltrackError
from localtrack.format.edits import EditsState
from localtrack.format.layout import EDITS, EXPERIMENTS, INBOX, PACKS, TEMPORARY_PREFIX, experiment_key
from localtrack.storage.base import Storage
from localtrack.storage.locks import maintenance_lock
from localtrack.storage.place_clock import clock_of_place
from localtrack.storage.trees import walk_tree
from localtrack.store.catalog import Catalog
from localtrack.store.cleaning.entity_kind import MODEL_KIND, RUN_KIND, EntityKind, Positions
from localtrack.store.cleaning.removal import (
    DAY_MS,
    FolderContent,
    leads_out,
    list_content,
    remove_content,
    why_not,
)
from localtrack.store.cleaning.report import Garbage, GcReport, Spared
from localtrack.store.folder_reading import FolderReading
from localtrack.store.inbox import Inbox
from localtrack.store.merging import LOCK
from localtrack.store.model_reading import list_model_folders
from localtrack.store.packing.pack_files import drop_folders
from localtrack.store.run_reading import list_run_folders
from localtrack.store.site import Site
from localtrack.types import DEFAULT_EXPERIMENT_ID

Progress = Callable[[int, int], None]
"""Called with how many folders are done, and how many there are."""
WhyKept = Callable[[str, Positions], str]
"""From a run's id and its positions: why it is to be kept, in words; "" if it may go."""

LOCK_PATIENCE_S: Final = 60.0
"""How long the removal of single things waits for a whole collection to end."""
_BATCH_COUNT: Final = 500
"""Runs or models whose tombstones are written, and waited for, at once."""


class ExperimentContent(NamedTuple):
    """What is shown of an experiment, whatever its life cycle."""

    run_ids: Collection[str]
    model_ids: Collection[str]
    is_all: bool = True
    """False: something cannot be read, and nobody knows whose it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What may be removed, if it is deleted, and long enough."""

    run_ids: Collection[str] = ()
    model_ids: Collection[str] = ()
    experiment_ids: Collection[str] = ()
    """With all logged models in them. One of which a run stays, stays."""
    content_of: Callable[[Collection[str]], Mapping[str, ExperimentContent]] = lambda _: {}
    """Asked what there is of these experiments, once runs were removed."""


def collect_garbage(
    site: Site,
    catalog: Catalog,
    inbox: Inbox,
    wanted: Wanted,
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
        wanted: What may go.
        older_than_ms: How long it has to be deleted, and artifacts that nobody owns have to be still.
        is_dry_run: Change nothing.
        why_kept: Asked about each run.
        user: Who does it, for the tombstones.
        progress: Told how far the look at all folders is.

    Raises:
        LockedError: Another process does the same.

    Durability: a tombstone is durable before the first file goes that it speaks of.

    Concurrency: readers and writers go on. What is restored before its tombstone is written stays.
    """
    site.require_open()
    report = GcReport(is_dry_run)
    collection = _Collection(site, catalog, inbox, report, older_than_ms, why_kept, user)
    if is_dry_run:
        collection.run(wanted, progress)
    else:
        with maintenance_lock(site.storage, LOCK):
            collection.run(wanted, progress)
    return report


def remove_for_good(
    site: Site, catalog: Catalog, inbox: Inbox, wanted: Wanted, *, is_dry_run: bool = False, user: str = ""
) -> GcReport:
    """Remove what is deleted, however long it has been, and nothing else. As `collect_garbage`."""
    site.require_open()
    report = GcReport(is_dry_run)
    with contextlib.nullcontext() if is_dry_run else maintenance_lock(site.storage, LOCK, timeout_s=LOCK_PATIENCE_S):
        _Collection(site, catalog, inbox, report, 0, None, user).remove(wanted)
    return report


class _Found(NamedTuple):
    """A run or model that may go."""

    garbage: Garbage
    content: FolderContent
    reading: FolderReading[Any, Any]


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
        self._clock = clock_of_place(site.storage, site.clock)
        """For the age of files."""
        self._catalog = catalog
        self._inbox = inbox
        self._report = report
        self._older_than_ms = older_than_ms
        self._why_kept = why_kept
        self._user = user
        self._packed: set[str] = set()  # folders of which nothing may be left in packs

    def run(self, wanted: Wanted, progress: Progress | None) -> None:
        """Do all of it."""
        for kind in (RUN_KIND, MODEL_KIND):
            self._remove_leftovers(kind)
        self._remove_documents_left()
        self.remove(wanted)
        self._remove_unowned(progress)

    def remove(self, wanted: Wanted) -> None:
        """Remove what may go of what is wanted."""
        if not self._report.is_dry_run:
            self._site.sync()  # a file of this process that is owed to the disk would be written anew once it is gone
        for kind, ids in ((RUN_KIND, wanted.run_ids), (MODEL_KIND, wanted.model_ids)):
            remaining = iter(ids)
            while batch := list(itertools.islice(remaining, _BATCH_COUNT)):
                edits = self._catalog.read()
                self._remove_entities(kind, [it for one in batch if (it := self._look_at(kind, one, edits))])
        if self._packed:
            drop_folders(self._site.packs, self._packed)
        if wanted.experiment_ids:
            content_of = wanted.content_of(wanted.experiment_ids)
            for experiment_id in wanted.experiment_ids:
                self._remove_experiment(experiment_id, content_of.get(experiment_id, ExperimentContent((), ())))

    def _remove_leftovers(self, kind: EntityKind[Any]) -> None:
        """Finish what a removal that was cut short has left, or a merge has brought back."""
        edits = self._catalog.read()
        for entity_id, tombstone in kind.tombstones(edits).items():
            folder = kind.folder_of(entity_id)
            if not self._storage.exists(folder):
                continue
            reading = kind.read(self._storage, folder)
            if reading is None or not reading.has_logs or reading.is_newer or leads_out(self._storage, folder):
                continue
            if kind.is_removed(edits, reading):
                content = list_content(self._storage, folder)
                garbage = Garbage(
                    "leftovers", folder, len(content.files), content.bytes_count, **kind.naming(entity_id)
                )
                self._note(garbage, content)
                if not self._report.is_dry_run:
                    self._remove(folder, content, set(tombstone.positions))

    def _remove_documents_left(self) -> None:
        removed = self._catalog.read().removed_experiments
        if not removed:
            return
        for entry in self._storage.entries(EXPERIMENTS):
            experiment_id, _, extension = entry.name.rpartition(".")
            if extension == "json" and not entry.is_folder and experiment_id in removed:
                key = experiment_key(experiment_id)
                self._report.garbage.append(Garbage("leftovers", key, 1, entry.size, experiment_id=experiment_id))
                if not self._report.is_dry_run:
                    self._storage.remove(key)

    def _remove_entities(self, kind: EntityKind[Any], found: list[_Found]) -> bool:
        """Remove these runs or models; return whether all of them are gone, or would be."""
        for garbage, content, _ in found:
            self._note(garbage, content)
            if not self._report.is_dry_run and garbage.run_id is not None:
                self._inbox.notice_open(garbage.run_id, garbage.experiment_id or "")
        if self._report.is_dry_run or not found:
            return True
        positions = {kind.id_of(it.reading): kind.positions_of(it.reading) for it in found}
        self._catalog.bury(kind.name, positions, user=self._user)
        edits = self._catalog.read()
        are_all_gone = True
        for _, content, reading in found:
            # What came since the look, or was restored since, is not what the tombstone speaks of.
            now = kind.read(self._storage, reading.folder)
            if now is not None and now.has_logs and not kind.is_removed(edits, now):
                self._report.spared.append(Spared(reading.folder, "it was restored, or written to, meanwhile"))
                are_all_gone = False
                continue
            self._remove(reading.folder, content, set(reading.writers))
        return are_all_gone

    def _look_at(
        self, kind: EntityKind[Any], entity_id: str, edits: EditsState, *, deleted_ms: int | None = None
    ) -> _Found | None:
        """Return a run or model that may go, else None; why it may not is reported.

        Args:
            kind: Runs or models.
            entity_id: Which one.
            edits: What the store's edits say.
            deleted_ms: When it was deleted, for one that goes with its experiment; else its edits say.
        """
        folder = kind.folder_of(entity_id)
        reading = kind.read(self._storage, folder)
        if reading is None or not reading.has_logs or kind.id_of(reading) != entity_id:
            return None
        if deleted_ms is None:
            deleted_ms = kind.deleted_ms(edits, reading)
        if (
            deleted_ms is None
            or self._site.clock() - deleted_ms < self._older_than_ms
            or kind.is_removed(edits, reading)
        ):
            return None
        reason = why_not(self._storage, reading, now_ms=self._clock())
        if not reason and self._site.packs.members_of(folder) and leads_out(self._storage, PACKS):
            reason = "it is packed, and a link leads from packs out of the store"
        if not reason and self._why_kept is not None and kind is RUN_KIND:
            reason = self._why_kept(entity_id, kind.positions_of(reading))
        if reason:
            self._report.spared.append(Spared(folder, reason))
            return None
        content = list_content(self._storage, folder)
        packed_bytes = sum(member.stored_bytes for _, member in self._site.packs.members_of(folder).values())
        garbage = Garbage(
            kind.name,
            folder,
            len(content.files),
            content.bytes_count + packed_bytes,
            experiment_id=reading.state.experiment_id,
            deleted_ms=deleted_ms,
            **kind.naming(entity_id),
        )
        return _Found(garbage, content, reading)

    def _remove_experiment(self, experiment_id: str, content: ExperimentContent) -> None:
        edits = self._catalog.read()
        experiment = edits.experiments.get(experiment_id)
        if experiment is None or not experiment.is_deleted:
            return
        deleted_ms = experiment.lifecycle_ms
        if self._site.clock() - deleted_ms < self._older_than_ms:
            return
        key = experiment_key(experiment_id)
        reason = self._why_experiment_stays(experiment_id, content)
        if not reason:
            ids = set(content.model_ids) - self._going("model_id")
            found = [it for one in ids if (it := self._look_at(MODEL_KIND, one, edits, deleted_ms=deleted_ms))]
            if len(found) < len(ids) or not self._remove_entities(MODEL_KIND, found):
                reason = "a logged model of it stays"
        if reason:
            self._report.spared.append(Spared(key, reason))
            return
        entry = self._storage.stat(key)
        self._report.garbage.append(
            Garbage(
                "experiment",
                key,
                int(entry is not None),
                0 if entry is None else entry.size,
                experiment_id=experiment_id,
                deleted_ms=deleted_ms,
            )
        )
        if self._report.is_dry_run:
            return
        self._catalog.bury_experiment(experiment_id, user=self._user)
        if experiment_id in self._catalog.read().removed_experiments and entry is not None:
            self._storage.remove(key)

    def _why_experiment_stays(self, experiment_id: str, content: ExperimentContent) -> str:
        if experiment_id == DEFAULT_EXPERIMENT_ID:
            return "every store has it"
        staying = set(content.run_ids) - self._going("run_id")
        if staying:
            return f"{len(staying)} of its runs stay" if len(staying) > 1 else "a run of it stays"
        if not content.is_all:
            return "something in the store cannot be read, which may belong to it; see `localtrack check`"
        return ""

    def _going(self, name: str) -> set[str]:
        """Return the ids that a dry run would remove; without it, what went is not in the content any more."""
        if not self._report.is_dry_run:
            return set()
        return {getattr(item, name) for item in self._report.garbage if item.kind in ("run", "model")} - {None}

    def _remove(self, folder: str, content: FolderContent, writers: set[str]) -> None:
        remove_content(self._storage, folder, content, only_writers=writers, now_ms=self._clock())
        if self._site.packs.members_of(folder):
            self._packed.add(folder)

    def _note(self, garbage: Garbage, content: FolderContent) -> None:
        self._report.garbage.append(garbage)
        self._report.spared += [Spared(key, "no rule of the format puts it there") for key in content.others]

    # -- what nobody owns

    def _remove_unowned(self, progress: Progress | None) -> None:
        gone = {item.key for item in self._report.garbage}
        for folder in (EXPERIMENTS, EDITS, INBOX, PACKS, ""):
            for entry in self._storage.entries(folder):
                if not entry.is_folder and entry.name.startswith(TEMPORARY_PREFIX):
                    self._remove_temporary(f"{folder}/{entry.name}".lstrip("/"), entry.size, entry.mtime_ms)
        folders = [*list_run_folders(self._storage), *list_model_folders(self._storage)]
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
            if self._clock() - last_ms >= max(self._older_than_ms, DAY_MS):
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
        if self._clock() - mtime_ms < DAY_MS:
            return
        self._report.garbage.append(Garbage("temporary", key, 1, size))
        if self._report.is_dry_run:
            return
        try:
            self._storage.remove(key)
        except LocaltrackError as error:  # of another user, say: the rest can go
            self._report.garbage.pop()
            self._report.spared.append(Spared(key, str(error)))
