"""The runs of a store: begin, resume, end, delete, read."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from localtrack import reporting
from localtrack.errors import (
    ErrorCode,
    FormatError,
    InvalidInputError,
    LocaltrackError,
    NotFoundError,
    StateError,
    StorageError,
)
from localtrack.format.documents import ExperimentDocument
from localtrack.format.edits import EditsState, ExperimentState
from localtrack.format.ids import RUN_RANDOM_BYTES, encode_run_id, parse_run_id
from localtrack.format.layout import ARTIFACTS
from localtrack.format.metric_fold import Folds, encode_folds
from localtrack.format.quota import Limit
from localtrack.format.run_fold import RunState
from localtrack.store.background import sealer
from localtrack.store.catalog import Catalog, require_active
from localtrack.store.folder_reading import NEWER_HINT
from localtrack.store.inbox import Inbox
from localtrack.store.liveness import judge_run
from localtrack.store.run_quota import MEASURED, RunQuota, require_within
from localtrack.store.run_reading import RunReading, list_run_folders, read_folder, read_run
from localtrack.store.run_rows import build_row
from localtrack.store.run_writer import RunWriter
from localtrack.store.site import Site, ensure_experiment_file
from localtrack.store.use import STORE, Use
from localtrack.types import Finding, Liveness, RunRow

if TYPE_CHECKING:
    import pyarrow as pa

    from localtrack.store.index.search_index import SearchIndex
    from localtrack.store.use_meter import UseMeter


@dataclass(frozen=True, slots=True)
class RunReport:
    """A run with all that can be said of it."""

    row: RunRow
    liveness: Liveness
    silent_since_ms: int | None
    """Last change of its files, if nobody can tell whether its process is alive."""
    findings: tuple[Finding, ...]
    positions: Mapping[str, tuple[int, int]]
    """Per writer: bytes of its log, points."""


_OF_FILES: Final = ("bytes", "files", "artifact_bytes")
_STARTS_COUNT: Final = 1_000
"""Where a limit on runs is far, so many are started before runs are counted again: that lists all of them."""


class Runs:
    """The runs of one store. Thread-safe.

    Args:
        site: The store.
        catalog: Its experiments and limits.
        index: Gives the search index of this process, which knows how much there is of what limits are about.
    """

    def __init__(self, site: Site, catalog: Catalog, index: Callable[[], SearchIndex]) -> None:
        self._site = site
        self._catalog = catalog
        self._index = index
        self._meter: UseMeter | None = None
        self._limits: Mapping[str, Limit] | None = None  # those that were looked through for what a meter counts
        self._measures: set[str] = set()
        self._writers: weakref.WeakSet[RunWriter] = weakref.WeakSet()
        self._starts_granted = 0  # so many runs may be started before runs are counted again
        self._experiments: dict[str, str] = {}  # per run folder that was counted for a limit
        self._said: set[str] = set()  # limits of which it was said that they are exceeded
        self.inbox = Inbox(site)

    # -- writing

    def begin(
        self,
        experiment: ExperimentState,
        *,
        run_id: str | None = None,
        start_ms: int | None = None,
        user: str = "",
        tags: Mapping[str, str] | None = None,
        put_off: Callable[[StorageError, Callable[[], None]], None] | None = None,
    ) -> RunWriter:
        """Begin a run that was not there.

        Args:
            experiment: Where it belongs.
            run_id: Its id, if it must be a certain one; else a new one.
            start_ms: Milliseconds since 1970, UTC; else now.
            user: Who runs it.
            tags: First tags, checked; `mlflow.runName` is its name.
            put_off: Takes what is to be called later, before anything else of the writer, where the store cannot be
                written to; without it that raises.

        Durability: the run is handed to the operating system on return, with its tags, in one write.
        """
        self._site.require_open()
        require_active(experiment)
        now_ms = self._site.clock()
        if run_id is None:
            run_id = encode_run_id(max(now_ms, 0), os.urandom(RUN_RANDOM_BYTES))
        try:
            self._admit_run(experiment)
            self._admit_files(experiment)
        except StorageError:
            if put_off is None:
                raise  # else what cannot be counted now counts when the next run is begun
        writer = RunWriter(self._site, run_id, document_of(experiment), self.inbox)
        self._set_limits(writer, None)
        creation = {"start_ms": now_ms if start_ms is None else start_ms, "status": "RUNNING", "user": user}
        first: list[list[Any]] = [["run", creation]]
        if tags:
            if writer.quota is not None:
                writer.quota.admit_state(0, 0, 0, len(tags))
            first.append(["tag", dict(tags)])
            writer.tags.update(tags)
        try:
            writer.begin(*first)
        except StorageError as error:
            if put_off is None:
                raise
            put_off(error, partial(writer.begin, *first))
        if self._meter is not None:
            self._meter.add(experiment.experiment_id, Use(files=1), folders_count=1)
        self._writers.add(writer)
        return writer

    def resume(self, run_id: str, *, is_running: bool = True) -> RunWriter:
        """Go on writing to a run that exists, whoever wrote it, as a writer of its own.

        Args:
            run_id: The run.
            is_running: Record that it runs again; False to add something to a run that stays as it is.

        Raises:
            NotFoundError: There is no such run.
            StateError: It is deleted.
            StorageError: It has files that this user may not read.
        """
        self._site.require_open()
        reading = self.read(run_id)
        if reading.forbidden:  # a param that has a value there could get another one here
            raise _forbidden(reading, run_id)
        if self.is_deleted(reading):
            raise StateError(f"Run {run_id} is deleted.", code=ErrorCode.RUN_DELETED, hint="Restore it first.")
        state = reading.state
        document = ExperimentDocument(state.experiment_id, state.experiment_name, state.generation)
        ensure_experiment_file(self._site.storage, document)
        writer = RunWriter(self._site, run_id, document, self.inbox, state)
        self._set_limits(writer, reading)
        if is_running:
            writer.begin(["info", {"status": "RUNNING"}])
        self._writers.add(writer)
        return writer

    def _set_limits(self, writer: RunWriter, reading: RunReading | None) -> None:
        """Have a writer keep the limits that are about what runs hold, if there are any."""
        limits = self._catalog.known_quota()
        meter = self._ready_meter()
        if meter is not None or any(name.startswith("run.") for name in limits):
            keys = reading.folds if reading is not None and "run.metric_keys" in limits else ()
            writer.quota = RunQuota(
                self._site.packs,
                writer.folder,
                writer.run_id,
                writer.experiment.experiment_id,
                limits,
                is_new=reading is None,
                keys=keys,
                own_bytes=lambda: writer.written_bytes,
                meter=meter,
                reread=lambda: self._catalog.read().quota,
            )

    def _ready_meter(self) -> UseMeter | None:
        """Return what knows how much experiments and the store hold; None if no limit is about that."""
        limits = self._catalog.known_quota()
        if limits is not self._limits:
            names = [name.partition(".") for name in limits]
            self._measures = {measure for level, _, measure in names if level in ("experiment", "store")} & MEASURED
            self._limits = limits
        measures = self._measures
        if not measures:
            return None
        if self._meter is None:
            from localtrack.store.use_meter import UseMeter

            self._meter = UseMeter(self._site, self._index)
        self._meter.prepare(has_folders=measures != {"metric_steps"})
        return self._meter

    def _admit_files(self, experiment: ExperimentState) -> None:
        """Raise `QuotaExceededError` if the store or an experiment may not have the files of another run."""
        # The folder counts as a file does, in a store.
        counts = {"store.bytes": 0, "experiment.bytes": 0, "store.files": 2, "experiment.files": 1}
        self._admit_use(experiment.experiment_id, experiment.name, counts)

    def admit_model_files(self, experiment_id: str, plan: Callable[[], tuple[int, int]]) -> None:
        """Raise `QuotaExceededError` if the store or an experiment may not have more files of a logged model.

        Args:
            experiment_id: The model's experiment.
            plan: Gives how many bytes and files are to come, as long as nothing of it is there; asked if a limit is
                about that.
        """
        experiment = self._catalog.read().experiments.get(experiment_id)
        meter = self._ready_meter()
        if meter is None:
            return
        bytes_count, files_count = plan()
        use = Use(0, max(bytes_count, 0), files_count, max(bytes_count, 0))
        counts = {f"{level}.{measure}": use.of(measure) for level in ("store", "experiment") for measure in _OF_FILES}
        name = experiment_id if experiment is None else experiment.name
        self._admit_use(experiment_id, name, {limit_name: count for limit_name, count in counts.items() if count})
        meter.add(experiment_id, use)

    def _admit_use(self, experiment_id: str, name: str, counts: Mapping[str, int]) -> None:
        """Raise `QuotaExceededError` if more is to come than a limit allows.

        Args:
            experiment_id: The experiment.
            name: Its name.
            counts: By limit how much comes; 0: as long as there may be any more.
        """
        meter = self._ready_meter()
        if meter is None:
            return
        for limit_name, limit in self._catalog.known_quota().items():
            count = counts.get(limit_name)
            if count is None:
                continue
            level, _, measure = limit_name.partition(".")
            scope = STORE if level == "store" else experiment_id
            used = meter.used(scope, measure)
            if used + max(count, 1) > limit.value and limit.action == "refuse" and meter.renew():
                used = meter.used(scope, measure)
            what = f"The store {self._site.storage.uri}" if level == "store" else f"The experiment {name!r}"
            require_within(limit_name, limit, used, used + count, what=what, said=self._said)

    def _admit_run(self, experiment: ExperimentState) -> None:
        """Raise `QuotaExceededError` if the store or an experiment may not have another run."""
        limits = self._catalog.known_quota()
        wanted = {name: limits[name] for name in ("store.runs", "experiment.runs") if name in limits}
        if not wanted:
            return
        if self._starts_granted > 0:
            self._starts_granted -= 1
            return
        folders = list_run_folders(self._site.storage)
        left_count = min(limit.value for limit in wanted.values()) - len(folders)
        self._starts_granted = min(max(left_count // 20, 0), _STARTS_COUNT)
        for name, limit in wanted.items():
            if len(folders) < limit.value:
                continue  # also if all of them are of this experiment
            found = [experiment_id for folder in folders if (experiment_id := self._experiment_of(folder)) is not None]
            used, what = len(found), f"The store {self._site.storage.uri}"
            if name == "experiment.runs":
                used, what = found.count(experiment.experiment_id), f"The experiment {experiment.name!r}"
            require_within(name, limit, used, used + 1, what=what, said=self._said)

    def _experiment_of(self, folder: str) -> str | None:
        """Return the experiment of the run in a folder, once it was looked at without a further look."""
        if folder not in self._experiments:
            reading = read_folder(self._site.storage, folder)
            if reading is None or not reading.is_run or self._is_hidden(reading, self._catalog.read()):
                return None
            self._experiments[folder] = reading.state.experiment_id
        return self._experiments[folder]

    def open_writer(
        self, run_id: str, experiment: ExperimentDocument, known: RunState | None, *records: list[Any]
    ) -> RunWriter:
        """Begin to write to a run as an import does: whatever its life cycle, with first records of its own.

        Args:
            run_id: The run.
            experiment: Where it belongs.
            known: What its logs say; None if it is not there, and then one of the records has to be `run`.
            records: State records without their stamps, written with the header in one write.
        """
        self._site.require_open()
        writer = RunWriter(self._site, run_id, experiment, self.inbox, known)
        for kind, payload in records:
            if kind == "tag":
                writer.tags.update({key: value for key, value in payload.items() if value is not None})
        writer.begin(*records)
        self._writers.add(writer)
        return writer

    def end(self, writer: RunWriter, info: Mapping[str, Any] | None) -> None:
        """Record the end of a run, close its log and seal its points.

        Args:
            writer: This process's hand in the run.
            info: The payload of the last `info` record; None to let go of a run that stays as it is.

        Raises:
            StorageError: The end could not be recorded. Call again when there is space.
        """
        if info is None and not writer.has_begun:
            return
        writer.write_held_points()
        records: list[list[Any]] = []
        sealed: Folds | None = None
        if writer.close_points():
            if info is not None:
                writer.set_info(info)  # sealing may take a while, and the run has ended already
            if not self._site.storage.can_append:
                self._site.sync()  # chunks must be in the store before they can be sealed
            try:
                report = sealer.seal_now(self._site.storage, writer.folder, writer.writer, run_id=writer.run_id)
                sealed = report.keys
            except LocaltrackError as error:  # the chunks stay, read as well, and are sealed by the next who tries
                reporting.warn("sealing points of run %s has to wait: %s", writer.run_id, error)
        elif info is not None:
            records.append(["info", info])
        name, bytes_count = writer.writer, 0
        bytes_count, folds = writer.close(*records, sealed=sealed)
        row = None
        if writer.is_alone and folds is not None:
            row = {"info": info, "params": writer.params, "tags": writer.tags, "metrics": encode_folds(folds)}
            row |= writer.links
        self.inbox.notice_closed(writer.run_id, name, bytes_count, row, opened_count=writer.opened_count)
        writer.opened_count = 0

    def close(self) -> None:
        """Let go of the logs of this process. Its runs that have not ended stay as they are, and can be resumed."""
        for writer in list(self._writers):
            if not writer.is_closed:
                try:
                    self.end(writer, None)
                except StorageError as error:
                    reporting.warn("the log of run %s stays open: %s", writer.run_id, error)
        self.inbox.close()

    def mark_deleted(self, run_ids: Iterable[str], *, is_deleted: bool, user: str = "") -> int:
        """Delete or restore runs, all in one record; return how many that changed.

        Raises:
            NotFoundError: One of them does not exist; nothing was changed.
        """
        readings = [self.read(run_id) for run_id in run_ids]
        edits = self._catalog.read()
        changed = [
            reading.state.run_id
            for reading in readings
            if edits.is_run_deleted(reading.state.run_id, reading.state.experiment_id) != is_deleted
        ]
        if changed:
            self._catalog.mark_runs("deleted" if is_deleted else "restored", changed, user=user)
        return len(changed)

    # -- reading

    def read(self, run_id: object) -> RunReading:
        """Return a run as it is now.

        Raises:
            NotFoundError: There is none, or it was removed for good.
            FormatError: Only a newer version can read it, or none of its logs can be read.
            StorageError: This user may read none of its logs.
        """
        run_id = parse_run_id(run_id)
        reading = read_run(self._site.storage, run_id)
        if reading is None or (reading.is_run and self._is_hidden(reading, self._catalog.read())):
            raise NotFoundError(f"There is no run with the id {run_id} in {self._site.storage.uri}.")
        if reading.is_newer:
            raise FormatError(
                f"Run {run_id} was written by a newer version of localtrack ({reading.why_newer}).",
                code=ErrorCode.NEWER_FORMAT,
                hint=NEWER_HINT,
            )
        if not reading.is_run and reading.forbidden:
            raise _forbidden(reading, run_id)
        if not reading.is_run:
            raise FormatError(f"Run {run_id} cannot be read: {reading.findings[0].what} ({reading.findings[0].key}).")
        if reading.state.run_id != run_id:
            raise InvalidInputError(f"{run_id!r} is not the id of the run in {reading.folder}.")
        return reading

    def row(self, reading: RunReading, edits: EditsState | None = None) -> RunRow:
        """Return a run as searches see it."""
        edits = edits or self._catalog.read()
        state = reading.state
        return build_row(
            state,
            reading.folds,
            lifecycle_stage="deleted" if edits.is_run_deleted(state.run_id, state.experiment_id) else "active",
            artifact_uri=self._site.storage.path(f"{reading.folder}/{ARTIFACTS}"),
        )

    def report(self, run_id: str) -> RunReport:
        """Return everything that can be said of a run."""
        reading = self.read(run_id)
        reading.look_closely()
        row = self.row(reading)
        liveness, silent_since_ms = judge_run(reading, now_ms=self._site.clock())
        return RunReport(row, liveness, silent_since_ms, tuple(reading.findings), reading.positions)

    def history(self, run_id: str, key: str | None = None) -> pa.Table:
        """Return the points of a run. See `store.history.read_history`."""
        return self.points_of(self.read(run_id), key)

    @staticmethod
    def points_of(reading: RunReading, key: str | None = None) -> pa.Table:
        """Return the points of a run that was read, and say which of its files are damaged: points may be missing."""
        from localtrack.store.history import read_history

        points = reading.steadily(lambda steady: read_history(steady, key))
        for finding in reading.findings:
            if finding.key != reading.folder:
                reporting.warn("points may be missing: %s: %s", finding.key, finding.what)
        return points

    def next_step(self, run_id: str, key: str | None = None) -> int:
        """Return the greatest step logged so far plus one; 0 if there is none."""
        folds = self.read(run_id).folds
        return max((fold.last_step + 1 for name, fold in folds.items() if key in (None, name)), default=0)

    def seal(self, run_id: str | None = None) -> int:
        """Seal the closed chunks of one run or all, and return how many there were."""
        folders = list_run_folders(self._site.storage) if run_id is None else [self.read(run_id).folder]
        sealed_count = 0
        for folder in folders:
            reading = read_folder(self._site.storage, folder)
            if reading is None or not reading.is_run or reading.is_newer:
                continue
            for writer, files in reading.writers.items():
                if files.chunks or len(files.segments) > 1:
                    sealed_count += sealer.seal_now(
                        self._site.storage, folder, writer, run_id=reading.state.run_id
                    ).sealed_count
        return sealed_count

    def is_deleted(self, reading: RunReading) -> bool:
        """Return whether a run, or its experiment, is deleted."""
        return self._catalog.read().is_run_deleted(reading.state.run_id, reading.state.experiment_id)

    @staticmethod
    def _is_hidden(reading: RunReading, edits: EditsState) -> bool:
        """Return whether tombstones cover all there is of a run."""
        run_id = reading.state.run_id
        return run_id in edits.tombstones and edits.is_removed(run_id, reading.positions)


def document_of(experiment: ExperimentState) -> ExperimentDocument:
    """Return the document of an experiment, as the headers of logs repeat it."""
    return ExperimentDocument(experiment.experiment_id, experiment.original_name, experiment.generation)


def _forbidden(reading: RunReading, run_id: str) -> StorageError:
    name = next(iter(sorted(reading.forbidden)))
    return StorageError(
        f"Run {run_id} has files that you may not read ({reading.folder}/{name}).".replace("/)", ")"),
        code=ErrorCode.READ_ONLY,
        hint="Ask their owner to let the group read them (umask 002).",
    )
