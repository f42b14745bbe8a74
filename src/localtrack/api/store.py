"""A store of runs: the object API. The fluent functions and the command line are thin skins over it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from localtrack.api import environment
from localtrack.api.argument_types import explain_wrong_types, explain_wrong_types_of
from localtrack.api.store_analysis import AnalysisCalls
from localtrack.api.store_artifacts import ArtifactCalls
from localtrack.api.store_cleanup import CleanupCalls
from localtrack.api.store_histories import HistoryCalls
from localtrack.api.store_import import ImportCalls
from localtrack.api.store_models import ModelCalls
from localtrack.api.store_pull import PullCalls
from localtrack.api.store_quota import QuotaCalls
from localtrack.api.store_sync import SyncCalls
from localtrack.errors import ErrorCode, InvalidInputError, NotFoundError, StateError, StorageError
from localtrack.format.ids import encode_job_run_id, parse_run_id
from localtrack.format.names import MAX_PARAM_VALUE_CHARS, MAX_TAG_VALUE_CHARS, validate_key, validate_value
from localtrack.format.run_fold import RUN_NAME_TAG
from localtrack.format.scalars import to_timestamp_ms
from localtrack.storage.opening import open_storage
from localtrack.storage.syncer import syncer
from localtrack.store.catalog import Catalog, require_active
from localtrack.store.site import Durability, Site, open_site
from localtrack.types import DEFAULT_EXPERIMENT_ID, Run, RunStatus

if TYPE_CHECKING:
    from localtrack.api.rank_runs import RankRun
    from localtrack.api.run import ActiveRun, OnError
    from localtrack.format.edits import ExperimentState
    from localtrack.store.merging import MergeReport, Progress
    from localtrack.store.runs import RunReport, Runs
    from localtrack.store.spool_thread import SpoolKeeper


@explain_wrong_types_of()
class Store(
    AnalysisCalls,
    HistoryCalls,
    ModelCalls,
    ArtifactCalls,
    CleanupCalls,
    QuotaCalls,
    ImportCalls,
    SyncCalls,
    PullCalls,
):
    """Runs and experiments below one path. Make one with `Store.open`.

    Concurrency: thread-safe; any number of processes, on any number of hosts, may have the same store open, and write.
    """

    def __init__(self, site: Site, *, on_error: OnError, spool_keeper: SpoolKeeper | None = None) -> None:
        super().__init__(site)
        self.truncates = site.truncate_long_values
        self._on_error = on_error
        self._user = ""
        self._spool_keeper = spool_keeper
        self.options: dict[str, Any] = {
            "durability": site.durability,
            "on_error": on_error,
            "truncate_long_values": site.truncate_long_values,
            "spool": "",
        }
        """With what another process opens this store alike."""

    @classmethod
    @explain_wrong_types
    def open(
        cls,
        location: str | os.PathLike[str],
        *,
        create: bool = True,
        durability: Durability | None = None,
        on_error: OnError | None = None,
        truncate_long_values: bool | None = None,
        spool: str | os.PathLike[str] | None = None,
    ) -> Store:
        """Open a store.

        Args:
            location: A path, a `file:` or `localtrack:` URI, or a URL that fsspec knows.
            create: Make the store where there is none.
            durability: `process` (default): what was acknowledged survives `kill -9`, and the death of the host after
                a few seconds.
                `call`: each call waits for the disk. Default: LOCALTRACK_DURABILITY.
            on_error: `raise` (default), or `warn`: logging calls never raise; while the store cannot be written to
                they are kept in memory and tried again. So is the start of a run in an experiment that this process
                has seen before. Default: LOCALTRACK_ON_ERROR.
            truncate_long_values: Cut params over 6,000 and tags over 8,000 characters (default, as MLflow), or refuse
                them. Default:
                LOCALTRACK_TRUNCATE_LONG_VALUES.
            spool: A folder on a disk of this machine: everything is written there first and moved to the store in the
                background and at the end, so that logging never waits for a drive, which may also be away for hours.
                What a killed process leaves there, the next one with the same spool moves, or `localtrack drain`.
                Default: LOCALTRACK_SPOOL; `""` for none.

        Raises:
            NotFoundError: There is no store, and `create` is False.
            FormatError: It was written by a newer version, or is damaged.
        """
        durability = durability or environment.durability()
        on_error = on_error or environment.on_error()
        if durability not in ("process", "call") or on_error not in ("raise", "warn"):
            raise InvalidInputError(
                f"durability={durability!r}, on_error={on_error!r} are not known.",
                code=ErrorCode.INVALID_SETTING,
                hint="durability is 'process' or 'call', on_error is 'raise' or 'warn'.",
            )
        if truncate_long_values is None:
            truncate_long_values = environment.truncate_long_values()
        spool_root = os.fspath(environment.spool() or "" if spool is None else spool)
        options = {"durability": durability, "truncate_long_values": truncate_long_values}
        if spool_root:
            from localtrack.store.spool_thread import open_spooled_site

            site, keeper = open_spooled_site(open_storage(location), spool_root, create=create, **options)
            store = cls(site, on_error=on_error, spool_keeper=keeper)
            store.options["spool"] = os.path.abspath(os.path.expanduser(spool_root))
            return store
        return cls(open_site(open_storage(location), create=create, **options), on_error=on_error)

    def __repr__(self) -> str:
        return f"<Store {self.uri}>"

    @property
    def uri(self) -> str:
        """Where the store lies: a path, or a URL."""
        return self.storage.uri

    root = uri

    @property
    def store_id(self) -> str:
        """The id that the store got when it was made: 32 hex digits."""
        return self._site.document.store_id

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of this process's files. Its runs that have not ended stay RUNNING, and can be resumed."""
        if not self._site.is_closed:
            for used in ("_runs", "_models"):
                if used in self.__dict__:
                    self.__dict__[used].close()
            self._catalog.close()
            self._compact_if_worthwhile()
            self._let_go_of_index()
            self._site.is_closed = True
            syncer.hurry()
            if self._spool_keeper is not None:
                self._spool_keeper.finish()

    def drain(self) -> None:
        """With a spool: return when everything in it is at the store. Else nothing has to be done.

        Raises:
            StorageError: The store is away; what is spooled stays.
        """
        if self._spool_keeper is not None:
            self._spool_keeper.move()

    def flush(self) -> None:
        """Return when all that this process has logged to the store is on the disk: with a spool, on the spool's.

        Raises:
            StorageError: It is not, and could not be written elsewhere.
        """
        failures = self._site.sync()
        if failures:
            raise failures[0]

    # -- runs

    def start_run(
        self,
        experiment: str | None = None,
        *,
        experiment_id: str | None = None,
        run_id: str | None = None,
        run_name: str | None = None,
        tags: Mapping[str, Any] | None = None,
        description: str | None = None,
        parent_run_id: str | None = None,
        start_time: int | None = None,
        resume: str | None = None,
        job: str | None = None,
        ranks: str | None = None,
        context: bool = True,
    ) -> ActiveRun:
        """Start a run, or go on with one.

        Args:
            experiment: Name of its experiment, which is made where it is missing; Default by default.
            experiment_id: Instead of the name.
            run_id: Go on with this run, whoever wrote it, also after a crash and on another host.
            run_name: Its name; a random readable one by default.
            tags: First tags.
            description: What the run is about: the tag `mlflow.note.content`.
            parent_run_id: The run that this one belongs to: the tag `mlflow.parentRunId`.
            start_time: Milliseconds since 1970, UTC; now by default.
            resume: `"auto"`: each start of one batch job comes to the same run in an experiment, so that a requeued
                job goes on.
            job: With `resume="auto"`, what names the job; LOCALTRACK_JOB_ID or the batch system's job id by default.
            ranks: In a distributed job (torchrun, MPI, Slurm, Horovod): `"merge"`, all ranks of one launch log to one
                run, which rank 0 ends; `"prefix"`, likewise, with `rank<n>/` in front of the keys of metrics. Alone
                it changes nothing. The launch is what `job`, LOCALTRACK_JOB_ID or the launcher says.
            context: Add tags that say where the run comes from: user, host, source file, git commit, command.

        Raises:
            NotFoundError: There is no run of that id, or no experiment of that id.
            StateError: The run or the experiment is deleted.
        """
        from localtrack.api.first_tags import plan_first_tags
        from localtrack.api.run import ActiveRun

        if run_id is not None:
            return self._resume(run_id, run_name=run_name, tags=tags)
        if experiment is not None and experiment_id is not None:
            raise InvalidInputError("Both experiment and experiment_id are given.", hint="Give one of them.")
        state = self._experiment_to_log_to(experiment, experiment_id)

        def first_tags_of_run() -> dict[str, str]:
            return plan_first_tags(
                tags,
                run_name=run_name,
                description=description,
                parent_run_id=parent_run_id,
                context=context,
                truncate=self.truncates,
            )

        start_ms = None if start_time is None else to_timestamp_ms(start_time)
        if ranks is not None:
            from localtrack.api.rank_runs import plan_rank, start_rank_run

            place = plan_rank(ranks, resume=resume, job=job)
            if place is not None:
                return start_rank_run(
                    self,
                    self._runs,
                    state,
                    place,
                    on_error=self._on_error,
                    first_tags=first_tags_of_run,
                    start_ms=start_ms,
                    has_context=context,
                )
        job_run_id = None
        if resume is not None:
            job_run_id = self._job_run_id(state.experiment_id, resume, job)
            try:
                return self._resume(job_run_id, run_name=None, tags=tags)
            except NotFoundError:
                pass  # the job's first start
        first_tags = first_tags_of_run()
        put_off: list[tuple[StorageError, Callable[[], None]]] = []
        writer = self._runs.begin(
            state,
            run_id=job_run_id,
            start_ms=start_ms,
            user=first_tags.get("mlflow.user", ""),
            tags=first_tags,
            put_off=None if self._on_error == "raise" else lambda *failed: put_off.append(failed),
        )
        return ActiveRun(self, writer, on_error=self._on_error, has_context=context, put_off=put_off)

    def _experiment_to_log_to(self, name: str | None, experiment_id: str | None) -> ExperimentState:
        """Return the experiment of a new run; if training goes on whatever happens, as it was at the last look."""
        wanted = DEFAULT_EXPERIMENT_ID if experiment_id is None else experiment_id
        try:
            if name is not None:
                return self._catalog.ensure(name, user=self._user)
            return require_active(self._catalog.find(wanted))
        except StorageError:
            known = None if self._on_error == "raise" else self._catalog.recall(wanted if name is None else name)
            if known is None:
                raise
            return known

    def attach_run(self, run_id: str) -> ActiveRun:
        """Return a run to write to that goes on, or has ended, without this process: its status stays as it is.

        Let go of it with `ActiveRun.detach`.

        Raises:
            NotFoundError: There is no such run.
            StateError: It is deleted.
        """
        from localtrack.api.run import ActiveRun

        writer = self._runs.resume(parse_run_id(run_id), is_running=False)
        return ActiveRun(self, writer, on_error=self._on_error)

    def join_run(self, run_id: str, *, metric_prefix: str = "") -> RankRun:
        """Return a hand in a run that another process has begun and will end: here its `end` only lets go.

        Args:
            run_id: The run.
            metric_prefix: Put in front of the keys of metrics, as `worker3/`.

        Raises:
            NotFoundError: There is no such run.
            StateError: It is deleted.
        """
        from localtrack.api.rank_runs import RankRun

        writer = self._runs.resume(parse_run_id(run_id), is_running=False)
        return RankRun(self, writer, on_error=self._on_error, prefix=metric_prefix, is_guest=True)

    def get_run(self, run_id: str) -> Run:
        """Return a run with its params, tags and last metrics.

        Raises:
            NotFoundError: There is no such run.
        """
        return self._runs.row(self._runs.read(run_id)).to_run()

    def describe_run(self, run_id: str) -> RunReport:
        """Return everything that can be said of a run: also whether its process is alive, and what is damaged."""
        return self._runs.report(run_id)

    def end_run(self, run_id: str, status: str = "KILLED", end_time: int | None = None) -> None:
        """Record from outside that a run has ended, as for one whose process died.

        Args:
            run_id: The run.
            status: FINISHED, FAILED or KILLED.
            end_time: Milliseconds since 1970, UTC; by default the last change of the run's files.
        """
        RunStatus.from_string(status)
        reading = self._runs.read(run_id)
        last_sign_ms = max(reading.changed_ms, reading.state.start_ms)
        end_ms = last_sign_ms if end_time is None else to_timestamp_ms(end_time)
        self._add_to_run(run_id, lambda writer: writer.set_info({"status": status, "end_ms": end_ms}))

    def rename_run(self, run_id: str, name: str) -> None:
        """Give a run another name."""
        if name:
            self.set_run_tags(run_id, {RUN_NAME_TAG: name})

    def set_run_tags(self, run_id: str, tags: Mapping[str, Any]) -> None:
        """Set tags of a run from outside."""
        checked: dict[str, str | None] = {
            validate_key(key, "tag"): validate_value(value, "tag", key, MAX_TAG_VALUE_CHARS, truncate=self.truncates)
            for key, value in tags.items()
        }
        self._add_to_run(run_id, lambda writer: writer.set_tags(checked))

    def delete_run_tag(self, run_id: str, key: str) -> None:
        """Delete a tag of a run from outside.

        Raises:
            NotFoundError: The run has no such tag.
        """
        self.require_tag(run_id, key)
        self._add_to_run(run_id, lambda writer: writer.set_tags({key: None}))

    def log_run_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Add params to a run from outside.

        Raises:
            InvalidInputError: One has another value already; nothing was written.
        """
        checked = {
            validate_key(key, "param"): validate_value(
                value, "param", key, MAX_PARAM_VALUE_CHARS, truncate=self.truncates
            )
            for key, value in params.items()
        }
        self._add_to_run(run_id, lambda writer: writer.set_params(checked))

    def delete_run(self, *run_ids: str) -> int:
        """Delete runs; they can be restored. Return how many were not deleted yet."""
        return self._runs.mark_deleted(run_ids, is_deleted=True, user=self._user)

    def restore_run(self, *run_ids: str) -> int:
        """Take back the deletion of runs. Return how many were deleted."""
        return self._runs.mark_deleted(run_ids, is_deleted=False, user=self._user)

    # -- points

    def next_step(self, run_id: str, key: str | None = None) -> int:
        """Return the greatest step logged so far plus one; 0 if there is none."""
        return self._runs.next_step(run_id, key)

    def seal(self, run_id: str | None = None) -> int:
        """Seal the closed chunks of a run, or of all runs, and return how many there were."""
        return self._runs.seal(run_id)

    def merge(self, source: str | os.PathLike[str], *, progress: Progress | None = None) -> MergeReport:
        """Copy everything of another store into this one: a union, that can be repeated and done in any order.

        Args:
            source: The other store, which is only read.
            progress: Called with how many run folders are done, and how many there are.

        Raises:
            NotFoundError: There is no store at `source`.
        """
        from localtrack.store.merging import merge_store

        other = open_site(open_storage(source), create=False)
        return merge_store(self._site, other, self._runs.inbox, progress=progress)

    # -- for ActiveRun, and for the plugin, which speaks MLflow's words and so needs more than users do

    @property
    def runs(self) -> Runs:
        """The runs, as the layer below has them."""
        return self._runs

    @property
    def catalog(self) -> Catalog:
        """The experiments and life cycles, as the layer below has them."""
        return self._catalog

    def require_tag(self, run_id: str, key: str, *, known: Mapping[str, str] | None = None) -> None:
        """Raise `NotFoundError` if a run has no such tag."""
        validate_key(key, "tag")
        if (known is None or key not in known) and key not in self._runs.read(run_id).state.tags:
            raise NotFoundError(f"Run {run_id} has no tag {key!r}.", code=ErrorCode.TAG_NOT_FOUND)

    def _add_to_run(self, run_id: str, change: Any) -> None:
        """Write something to a run that goes on, or has ended, without this process."""
        writer = self._runs.resume(run_id, is_running=False)
        try:
            change(writer)
        finally:
            self._runs.end(writer, None)

    def _resume(self, run_id: str, *, run_name: str | None, tags: Mapping[str, Any] | None) -> ActiveRun:
        from localtrack.api.run import ActiveRun

        writer = self._runs.resume(parse_run_id(run_id))
        run = ActiveRun(self, writer, on_error=self._on_error)
        late = dict(tags or {})
        if run_name:
            late[RUN_NAME_TAG] = run_name
        if late:
            run.set_tags(late)
        return run

    def _job_run_id(self, experiment_id: str, resume: str, job: str | None) -> str:
        if resume != "auto":
            raise InvalidInputError(f"resume={resume!r} is not known.", hint='Use resume="auto", or run_id=….')
        job = job or environment.job_id()
        if not job:
            raise StateError(
                "There is no batch job to resume.",
                code=ErrorCode.RUN_NOT_FOUND,
                hint="Set LOCALTRACK_JOB_ID, or give job=…, to what names this job whenever it is started.",
            )
        return encode_job_run_id(experiment_id, job)
