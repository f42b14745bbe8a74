"""Pushing runs to a remote, as users call it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from localtrack.errors import InvalidInputError
from localtrack.store.catalog import Catalog
from localtrack.store.site import Site
from localtrack.types import STATUSES, ViewType

if TYPE_CHECKING:
    from localtrack.sync.options import Selection
    from localtrack.sync.push import Push
    from localtrack.sync.report import PushProgress, PushReport
    from localtrack.sync.status import TargetStatus


class SyncCalls:
    """What a `Store` offers for remotes."""

    _site: Site
    _catalog: Catalog

    def sync(
        self,
        to: str | os.PathLike[str],
        *,
        filter_string: str | None = None,
        experiment_names: Iterable[str] | None = None,
        run_ids: Iterable[str] | None = None,
        statuses: Iterable[str] | None = None,
        since_ms: int | None = None,
        until_ms: int | None = None,
        prefix: str = "",
        rename: Mapping[str, str] | None = None,
        every: int = 1,
        max_points: int | None = None,
        skip_artifacts: bool = False,
        artifacts: Iterable[str] = (),
        exclude_artifacts: Iterable[str] = (),
        max_artifact_bytes: int | None = None,
        dead_runs: str = "leave",
        dead_after_ms: int | None = None,
        deletions: bool = False,
        forget: Iterable[str] = (),
        dry_run: bool = False,
        compress: bool = False,
        workers: int = 4,
        progress: Callable[[PushProgress], None] | None = None,
    ) -> PushReport:
        """Push runs to an MLflow Tracking server, a Databricks workspace or another store, exactly once.

        A push can be repeated: it sends what is new. One that was cut short, in whatever way, is completed by the next.

        Args:
            to: `http(s)://…`, `databricks`, `databricks://profile`, or the path of a store, which must be there: that
                one gets the chosen runs byte for byte, so that what is about servers below does not count.
            filter_string: Only runs that match, as in `search_runs`.
            experiment_names: Only runs of these.
            run_ids: Only these.
            statuses: Only runs of these statuses.
            since_ms: Only runs that started then or later; milliseconds since 1970, UTC.
            until_ms: Only runs that started before.
            prefix: Put before each experiment's name.
            rename: Experiment name here → name there; wins over `prefix`.
            every: Send each n-th point of a metric; and its last, least and greatest once the run has ended.
            max_points: Send about so many points of a metric at most.
            skip_artifacts: Leave artifacts here.
            artifacts: Only those whose path matches one of these globs.
            exclude_artifacts: Not those whose path matches one of these globs.
            max_artifact_bytes: Not those that are larger.
            dead_runs: `leave` runs RUNNING whose process died, or report them as `killed`.
            dead_after_ms: With `killed`, also runs of other hosts, which nobody here can tell to be dead, once nothing
                was heard of them for so long. One that goes on after all is RUNNING again with the next push.
            deletions: Delete and restore there what is deleted and restored here.
            forget: Ids of runs that were removed there for good, and are to be sent anew.
            dry_run: Change nothing; only say what would be done, in `plan` and `losses` of the report.
            compress: Compress the bodies of requests, for a server that is known to take that: MLflow's own does not.
            workers: How many runs are sent at once.
            progress: Called after each run.

        Raises:
            LockedError: Another process pushes to this target.
            SyncError: The target cannot be reached, or refuses everything.

        Durability: what the report says was sent was read back from the target.
        """
        from localtrack.sync.target import target_kind

        if target_kind(os.fspath(to)) == "store":
            selection = self._selection(filter_string, experiment_names, run_ids, statuses, since_ms, until_ms)
            return self._sync_to_store(to, selection, dry_run=dry_run)
        push = self.plan_sync(
            to,
            filter_string=filter_string,
            experiment_names=experiment_names,
            run_ids=run_ids,
            statuses=statuses,
            since_ms=since_ms,
            until_ms=until_ms,
            prefix=prefix,
            rename=rename,
            every=every,
            max_points=max_points,
            skip_artifacts=skip_artifacts,
            artifacts=artifacts,
            exclude_artifacts=exclude_artifacts,
            max_artifact_bytes=max_artifact_bytes,
            dead_runs=dead_runs,
            dead_after_ms=dead_after_ms,
            deletions=deletions,
            forget=forget,
            compress=compress,
            workers=workers,
            progress=progress,
        )
        if dry_run:
            return push.dry_run()[1]
        return push.run()

    def plan_sync(
        self,
        to: str | os.PathLike[str],
        *,
        filter_string: str | None = None,
        experiment_names: Iterable[str] | None = None,
        run_ids: Iterable[str] | None = None,
        statuses: Iterable[str] | None = None,
        since_ms: int | None = None,
        until_ms: int | None = None,
        prefix: str = "",
        rename: Mapping[str, str] | None = None,
        every: int = 1,
        max_points: int | None = None,
        skip_artifacts: bool = False,
        artifacts: Iterable[str] = (),
        exclude_artifacts: Iterable[str] = (),
        max_artifact_bytes: int | None = None,
        dead_runs: str = "leave",
        dead_after_ms: int | None = None,
        deletions: bool = False,
        forget: Iterable[str] = (),
        compress: bool = False,
        workers: int = 4,
        progress: Callable[[PushProgress], None] | None = None,
    ) -> Push:
        """Return a push that has not begun: its target is resolved, nothing is sent. Arguments as for `sync`."""
        from localtrack.sync.options import ArtifactChoice, Naming, PushOptions, Thinning
        from localtrack.sync.push import Push
        from localtrack.sync.target import resolve_target

        if dead_runs not in ("leave", "killed"):
            raise InvalidInputError(f"dead_runs={dead_runs!r} is not known.", hint="Use 'leave' or 'killed'.")
        if dead_after_ms is not None and dead_runs != "killed":
            raise InvalidInputError("dead_after_ms has no meaning where dead runs are left.", hint="Use 'killed'.")
        options = PushOptions(
            selection=self._selection(filter_string, experiment_names, run_ids, statuses, since_ms, until_ms),
            naming=Naming(prefix, dict(rename or {})),
            thinning=Thinning(every, max_points),
            artifacts=ArtifactChoice(skip_artifacts, tuple(artifacts), tuple(exclude_artifacts), max_artifact_bytes),
            dead_runs="killed" if dead_runs == "killed" else "leave",
            dead_after_ms=dead_after_ms,
            does_delete=deletions,
            forgotten=tuple(forget),
            workers_count=max(workers, 1),
            is_compressed=compress,
        )
        return Push(self._site, self._catalog, resolve_target(os.fspath(to)), options, progress=progress)

    def _selection(
        self,
        filter_string: str | None,
        experiment_names: Iterable[str] | None,
        run_ids: Iterable[str] | None,
        statuses: Iterable[str] | None,
        since_ms: int | None,
        until_ms: int | None,
    ) -> Selection:
        from localtrack.sync.options import Selection

        wanted_statuses = None if statuses is None else frozenset(statuses)
        for status in wanted_statuses or ():
            if status not in STATUSES:
                raise InvalidInputError(f"{status!r} is not a status.", hint=f"Use one of {', '.join(STATUSES)}.")
        experiment_ids = None
        if experiment_names is not None:
            experiment_ids = frozenset(self._experiment_id(name) for name in experiment_names)
        chosen = None if run_ids is None else frozenset(run_ids)
        if filter_string:
            matching = frozenset(self._matching_ids(filter_string))
            chosen = matching if chosen is None else chosen & matching
        return Selection(chosen, experiment_ids, wanted_statuses, since_ms, until_ms)

    def _sync_to_store(self, to: str | os.PathLike[str], selection: Selection, *, dry_run: bool) -> PushReport:
        from localtrack.storage.opening import open_storage
        from localtrack.store.inbox import Inbox
        from localtrack.store.site import open_site
        from localtrack.sync.store_target import push_to_store

        target = open_site(open_storage(to), create=False)
        if target.document.store_id == self._site.document.store_id and target.storage.uri == self._site.storage.uri:
            raise InvalidInputError("The target is the store itself.", hint="Give another store, or a server.")
        inbox = Inbox(target)
        try:
            return push_to_store(self._site, self._catalog, target, inbox, selection, is_dry_run=dry_run)
        finally:
            inbox.close()

    def sync_targets(self) -> list[TargetStatus]:
        """Return what the ledgers of this store say of each server and workspace that it was pushed to."""
        from localtrack.sync.status import list_targets

        return list_targets(self._site)

    def _experiment_id(self, name: str) -> str:
        from localtrack.errors import ErrorCode, NotFoundError

        experiment = self._catalog.find_by_name(name)
        if experiment is None:
            raise NotFoundError(f"There is no experiment named {name!r}.", code=ErrorCode.EXPERIMENT_NOT_FOUND)
        return experiment.experiment_id

    def _matching_ids(self, filter_string: str) -> Iterable[str]:
        search: Any = self
        page = search.search_runs(filter_string=filter_string, max_results=None, run_view_type=ViewType.ALL)
        return [row.info.run_id for row in page]
