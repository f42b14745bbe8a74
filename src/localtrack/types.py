"""What localtrack hands out: experiments, runs, metrics, in MLflow's words. Plain frozen data, without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from localtrack.errors import ErrorCode, InvalidInputError

DEFAULT_EXPERIMENT_ID: Final = "0"
DEFAULT_EXPERIMENT_NAME: Final = "Default"

Status = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
STATUSES: Final[tuple[str, ...]] = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
TERMINAL_STATUSES: Final[tuple[str, ...]] = ("FINISHED", "FAILED", "KILLED")

LifecycleStage = Literal["active", "deleted"]
Liveness = Literal["ended", "alive", "dead", "silent"]


class RunStatus:
    """The values of `RunInfo.status`, under the names that MLflow's `RunStatus` has."""

    RUNNING: Final = "RUNNING"
    SCHEDULED: Final = "SCHEDULED"
    FINISHED: Final = "FINISHED"
    FAILED: Final = "FAILED"
    KILLED: Final = "KILLED"

    @staticmethod
    def all_status() -> list[str]:
        """Return every status."""
        return list(STATUSES)

    @staticmethod
    def to_string(status: str) -> str:
        """Return a status as text, which here it is."""
        return status

    @staticmethod
    def from_string(status: str) -> str:
        """Return the status of a name, else raise `InvalidInputError`."""
        if status not in STATUSES:
            raise InvalidInputError(f"{status!r} is not a status of a run.", hint=f"Use one of {', '.join(STATUSES)}.")
        return status

    @staticmethod
    def is_terminated(status: str) -> bool:
        """Return whether a run of this status has ended."""
        return status in TERMINAL_STATUSES


class ViewType:
    """Which life-cycle stages a search returns. Same numbers as MLflow's `ViewType`."""

    ACTIVE_ONLY: Final = 1
    DELETED_ONLY: Final = 2
    ALL: Final = 3


class Metric(NamedTuple):
    """One point of a metric."""

    key: str
    value: float
    timestamp: int
    """Milliseconds since 1970, UTC."""
    step: int = 0


class Param(NamedTuple):
    """One parameter of a run. Its value never changes."""

    key: str
    value: str


class RunTag(NamedTuple):
    """One tag of a run."""

    key: str
    value: str


class FileInfo(NamedTuple):
    """One artifact file or folder."""

    path: str
    """Relative to the run's artifact folder, `/`-separated."""
    is_dir: bool
    file_size: int | None
    """Bytes; None for a folder."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """A named group of runs."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: LifecycleStage = "active"
    tags: Mapping[str, str] = field(default_factory=dict)
    creation_time: int | None = None
    """Milliseconds since 1970, UTC."""
    last_update_time: int | None = None
    """Milliseconds since 1970, UTC."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What describes a run apart from its data."""

    run_id: str
    experiment_id: str
    run_name: str
    user_id: str
    status: str
    start_time: int
    """Milliseconds since 1970, UTC."""
    end_time: int | None
    """Milliseconds since 1970, UTC; None while the run goes on."""
    lifecycle_stage: LifecycleStage
    artifact_uri: str

    @property
    def run_uuid(self) -> str:
        """The old MLflow name of `run_id`."""
        return self.run_id


@dataclass(frozen=True, slots=True)
class RunData:
    """Params, tags and the last value of each metric of a run."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """Last value per key: the greatest (step, timestamp, value)."""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it was when it was read."""

    info: RunInfo
    data: RunData

    def to_dictionary(self) -> dict[str, Any]:
        """Return the run as nested plain dicts."""
        info = {name: getattr(self.info, name) for name in RunInfo.__slots__}
        return {
            "info": info,
            "data": {
                "metrics": dict(self.data.metrics),
                "params": dict(self.data.params),
                "tags": dict(self.data.tags),
            },
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a store that is not as it should be."""

    key: str
    """Which file, as a key inside the store."""
    what: str
    """One sentence."""
    code: str = ErrorCode.DAMAGED
    severity: Literal["info", "warning", "error"] = "warning"


@dataclass(frozen=True, slots=True)
class CheckFinding(Finding):
    """What a check of a whole store found wrong with one file or folder."""

    invariant: str = ""
    """The invariant of FORMAT.md section 17 that is broken: `M1` … `M10`, `S1` … `S7`."""
    remedy: str = ""
    """What to do about it."""
    is_repairable: bool = False
    """True: `repair` mends it without loss."""


class MetricSummary(NamedTuple):
    """What the points of one metric of one run add up to."""

    value: float
    """Last value: that of the greatest (step, timestamp, value), NaN compared as 0."""
    step: int
    timestamp: int
    min: float
    """Least value, NaN left out; NaN if there is nothing else."""
    max: float
    """Greatest value, NaN left out; NaN if there is nothing else."""
    count: int  # type: ignore[assignment]  # shadows tuple.count, which nobody calls on a summary
    """Points logged, repeated ones included."""


class DatasetInput(NamedTuple):
    """A data set that a run read."""

    name: str
    digest: str
    context: str | None
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class RunRow:
    """Everything that a search needs to know of a run."""

    info: RunInfo
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, MetricSummary] = field(default_factory=dict)
    datasets: tuple[DatasetInput, ...] = ()

    def to_run(self) -> Run:
        """Return the row as the `Run` that users see."""
        return Run(self.info, RunData({k: m.value for k, m in self.metrics.items()}, self.params, self.tags))
