"""What every source gives: experiments, and runs with everything that was logged to them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from localtrack.errors import InvalidInputError
from localtrack.format.modellog import ModelMetric
from localtrack.importing.report import Findings
from localtrack.types import STATUSES, LoggedModelStatus

FROM: Final = "mlflow"
"""The program whose data is read, as records in the store name it."""

_STATUS_NUMBERS: Final = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
"""Source: `RunStatus` in MLflow's `service.proto`; its file backend writes the number."""


class SourcePoints(NamedTuple):
    """Points of one metric, a column each, in the order of the source."""

    key: str
    timestamp_ms: array[int]
    step: array[int]
    value: array[float]


@dataclass(slots=True)
class SourceExperiment:
    """An experiment as the source has it."""

    source_id: str
    name: str
    created_ms: int | None
    updated_ms: int | None
    is_deleted: bool
    tags: dict[str, str]
    run_keys: list[str]
    """What `Source.read_run` takes, in the order in which runs are brought."""
    model_keys: list[str]
    """What `Source.read_model` takes."""
    findings: Findings
    are_tags_whole: bool = True
    """False: tags could not all be read, so that one that is missing may still be there."""

    @property
    def mark(self) -> str:
        """What marks edits that come from it. FORMAT.md section 9.2."""
        return f"{FROM}:{self.source_id}:{self.created_ms}"


@dataclass(slots=True)
class SourceRun:
    """A run as the source has it; points and artifacts are read when they are asked for."""

    run_id: str
    findings: Findings
    user: str = ""
    status: str = "RUNNING"
    start_ms: int | None = None
    end_ms: int | None = None
    is_deleted: bool = False
    deleted_ms: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    are_tags_whole: bool = True
    """False: tags could not all be read, so that one that is missing may still be there."""
    datasets: list[dict[str, Any]] = field(default_factory=list)
    """What it read, as payloads of `dataset` records. FORMAT.md section 6.2."""
    model_inputs: list[str] = field(default_factory=list)
    model_outputs: list[tuple[str, int]] = field(default_factory=list)
    """Logged models that it made, each with its step."""
    artifact_folders: list[str] = field(default_factory=list)
    """Where its artifacts may lie: paths and URIs, the likeliest first."""
    has_artifacts: bool = False
    """True: something says that there are artifacts, so that none found means that they are missing."""
    iter_points: Callable[[], Iterator[SourcePoints]] = lambda: iter(())
    """The blocks of one metric come one after the other."""


@dataclass(slots=True)
class SourceModel:
    """A logged model as the source has it."""

    model_id: str
    findings: Findings
    name: str = ""
    model_type: str | None = None
    source_run: str | None = None
    status: str = "PENDING"
    status_message: str | None = None
    created_ms: int | None = None
    updated_ms: int | None = None
    is_deleted: bool = False
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    are_tags_whole: bool = True
    metrics: list[ModelMetric] = field(default_factory=list)
    artifact_folders: list[str] = field(default_factory=list)
    """Where its artifacts may lie: paths and URIs, the likeliest first."""


class Source(Protocol):
    """Something to import from. Reading never changes it, and never raises for what is damaged in it."""

    uri: str
    path: str
    """Where it lies on this machine."""
    findings: Findings
    """About the source as a whole."""
    base_folders: list[str]
    """Folders that relative artifact locations may be relative to."""

    def list_experiments(self) -> list[SourceExperiment]:
        """Return all experiments, deleted ones too."""
        ...

    def run_id(self, run_key: str) -> str:
        """Return the id of a run, without reading it."""
        ...

    def read_run(self, run_key: str) -> SourceRun:
        """Return a run."""
        ...

    def read_model(self, model_key: str) -> SourceModel:
        """Return a logged model."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


def to_model_status(value: Any, findings: Findings) -> str:
    """Return the status of a logged model as text; what is none is reported, and the model counts as not finished."""
    try:
        return (LoggedModelStatus.from_int(value) if type(value) is int else LoggedModelStatus.parse(value)).value
    except InvalidInputError:
        findings.note("", f"{value!r} is not a status of a model; PENDING is taken instead")
        return LoggedModelStatus.PENDING.value


def to_dataset(fields: Mapping[str, Any], tags: Any, name: str, findings: Findings) -> dict[str, Any] | None:
    """Return the payload of a `dataset` record; None, reported, if it has no name and digest as texts.

    Args:
        fields: `name`, `digest`, `source_type`, `source`, `schema`, `profile`.
        tags: What the run said of it.
        name: What it is called in findings.
        findings: Where problems are reported.
    """
    payload: dict[str, Any] = {key: fields.get(key) for key in ("name", "digest", "source_type", "source")}
    if not isinstance(payload["name"], str) or not isinstance(payload["digest"], str):
        findings.note(name, f"it is no data set: its name is {payload['name']!r}, its digest {payload['digest']!r}")
        return None
    for key in ("source_type", "source"):
        payload[key] = "" if payload[key] is None else str(payload[key])
    for key in ("schema", "profile"):
        payload[key] = None if fields.get(key) is None else str(fields[key])
    pairs = tags.items() if isinstance(tags, dict) else ()
    payload["tags"] = {str(key): str(value) for key, value in pairs if value is not None}
    return payload


def to_status(value: Any, findings: Findings) -> str:
    """Return a status as text; what is none is reported, and the run counts as not ended."""
    if value is None:
        return "RUNNING"
    status = _STATUS_NUMBERS.get(value) if type(value) is int else value
    if status in STATUSES:
        return str(status)
    findings.note("", f"{value!r} is not a status; RUNNING is taken instead")
    return "RUNNING"


def to_time_ms(value: Any, name: str, findings: Findings) -> int | None:
    """Return a time in milliseconds; what is none is reported, and is not known."""
    if value is None or (type(value) is int and -(2**63) <= value < 2**63):
        return value
    findings.note("", f"{name} is {value!r}, which is not a time in milliseconds")
    return None


def add_old_source_tags(tags: dict[str, str], info: dict[str, Any]) -> None:
    """Add as tags what MLflow before 1.0 kept in fields of the run.

    Source: `mlflow/utils/mlflow_tags.py`, the tags that took their place.
    """
    for name, key in _OLD_FIELDS.items():
        value = info.get(name)
        if isinstance(value, str) and value and value != "UNKNOWN":
            tags.setdefault(key, value)
    # Type 4 (LOCAL) stands in every run of the file backend and says nothing; a name says that the run is an old one.
    if info.get("source_name") and type(info.get("source_type")) is int:
        kind = _SOURCE_TYPES.get(info["source_type"])
        if kind is not None:
            tags.setdefault("mlflow.source.type", kind)


_OLD_FIELDS: Final = {
    "source_name": "mlflow.source.name",
    "source_version": "mlflow.source.git.commit",
    "entry_point_name": "mlflow.project.entryPoint",
}
_SOURCE_TYPES: Final = {1: "NOTEBOOK", 2: "JOB", 3: "PROJECT", 4: "LOCAL"}
"""Source: `SourceType` in MLflow's `service.proto`."""
