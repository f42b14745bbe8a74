"""Data sets, inputs, outputs and logged models in MLflow's file backend.

Source: `FileStore.log_inputs`, `log_outputs` and `create_logged_model` of MLflow 3.17.
"""

from __future__ import annotations

import os
from typing import Any

from localtrack.errors import InvalidInputError
from localtrack.format.modellog import ModelMetric
from localtrack.format.names import validate_key
from localtrack.importing.meta_files import META_FILE, printable_name, read_meta, read_values, walk_keys
from localtrack.importing.report import Findings
from localtrack.importing.source import SourceModel, SourceRun, to_dataset, to_model_status, to_time_ms


def read_inputs(run: SourceRun, folder: str, experiment_folder: str) -> None:
    """Read what a run read and made.

    Args:
        run: Where it is added.
        folder: The run's.
        experiment_folder: The experiment's, in which data sets lie.
    """
    for name in _list_folders(os.path.join(folder, "inputs"), "inputs", run.findings):
        shown = f"inputs/{printable_name(name)}/{META_FILE}"
        meta = read_meta(os.path.join(folder, "inputs", name), shown, run.findings)
        source_id = None if meta is None else meta.get("source_id")
        if meta is None or not isinstance(source_id, str):
            continue
        if meta.get("source_type") == "MODEL":
            run.model_inputs.append(source_id)
            continue
        place = os.path.join("datasets", source_id)
        fields = read_meta(os.path.join(experiment_folder, place), f"{shown}: {place}", run.findings)
        dataset = None if fields is None else to_dataset(fields, meta.get("tags"), shown, run.findings)
        if dataset is not None:
            run.datasets.append(dataset)
    for name in _list_folders(os.path.join(folder, "outputs"), "outputs", run.findings):
        shown = f"outputs/{printable_name(name)}/{META_FILE}"
        meta = read_meta(os.path.join(folder, "outputs", name), shown, run.findings)
        if meta is None:
            continue
        model_id, step = meta.get("destination_id", name), meta.get("step", 0)
        if isinstance(model_id, str) and type(step) is int:
            run.model_outputs.append((model_id, step))
        else:
            run.findings.note(shown, f"it names no model: {model_id!r} at step {step!r}")


def read_model(folder: str, findings: Findings) -> SourceModel:
    """Return the logged model in a folder."""
    model = SourceModel(os.path.basename(folder), findings)
    model.params, _ = read_values(os.path.join(folder, "params"), "param", "params", findings)
    model.tags, model.are_tags_whole = read_values(os.path.join(folder, "tags"), "tag", "tags", findings)
    meta = read_meta(folder, META_FILE, findings)
    if meta is None:
        findings.note("", "what it said is not known: the model counts as PENDING and has its id as name")
        model.are_tags_whole = False
    model.artifact_folders.append(os.path.join(folder, "artifacts"))
    _take_meta(model, meta or {})
    for path, key in walk_keys(os.path.join(folder, "metrics"), "metrics", findings):
        model.metrics += _read_metrics(path, key, f"metrics/{printable_name(key)}", findings)
    return model


def _take_meta(model: SourceModel, meta: dict[str, Any]) -> None:
    findings = model.findings
    if str(meta.get("model_id", model.model_id)) != model.model_id:
        findings.note(META_FILE, f"it says model_id {str(meta['model_id'])[:80]!r}; the folder counts")
    model.name = str(meta["name"]) if meta.get("name") else model.model_id
    for field in ("model_type", "status_message"):
        setattr(model, field, None if meta.get(field) is None else str(meta[field]))
    model.source_run = None if meta.get("source_run_id") is None else str(meta["source_run_id"])
    model.status = to_model_status(meta["status"], findings) if "status" in meta else model.status
    model.created_ms = to_time_ms(meta.get("creation_timestamp"), "creation_timestamp", findings)
    model.updated_ms = to_time_ms(meta.get("last_updated_timestamp"), "last_updated_timestamp", findings)
    model.is_deleted = meta.get("lifecycle_stage", "active") == "deleted"
    if isinstance(meta.get("artifact_location"), str):
        model.artifact_folders.append(meta["artifact_location"])


def _read_metrics(path: str, key: str, name: str, findings: Findings) -> list[ModelMetric]:
    """Return the metrics in a file: `timestamp value step run`, and perhaps the name and digest of a data set."""
    try:
        validate_key(key, "metric")
        with open(path, "rb") as file:
            data = file.read()
    except InvalidInputError as error:
        findings.note(name, error.message.rstrip("."))
        return []
    except OSError as error:
        findings.note(name, f"it cannot be read ({error.strerror})")
        return []
    found: list[ModelMetric] = []
    *lines, rest = data.split(b"\n")
    bad = [f"line {len(lines) + 1}: it is torn"] if rest.strip() else []
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            found.append(_parse_metric(key, line.decode().rstrip("\r")))
        except (ValueError, IndexError, OverflowError) as error:
            bad.append(f"line {number + 1}: {error}")
    if bad:
        findings.note(name, f"{len(bad)} of its lines are no metrics: {'; '.join(bad[:3])}")
    return found


def _parse_metric(key: str, line: str) -> ModelMetric:
    parts = line.split(" ")
    if len(parts) != 4 and len(parts) < 6:
        raise ValueError(f"it has {len(parts)} fields")
    timestamp_ms, step = int(parts[0]), int(parts[2])
    if not (-(2**63) <= timestamp_ms < 2**63 and -(2**63) <= step < 2**63):
        raise ValueError("a number is beyond 64 bits")
    dataset = (" ".join(parts[4:-1]), parts[-1]) if len(parts) >= 6 else None
    return ModelMetric(key, float(parts[1]), timestamp_ms, step, parts[3], dataset)


def _list_folders(folder: str, name: str, findings: Findings) -> list[str]:
    try:
        with os.scandir(folder) as listing:
            return sorted(item.name for item in listing if item.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        findings.note(name, f"it cannot be listed ({error.strerror})")
        return []
