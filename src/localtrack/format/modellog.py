"""The logs of one logged model: what each says, and what they say together. FORMAT.md sections 6.6 and 12."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from localtrack.format.jsonlines import decode_value, encode_value
from localtrack.format.lines import MODEL, Lines
from localtrack.format.state_records import (
    SHARED_SHAPES,
    Change,
    FolderState,
    Shape,
    StateLog,
    order_logs,
    read_header,
    take_change,
)
from localtrack.types import LoggedModelStatus


class ModelMetric(NamedTuple):
    """One metric of a logged model."""

    key: str
    value: float
    timestamp_ms: int
    step: int
    run_id: str | None
    dataset: tuple[str, str] | None
    """Name and digest."""

    def identity(self) -> tuple[Any, ...]:
        """Return what two metrics that are one have alike: the same bits as value, NaN like NaN."""
        bits = b"NaN" if self.value != self.value else struct.pack("<d", self.value)
        return self.key, bits, self.timestamp_ms, self.step, self.run_id, self.dataset

    def order(self) -> tuple[Any, ...]:
        """Return the place of a metric among those of its model."""
        value = (self.value != self.value, 0.0 if self.value != self.value else self.value, repr(self.value))
        return self.key, self.timestamp_ms, self.step, self.run_id or "", self.dataset or ("", ""), value


@dataclass(slots=True, kw_only=True)
class ModelState(FolderState):
    """What the records of a logged model's logs add up to."""

    model_id: str
    created_ms: int
    updated_ms: int
    """Of the creation, or what came with the highest change of the status."""
    name: str = ""
    source_run: str | None = None
    model_type: str | None = None
    status: str = LoggedModelStatus.PENDING.value
    status_message: str | None = None
    metrics: list[ModelMetric] = field(default_factory=list)
    """Each once, in their order."""


def read_model_log(data: bytes, *, writer: str) -> StateLog | Lines:
    """Return what a model log says, or, if it has no sound header, only its lines with the problems.

    Args:
        data: The bytes of the log.
        writer: What the file's name says.
    """
    lines = read_header(data, MODEL, entity="model", writer=writer)
    if lines.header is None:
        return lines
    log = StateLog(writer, lines.header, lines, problems=lines.problems)
    log.greatest_stamp = max(lines.header["stamp"], lines.closed_stamp)
    for index, record in enumerate(lines.records):
        take_change(log, index, record, MODEL_SHAPES)
    return log


def fold_model(logs: Iterable[StateLog]) -> ModelState:
    """Return the state of a logged model from its logs, of which there must be one, in whichever order they come."""
    ordered = order_logs(logs, creation_kind="model")
    header, base_ms = ordered.owner.header, ordered.logs[0].header["base_ms"]
    state = ModelState(
        model_id=header["model"],
        experiment_id=header["experiment_id"],
        experiment_name=header["experiment_name"],
        generation=header["generation"],
        created_ms=base_ms,
        updated_ms=base_ms,
        greatest_stamp=ordered.greatest_stamp,
    )
    if ordered.creation is None:
        state.problems.append("the record of its creation is missing")
    else:
        creation = ordered.creation.payload
        state.name, state.status = creation["name"], creation["status"]
        state.source_run, state.model_type = creation.get("source_run"), creation.get("model_type")
        state.created_ms = state.updated_ms = creation["created_ms"]
    metrics: dict[tuple[Any, ...], ModelMetric] = {}
    for change in ordered.changes:
        _apply(state, change, metrics)
    state.metrics = sorted(metrics.values(), key=ModelMetric.order)
    return state


def encode_metric(metric: ModelMetric) -> dict[str, Any]:
    """Return the payload of a `metric` record."""
    return {
        "key": metric.key,
        "value": encode_value(metric.value),
        "step": metric.step,
        "timestamp_ms": metric.timestamp_ms,
        "run": metric.run_id,
        "dataset": None if metric.dataset is None else list(metric.dataset),
    }


def _parse_metric(payload: dict[str, Any]) -> ModelMetric:
    dataset = payload.get("dataset")
    return ModelMetric(
        payload["key"],
        decode_value(payload["value"]),
        payload["timestamp_ms"],
        payload["step"],
        payload.get("run"),
        None if dataset is None else (dataset[0], dataset[1]),
    )


def _apply(state: ModelState, change: Change, metrics: dict[tuple[Any, ...], ModelMetric]) -> None:
    payload = change.payload
    if state.apply_shared(change):
        return
    if change.kind == "info":
        state.status = payload.get("status", state.status)
        state.status_message = payload.get("status_message", state.status_message)
        state.updated_ms = payload.get("updated_ms", state.updated_ms)
    elif change.kind == "metric":
        metric = _parse_metric(payload)
        metrics.setdefault(metric.identity(), metric)


def _is_text_or_none(value: object) -> bool:
    return value is None or type(value) is str


def _is_sound_model(payload: dict[str, Any]) -> bool:
    return (
        type(payload.get("name")) is str
        and _is_text_or_none(payload.get("source_run"))
        and _is_text_or_none(payload.get("model_type"))
        and payload.get("status") in _STATUSES
        and type(payload.get("created_ms")) is int
    )


def _is_sound_info(payload: dict[str, Any]) -> bool:
    return (
        ("status" not in payload or payload["status"] in _STATUSES)
        and _is_text_or_none(payload.get("status_message"))
        and ("updated_ms" not in payload or type(payload["updated_ms"]) is int)
    )


def _is_sound_metric(payload: dict[str, Any]) -> bool:
    dataset = payload.get("dataset")
    try:
        decode_value(payload.get("value"))
    except ValueError:
        return False
    return (
        type(payload.get("key")) is str
        and type(payload.get("step")) is int
        and type(payload.get("timestamp_ms")) is int
        and _is_text_or_none(payload.get("run"))
        and (dataset is None or (type(dataset) is list and list(map(type, dataset)) == [str, str]))
    )


_STATUSES: Final = tuple(status.value for status in LoggedModelStatus)
MODEL_SHAPES: Final[Mapping[str, Shape]] = {
    **SHARED_SHAPES,
    "model": _is_sound_model,
    "info": _is_sound_info,
    "metric": _is_sound_metric,
}
