"""What the library says of a store, in the words of the independent reader: the two must agree on every store."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.independent.reader import read_store
from tests.independent.runs import run_key
from tests.independent.words import to_json

from localtrack import Store
from localtrack.types import Finding, LoggedModel, ViewType

# What a reader of format 1 may leave to `localtrack check`: a "should" of FORMAT.md.
LEFT_TO_CHECK = {"artifact", "other", "empty", "same_name", "pack"}


def read_with_library(root: Path) -> dict[str, Any]:
    """Say in the words of the independent reader what the library says of a store."""
    with Store.open(str(root), create=False) as store:
        rows = store.search_runs(run_view_type=ViewType.ALL, max_results=50_000)
        experiments = store.list_experiments(view_type=ViewType.ALL)
        with _warned() as findings:
            runs = {row.info.run_id: _run(store, row) for row in rows}
        findings |= {finding.key for finding in [*rows.findings, *store.experiment_findings]}
        for run in runs:
            findings |= {finding.key for finding in store.describe_run(run).findings}
        model_findings: list[Finding] = []
        listed = store.list_logged_models(view_type=ViewType.ALL, findings=model_findings)
        models = {model.model_id: _model(store, model) for model in sorted(listed, key=lambda it: it.model_id)}
        findings |= {finding.key for finding in model_findings}
        return ({"models": models} if models else {}) | {
            "store": store.store_id,
            "experiments": {
                experiment.experiment_id: {
                    "name": experiment.name,
                    "lifecycle": experiment.lifecycle_stage,
                    "tags": dict(sorted(experiment.tags.items())),
                    "creation_ms": experiment.creation_time,
                    "last_update_ms": experiment.last_update_time,
                }
                for experiment in sorted(experiments, key=lambda it: it.experiment_id)
            },
            "runs": dict(sorted(runs.items())),
            "findings": sorted(findings),
        }


@contextmanager
def _warned() -> Iterator[set[str]]:
    """Give the keys of the files that warnings name."""
    keys: set[str] = set()

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if isinstance(record.args, tuple) and record.args:
                keys.add(str(record.args[0]))

    collector, logger = Collector(), logging.getLogger("localtrack")
    logger.addHandler(collector)
    try:
        yield keys
    finally:
        logger.removeHandler(collector)


def _run(store: Store, row: Any) -> dict[str, Any]:
    info = row.info
    history = store.metric_history(info.run_id).to_pylist()
    points = [[it["key"], it["timestamp_ms"], it["step"], to_json(it["value"])] for it in history]
    points.sort(key=lambda point: point[0])  # the order of history is asked for, that of keys is not
    return {
        "experiment_id": info.experiment_id,
        "name": info.run_name,
        "user": info.user_id,
        "status": info.status,
        "start_ms": info.start_time,
        "end_ms": info.end_time,
        "params": dict(sorted(row.params.items())),
        "tags": dict(sorted(row.tags.items())),
        "artifacts": _artifacts(store, info.run_id, ""),
        "lifecycle": info.lifecycle_stage,
        "points": points,
        "last": {
            key: [to_json(metric.value), metric.step, metric.timestamp] for key, metric in sorted(row.metrics.items())
        },
        **_links(row),
    }


def _links(row: Any) -> dict[str, Any]:
    """What a run reads and makes; what it has none of is left out."""
    links = {
        "datasets": [it.dataset.to_dictionary() | {"tags": dict(it.tags)} for it in row.datasets],
        "model_inputs": [it.model_id for it in row.model_inputs],
        "model_outputs": [[it.model_id, it.step] for it in row.model_outputs],
    }
    return {name: found for name, found in links.items() if found}


def _model(store: Store, model: LoggedModel) -> dict[str, Any]:
    assert store.get_logged_model(model.model_id, allow_deleted=True) == model
    metrics = [
        [
            it.key,
            it.timestamp,
            it.step,
            to_json(it.value),
            it.run_id,
            None if it.dataset_name is None else [it.dataset_name, it.dataset_digest],
        ]
        for it in model.metrics
    ]
    return {
        "experiment_id": model.experiment_id,
        "name": model.name,
        "source_run": model.source_run_id,
        "model_type": model.model_type,
        "status": model.status.value,
        "status_message": model.status_message,
        "created_ms": model.creation_timestamp,
        "updated_ms": model.last_updated_timestamp,
        "params": dict(sorted(model.params.items())),
        "tags": dict(sorted(model.tags.items())),
        "artifacts": _files_below(Path(model.artifact_location)),
        "lifecycle": model.lifecycle_stage,
        "metrics": sorted(metrics, key=repr),
    }


def _files_below(root: Path) -> dict[str, int]:
    return {
        path.relative_to(root).as_posix(): path.stat().st_size for path in sorted(root.rglob("*")) if path.is_file()
    }


def _artifacts(store: Store, run: str, path: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in store.list_artifacts(run, path or None):
        found |= _artifacts(store, run, entry.path) if entry.is_dir else {entry.path: entry.file_size or 0}
    return found


def scope(key: str) -> str:
    """Return what of a store a finding is about: a run, a model, or a file outside of all of these."""
    parts = key.split("/")
    return "/".join(parts[:3]) if parts[0] in ("runs", "models") else key


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Hold two readings against each other, but for their findings; -0.0 is not 0.0."""
    found, expected = (json.loads(json.dumps(it | {"findings": []}, allow_nan=False)) for it in (found, expected))
    assert found == expected
    for run in (run for it in (found, expected) for run in it["runs"].values()):
        run["points"].sort(key=repr)  # which of two zeros goes first is not said
    assert json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)


def assert_agreement(root: Path) -> dict[str, Any]:
    """Hold the library against the independent reader on one store, and return what the library says.

    Raises:
        AssertionError: They differ in an experiment or a run, or the library does not report what it must.
        Refused: The independent reader may not read the store.
    """
    expected = read_store(root)
    said = found = read_with_library(root)
    must = {scope(key) for key, kind in expected["findings"] if kind not in LEFT_TO_CHECK}
    may = {scope(key) for key, _ in expected["findings"]}
    reported = {scope(key) for key in found["findings"]}
    for run in expected["runs"].keys() & found["runs"].keys():
        if run_key(run) in may:  # a fold may know of points that are damaged or missing now (6.5)
            found = found | {"runs": found["runs"] | {run: {**found["runs"][run]}}}
            del expected["runs"][run]["last"], found["runs"][run]["last"]
    assert_same(found, expected)
    assert must <= reported, "not reported"
    assert reported <= may, "reported without a reason"
    return said
