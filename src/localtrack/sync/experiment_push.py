"""Brings experiments to the target: told by name, made where they are missing, renamed and tagged as they are here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from localtrack.errors import ErrorCode, RefusedError, SyncError
from localtrack.format.edits import EditsState
from localtrack.sync.context import PushContext
from localtrack.sync.plan import EnsureExperiment
from localtrack.sync.target import Target

EXPERIMENT_ID_TAG: Final = "localtrack.experiment_id"
CREATED_TAG: Final = "localtrack.created_ms"


def ensure_experiment(context: PushContext, target: Target, operation: EnsureExperiment) -> str:
    """Return the id that an experiment has on the target, making it there if it is missing.

    Raises:
        SyncError: It is deleted there, and deletions are not to follow.
    """
    tracking = context.tracking
    remote = _find(context, target, operation)
    if remote is None:
        target.prepare_experiment(tracking.http, operation.name)
        tracking.create_experiment(operation.name)
        remote = tracking.find_experiment(operation.name)
        if remote is None:
            raise SyncError(f"The target made the experiment {operation.name!r}, and does not find it.")
    remote_id = str(remote["experiment_id"])
    if remote.get("lifecycle_stage") == "deleted":
        if not context.options.does_delete:
            raise SyncError(
                f"The experiment {operation.name!r} is deleted on the target.",
                code=ErrorCode.EXPERIMENT_DELETED,
                hint="Restore it there, push with --deletions, or push to another name with --rename.",
            )
        tracking.restore_experiment(remote_id)
    record = {"id": operation.experiment_id, "name": operation.name, "remote": remote_id}
    if context.ledger.state.experiments.get(operation.experiment_id) != record:
        context.ledger.append("experiment", record)
    _tag(context, operation, remote)
    return remote_id


def _find(context: PushContext, target: Target, operation: EnsureExperiment) -> dict[str, Any] | None:
    """Return the counterpart of an experiment; one that was pushed to before stays it when it is renamed here."""
    tracking = context.tracking
    known = context.ledger.state.experiments.get(operation.experiment_id)
    if known is None:
        return tracking.find_experiment(operation.name)
    if known["name"] == operation.name:
        remote = tracking.find_experiment(operation.name)
        # Whoever renamed it there has not asked for a second one.
        return remote if remote is not None else _get(context, known["remote"])
    remote = tracking.get_experiment(known["remote"])
    if remote.get("name") == known["name"] and tracking.find_experiment(operation.name) is None:
        target.prepare_experiment(tracking.http, operation.name)
        tracking.rename_experiment(known["remote"], operation.name)
    return remote


def _get(context: PushContext, remote_id: str) -> dict[str, Any] | None:
    try:
        return context.tracking.get_experiment(remote_id)
    except RefusedError as error:
        if error.is_not_found:
            return None
        raise


def _tag(context: PushContext, operation: EnsureExperiment, remote: Mapping[str, Any]) -> None:
    """Set the experiment's tags that differ."""
    there = {row["key"]: row.get("value", "") for row in remote.get("tags", [])}
    wanted = experiment_tags(context.source.edits, operation.experiment_id)
    if EXPERIMENT_ID_TAG in there:  # of whoever brought it there first
        wanted = {key: value for key, value in wanted.items() if key not in (EXPERIMENT_ID_TAG, CREATED_TAG)}
    for key, value in wanted.items():
        if there.get(key) != value and key not in context.limits.refused_tags:
            context.tracking.set_experiment_tag(str(remote["experiment_id"]), key, value)


def experiment_tags(edits: EditsState, experiment_id: str) -> dict[str, str]:
    """Return the tags that an experiment should have on a target."""
    experiment = edits.experiments.get(experiment_id)
    tags = {**(experiment.tags if experiment is not None else {}), EXPERIMENT_ID_TAG: experiment_id}
    if experiment is not None and experiment.created_ms is not None:
        tags[CREATED_TAG] = str(experiment.created_ms)
    return tags
