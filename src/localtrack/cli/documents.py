"""What `--json` prints: documents with stable fields. Fields are added, never renamed or removed.

Times are milliseconds since 1970, UTC; what is not known is null; NaN and the infinities are strings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from localtrack.types import CheckFinding, Experiment, FileInfo, Finding, Liveness, LoggedModel, MetricSummary, RunRow

if TYPE_CHECKING:
    from localtrack.query.comparison import Comparison
    from localtrack.query.folders import Subfolder

FIELDS: Final[dict[str, str]] = {
    "init": "store, store_id, created",
    "runs": (
        "run_id, run_name, experiment_id, experiment_name, user, status, liveness, silent_since_ms, start_time_ms, "
        "end_time_ms, duration_ms, lifecycle_stage, artifact_uri, params, tags, metrics, datasets, "
        "model_inputs, model_outputs"
    ),
    "show": "the fields of runs, and artifacts, findings",
    "artifacts": "path, is_dir, size_bytes",
    "history": "key, step, timestamp_ms, value",
    "compare": "baseline, compared_runs, differing_params, same_params_count, compared_metrics",
    "sql": "the columns of the query",
    "experiments": (
        "experiment_id, name, lifecycle_stage, creation_time_ms, last_update_time_ms, artifact_location, tags"
    ),
    "models": (
        "model_id, name, experiment_id, status, status_message, model_type, source_run_id, creation_time_ms, "
        "last_update_time_ms, lifecycle_stage, artifact_location, params, tags, model_metrics"
    ),
    "merge": "destination, sources",
    "import": (
        "destination, dry_run, source, complete, experiments_added, experiments_extended, runs_added, runs_extended, "
        "runs_unchanged, runs_failed, models_added, models_extended, models_unchanged, models_failed, points_added, "
        "points_repeated, params_added, tags_changed, inputs_added, model_metrics_added, life_cycles_changed, "
        "artifacts_added, artifact_bytes, findings"
    ),
    "pull": (
        "destination, dry_run, source, complete, experiments_added, experiments_extended, runs_added, runs_extended, "
        "runs_unchanged, runs_failed, models_added, models_extended, models_unchanged, models_failed, points_added, "
        "points_repeated, params_added, tags_changed, inputs_added, model_metrics_added, life_cycles_changed, "
        "artifacts_added, artifact_bytes, findings"
    ),
    "sync": (
        "target, identity, dry_run, complete, failure, interrupted, runs, unchanged, skipped, experiments, losses, "
        "left_out, notes, points_sent, artifacts_sent, requests, sent_bytes, duration_s, plan"
    ),
    "seal": "sealed_count",
    "compact": "runs_written, runs_count, segments_count, bytes_count, notices_removed",
    "check": "store, is_sound, runs_count, files_count, bytes_count, findings, repaired",
    "quota": "store, target, asked, fits, notes, uses",
    "pack": "store, is_dry_run, runs_count, packs_written, files_removed, bytes_before, bytes_after, left",
    "unpack": "store, runs_count, files_written, packs_removed",
    "gc": "store, is_dry_run, runs_count, models_count, experiments_count, files_count, bytes_count, garbage, spared",
    "delete": "run_id, lifecycle_stage",
    "restore": "run_id, lifecycle_stage",
    "end": "run_id, status",
    "doctor": "place, medium, file_system, mount_point, is_safe, is_shared, capabilities, checks",
    "drain": "spool, store, files_waiting, bytes_waiting, files_moved, bytes_moved, error, findings",
    "unlock": "name, host, pid, boot, since_ms, state, removed",
    "env": "store, variables",
    "help": "topic, text",
    "version": "version, format, python, platform, packages",
}
"""Fields of each command's document, in order."""

LISTS: Final = frozenset(
    {"runs", "artifacts", "history", "sql", "experiments", "models", "delete", "restore", "end", "drain", "unlock"}
)
"""Commands that print one document a line."""

PARTS: Final[dict[str, str]] = {
    "metrics.<key>": "value, step, timestamp_ms, min, max, count",
    "artifacts[]": "path, is_dir, size_bytes",
    "sources[]": (
        "source, experiments_added, runs_added, runs_extended, runs_unchanged, models_added, models_extended, "
        "models_unchanged, files_copied, bytes_copied, findings"
    ),
    "uses[]": (
        "level, id, name, limit_name, used, there, limit, share, is_exceeded, action, per_day, reached_ms, source, "
        "as_of"
    ),
    "garbage[]": "kind, key, run_id, experiment_id, deleted_ms, files_count, bytes_count",
    "spared[]": "key, reason",
    "losses[]": "run_id, kind, what",
    "plan": "experiments, runs, new_runs, points, artifacts, claim_tags, requests, bytes, expected_s",
    "findings[]": "key, what, code, severity, invariant, remedy",
    "repaired[]": "key, what, code, severity, invariant, remedy",
    "datasets[]": "name, digest, context, source_type, source",
    "model_outputs[]": "model_id, step",
    "model_metrics[]": "key, value, step, timestamp_ms, run_id, dataset_name, dataset_digest",
    "checks[]": "name, verdict, text, figures",
    "compared_runs[]": "run_id, run_name, experiment_id, status",
    "differing_params[]": "key, values (by run id)",
    "compared_metrics[]": "key, direction, values (by run id), deltas (by run id), best (run ids)",
    "artifacts --to": "path (of the copy)",
    "experiments PATH": "first folder, experiments_count for each folder in it; then the experiments",
    "history --with": "step, elapsed_ms or timestamp_ms; then a field for each run id",
    "variables[]": "name, twin, source, value, counts, meaning",
}
"""Fields of what the documents hold."""


