"""Data sets, inputs, outputs and logged models in MLflow's SQLite databases.

Source: `SqlAlchemyStore.log_inputs`, `log_outputs` and `create_logged_model` of MLflow 3.17.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from localtrack.errors import InvalidInputError
from localtrack.format.modellog import ModelMetric
from localtrack.format.names import validate_key
from localtrack.importing.report import Findings
from localtrack.importing.source import SourceModel, SourceRun, to_dataset, to_model_status, to_time_ms

Rows = list[dict[str, Any]]
Read = Callable[[str, tuple[str, ...], str, tuple[Any, ...], Findings], Rows]
"""Gives rows: table, columns, condition, its values, where problems are reported."""

_LARGEST: Final = sys.float_info.max
"""MLflow stores this for infinity, since MySQL has none: `SqlAlchemyStore.sanitize_metric_value`."""
_DATASET_COLUMNS: Final = {
    "name": "name",
    "digest": "digest",
    "dataset_source_type": "source_type",
    "dataset_source": "source",
    "dataset_schema": "schema",
    "dataset_profile": "profile",
}


def restore_infinity(value: float) -> float:
    """Return a value as it was logged."""
    if value in (_LARGEST, -_LARGEST):
        return float("inf") if value > 0 else float("-inf")
    return value


def read_inputs(read: Read, run: SourceRun) -> None:
    """Read what a run read and made."""
    wanted = ("input_uuid", "source_type", "source_id", "destination_type", "destination_id", "step")
    findings, run_id = run.findings, run.run_id
    where = "(destination_id = ? OR source_id = ?) ORDER BY input_uuid"
    for row in read("inputs", wanted, where, (run_id, run_id), findings):
        kind = row["source_type"], row["destination_type"]
        if kind == ("DATASET", "RUN") and row["destination_id"] == run_id:
            _read_dataset(read, run, row)
        elif kind == ("RUN_INPUT", "MODEL_INPUT") and isinstance(row["destination_id"], str):
            run.model_inputs.append(row["destination_id"])
        elif kind == ("RUN_OUTPUT", "MODEL_OUTPUT") and isinstance(row["destination_id"], str):
            step = row.get("step", 0)
            run.model_outputs.append((row["destination_id"], step if type(step) is int else 0))


def _read_dataset(read: Read, run: SourceRun, row: dict[str, Any]) -> None:
    name = f"datasets/{row['source_id']}"
    rows = read("datasets", tuple(_DATASET_COLUMNS), "dataset_uuid = ?", (row["source_id"],), run.findings)
    if not rows:
        run.findings.note(name, "the run read it, and it is not there")
        return
    tags = read("input_tags", ("name", "value"), "input_uuid = ?", (row["input_uuid"],), run.findings)
    fields = {ours: rows[0].get(theirs) for theirs, ours in _DATASET_COLUMNS.items()}
    dataset = to_dataset(fields, {tag["name"]: tag["value"] for tag in tags}, name, run.findings)
    if dataset is not None:
        run.datasets.append(dataset)


def list_models(read: Read, experiment_id: Any, findings: Findings) -> list[str]:
    """Return the ids of the logged models of an experiment."""
    rows = read("logged_models", ("model_id",), "experiment_id IS ? ORDER BY model_id", (experiment_id,), findings)
    return [row["model_id"] for row in rows if isinstance(row["model_id"], str)]


def read_model(read: Read, model_id: str) -> SourceModel:
    """Return a logged model."""
    findings = Findings(f"models/{model_id}")
    model = SourceModel(model_id, findings, name=model_id)
    wanted = (
        "name",
        "artifact_location",
        "creation_timestamp_ms",
        "last_updated_timestamp_ms",
        "status",
        "lifecycle_stage",
        "model_type",
        "source_run_id",
        "status_message",
    )
    rows = read("logged_models", wanted, "model_id = ?", (model_id,), findings)
    row = rows[0] if rows else {}
    model.name = row["name"] if isinstance(row.get("name"), str) and row["name"] else model_id
    for ours, theirs in (("model_type", "model_type"), ("source_run", "source_run_id"), ("status_message",) * 2):
        setattr(model, ours, row[theirs] if isinstance(row.get(theirs), str) else None)
    model.status = to_model_status(row["status"], findings) if "status" in row else model.status
    model.created_ms = to_time_ms(row.get("creation_timestamp_ms"), "creation_timestamp_ms", findings)
    model.updated_ms = to_time_ms(row.get("last_updated_timestamp_ms"), "last_updated_timestamp_ms", findings)
    model.is_deleted = row.get("lifecycle_stage") == "deleted"
    if isinstance(row.get("artifact_location"), str):
        model.artifact_folders.append(row["artifact_location"])
    model.params, _ = _read_values(read, "param", model_id, findings)
    model.tags, model.are_tags_whole = _read_values(read, "tag", model_id, findings)
    model.metrics = _read_metrics(read, model_id, findings)
    return model


def _read_values(read: Read, kind: str, model_id: str, findings: Findings) -> tuple[dict[str, str], bool]:
    table, problems_before = f"logged_model_{kind}s", len(findings.found)
    values: dict[str, str] = {}
    for row in read(table, (f"{kind}_key", f"{kind}_value"), "model_id = ?", (model_id,), findings):
        key, value = row[f"{kind}_key"], row[f"{kind}_value"]
        try:
            key = validate_key(key, kind)
        except InvalidInputError as error:
            findings.note(table, error.message.rstrip("."))
            continue
        if isinstance(value, str):
            values[key] = value
        else:
            findings.note(f"{table}/{key}", "its value is not text in UTF-8")
    return values, len(findings.found) == problems_before


def _read_metrics(read: Read, model_id: str, findings: Findings) -> list[ModelMetric]:
    wanted = (
        "metric_name",
        "metric_value",
        "metric_timestamp_ms",
        "metric_step",
        "run_id",
        "dataset_name",
        "dataset_digest",
    )
    found: list[ModelMetric] = []
    for row in read("logged_model_metrics", wanted, "model_id = ? ORDER BY rowid", (model_id,), findings):
        key, value, time_ms, step = (row[name] for name in wanted[:4])
        try:
            validate_key(key, "metric")
        except InvalidInputError as error:
            findings.note("metrics", error.message.rstrip("."))
            continue
        if type(value) not in (float, int) or type(time_ms) is not int or type(step) is not int:
            findings.note(f"metrics/{key}", f"it has a row that is no metric: {value!r} at {time_ms!r}, step {step!r}")
            continue
        name, digest = row.get("dataset_name"), row.get("dataset_digest")
        dataset = (name, digest) if isinstance(name, str) and isinstance(digest, str) else None
        run_id = row["run_id"] if isinstance(row.get("run_id"), str) else None
        found.append(ModelMetric(key, restore_infinity(float(value)), time_ms, step, run_id, dataset))
    return found
