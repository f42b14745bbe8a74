"""The index of one store as its process uses it: views for searches, and compaction when it is worth while."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Final, TypeVar

from localtrack import reporting
from localtrack.errors import DamagedIndexError, LockedError, StorageError
from localtrack.format.documents import ExperimentDocument
from localtrack.format.edits import EditsState
from localtrack.format.layout import INDEX
from localtrack.storage.base import Storage
from localtrack.storage.local import LocalStorage
from localtrack.store.catalog import Catalog
from localtrack.store.index.columns import ColumnCache
from localtrack.store.index.home import StorageHome
from localtrack.store.index.manifest import MANIFEST
from localtrack.store.index.overlay import Overlay, is_hidden
from localtrack.store.index.part import Part
from localtrack.store.index.run_index import RunIndex
from localtrack.store.index.stages import DELETED, Stages
from localtrack.store.index.view import NOT_SHOWN, IndexView
from localtrack.store.site import Site
from localtrack.types import Finding

if TYPE_CHECKING:
    from localtrack.store.index.compaction import CompactReport

T = TypeVar("T")

WORTH_RUNS: Final = 256
"""So many settled runs outside of the index on disk make a search write them there."""
WORTH_FILES: Final = 64
"""So many files in the inbox make whoever meets them compact."""
_TRIES: Final = 3


class SearchIndex:
    """See the module.

    Args:
        site: The store.
        catalog: Its experiments and life cycles.
        cache_folder: Where an index of a store goes that cannot be written to; None for memory.
        memory_bytes: How much of the index to keep in memory in columns.

    Concurrency: thread-safe.
    """

    def __init__(self, site: Site, catalog: Catalog, *, cache_folder: str | None, memory_bytes: int) -> None:
        self._site = site
        self._catalog = catalog
        self._cache_folder = cache_folder
        self._columns = ColumnCache(memory_bytes)
        self._stages = Stages(self._columns)
        self._overlay = Overlay()
        self._lock_storage: Storage = site.storage
        self._is_read_only = False
        self._has_answered = False
        self._generation = -1
        self._store_home = StorageHome(site.storage, INDEX)
        self._index = RunIndex(site.storage, site.document.store_id, self._store_home, is_marked=True)
        if not site.storage.is_local:  # no locks there, or two places of which neither is the store
            self._is_read_only = not self._go_elsewhere()

    def answer(self, ask: Callable[[IndexView], T], experiment_ids: Collection[str] | None = None) -> T:
        """Ask a view of the runs as they are now, and again if the index turns out to be damaged.

        Args:
            ask: What to ask it.
            experiment_ids: Only runs of these experiments are shown; None for all.
        """
        for _ in range(_TRIES):
            try:
                return ask(self._view(experiment_ids))
            except DamagedIndexError as error:
                self.distrust(error)
        return ask(self._view(experiment_ids))

    def distrust(self, error: DamagedIndexError) -> None:
        """Leave the index on disk aside: a file of it is damaged."""
        with self._index.lock:
            self._index.distrust(str(error))

    def view(self, experiment_ids: Collection[str] | None = None) -> IndexView:
        """Return the runs as they are now.

        Args:
            experiment_ids: Only runs of these experiments are shown; None for all.
        """
        return self.answer(lambda view: view, experiment_ids)

    def _view(self, experiment_ids: Collection[str] | None) -> IndexView:
        wanted = None if experiment_ids is None else frozenset(experiment_ids)
        with self._index.lock:
            is_first, self._has_answered = not self._has_answered, True
            edits = self._refresh()
            index = self._index
            if index.generation != self._generation:
                self._generation = index.generation
                names = {part.segment.name for part in index.parts}
                self._columns.keep_segments(names)
                self._stages.keep_segments(names)
            stages = [self._stages.of(part, edits, wanted) for part in index.parts]
            live = self._overlay.follow(index.live)
            stages.append(self._overlay.stages(edits, wanted))
            segments = [part.segment for part in index.parts]
            own = [*index.findings, *index.forbidden.values()]
            findings = [*self._catalog.findings, *own, *self._run_findings(stages)]
        return IndexView(
            segments,
            stages,
            live,
            edits=edits,
            columns=self._columns,
            path=self._site.storage.path,
            findings=findings,
            is_first=is_first,
        )

    def adopt(self) -> None:
        """Make known to the catalog the experiments that only runs name."""
        with self._index.lock:
            self._refresh()

    def run_ids(self) -> list[str]:
        """Return the ids of all runs, those included that are deleted, and those whose logs cannot be read."""
        with self._index.lock:
            view = self.view()
            broken = [run.folder for run in self._index.live.values() if run.state is None and run.findings]
        names = [folder.rpartition("/")[2] for folder in broken]
        ids = [view.run_id(number) for number in view.shown_numbers()]
        return ids + [name for name in names if not name.startswith("~")]

    def compact(self) -> CompactReport:
        """Write what is settled to the index, now.

        Raises:
            LockedError: Another process does.
            StorageError: There is no place to write it to.
        """
        from localtrack.store.index.compaction import compact

        with self._index.lock:
            edits = self._catalog.read()
            try:
                return compact(self._index, edits, lock_storage=self._lock_storage)
            except LockedError:
                raise
            except StorageError:
                if not self._go_elsewhere():
                    raise
                return compact(self._index, edits, lock_storage=self._lock_storage)

    def compact_if_free(self) -> None:
        """Compact, unless another process does so already or there is no place for it.

        For whoever has written. An index that is not in the store serves this machine alone, and is left to who
        searches: to make one, all runs of a bucket are fetched.
        """
        with self._index.lock:
            if not self._is_read_only and self._index.home is self._store_home:
                self._try_compact(self._catalog.read())

    def _refresh(self) -> EditsState:
        if self._index.home is not self._store_home and self._has_store_index():
            self._lock_storage = self._site.storage  # somebody who may write to the store keeps one there by now
            self._replace_index(self._store_home, is_marked=True)
        edits = self._catalog.read()
        index = self._index
        index.refresh(edits)
        if self._is_worthwhile():
            self._try_compact(edits)
            if self._index is not index:  # one that has not looked at anything yet, if it did not get to compact
                self._index.refresh(edits)
        unknown = self._unknown_experiments(edits)
        if unknown:
            documents = (ExperimentDocument(key, name, generation) for key, (name, generation) in unknown.items())
            self._catalog.adopt(documents)
            edits = self._catalog.read()
        return edits

    def _is_worthwhile(self) -> bool:
        if self._is_read_only:
            return False
        index = self._index
        gathered = len(index.live) + sum(part.rows_count for part in index.parts if part.is_private)
        if gathered >= WORTH_RUNS and (not index.manifest.token or gathered - len(index.unsettled()) >= WORTH_RUNS):
            return True
        covered = index.manifest.inbox
        ended = [name for name, file in index.inbox.items() if file.has_ended]
        return sum(name not in covered or not covered[name].is_done for name in ended) >= WORTH_FILES

    def _try_compact(self, edits: EditsState) -> None:
        from localtrack.store.index.compaction import compact, try_compact  # a search seldom writes

        try:
            compact(self._index, edits, lock_storage=self._lock_storage)
        except LockedError:
            pass  # somebody else does it
        except StorageError as error:
            reporting.debug("the search index of %s was not written: %s", self._site.storage.uri, error)
            if not self._go_elsewhere() or not try_compact(self._index, edits, lock_storage=self._lock_storage):
                self._is_read_only = True

    def _go_elsewhere(self) -> bool:
        """Keep the index in the user's cache folder from now on, if the store has none and cannot be written to."""
        if self._cache_folder is None or self._index.home is not self._store_home or self._has_store_index():
            return False
        storage = LocalStorage(self._cache_folder)
        self._lock_storage = storage
        folder = f"{INDEX}/{self._site.document.store_id}"
        self._replace_index(StorageHome(storage, folder), is_marked=False)
        return True

    def _replace_index(self, home: StorageHome, *, is_marked: bool) -> None:
        lock = self._index.lock
        self._index = RunIndex(self._site.storage, self._site.document.store_id, home, is_marked=is_marked)
        self._index.lock = lock
        self._generation = -1

    def _has_store_index(self) -> bool:
        return self._site.storage.is_local and self._site.storage.exists(f"{INDEX}/{MANIFEST}")

    def _unknown_experiments(self, edits: EditsState) -> dict[str, tuple[str, int]]:
        """Return original name and generation of the experiments that only runs name, by id.

        Of those that were removed for good, those of runs that are shown.
        """
        unknown: dict[str, tuple[str, int]] = {}
        for part in self._index.parts:
            named = part.segment.directory.experiments
            for experiment_id in named.keys() - edits.experiments.keys():
                if experiment_id not in edits.removed_experiments or self._has_runs_of(part, experiment_id, edits):
                    unknown[experiment_id] = named[experiment_id]
        live = self._index.live.values()
        if {run.state.experiment_id for run in live if run.state is not None} <= edits.experiments.keys():
            return unknown
        for run in live:
            state = run.state
            if state is not None and state.experiment_id not in edits.experiments and not is_hidden(run, edits):
                unknown[state.experiment_id] = state.experiment_name, state.generation
        return unknown

    def _has_runs_of(self, part: Part, experiment_id: str, edits: EditsState) -> bool:
        stages = self._stages.of(part, edits, frozenset([experiment_id]))
        return stages.count(NOT_SHOWN) < len(stages)

    def _run_findings(self, stages: list[bytes]) -> Iterator[Finding]:
        for part, shown in zip(self._index.parts, stages, strict=False):
            for row, key, what, code, severity in part.segment.directory.findings:
                if shown[row] <= DELETED:
                    yield Finding(key, what, code, severity)  # type: ignore[arg-type]  # as it was written
        for run, stage in zip(self._overlay.runs, stages[-1], strict=True):
            if run.findings and stage <= DELETED:
                yield from run.findings
        for run in self._index.live.values():
            if run.state is None:
                yield from run.findings  # whose it is cannot be told, so everybody should know