def run_document(
    row: RunRow, *, experiment_name: str | None, liveness: Liveness, silent_since_ms: int | None
) -> dict[str, Any]:
    """Return a run as a line of `localtrack runs --json`."""
    info = row.info
    return {
        "run_id": info.run_id,
        "run_name": info.run_name,
        "experiment_id": info.experiment_id,
        "experiment_name": experiment_name,
        "user": info.user_id,
        "status": info.status,
        "liveness": liveness,
        "silent_since_ms": silent_since_ms,
        "start_time_ms": info.start_time,
        "end_time_ms": info.end_time,
        "duration_ms": None if info.end_time is None else info.end_time - info.start_time,
        "lifecycle_stage": info.lifecycle_stage,
        "artifact_uri": info.artifact_uri,
        "params": dict(row.params),
        "tags": dict(row.tags),
        "metrics": {key: _metric_document(summary) for key, summary in row.metrics.items()},
        "datasets": [
            {
                "name": i.dataset.name,
                "digest": i.dataset.digest,
                "context": i.context,
                "source_type": i.dataset.source_type,
                "source": i.dataset.source,
            }
            for i in row.datasets
        ],
        "model_inputs": [model.model_id for model in row.model_inputs],
        "model_outputs": [output.to_dictionary() for output in row.model_outputs],
    }


def model_document(model: LoggedModel) -> dict[str, Any]:
    """Return a logged model as a line of `localtrack models --json`."""
    return {
        "model_id": model.model_id,
        "name": model.name,
        "experiment_id": model.experiment_id,
        "status": model.status.value,
        "status_message": model.status_message,
        "model_type": model.model_type,
        "source_run_id": model.source_run_id,
        "creation_time_ms": model.creation_timestamp,
        "last_update_time_ms": model.last_updated_timestamp,
        "lifecycle_stage": model.lifecycle_stage,
        "artifact_location": model.artifact_location,
        "params": dict(model.params),
        "tags": dict(model.tags),
        "model_metrics": [
            {
                "key": metric.key,
                "value": metric.value,
                "step": metric.step,
                "timestamp_ms": metric.timestamp,
                "run_id": metric.run_id,
                "dataset_name": metric.dataset_name,
                "dataset_digest": metric.dataset_digest,
            }
            for metric in model.metrics
        ],
    }


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as `localtrack compare --json` prints it."""
    ids = comparison.run_ids
    return {
        "baseline": ids[comparison.baseline],
        "compared_runs": [
            {
                "run_id": row.info.run_id,
                "run_name": row.info.run_name,
                "experiment_id": row.info.experiment_id,
                "status": row.info.status,
            }
            for row in comparison.runs
        ],
        "differing_params": [
            {"key": row.key, "values": dict(zip(ids, row.values, strict=True))} for row in comparison.params
        ],
        "same_params_count": comparison.same_params_count,
        "compared_metrics": [
            {
                "key": row.key,
                "direction": row.direction,
                "values": dict(zip(ids, row.values, strict=True)),
                "deltas": dict(zip(ids, row.deltas, strict=True)),
                "best": [run_id for run_id, is_best in zip(ids, row.best, strict=True) if is_best],
            }
            for row in comparison.metrics
        ],
    }


def experiment_document(experiment: Experiment) -> dict[str, Any]:
    """Return an experiment as a line of `localtrack experiments --json`."""
    return {
        "experiment_id": experiment.experiment_id,
        "name": experiment.name,
        "lifecycle_stage": experiment.lifecycle_stage,
        "creation_time_ms": experiment.creation_time,
        "last_update_time_ms": experiment.last_update_time,
        "artifact_location": experiment.artifact_location,
        "tags": dict(experiment.tags),
    }


def folder_document(folder: Subfolder) -> dict[str, Any]:
    """Return a folder as a line of `localtrack experiments PATH --json`."""
    return {"folder": folder.path, "experiments_count": folder.experiments_count}


def artifact_document(file: FileInfo) -> dict[str, Any]:
    """Return an artifact as it stands in `localtrack show --json`."""
    return {"path": file.path, "is_dir": file.is_dir, "size_bytes": file.file_size}


def finding_document(finding: Finding) -> dict[str, Any]:
    """Return a finding as it stands in `localtrack show --json`."""
    invariant, remedy = (finding.invariant, finding.remedy) if isinstance(finding, CheckFinding) else (None, None)
    return {
        "key": finding.key,
        "what": finding.what,
        "code": finding.code,
        "severity": finding.severity,
        "invariant": invariant,
        "remedy": remedy,
    }


def _metric_document(summary: MetricSummary) -> dict[str, Any]:
    return {
        "value": summary.value,
        "step": summary.step,
        "timestamp_ms": summary.timestamp,
        "min": summary.min,
        "max": summary.max,
        "count": summary.count,
    }
