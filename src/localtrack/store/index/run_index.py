"""Keeps track of the runs of a store for searches: what segments have, what changed since, what goes on.

A refresh starts from the manifest and looks at what it does not cover: notices in the inbox, folders of runs whose time
of change is another, runs that were going on. It therefore needs no memory to be right; what the process remembers
only makes it fast.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from localtrack import reporting
from localtrack.errors import DamagedIndexError, ErrorCode, StorageError
from localtrack.format.edits import EditsState
from localtrack.format.layout import COVERED_SUFFIX, INBOX, RUNS, run_folder
from localtrack.storage.base import Storage
from localtrack.storage.failures import is_forbidden
from localtrack.store.index.days import ComparedDays, foreign_runs, list_days, runs_of_day
from localtrack.store.index.home import Home, MemoryHome, StorageHome
from localtrack.store.index.live_run import RACY_MS, LiveRun, Seen, findings_of, rows_of
from localtrack.store.index.lookout import Lookout
from localtrack.store.index.manifest import MANIFEST, Manifest, marker_name, parse_manifest
from localtrack.store.index.notices import InboxFile, list_inbox
from localtrack.store.index.part import Part, merge_count
from localtrack.store.index.segment import Segment
from localtrack.store.logparts import read_log
from localtrack.types import Finding

if TYPE_CHECKING:
    from localtrack.store.index.segment_write import Written

_TRIES: Final = 20
"""How often a refresh begins anew because another process compacts meanwhile."""
_FLUSH_COUNT: Final = 2_000
"""With so many settled runs in the overlay they become a segment in memory: a tenth of the space, and no Python."""
_OVERLAY_COUNT: Final = 200
"""So many that stay in the overlay, because nobody gets to compact, do too: columns of Python objects are slow."""
_LOADED_COUNT: Final = 256
"""So many runs are fetched at the same time from an object store."""
_THOROUGH_S: Final = 10.0
"""All folders of runs are looked at so often, where there are too many to look at each time."""


class RunIndex:
    """What a process knows of the runs of one store.

    Args:
        storage: The store's bytes.
        store_id: The id of the store.
        home: Where the index lies.
        is_marked: The inbox holds the file that shows that nobody emptied it: the home is in the store.

    Concurrency: every method wants `lock`.
    """

    def __init__(self, storage: Storage, store_id: str, home: StorageHome, *, is_marked: bool) -> None:
        self.storage = storage
        self._seen = storage
        """What a refresh reads of the runs: on an object store as of one listing."""
        self.home = home
        self.is_marked = is_marked
        self.lock = threading.RLock()
        self.manifest = Manifest(store_id)
        self.parts: list[Part] = []
        """Segments, those in memory last."""
        self.live: dict[str, LiveRun] = {}
        """The overlay, by folder."""
        self.inbox: dict[str, InboxFile] = {}
        self.days: dict[str, int] = {}
        self.findings: list[Finding] = []
        """What is wrong with the index itself."""
        self.forbidden: dict[str, Finding] = {}
        """Notices of others that this user may not read, by file."""
        self.generation = 0
        """Counts up whenever `parts` are others."""
        self._unsettled: set[str] = set()
        self._manifest_data: bytes | None = None
        self._distrusted: str = ""
        self._foreign: dict[str, dict[str, tuple[Part, int, str]]] | None = None
        self._thorough_s = -_THOROUGH_S
        self._edits: EditsState | None = None
        self._lookout = Lookout(storage)
        self._compared = ComparedDays()
        self._inbox_fits: Manifest | None = None
        """What the inbox was read beside last, if the two fitted."""
        self._is_inbox_whole = False
        """What shows that nobody emptied the inbox since the look before the last one was there at the last one."""
        self._is_cut_off = False
        """The last refresh did not get to its end: notices may have been read, and not looked into."""

    # -- refresh

    def refresh(self, edits: EditsState, *, is_hasty: bool = False) -> None:
        """Bring everything up to date with the store.

        Args:
            edits: What the store's edits say.
            is_hasty: Settle runs although somebody may still be copying them.
        """
        if self._is_cut_off:
            self._inbox_fits = None
            self._start_from(self.manifest)
        self._is_cut_off = True
        self._bring_up_to_date(edits, is_hasty=is_hasty)
        self._is_cut_off = False

    def _bring_up_to_date(self, edits: EditsState, *, is_hasty: bool) -> None:
        why = "The index changes faster than it can be read."
        for _ in range(_TRIES):
            try:
                if self._load_manifest() and self._follow(edits, is_hasty=is_hasty):
                    return
            except DamagedIndexError as error:
                self.distrust(str(error))
            except FileNotFoundError as error:
                self._manifest_data = None  # a compaction removed what the manifest named: read the new one
                why = f"{error.filename or error} is not there, though the manifest of the index names it."
        # Somebody makes it anew all the time, or removes its files: answer from the runs alone.
        self.distrust(why)
        while not self._follow(edits, is_hasty=is_hasty):
            pass

    def distrust(self, why: str) -> None:
        """Leave the index on disk aside from now on, until it was made anew."""
        reporting.debug("the search index of %s is made anew: %s", self.storage.uri, why)
        # Told again of the same index, as by a query of two threads, it must not come to be trusted.
        self._distrusted = self.manifest.token or self._distrusted or "?"
        self.findings = [Finding("index", why)] if why else []
        self._start_from(Manifest(self.manifest.store_id))

    def _load_manifest(self) -> bool:
        """Take over the manifest if it is another one. False: another must be looked for."""
        try:
            data = self.home.read(MANIFEST) or b"\n"  # empty, it is damaged: not the same as none
        except FileNotFoundError:
            data = b""
        if data == self._manifest_data:
            return True
        manifest = None
        if data:
            self._manifest_data = data
            manifest = parse_manifest(data, store_id=self.manifest.store_id, where=self.home.path(MANIFEST))
        if manifest is None:
            if self.manifest.token or self._manifest_data is None:
                self._start_from(Manifest(self.manifest.store_id))
        elif manifest.token != self._distrusted:
            self.findings = []
            self._start_from(manifest)
        self._manifest_data = data
        return True

    def take_over(self, manifest: Manifest, data: bytes) -> None:
        """Take over the manifest that this process has just written."""
        self.findings = []
        self._start_from(manifest)
        self._manifest_data = data

    def _start_from(self, manifest: Manifest) -> None:
        """Forget what was found since the manifest, and keep what was read as far as it is of use."""
        known = {part.segment.name: part for part in self.parts if not part.is_private}
        parts: list[Part] = []
        for entry in manifest.segments:
            part = known.get(entry.name)
            if part is None:
                part = Part(Segment(self.home, entry.name, directory_crc=entry.directory_crc), is_private=False)
            part.revive(entry.dead)
            parts.append(part)
        old_live = self.live
        self.manifest, self.parts = manifest, parts
        self.generation += 1
        self.live, self._unsettled, self._foreign = {}, set(), None
        self.days = dict(manifest.days)
        self._edits = None
        for name, file in list(self.inbox.items()):
            entry_of_inbox = manifest.inbox.get(name)
            if entry_of_inbox is not None:
                file.forget_until(entry_of_inbox.bytes_count)
                if entry_of_inbox.is_done:
                    file.opened.clear()
            elif not manifest.token:
                self.inbox.pop(name)
        recent = {_folder(run_id) for file in self.inbox.values() for _, run_id in file.recent}
        opened = {_folder(run_id) for file in self.inbox.values() for run_id in file.opened}
        for folder in {*manifest.watched, *recent, *opened}:
            run = old_live.get(folder)
            if run is not None:
                self.live[folder] = run
                self._bury(folder)
            else:
                is_noticed = manifest.watched.get(folder, False) or folder in recent or folder in opened
                self._add(folder, is_noticed=is_noticed)
            self._unsettled.add(folder)

    def _follow(self, edits: EditsState, *, is_hasty: bool) -> bool:
        """Look at everything that the manifest does not cover. False: it does not fit what is there; start anew."""
        try:
            self._lookout.watch.listen(count=max(len(self._unsettled), len(self.inbox)))
            return self._look_at_everything(edits, is_hasty=is_hasty)
        except BaseException:  # an interrupt too: what the kernel told may not have been looked into
            self._lookout.watch.reset()
            raise

    def _look_at_everything(self, edits: EditsState, *, is_hasty: bool) -> bool:
        touched = self._read_inbox()
        if touched is None:
            return False
        self._seen = self.storage.view(RUNS)
        for folder in touched:
            self._add(folder, is_noticed=True)
        if self.is_marked and not self._is_inbox_whole:
            # Nothing in the inbox shows that nobody emptied it since the last look: look at everything.
            self._unsettled.update(self.live)
            self.days.clear()
        found = self._look_at_days()
        if edits is not self._edits:
            self._follow_tombstones(edits)
        opened = {_folder(run_id) for file in self.inbox.values() for run_id in file.opened}
        if not self.storage.is_local:
            self._seen.load(sorted(self._unsettled))
        for folder, seen in self._lookout.find(self.live, self._unsettled, touched, storage=self._seen):
            self._look(folder, is_forced=folder in touched, is_open=folder in opened, is_hasty=is_hasty, seen=seen)
        is_hasty |= len(found) > _FLUSH_COUNT
        for start in range(0, len(found), _FLUSH_COUNT):
            for place, folder in enumerate(found[start : start + _FLUSH_COUNT], start):
                if place % _LOADED_COUNT == 0:
                    self._seen.load(found[place : place + _LOADED_COUNT])
                self._add(folder, is_noticed=False)
                self._look(folder, is_forced=False, is_open=folder in opened, is_hasty=is_hasty)
            self._flush(_FLUSH_COUNT)
        if found:
            self._follow_tombstones(edits)
        self._flush(min(_FLUSH_COUNT, _OVERLAY_COUNT))
        self._edits = edits
        return True

    def _look(self, folder: str, *, is_forced: bool, is_open: bool, is_hasty: bool, seen: Seen = ()) -> None:
        run = self.live.get(folder)
        if run is None:
            return
        try:
            run.storage = self._seen
            run.look(is_forced=is_forced, seen=seen)
        except StorageError as error:
            run.fail(Finding(folder, str(error)))
        if not run.is_there and not is_open and self._seen.stat(folder) is None:
            self.live.pop(folder)  # announced, and never made; or removed by hand
            self._compared.forget(folder.split("/")[1])
            self._unsettled.discard(folder)
        elif is_open or not run.is_settled(is_hasty=is_hasty):
            self._unsettled.add(folder)
        else:
            self._unsettled.discard(folder)

    # -- what changed

    def _read_inbox(self) -> set[str] | None:
        """Return the folders of the runs that new notices are about; None if the manifest does not fit the inbox."""
        watch = self._lookout.watch
        if watch.is_inbox_still and self._inbox_fits is self.manifest and not self.forbidden:
            self._is_inbox_whole = True
            return set()
        self._inbox_fits = None
        watch.watch_inbox()
        self.forbidden = {}
        seen = self.storage.view(INBOX)
        names, sizes, parts = list_inbox(seen, self.inbox)
        if not self.storage.can_append and any(size > self._inbox_offset(name) for name, size in sizes.items()):
            seen.load([INBOX])  # many small parts: at the same time instead of one by one
        if self.is_marked and self.manifest.token and marker_name(self.manifest.token) not in names:
            self._lose_notices()
            return None
        # Before there is an index, files of notices that stay show it too: no compaction has removed any.
        is_unmarked = self.storage.is_local and not any(name.endswith(COVERED_SUFFIX) for name in names)
        self._is_inbox_whole = bool(self.manifest.token) or (is_unmarked and len(self.inbox) > 0)
        touched: set[str] = set()
        for name, size in sizes.items():
            covered = self.manifest.inbox.get(name)
            file = self.inbox.get(name)
            if file is None:
                file = self.inbox[name] = InboxFile()
                if covered is not None:
                    file.offset, file.has_ended = covered.bytes_count, covered.is_done
                    file.opened.update(covered.opened)
            if size < file.offset:
                self._lose_notices()
                return None
            if size > file.offset:
                try:
                    data = self._read_from(seen, f"{INBOX}/{name}", file.offset, parts_count=parts.get(name))
                except StorageError as error:
                    if not is_forbidden(error):
                        raise
                    self.forbidden[name] = Finding(f"{INBOX}/{name}", error.message, ErrorCode.READ_ONLY)
                    continue  # runs that are new are found by their folders
                touched.update(map(_folder, file.feed(data)))
                if file.is_damaged:
                    file.is_damaged = False
                    self._lose_notices()
                    return None
        for name in [name for name in self.inbox if name not in sizes]:
            covered = self.manifest.inbox.get(name)
            is_expected = covered.is_done if covered is not None else bool(self.manifest.token)
            if self.storage.is_local and not is_expected:
                self._lose_notices()
                return None
            file = self.inbox.pop(name)
            touched.update(_folder(run_id) for run_id in file.opened)
        self._inbox_fits = self.manifest
        return touched

    def _lose_notices(self) -> None:
        """Begin anew: notices are missing, or a compaction went on between reading the manifest and the inbox."""
        try:
            data = self.home.read(MANIFEST)
        except FileNotFoundError:
            data = b""
        if data == self._manifest_data:
            self.inbox = {}
            self.distrust("")

    def _inbox_offset(self, name: str) -> int:
        """Return how much of an inbox file has been read, by this process or whoever wrote the manifest."""
        file, covered = self.inbox.get(name), self.manifest.inbox.get(name)
        return file.offset if file is not None else covered.bytes_count if covered is not None else 0

    @staticmethod
    def _read_from(storage: Storage, key: str, offset: int, *, parts_count: int | None) -> bytes:
        if storage.can_append:
            try:
                return storage.read_from(key, offset)
            except FileNotFoundError:
                pass  # a copy of a store from a medium that keeps logs in parts
        return read_log(storage, key, parts_count=parts_count)[offset:]

    def _look_at_days(self) -> list[str]:
        """Notice folders of runs that were copied in or removed; return those that are new."""
        now_s = time.monotonic()
        is_thorough = now_s - self._thorough_s >= _THOROUGH_S
        if is_thorough:
            self._thorough_s = now_s
        days = list_days(self._seen, is_thorough=is_thorough)
        found: list[str] = []
        for day, changed_ms in days.items():
            known_ms = self.days.get(day, 0)
            if changed_ms < 0 or (known_ms and known_ms == changed_ms):
                continue
            now_ms = time.time_ns() // 1_000_000
            found += self._compare_day(day, frozenset(self._seen.names(f"{RUNS}/{day}")))
            self.days[day] = changed_ms if now_ms - changed_ms >= RACY_MS else 0
        for day in [day for day in self.days if day not in days]:
            self._compare_day(day, frozenset())
            del self.days[day]
        return found

    def _compare_day(self, day: str, names: frozenset[str]) -> list[str]:
        """Take note of what a folder holds now; return the folders of runs that are new."""
        prefix = f"{RUNS}/{day}/"
        new = self._compared.take(day, names, generation=self.generation)
        if new is not None:  # all others are known, and are still there
            return [prefix + name for name in sorted(new) if prefix + name not in self.live]
        known: set[str] = set()
        for part, row, name in self._runs_of(day):
            if name in names:
                known.add(name)
            else:
                part.bury(row)
        for folder in [folder for folder in self.live if folder.startswith(prefix)]:
            known.add(folder[len(prefix) :])
            if folder[len(prefix) :] not in names:
                self._unsettled.add(folder)  # looked at, and dropped unless it was announced
                self.live[folder].is_watched = False
        return [prefix + name for name in sorted(names - known)]

    def _runs_of(self, day: str) -> Iterator[tuple[Part, int, str]]:
        if not day.startswith("x"):
            for part in self.parts:
                yield from ((part, row, name) for row, name in runs_of_day(part.segment, day) if not part.is_dead(row))
            return
        if self._foreign is None:
            self._foreign = {}
            for part in self.parts:
                for row, _, folder in foreign_runs(part.segment):
                    _, x_day, name = folder.split("/")
                    self._foreign.setdefault(x_day, {})[f"{name}/{part.segment.name}"] = part, row, name
        yield from (found for found in self._foreign.get(day, {}).values() if not found[0].is_dead(found[1]))

    def _follow_tombstones(self, edits: EditsState) -> None:
        """Runs of which something was removed for good count by how much there is of them: read those oneself."""
        for run_id in edits.tombstones:
            folder = _folder(run_id)
            run = self.live.get(folder)
            if run is None and any(self._places(run_id)):
                run = self._add(folder, is_noticed=True)
            if run is not None and not run.is_exact:
                run.is_exact = True
                run.forget()
                self._unsettled.add(folder)

    # -- the overlay

    def _add(self, folder: str, *, is_noticed: bool) -> LiveRun:
        run = self.live.get(folder)
        if run is None:
            run = self.live[folder] = LiveRun(self._seen, folder, is_noticed=is_noticed)
            self._bury(folder)
        if is_noticed:
            run.is_noticed = True
            self._unsettled.add(folder)
        elif not run.is_there:
            self._unsettled.add(folder)
        return run

    def _bury(self, folder: str) -> None:
        """Let no segment speak for a run that is in the overlay."""
        _, day, name = folder.split("/")
        if name.startswith("~"):  # an id that is no file name
            places = [(part, row) for part, row, other in self._runs_of(day) if other == name]
        else:
            places = self._places(name)
        for part, row in places:
            part.bury(row)

    def _places(self, run_id: str) -> list[tuple[Part, int]]:
        found = ((part, part.segment.find(run_id)) for part in self.parts)
        return [(part, row) for part, row in found if row is not None]

    def settled(self) -> list[LiveRun]:
        """Return the runs of the overlay that a segment could hold."""
        return [
            run
            for folder, run in self.live.items()
            if folder not in self._unsettled and run.state is not None and not run.is_exact
        ]

    def unsettled(self) -> list[LiveRun]:
        """Return the runs that no segment can stand for yet."""
        return [run for folder, run in self.live.items() if folder in self._unsettled or run.is_exact]

    def drop(self, runs: Iterable[LiveRun]) -> None:
        """Take runs out of the overlay."""
        for run in runs:
            self.live.pop(run.folder, None)

    def judge(self) -> None:
        """Find out which runs are unsettled only because their process died."""
        for folder in sorted(self._unsettled):
            run = self.live.get(folder)
            if run is not None:
                run.judge()

    def _flush(self, least_count: int) -> None:
        """Turn settled runs into a segment in memory, if there are many, and such segments of a size into one."""
        settled = self.settled()
        if len(settled) < least_count:
            return
        from localtrack.store.index.segment_content import content_of_runs, content_of_segments
        from localtrack.store.index.segment_write import write_segment

        home = MemoryHome()
        self._add_private(
            home,
            write_segment(
                home, content_of_runs(rows_of(settled), findings_of(settled), beside=[p.segment for p in self.parts])
            ),
        )
        self.drop(settled)
        private = [part for part in self.parts if part.is_private]
        merged = private[-merge_count([part.rows_count for part in private[:-1]], private[-1].rows_count) - 1 :]
        if len(merged) > 1:
            content = content_of_segments(
                [part.segment for part in merged], [frozenset(part.dead_rows()) for part in merged]
            )
            self.parts = [part for part in self.parts if part not in merged]
            home = MemoryHome()
            self._add_private(home, write_segment(home, content))

    def _add_private(self, home: Home, written: Written) -> None:
        segment = Segment(home, written.name, directory_crc=written.directory_crc)
        self.parts.append(Part(segment, is_private=True))
        self.generation += 1
        self._foreign = None


_folder = lru_cache(maxsize=65_536)(run_folder)
