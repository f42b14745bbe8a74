"""Runs that several processes write to: the ranks of a job, workers, children."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from localtrack.api import environment
from localtrack.api.ranks import MODES
from localtrack.api.run import ActiveRun
from localtrack.errors import ErrorCode, InvalidInputError, NotFoundError, StateError
from localtrack.format.ids import encode_job_run_id
from localtrack.format.names import validate_key
from localtrack.format.run_fold import RUN_NAME_TAG
from localtrack.types import Metric, Param, RunStatus, RunTag

if TYPE_CHECKING:
    from localtrack.api.run import OnError
    from localtrack.api.store import Store
    from localtrack.format.edits import ExperimentState
    from localtrack.store.run_writer import RunWriter
    from localtrack.store.runs import Runs


class RankPlace(NamedTuple):
    """What a process of a distributed job is to its run."""

    job: str
    """Names the run, together with its experiment."""
    prefix: str
    """Put in front of the keys of its metrics."""
    is_guest: bool
    """False for the process that says how the run begins and ends."""


def plan_rank(ranks: str, *, resume: str | None, job: str | None) -> RankPlace | None:
    """Return the place of this process; None where it is alone, and its keys stay as they are.

    Raises:
        InvalidInputError: There is no such mode.
        StateError: Nothing names the launch, so that its processes cannot find one another.
    """
    if ranks not in MODES:
        raise InvalidInputError(
            f"ranks={ranks!r} is not known.", code=ErrorCode.INVALID_SETTING, hint='Use "merge" or "prefix".'
        )
    rank = environment.rank()
    if rank is None:
        return None
    # A requeued job goes on with its run only where that is asked for.
    name = job or (environment.job_id() if resume is not None else None) or environment.named_job() or rank.launch
    if not name:
        raise StateError(
            f"Nothing names the launch that this rank {rank.number} of {rank.count} belongs to.",
            code=ErrorCode.RUN_NOT_FOUND,
            hint="Set LOCALTRACK_JOB_ID, or give job=…, to the same in all ranks of one launch (torchrun --rdzv-id).",
        )
    prefix = f"rank{rank.number}/" if ranks == "prefix" else ""
    return RankPlace(name, prefix, rank.number > 0)


class RankRun(ActiveRun):
    """A hand in a run that other processes write to as well.

    Args:
        store: The store.
        writer: The writer of this process.
        on_error: As in `Store.open`.
        prefix: Put in front of the keys of metrics.
        is_guest: Another process says how the run ends: here `end` only lets go, but for FAILED, which is recorded.
        has_context: As in `ActiveRun`.
    """

    def __init__(
        self,
        store: Store,
        writer: RunWriter,
        *,
        on_error: OnError,
        prefix: str = "",
        is_guest: bool = False,
        has_context: bool = False,
    ) -> None:
        super().__init__(store, writer, on_error=on_error, has_context=has_context)
        self.prefix = prefix
        self.is_guest = is_guest
        if prefix:
            validate_key(prefix + "x", "metric")
            self.log_metric = self._log_prefixed  # type: ignore[method-assign]

    def _log_prefixed(self, key: str, value: float, step: int | None = None, timestamp: int | None = None) -> None:
        ActiveRun.log_metric(self, self.prefix + key, value, step, timestamp)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None, timestamp: int | None = None) -> None:
        """See `ActiveRun.log_metrics`; the keys get this process's prefix."""
        super().log_metrics({self.prefix + key: value for key, value in metrics.items()}, step, timestamp)

    def log_batch(
        self, metrics: Iterable[Metric] = (), params: Iterable[Param] = (), tags: Iterable[RunTag] = ()
    ) -> None:
        """See `ActiveRun.log_batch`; the keys of metrics get this process's prefix."""
        super().log_batch((metric._replace(key=self.prefix + metric.key) for metric in metrics), params, tags)

    def end(self, status: str = "FINISHED", end_time: int | None = None) -> None:
        """See `ActiveRun.end`. A guest lets go; that it failed is recorded, since nobody else may live to say it."""
        if not self.is_guest or self.is_ended:
            super().end(status, end_time)
            return
        if RunStatus.from_string(status) == RunStatus.FAILED:
            super().end(status, end_time)
        else:
            self.detach()


def start_rank_run(
    store: Store,
    runs: Runs,
    experiment: ExperimentState,
    place: RankPlace,
    *,
    on_error: OnError,
    first_tags: Callable[[], dict[str, str]],
    start_ms: int | None,
    has_context: bool,
) -> RankRun:
    """Return this process's hand in the run of its job, whichever of the processes comes first.

    Args:
        store: The store.
        runs: Its runs.
        experiment: Where the run belongs.
        place: What this process is to the run.
        on_error: As in `Store.open`.
        first_tags: What the process that is no guest says of the run.
        start_ms: When the run began, milliseconds since 1970, UTC; now by default.
        has_context: As in `ActiveRun`.
    """
    run_id = encode_job_run_id(experiment.experiment_id, place.job)
    try:
        writer = runs.resume(run_id, is_running=not place.is_guest)
    except NotFoundError:
        tags = {} if place.is_guest else first_tags()
        user = tags.get("mlflow.user") or environment.user_name() or ""
        writer = runs.begin(experiment, run_id=run_id, start_ms=start_ms, user=user, tags=tags)
    run = RankRun(
        store,
        writer,
        on_error=on_error,
        prefix=place.prefix,
        is_guest=place.is_guest,
        has_context=has_context and not place.is_guest,
    )
    if not place.is_guest and RUN_NAME_TAG not in writer.tags:  # a guest was here first
        run.set_tags(first_tags())
    return run


def join_run(uri: str, run_id: str, prefix: str, options: dict[str, Any]) -> RankRun:
    """Return a guest's hand in a run: what an `ActiveRun` is when it arrives in another process."""
    from localtrack.api.store import Store

    return Store.open(uri, create=False, **options).join_run(run_id, metric_prefix=prefix)
