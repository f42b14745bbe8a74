"""Brings logged models to the target: made once, known there by a tag, and then everything that can change of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from localtrack.errors import SyncError, UnsureError
from localtrack.format.modellog import ModelState
from localtrack.store.model_reading import ModelReading, read_model_folder
from localtrack.sync.artifact_places import open_place
from localtrack.sync.artifact_push import push_artifacts
from localtrack.sync.context import PushContext
from localtrack.sync.translation import RUN_ID_TAG, STORE_ID_TAG

MODEL_ID_TAG: Final = "localtrack.model_id"
SOURCE_RUN_TAG: Final = "localtrack.source_run_id"
CREATED_TAG: Final = "localtrack.created_ms"
_PARAMS_COUNT: Final = 100
"""In one request. Source: `mlflow/store/tracking/rest_store.py` of MLflow 3.17."""
_STATUS: Final = {
    "PENDING": "LOGGED_MODEL_PENDING",
    "READY": "LOGGED_MODEL_READY",
    "FAILED": "LOGGED_MODEL_UPLOAD_FAILED",
    "UNSPECIFIED": "LOGGED_MODEL_STATUS_UNSPECIFIED",
}


def ensure_model(context: PushContext, state: ModelState) -> str:
    """Return the id that a logged model has on the target, making it there if it is missing.

    Concurrency: one at a time, so that two runs that use a model do not both make it.
    """
    with context.models_lock:
        known = context.model_ids.get(state.model_id)
        if known is not None:
            return known
        experiment = context.experiments[state.experiment_id]
        found = find_models(context, experiment, state.model_id)
        if not found:
            made = _create(context, experiment, state)
            found = find_models(context, experiment, state.model_id) or [made]
        remote = _keep_first(context, state.model_id, found)
        remote_id = str(remote["info"]["model_id"])
        context.ledger.append("model", {"model": state.model_id, "remote": remote_id, "signature": ""})
        context.model_ids[state.model_id] = remote_id
        return remote_id


def find_models(context: PushContext, experiment: str, model_id: str) -> list[dict[str, Any]]:
    """Return the models of the target that carry a local id, the one that was made first first."""
    found = [
        model
        for model in context.tracking.search_models(experiment, f"tags.`{MODEL_ID_TAG}` = '{model_id}'")
        # A target that does not know the filter may give all.
        if _read_rows(model["info"].get("tags", [])).get(MODEL_ID_TAG) == model_id
    ]
    return sorted(
        found, key=lambda model: (int(model["info"].get("creation_timestamp_ms") or 0), str(model["info"]["model_id"]))
    )


def _keep_first(context: PushContext, model_id: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the first of several models for one local one, having deleted the others: two pushes had made them.

    Whoever made the first one saw no other when it looked afterwards, and uses it; whoever made another one sees the
    first, and nothing refers to its own yet.
    """
    for other in found[1:]:
        other_id = str(other["info"]["model_id"])
        context.tracking.delete_model(other_id)
        context.notes.append(f"Logged model {model_id} was there twice; {other_id} was deleted there.")
    return found[0]


def find_source_runs(context: PushContext, run_id: str) -> set[str]:
    """Return the runs of the target that the models which a run made name there as their source."""
    found: set[str] = set()
    for state in context.source.models_of_runs.get(run_id, []) if context.source.models else []:
        remote_id = context.model_ids.get(state.model_id)
        if state.source_run == run_id and remote_id is not None:
            remote = context.tracking.get_model(remote_id)
            found.add(str((remote or {}).get("info", {}).get("source_run_id", "")))
    return found


def _create(context: PushContext, experiment: str, state: ModelState) -> dict[str, Any]:
    tags = _tags(context, state)
    document = {
        "experiment_id": experiment,
        "name": state.name,
        "model_type": state.model_type or "",
        "source_run_id": context.remote_ids.get(state.source_run or "", ""),
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
        "params": _rows(dict(list(state.params.items())[:_PARAMS_COUNT])),
    }
    patience = context.tracking.http.patience
    for number in range(patience.tries_count):
        try:
            return context.tracking.create_model(document)
        except UnsureError as error:
            context.tracking.http.sleep(patience.before_asking_s(number, error))
            found = find_models(context, experiment, state.model_id)
            if found:
                return found[0]
            if number == patience.tries_count - 1:
                raise
    raise AssertionError("not reached")


