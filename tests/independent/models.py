"""Logged models (4.3, 6.6, 12.3): what the logs in each folder say together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.independent.logs import MODEL_LOG_KIND, Log
from tests.independent.runs import (
    in_order,
    is_artifact,
    logs_at_home,
    model_key,
    read_artifacts,
    read_logs,
    settle_shared,
)
from tests.independent.words import Finding, to_float, to_json


@dataclass
class ModelFolder:
    """What was read of one folder."""

    key: str
    model: str | None = None
    """None: the folder holds no model that may be shown."""
    headers: list[dict[str, Any]] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    """Of each writer's log, up to its last line break."""


def read_model(store: Path, key: str) -> ModelFolder:
    """Read the model folder with this key."""
    result = ModelFolder(key)
    logs, others = read_logs(store / key, key=key, kind=MODEL_LOG_KIND)
    result.findings += [Finding(f"{key}/{name}", "other") for name in others if not is_artifact(name)]
    result.sizes = {writer: log.whole_bytes for writer, log in logs.items()}
    at_home, findings = logs_at_home(logs, key=key, key_of=lambda header: model_key(header["model"]), creation="model")
    result.findings += findings
    if not at_home:
        return result
    result.headers = [log.header for log in at_home.values() if log.header is not None]
    result.model = result.headers[0]["model"]
    result.state = _fold(at_home, key=key, findings=result.findings)
    result.state["artifacts"] = read_artifacts(store / key, at_home, key=key, findings=result.findings)
    return result


def describe_model(folder: ModelFolder, *, lifecycle: str, edited_ms: int | None) -> dict[str, Any]:
    """Return the model as plain JSON. `edited_ms`: of the highest edit that deletes or restores it."""
    updated_ms = max(folder.state["updated_ms"], edited_ms or 0, folder.state["created_ms"])
    return folder.state | {
        "experiment_id": folder.headers[0]["experiment_id"],
        "lifecycle": lifecycle,
        "updated_ms": updated_ms,
    }


def _fold(logs: dict[str, Log], *, key: str, findings: list[Finding]) -> dict[str, Any]:
    created: dict[str, Any] | None = None
    info: dict[str, Any] = {}
    metrics: dict[str, list[Any]] = {}
    records = in_order(logs)
    for type_, payload in records:
        if type_ == "model" and created is None:
            created = payload
        if type_ == "info":
            info |= {part: payload[part] for part in ("status", "status_message", "updated_ms") if part in payload}
        if type_ == "metric":
            metric = _metric(payload)
            metrics.setdefault(repr(metric), metric)
    if created is None:
        findings.append(Finding(key, "no_model"))
        least_ms = min(log.header["base_ms"] for log in logs.values() if log.header is not None)
        created = {"name": "", "status": "PENDING", "created_ms": least_ms}
    return {
        "name": created["name"],
        "source_run": created.get("source_run"),
        "model_type": created.get("model_type"),
        "status": info.get("status", created["status"]),
        "status_message": info.get("status_message"),
        "created_ms": created["created_ms"],
        "updated_ms": info.get("updated_ms", created["created_ms"]),
        **settle_shared(records, key=key, findings=findings),
        "metrics": sorted(metrics.values(), key=repr),
    }


def _metric(payload: dict[str, Any]) -> list[Any]:
    """Key, time, step, value, run, data set; as a float, since 1 and 1.0 are one value."""
    return [
        payload["key"],
        payload["timestamp_ms"],
        payload["step"],
        to_json(to_float(payload["value"])),
        payload.get("run"),
        payload.get("dataset"),
    ]
