"""Deleting many runs, and looking after a store, as users call it."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from localtrack.api.pages import RunPage
from localtrack.errors import ErrorCode, InvalidInputError, NotFoundError
from localtrack.format.layout import RUNS, STORE_FILE
from localtrack.format.scalars import to_timestamp_ms
from localtrack.storage.base import Storage
from localtrack.storage.opening import open_storage
from localtrack.store.catalog import Catalog, require_active
from localtrack.store.site import Site
from localtrack.types import DEFAULT_EXPERIMENT_ID, Finding, LoggedModel, ViewType

if TYPE_CHECKING:
    from localtrack.store.checking.report import CheckReport
    from localtrack.store.cleaning.collection import ExperimentContent, Wanted
    from localtrack.store.cleaning.report import GcReport
    from localtrack.store.packing.report import PackReport, UnpackReport
    from localtrack.store.runs import Runs

MAX_BULK_COUNT: Final = 10_000
"""Runs deleted or restored by one call. Source: the hosted service's limit of `runs/delete-runs`, 2026-07."""

DEFAULT_RETENTION: Final = "30d"
"""How long what was deleted can be restored before `gc` removes it. Source: that of the hosted service, 2026-07."""
_DURATION: Final = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?")


class CleanupCalls:
    """What a `Store` offers to delete many runs, and to keep itself sound and small."""

    storage: Storage
    search_runs: Callable[..., RunPage]
    list_logged_models: Callable[..., list[LoggedModel]]
    let_go_of_deleted_models: Callable[[], None]
    _site: Site
    _catalog: Catalog
    _runs: Runs
    _user: str

    # -- many runs at once

    def delete_runs(
        self,
        experiment_id: str,
        max_timestamp_millis: int | None = None,
        max_runs: int | None = None,
        *,
        filter_string: str = "",
    ) -> int:
        """Delete runs of an experiment, oldest first, and return how many; they can be restored.

        Args:
            experiment_id: The experiment.
            max_timestamp_millis: Only runs that started then or before, milliseconds since 1970, UTC.
            max_runs: How many at most; 10,000 by default, which is the most.
            filter_string: Only runs that match, as in `search_runs`.

        Raises:
            InvalidInputError: Neither a time nor a filter is given, or `max_runs` is out of bounds.
            NotFoundError: There is no such experiment.
            StateError: The experiment is deleted, and all its runs with it.

        Durability: all of them are one record, so that they are deleted as a whole or not at all.
        """
        run_ids = self.select_runs_to_delete(experiment_id, max_timestamp_millis, max_runs, filter_string=filter_string)
        return self._mark("deleted", run_ids)

    def select_runs_to_delete(
        self,
        experiment_id: str,
        max_timestamp_millis: int | None = None,
        max_runs: int | None = None,
        *,
        filter_string: str = "",
    ) -> list[str]:
        """Return the ids of the runs that `delete_runs` would delete, in its order. As `delete_runs`."""
        limit, max_timestamp_millis = _bulk_limit(max_runs), _checked_time(max_timestamp_millis)
        if max_timestamp_millis is None and not filter_string.strip():
            raise InvalidInputError(
                "Neither max_timestamp_millis nor filter_string says which runs to delete.", hint="Give one of them."
            )
        experiment = require_active(self._catalog.find(experiment_id))
        if max_timestamp_millis is not None:
            filter_string = _add_condition(filter_string, f"attributes.start_time <= {max_timestamp_millis}")
        page = self.search_runs(
            [experiment.experiment_id],
            filter_string,
            order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
            max_results=limit,
            run_view_type=ViewType.ACTIVE_ONLY,
        )
        return page.run_ids()

    def restore_runs(
        self,
        experiment_id: str,
        min_timestamp_millis: int | None = None,
        max_runs: int | None = None,
        *,
        filter_string: str = "",
    ) -> int:
        """Take back the deletion of runs of an experiment, last deleted first, and return how many there were.

        Args:
            experiment_id: The experiment.
            min_timestamp_millis: Only runs that were deleted then or later, milliseconds since 1970, UTC.
            max_runs: How many at most; 10,000 by default, which is the most.
            filter_string: Only runs that match, as in `search_runs`.

        Raises:
            InvalidInputError: Neither a time nor a filter is given, or `max_runs` is out of bounds.
            NotFoundError: There is no such experiment.
            StateError: The experiment is deleted: restore that, and its runs are restored with it.

        Durability: all of them are one record, so that they are restored as a whole or not at all.
        """
        run_ids = self.select_runs_to_restore(
            experiment_id, min_timestamp_millis, max_runs, filter_string=filter_string
        )
        return self._mark("restored", run_ids)

    def select_runs_to_restore(
        self,
        experiment_id: str,
        min_timestamp_millis: int | None = None,
        max_runs: int | None = None,
        *,
        filter_string: str = "",
    ) -> list[str]:
        """Return the ids of the runs that `restore_runs` would restore, in its order. As `restore_runs`."""
        limit, min_timestamp_millis = _bulk_limit(max_runs), _checked_time(min_timestamp_millis)
        if min_timestamp_millis is None and not filter_string.strip():
            raise InvalidInputError(
                "Neither min_timestamp_millis nor filter_string says which runs to restore.", hint="Give one of them."
            )
        experiment = require_active(self._catalog.find(experiment_id))
        page = self.search_runs(
            [experiment.experiment_id], filter_string, max_results=None, run_view_type=ViewType.DELETED_ONLY
        )
        edits = self._catalog.read()
        deleted_ms = {run_id: edits.deleted_ms(run_id, experiment.experiment_id) or 0 for run_id in page.run_ids()}
        first_ms = min_timestamp_millis
        found = [run_id for run_id, at_ms in deleted_ms.items() if first_ms is None or at_ms >= first_ms]
        return sorted(found, key=lambda run_id: (-deleted_ms[run_id], run_id))[:limit]

    def _mark(self, op: str, run_ids: list[str]) -> int:
        if run_ids:
            self._catalog.mark_runs(op, run_ids, user=self._user)
        return len(run_ids)

    # -- looking after the store

    def check(
        self, *, repair: bool = False, sizes_only: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> CheckReport:
        """Look at every file of the store, and say what is not as it should be, one finding a file.

        Args:
            repair: Mend what can be mended without loss; what is set aside is kept in `quarantine/`.
            sizes_only: Compare sizes of artifacts with their records, and do not read them.
            progress: Called with how many run folders are done, and how many there are.

        Concurrency: readers and writers may go on.
        """
        from localtrack.store.checking.store_check import check_store
        from localtrack.sync.ledger_check import check_ledgers

        report = check_store(self._site, self._runs.inbox, repair=repair, sizes_only=sizes_only, progress=progress)
        report.findings = sorted([*report.findings, *check_ledgers(self.storage)], key=lambda finding: finding.key)
        if report.repaired:
            self._catalog.forget()
        return report

    def gc(
        self,
        *,
        dry_run: bool = True,
        older_than: str | datetime.timedelta = DEFAULT_RETENTION,
        experiment_ids: Iterable[str] | None = None,
        filter_string: str = "",
        keep_best: int | None = None,
        by: str | None = None,
        only_synced_to: str | os.PathLike[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> GcReport:
        """Remove for good what nobody can want any more, or, by default, say what that is.

        That is: runs that were deleted long ago, by themselves or with their experiment; logged models; experiments, if
        all their runs go, and with them all their logged models; artifacts that no run and no model owns, and
        unfinished files of writers that died. What is damaged stays: another copy of the store may have what is missing
        here. Default stays.

        Args:
            dry_run: Change nothing.
            older_than: How long it has to be deleted: a timedelta, or a text such as `30d`, `12h` or `1d12h`.
            experiment_ids: Only these experiments, and deleted runs and models of these.
            filter_string: Only deleted runs that match, as in `search_runs`, and no models and experiments.
            keep_best: Keep so many runs of each experiment, deleted or not, that come first in the order `by`.
            by: Such as `metrics.loss ASC`.
            only_synced_to: Only runs of which this target of `sync`, a server or another store, has all, artifacts
                included: as the other store is read now, or as the server was read after the last push. No models, and
                no experiments.
            progress: Called with how many folders are done, and how many there are.

        Raises:
            InvalidInputError: An argument cannot be read.
            LockedError: Another process does the same.

        Durability: what the report calls garbage is gone, and a record in `edits/` says so, so that no merge brings it
            back.

        Concurrency: readers and writers may go on.
        """
        from localtrack.store.cleaning.collection import Wanted, collect_garbage

        is_count = keep_best is None or (type(keep_best) is int and keep_best >= 1)
        if (keep_best is None) != (by is None) or not is_count:
            raise InvalidInputError("keep_best and by go together: how many runs (1 or more), and in which order.")
        older_than_ms = parse_duration_ms(older_than)
        self.let_go_of_deleted_models()
        chosen = None if experiment_ids is None else list(experiment_ids)
        page = self.search_runs(chosen, filter_string, max_results=None, run_view_type=ViewType.DELETED_ONLY)
        run_ids = page.run_ids()
        wanted = Wanted(run_ids=run_ids)
        if not filter_string.strip() and only_synced_to is None:
            experiments = self._catalog.read().experiments
            wanted = Wanted(
                run_ids=run_ids,
                model_ids=[model.model_id for model in self.list_logged_models(chosen, ViewType.DELETED_ONLY)],
                experiment_ids=[
                    one
                    for one in (experiments if chosen is None else chosen)
                    if one in experiments and experiments[one].is_deleted and one != DEFAULT_EXPERIMENT_ID
                ],
                content_of=self._content_of,
            )
        best: dict[str, str] = {}
        if keep_best is not None and by is not None:
            for experiment_id in sorted({row.info.experiment_id for row in page}):
                best |= self._choose_best(experiment_id, keep_best, by)
        why_missing = None
        if only_synced_to is not None:
            from localtrack.sync.holding import open_holding

            why_missing = open_holding(self._site, os.fspath(only_synced_to))

        def why_kept(run_id: str, positions: Mapping[str, tuple[int, int]]) -> str:
            if run_id in best:
                return best[run_id]
            return why_missing(run_id, positions) if why_missing is not None else ""

        return collect_garbage(
            self._site,
            self._catalog,
            self._runs.inbox,
            wanted,
            older_than_ms=older_than_ms,
            is_dry_run=dry_run,
            why_kept=why_kept,
            user=self._user,
            progress=progress,
        )

    def _choose_best(self, experiment_id: str, count: int, by: str) -> dict[str, str]:
        """Return the runs of an experiment that come first, and why they are kept; all, where that cannot be told."""
        from localtrack.query.fields import RUNS as RUN_FIELDS
        from localtrack.query.grammar import parse_order_by

        (order,) = parse_order_by([by], RUN_FIELDS)
        first = self.search_runs([experiment_id], order_by=[by], max_results=count, run_view_type=ViewType.ALL)
        keys = {row.info.run_id: getattr(row, order.field.relation, ()) for row in first}
        if order.field.key and not any(order.field.key in of_run for of_run in keys.values()):
            # A name that was misspelt would keep any runs, and remove the best.
            page = self.search_runs([experiment_id], max_results=None, run_view_type=ViewType.ALL)
            return dict.fromkeys(page.run_ids(), f"no run of its experiment has what {by!r} speaks of")
        return dict.fromkeys(keys, f"it is among the best {count} by {by}")

    def remove_runs(self, run_ids: Iterable[str], *, dry_run: bool = False) -> GcReport:
        """Remove deleted runs for good, however long they have been deleted, as `mlflow gc` does.

        Args:
            run_ids: The runs. One that is not deleted, or not there, is passed over.
            dry_run: Change nothing.

        Raises:
            LockedError: Another process removes runs, and did not end within a minute.

        Durability: as for `gc`. The report says which runs had to stay, and why.
        """
        from localtrack.store.cleaning.collection import Wanted

        return self._remove_for_good(Wanted(run_ids=list(run_ids)), dry_run)

    def remove_logged_models(self, model_ids: Iterable[str], *, dry_run: bool = False) -> GcReport:
        """Remove deleted logged models for good, however long they have been deleted. As `remove_runs`."""
        from localtrack.store.cleaning.collection import Wanted

        return self._remove_for_good(Wanted(model_ids=list(model_ids)), dry_run)

    def remove_experiments(self, experiment_ids: Iterable[str], *, dry_run: bool = False) -> GcReport:
        """Remove deleted experiments for good, with all their runs and logged models, however long they are deleted.

        Args:
            experiment_ids: The experiments. One that is not deleted, or not there, is passed over. One of which a run
                or a model has to stay, stays.
            dry_run: Change nothing.

        Raises:
            LockedError: Another process removes something, and did not end within a minute.

        Durability: as for `gc`. A new experiment of the same name is another one: what a merge brings of the old one is
            not found in it.
        """
        from localtrack.store.cleaning.collection import Wanted

        experiments = self._catalog.read().experiments
        chosen = [one for one in map(str, experiment_ids) if one in experiments and experiments[one].is_deleted]
        run_ids = [run_id for content in self._content_of(chosen).values() for run_id in content.run_ids]
        return self._remove_for_good(
            Wanted(run_ids=run_ids, experiment_ids=chosen, content_of=self._content_of), dry_run
        )

    def _remove_for_good(self, wanted: Wanted, is_dry_run: bool) -> GcReport:
        from localtrack.store.cleaning.collection import remove_for_good

        self.let_go_of_deleted_models()
        return remove_for_good(
            self._site, self._catalog, self._runs.inbox, wanted, is_dry_run=is_dry_run, user=self._user
        )

    def _content_of(self, experiment_ids: Collection[str]) -> dict[str, ExperimentContent]:
        """Return what is shown of experiments."""
        from localtrack.store.cleaning.collection import ExperimentContent

        if not experiment_ids:
            return {}
        runs: dict[str, list[str]] = {one: [] for one in experiment_ids}
        models: dict[str, list[str]] = {one: [] for one in experiment_ids}
        findings: list[Finding] = []
        page = self.search_runs(list(experiment_ids), max_results=None, run_view_type=ViewType.ALL)
        for row in page:
            runs[row.info.experiment_id].append(row.info.run_id)
        for model in self.list_logged_models(experiment_ids, ViewType.ALL, findings=findings):
            models[model.experiment_id].append(model.model_id)
        is_all = not page.findings and not findings
        return {one: ExperimentContent(runs[one], models[one], is_all=is_all) for one in experiment_ids}

    def pack(
        self,
        *,
        older_than: str | datetime.timedelta = "1d",
        max_run_bytes: int | None = None,
        dry_run: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> PackReport:
        """Put finished small runs into a few files, for file systems that count files. No answer changes.

        Artifacts stay where they are. A packed run can be written to, merged, deleted and removed as before.

        Args:
            older_than: How long a run has to be still: a timedelta, or a text such as `1d`, `12h`.
            max_run_bytes: How large a run may be, artifacts aside; 1 MiB by default.
            dry_run: Change nothing.
            progress: Called with how many run folders are done, and how many there are.

        Raises:
            LockedError: Another process packs, merges or removes.
            StateError: The store lies on an object store.

        Durability: packs are durable before the first file that lies in them goes.

        Concurrency: readers and writers may go on.
        """
        from localtrack.store.packing.packing import DEFAULT_MAX_RUN_BYTES, pack_runs

        return pack_runs(
            self._site,
            self._runs.inbox,
            self._catalog.read(),
            older_than_ms=parse_duration_ms(older_than),
            max_run_bytes=DEFAULT_MAX_RUN_BYTES if max_run_bytes is None else max_run_bytes,
            is_dry_run=dry_run,
            progress=progress,
        )

    def unpack(self, *run_ids: str) -> UnpackReport:
        """Put packed runs back into their folders: those named, or all.

        Raises:
            NotFoundError: There is no such run.
            LockedError: Another process packs, merges or removes.
            FormatError: A pack is damaged.
        """
        from localtrack.store.packing.packing import unpack_runs

        folders = [self._runs.read(run_id).folder for run_id in run_ids] if run_ids else None
        return unpack_runs(self._site, self._runs.inbox, folders)


def parse_duration_ms(text: str | datetime.timedelta) -> int:
    """Return milliseconds from a timedelta, or a text such as `30d`, `12h`, `1d12h30m10s`.

    Raises:
        InvalidInputError: It cannot be read.
    """
    if isinstance(text, datetime.timedelta):
        duration = text
    else:
        match = _DURATION.fullmatch(str(text).strip())
        if match is None or not any(match.groups()):
            raise InvalidInputError(f"{text!r} is no duration.", hint="Write for example 30d, 12h or 1d12h30m.")
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        duration = datetime.timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if duration < datetime.timedelta(0):
        raise InvalidInputError(f"{text!r} is less than nothing.")
    return duration // datetime.timedelta(milliseconds=1)


def _checked_time(time_ms: int | None) -> int | None:
    return None if time_ms is None else to_timestamp_ms(time_ms)


def _add_condition(filter_string: str, condition: str) -> str:
    """Return a filter that asks for one more thing.

    Raises:
        InvalidInputError: The filter cannot be read by itself: `a = 1) OR (b = 2` would be another one in parentheses.
    """
    from localtrack.query.fields import RUNS as RUN_FIELDS
    from localtrack.query.grammar import parse_filter

    return condition if parse_filter(filter_string, RUN_FIELDS) is None else f"({filter_string}) AND {condition}"


def _bulk_limit(max_runs: int | None) -> int:
    if max_runs is None:
        return MAX_BULK_COUNT
    if type(max_runs) is not int or not 1 <= max_runs <= MAX_BULK_COUNT:
        raise InvalidInputError(f"max_runs={max_runs!r} is not a number from 1 to {MAX_BULK_COUNT}.")
    return max_runs


def check_document_at(location: str | os.PathLike[str], *, repair: bool = False) -> CheckReport:
    """Say what is wrong with the document that makes a folder a store, without which it cannot be opened.

    Args:
        location: The store.
        repair: Mend it if only one byte of it has changed.

    Raises:
        NotFoundError: There is no store, and nothing that looks like one.
    """
    from localtrack.store.checking.store_check import check_document

    storage = open_storage(location)
    if not storage.exists(STORE_FILE) and not storage.exists(RUNS):
        raise NotFoundError(
            f"There is no localtrack store at {storage.uri}.",
            code=ErrorCode.STORE_NOT_FOUND,
            hint="Make one with `localtrack init`, or check the path.",
        )
    return check_document(storage, repair=repair)