def push_model(context: PushContext, folder: str, *, signature: str) -> str | None:
    """Bring a logged model to the target as it is now, and compare.

    Returns:
        Its id there; None if the folder holds none that can be read.

    Raises:
        SyncError: It cannot be brought there, or differs there afterwards.
    """
    reading = read_model_folder(context.source.site.storage, folder)
    if reading is None or not reading.has_logs or reading.is_newer:
        return None
    state = reading.state
    remote_id = ensure_model(context, state)
    remote = context.tracking.get_model(remote_id)
    if remote is None:
        raise SyncError(f"The target has no logged model {remote_id} any more, which {state.model_id} was sent to.")
    there = _read_rows(remote.get("data", {}).get("params", []))
    missing = {key: value for key, value in state.params.items() if key not in there}
    for first in range(0, len(missing), _PARAMS_COUNT):
        part = dict(list(missing.items())[first : first + _PARAMS_COUNT])
        _send_params(context, remote_id, part)
    tags_there = _read_rows(remote["info"].get("tags", []))
    tags = {key: value for key, value in _tags(context, state).items() if tags_there.get(key) != value}
    if tags:
        context.tracking.set_model_tags(remote_id, _rows(tags))
    artifacts = _push_artifacts(context, reading, remote_id, str(remote["info"].get("artifact_uri", "")))
    status = _STATUS[state.status]
    if remote["info"].get("status") != status and state.status in ("READY", "FAILED"):
        context.tracking.finalize_model(remote_id, status)
    _verify(context, state, remote_id)
    context.ledger.append(
        "model", {"model": state.model_id, "remote": remote_id, "signature": signature, "artifacts": artifacts}
    )
    return remote_id


def _send_params(context: PushContext, remote_id: str, params: Mapping[str, str]) -> None:
    """Log params: a server refuses all of a request of which it has one, so after an unsure answer it is asked."""
    patience = context.tracking.http.patience
    rest = dict(params)
    for number in range(patience.tries_count):
        try:
            context.tracking.log_model_params(remote_id, _rows(rest))
            return
        except UnsureError as error:
            if number == patience.tries_count - 1:
                raise
            context.tracking.http.sleep(patience.before_asking_s(number, error))
            remote = context.tracking.get_model(remote_id) or {}
            there = _read_rows(remote.get("data", {}).get("params", []))
            rest = {key: value for key, value in rest.items() if key not in there}
            if not rest:
                return


def _push_artifacts(context: PushContext, reading: ModelReading, remote_id: str, uri: str) -> dict[str, list[Any]]:
    tracking = context.tracking
    outcome = push_artifacts(
        context.source.site.storage,
        reading.folder,
        records=reading.state.artifacts,
        choice=context.options.artifacts,
        limits=context.limits,
        known=context.ledger.state.models.get(reading.state.model_id, {}).get("artifacts", {}),
        open_place=lambda: open_place(tracking.http, uri, base_url=context.base_url),
        list_there=lambda: tracking.list_model_artifacts(remote_id),
        require_going=context.require_going,
    )
    return outcome.known


def _verify(context: PushContext, state: ModelState, remote_id: str) -> None:
    remote = context.tracking.get_model(remote_id) or {"info": {}}
    info, data = remote["info"], remote.get("data", {})
    problems: list[str] = []
    if info.get("name") != state.name:
        problems.append("its name differs")
    if state.status in ("READY", "FAILED") and info.get("status") != _STATUS[state.status]:
        problems.append("its status differs")
    if (info.get("model_type") or None) != (state.model_type or None):
        problems.append("its type differs")
    tags = _read_rows(info.get("tags", []))
    problems += [f"tag {k!r} differs" for k, v in _tags(context, state).items() if tags.get(k) != v]
    params = _read_rows(data.get("params", []))
    problems += [f"param {k!r} differs" for k, v in state.params.items() if params.get(k) != v]
    missing_count = len(state.metrics) - len(data.get("metrics", []))
    if missing_count > 0:
        # The target takes them with points of a run only.
        context.notes.append(f"{missing_count} metrics of logged model {state.model_id} are not on the target.")
    if problems:
        raise SyncError(f"Logged model {state.model_id}, after it was sent: {'; '.join(problems[:5])}.")


def _tags(context: PushContext, state: ModelState) -> dict[str, str]:
    tags = {**state.tags, MODEL_ID_TAG: state.model_id, CREATED_TAG: str(state.created_ms)}
    tags[STORE_ID_TAG] = context.store_id
    if state.source_run:
        tags[SOURCE_RUN_TAG] = state.source_run
    tags.pop(RUN_ID_TAG, None)
    return tags


def _rows(mapping: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in mapping.items()]


def _read_rows(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["key"]: row.get("value", "") for row in rows}
