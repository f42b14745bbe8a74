"""What localtrack hands out: experiments, runs, metrics, in MLflow's words. Plain frozen data, without I/O."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

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
    model_id: str | None = None
    """The logged model that it was measured on."""
    dataset_name: str | None = None
    """With `dataset_digest` the data set that it was measured on. Kept together with `model_id` only, as in MLflow."""
    dataset_digest: str | None = None
    run_id: str | None = None
    """Where a point stands alone: the run that it was logged in."""


LoggedModelMetric: TypeAlias = Metric
"""A metric of a logged model is one that says so: `model_id`, `run_id` and, if it was given, the data set."""


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


class InputTag(NamedTuple):
    """What a run says of a data set that it read, such as what for."""

    key: str
    value: str


DATASET_CONTEXT_TAG: Final = "mlflow.data.context"
"""The input tag that says what a data set was read for: `training`, `eval`."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a data set is, apart from its data. Name and digest tell it from others."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None

    def to_dictionary(self) -> dict[str, Any]:
        """Return the data set as a plain dict."""
        return {name: getattr(self, name) for name in Dataset.__slots__}


@dataclass(frozen=True, slots=True)
class DatasetInput:
    """A data set that a run read."""

    dataset: Dataset
    tags: tuple[InputTag, ...] = ()

    @property
    def context(self) -> str | None:
        """What it was read for, if the run says so."""
        return next((tag.value for tag in self.tags if tag.key == DATASET_CONTEXT_TAG), None)

    def to_dictionary(self) -> dict[str, Any]:
        """Return the input as nested plain dicts."""
        return {"dataset": self.dataset.to_dictionary(), "tags": {tag.key: tag.value for tag in self.tags}}


@dataclass(frozen=True, slots=True)
class LoggedModelInput:
    """A logged model that a run used."""

    model_id: str


@dataclass(frozen=True, slots=True)
class LoggedModelOutput:
    """A logged model that a run made."""

    model_id: str
    step: int = 0

    def to_dictionary(self) -> dict[str, Any]:
        """Return the output as a plain dict."""
        return {"model_id": self.model_id, "step": self.step}


@dataclass(frozen=True, slots=True)
class RunInputs:
    """What a run read."""

    dataset_inputs: tuple[DatasetInput, ...] = ()
    model_inputs: tuple[LoggedModelInput, ...] = ()

    def to_dictionary(self) -> dict[str, Any]:
        """Return the inputs as nested plain dicts, model inputs as they are, as in MLflow."""
        return {
            "model_inputs": list(self.model_inputs),
            "dataset_inputs": [dataset_input.to_dictionary() for dataset_input in self.dataset_inputs],
        }


@dataclass(frozen=True, slots=True)
class RunOutputs:
    """What a run made."""

    model_outputs: tuple[LoggedModelOutput, ...] = ()

    def to_dictionary(self) -> dict[str, Any]:
        """Return the outputs as nested plain dicts."""
        return {"model_outputs": [output.to_dictionary() for output in self.model_outputs]}


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it was when it was read."""

    info: RunInfo
    data: RunData
    inputs: RunInputs = RunInputs()
    outputs: RunOutputs = RunOutputs()

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
            "inputs": self.inputs.to_dictionary(),
            "outputs": self.outputs.to_dictionary(),
        }


class LoggedModelStatus(enum.StrEnum):
    """How far a logged model is: MLflow's names and numbers."""

    UNSPECIFIED = "UNSPECIFIED"
    PENDING = "PENDING"
    READY = "READY"
    FAILED = "FAILED"

    @staticmethod
    def is_finalized(status: str) -> bool:
        """Return whether a model of this status changes its status no more."""
        return status in (LoggedModelStatus.READY, LoggedModelStatus.FAILED)

    def to_int(self) -> int:
        """Return MLflow's number of the status."""
        return list(LoggedModelStatus).index(self)

    @classmethod
    def from_int(cls, number: int) -> LoggedModelStatus:
        """Return the status of one of MLflow's numbers, else raise `InvalidInputError`."""
        if not 0 <= number < len(cls):
            raise InvalidInputError(f"Unknown model status: {number}", hint="Use 0 to 3.")
        return list(cls)[number]

    @classmethod
    def parse(cls, status: object) -> LoggedModelStatus:
        """Return the status of a name, an older name of a failure, or an object with a `value`; else raise.

        Raises:
            InvalidInputError: There is no such status.
        """
        name = getattr(status, "value", status)
        if name == "UPLOAD_FAILED":  # what the REST API calls it
            return cls.FAILED
        try:
            return cls(str(name))
        except ValueError:
            raise InvalidInputError(
                f"{str(name)[:40]!r} is not a status of a logged model.", hint=f"Use one of {', '.join(cls)}."
            ) from None


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A model that was logged to an experiment, as it was when it was read."""

    experiment_id: str
    model_id: str
    name: str
    artifact_location: str
    creation_timestamp: int
    """Milliseconds since 1970, UTC."""
    last_updated_timestamp: int
    """Milliseconds since 1970, UTC: of the creation, the last change of status, deletion or restoring."""
    model_type: str | None = None
    source_run_id: str | None = None
    status: LoggedModelStatus = LoggedModelStatus.READY
    status_message: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[LoggedModelMetric, ...] = ()
    """Every metric logged for it, each once, by key, timestamp, step, run and data set."""
    lifecycle_stage: LifecycleStage = "active"

    @property
    def model_uri(self) -> str:
        """What `load_model` takes."""
        return f"models:/{self.model_id}"

    def to_dictionary(self) -> dict[str, Any]:
        """Return the model as a plain dict with MLflow's keys, the status as MLflow's number, None for no metrics."""
        values = {name: getattr(self, name) for name in sorted(LoggedModel.__slots__) if name != "lifecycle_stage"}
        mappings = {"tags": dict(self.tags), "params": dict(self.params), "metrics": list(self.metrics) or None}
        return values | mappings | {"status": self.status.to_int()}


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


@dataclass(frozen=True, slots=True)
class RunRow:
    """Everything that a search needs to know of a run."""

    info: RunInfo
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, MetricSummary] = field(default_factory=dict)
    datasets: tuple[DatasetInput, ...] = ()
    """Each (name, digest) once, in the order in which they were first logged."""
    model_inputs: tuple[LoggedModelInput, ...] = ()
    model_outputs: tuple[LoggedModelOutput, ...] = ()

    def to_run(self) -> Run:
        """Return the row as the `Run` that users see."""
        return Run(
            self.info,
            RunData({k: m.value for k, m in self.metrics.items()}, self.params, self.tags),
            RunInputs(self.datasets, self.model_inputs),
            RunOutputs(self.model_outputs),
        )
