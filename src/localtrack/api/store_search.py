"""Searching the runs of a store, as users call it, and the index that answers."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from localtrack import reporting
from localtrack.api import environment
from localtrack.api.pages import RunPage
from localtrack.api.store_experiments import ExperimentCalls, listed
from localtrack.errors import ErrorCode, StateError, StorageError
from localtrack.format.layout import INBOX
from localtrack.storage.once import once
from localtrack.store.catalog import Catalog
from localtrack.store.site import Clock, Site
from localtrack.types import ViewType

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from localtrack.query.snapshot import RunSnapshot
    from localtrack.store.index.compaction import CompactReport
    from localtrack.store.index.search_index import SearchIndex
    from localtrack.store.index.view import IndexView
    from localtrack.store.models import Models
    from localtrack.store.run_writer import RunWriter
    from localtrack.store.runs import Runs

COMPACT_EVERY: Final = 256
"""A process that ends many runs clears the inbox after so many of them."""
COMPACT_FROM: Final = 64
"""So many files in the inbox are cleared by whoever leaves."""

READ_AT_ONCE: Final = 1_000
"""A page of at most so many runs is read with the search; of a longer one each run, or column, when it is asked for."""


class SearchCalls(ExperimentCalls):
    """What a `Store` offers for finding runs."""

    clock: Clock

    def __init__(self, site: Site) -> None:
        self._site = site
        self.storage = site.storage
        self.clock = site.clock
        self._catalog = Catalog(site)
        self._ended_count = 0
        _alive.add(self)

    def search_runs(
        self,
        experiment_ids: Iterable[str] | None = None,
        filter_string: str | None = "",
        order_by: Iterable[str] | None = None,
        max_results: int | None = 1000,
        page_token: str | None = None,
        run_view_type: int = ViewType.ACTIVE_ONLY,
        experiment_names: Iterable[str] | None = None,
    ) -> RunPage:
        """Return the runs that match a filter, in order, one page of them.

        Live, resumed, merged and damaged ones included.

        Args:
            experiment_ids: Only runs of these; all experiments by default.
            filter_string: For example `metrics.loss < 0.1 AND params.optimizer = 'adam'`.
            order_by: For example `["metrics.loss ASC"]`.
            max_results: Length of a page, at most 50,000; None for all.
            page_token: The token of the page before.
            run_view_type: Life-cycle stages to return.
            experiment_names: Only runs of these.

        Raises:
            InvalidInputError: The filter or another argument cannot be read.
        """
        question = {
            "filter_string": filter_string,
            "order_by": listed(order_by),
            "max_results": max_results,
            "page_token": page_token,
            "view_type": run_view_type,
        }
        return self._search(self.experiment_ids_of(experiment_ids, experiment_names), question)

    def _search(self, experiment_ids: set[str] | None, question: Mapping[str, Any]) -> RunPage:
        from localtrack.query.index_snapshot import IndexSnapshot
        from localtrack.query.search import select_page

        def ask(view: IndexView) -> RunPage:
            snapshot = IndexSnapshot(view, on_damage=self._index.distrust)
            numbers, token = select_page(snapshot, **question, now_ms=self.clock())
            page = RunPage(
                token=token,
                findings=view.findings,
                snapshot=snapshot,
                numbers=numbers,
                search_again=partial(self._search, experiment_ids, question),
            )
            if len(numbers) <= READ_AT_ONCE:
                _ = page.rows
            return page

        return self._index.answer(ask, experiment_ids)

    def snapshot_runs(self, experiment_ids: Collection[str] | None = None) -> RunSnapshot:
        """Return all runs, or those of some experiments, as they are now: what searches and analyses are made of."""
        from localtrack.query.index_snapshot import IndexSnapshot

        return IndexSnapshot(self._index.view(experiment_ids), on_damage=self._index.distrust)

    def compact(self) -> CompactReport:
        """Bring the search index up to date on disk, now. Searches and writers do so by themselves now and then.

        Raises:
            LockedError: Another process does.
            StorageError: The store cannot be written to, and there is no cache folder.
        """
        return self._index.compact()

    # -- for ActiveRun

    def end_writer(self, writer: RunWriter, info: Mapping[str, Any] | None) -> None:
        """End the run of a writer, or, without info, only its writing. See `ActiveRun.end` and `ActiveRun.detach`."""
        self._runs.end(writer, info)
        self._ended_count += 1
        if self._ended_count % COMPACT_EVERY == 0:
            self._index.compact_if_free()

    # -- what is loaded when it is first asked for: a search need not know how to write

    @once
    def _runs(self) -> Runs:
        from localtrack.store.runs import Runs

        myself = weakref.ref(self)  # else a store is in a circle, and goes only when somebody looks for those

        def index() -> SearchIndex:
            store = myself()
            if store is None:
                raise StateError("The store was let go of.", code=ErrorCode.STORE_CLOSED)
            return store._index

        return Runs(self._site, self._catalog, index)

    @once
    def _models(self) -> Models:
        from localtrack.store.models import Models

        return Models(self._site, self._catalog)

    @once
    def _index(self) -> SearchIndex:
        from localtrack.store.index.search_index import SearchIndex

        return SearchIndex(
            self._site,
            self._catalog,
            cache_folder=environment.cache_folder(),
            memory_bytes=environment.search_memory_bytes(),
        )

    def _look_into_runs(self) -> None:
        """Learn of experiments that only folders of runs or models name, as after one was copied in by hand."""
        self._index.adopt()
        self._catalog.adopt(self._models.documents())

    def _compact_if_worthwhile(self) -> None:
        if not self.storage.is_local:
            return
        try:
            notices_count = len(self.storage.names(INBOX))
        except StorageError as error:  # it is away at the end of a process that has done its work
            reporting.debug("the search index of %s was not looked at: %s", self.storage.uri, error)
            return
        if notices_count >= COMPACT_FROM:
            self._index.compact_if_free()

    def leave(self) -> None:
        """Do what a process that ends leaves to nobody else: say goodbye in the inbox, and clear it if it is long."""
        if not self._site.is_closed:
            if "_runs" in self.__dict__:
                self._runs.inbox.close()
            self._compact_if_worthwhile()

    def forget_after_fork(self) -> None:
        """In the child of a fork: what is known of the index may be half changed, and its lock held."""
        self._let_go_of_index()

    def _let_go_of_index(self) -> None:
        """Forget the index, whose files are open as long as somebody has it; a search from now on opens it anew."""
        self.__dict__.pop("_index", None)


_alive: weakref.WeakSet[SearchCalls] = weakref.WeakSet()


@atexit.register
def _leave_all() -> None:
    for store in list(_alive):
        store.leave()


def _forget_after_fork() -> None:
    for store in list(_alive):
        store.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
