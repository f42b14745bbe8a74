"""The fluent functions for runs: start, end, which one is active. Names, arguments and meanings are MLflow's."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from localtrack import reporting
from localtrack.api import active, environment
from localtrack.api.argument_types import explain_wrong_types
from localtrack.api.fluent_experiments import active_experiment_id, check_experiment_id, chosen_experiment_id
from localtrack.api.fluent_store import active_store
from localtrack.errors import ErrorCode, InvalidInputError, StateError
from localtrack.types import Run

if TYPE_CHECKING:
    from localtrack.api.run import ActiveRun
    from localtrack.api.store import Store

_NAME_TAG = "mlflow.runName"
_NOTE_TAG = "mlflow.note.content"
_PARENT_TAG = "mlflow.parentRunId"


@explain_wrong_types
def start_run(
    run_id: str | None = None,
    experiment_id: str | None = None,
    run_name: str | None = None,
    nested: bool = False,
    parent_run_id: str | None = None,
    tags: Mapping[str, Any] | None = None,
    description: str | None = None,
    log_system_metrics: bool | None = None,
    *,
    resume: str | None = None,
    job: str | None = None,
    ranks: str | None = None,
) -> ActiveRun:
    """Start a run, or go on with one, and make it the active run of this thread.

    As a context manager the run ends FINISHED, or FAILED when an exception passes. Without `with`, call `end_run`; what
    is open when the interpreter ends is ended FINISHED.

    Args:
        run_id: Go on with this run, whoever wrote it, also after a crash and on another host. By default what
            LOCALTRACK_RUN_ID or MLFLOW_RUN_ID names, which counts once. Of the other arguments only `run_name`, `tags`
            and `description` count then.
        experiment_id: Its experiment; by default that of `set_experiment`, else what LOCALTRACK_EXPERIMENT_NAME or
            MLFLOW_EXPERIMENT_NAME names, else the same with _ID, else the notebook that this is, else Default.
        run_name: Its name, also where the tags hold one; by default what LOCALTRACK_RUN_NAME or MLFLOW_RUN_NAME says,
            or a random one.
        nested: Allow it while another run is active, which becomes its parent.
        parent_run_id: The run that this one belongs to; the active run by default.
        tags: First tags.
        description: What the run is about: the tag `mlflow.note.content`.
        log_system_metrics: Accepted for MLflow's sake; True warns, as localtrack records none.
        resume: `"auto"`: each start of one batch job comes to the same run, so that a requeued job goes on.
        job: With `resume="auto"`, what names the job; what the batch system says by default.
        ranks: `"merge"` or `"prefix"`: all ranks of one distributed launch log to one run. See `Store.start_run`.

    Raises:
        StateError: A run is active and `nested` is False; or the run, its parent or its experiment is deleted.
        NotFoundError: There is no such run, parent or experiment.
        InvalidInputError: Arguments contradict each other or break a rule; nothing was written.
    """
    experiment_id = None if experiment_id is None else check_experiment_id(experiment_id)
    outer = active.top()
    if outer is not None and not nested:
        raise StateError(
            f"Run with UUID {outer.run.run_id} is already active.",
            code=ErrorCode.RUN_ACTIVE,
            hint="To start a new run, first end the current run with end_run(). To start a nested run, call start_run "
            "with nested=True.",
        )
    if log_system_metrics:
        warnings.warn("localtrack records no system metrics; the run starts without.", stacklevel=2)
    store = active_store()
    join_id = environment.join_run_id() if outer is None and run_id is None else None
    known_id = run_id or (None if join_id else environment.take_run_id())
    if join_id:
        run: ActiveRun = store.join_run(join_id, metric_prefix=environment.metric_prefix())
    elif known_id:
        _require_chosen_experiment(store, known_id)
        run = store.start_run(run_id=known_id, run_name=run_name, tags=_with_note(tags, description))
    else:
        if run_name:
            tags = {key: value for key, value in (tags or {}).items() if key != _NAME_TAG}
        elif _NAME_TAG not in (tags or {}):
            run_name = environment.run_name()
        run = store.start_run(
            experiment_id=active_experiment_id(store) if experiment_id is None else experiment_id,
            run_name=run_name,
            tags=_with_note(tags, description),
            parent_run_id=_parent(store, outer, parent_run_id),
            resume=resume,
            job=job,
            ranks=ranks,
        )
    active.push(run, store)
    return run


def end_run(status: str = "FINISHED") -> None:
    """End the active run of this thread, if there is one; the run around it is active again.

    Args:
        status: FINISHED, FAILED or KILLED.

    Raises:
        InvalidInputError: There is no such status; the run stays active.
        StorageError: The end could not be recorded; the run stays active. Call again when there is space.
    """
    entry = active.top()
    if entry is not None:
        entry.run.end(status)
        active.pop()


def active_run() -> ActiveRun | None:
    """Return the active run of this thread, or None. Other threads' runs are not seen, as in MLflow."""
    entry = active.top()
    return None if entry is None else entry.run


def last_active_run() -> ActiveRun | Run | None:
    """Return the active run of this thread, else the one that ended last in it as it is now, else None."""
    entry = active.top()
    if entry is not None:
        return entry.run
    ended = active.last()
    return None if ended is None else ended.store.get_run(ended.run.run_id)


def get_run(run_id: str) -> Run:
    """Return a run with its params, tags and last metrics.

    Raises:
        NotFoundError: There is no such run.
    """
    return active_store().get_run(run_id)


def get_parent_run(run_id: str) -> Run | None:
    """Return the run that a run is nested in, or None.

    Raises:
        NotFoundError: There is no such run, or its parent is not here.
    """
    store = active_store()
    parent_id = store.get_run(run_id).data.tags.get(_PARENT_TAG)
    return None if parent_id is None else store.get_run(parent_id)


def delete_run(run_id: str) -> None:
    """Delete a run; it can be restored.

    Raises:
        NotFoundError: There is no such run.
    """
    active_store().delete_run(run_id)


def restore_run(run_id: str) -> None:
    """Take back the deletion of a run.

    Raises:
        NotFoundError: There is no such run.
    """
    active_store().restore_run(run_id)


def delete_runs(experiment_id: str, max_timestamp_millis: int, max_runs: int | None = None) -> int:
    """Delete runs of an experiment that started then or before, oldest first, and return how many; at most 10,000.

    As Databricks has it. `Store.delete_runs` can choose by a filter, too.

    Raises:
        NotFoundError: There is no such experiment.
        StateError: The experiment is deleted.
    """
    return active_store().delete_runs(experiment_id, max_timestamp_millis, max_runs)


def restore_runs(experiment_id: str, min_timestamp_millis: int, max_runs: int | None = None) -> int:
    """Take back the deletion of runs that were deleted then or later, and return how many there were; at most 10,000.

    As Databricks has it. `Store.restore_runs` can choose by a filter, too.

    Raises:
        NotFoundError: There is no such experiment.
        StateError: The experiment is deleted.
    """
    return active_store().restore_runs(experiment_id, min_timestamp_millis, max_runs)


def run_to_log_to(run_id: str | None = None) -> ActiveRun:
    """Return the run that a logging call is for: that of the id, else the active one, else a new one."""
    if run_id:
        entry = active.find(run_id)
        return entry.run if entry is not None else active.attach(active_store(), run_id)
    entry = active.top()
    return entry.run if entry is not None else start_run()


def get_artifact_uri(artifact_path: str | None = None) -> str:
    """Return where the artifacts of the active run, or one of them, lie. Starts a run if there is none.

    Args:
        artifact_path: A file or folder among the artifacts; the folder of all by default.
    """
    if active.top() is None:
        reporting.warn("No active run found: a new one is started. If this is not intended, call start_run() first.")
    run_to_log_to()
    entry = active.top()
    assert entry is not None
    return entry.store.artifact_uri(entry.run.run_id, artifact_path)


def _require_chosen_experiment(store: Store, run_id: str) -> None:
    chosen = chosen_experiment_id()
    if chosen is None:
        return
    experiment_id = store.get_run(run_id).info.experiment_id
    if experiment_id != chosen:
        raise InvalidInputError(
            f"Cannot start run with ID {run_id}: it belongs to the experiment {experiment_id}, and set_experiment "
            f"chose {chosen}.",
            hint="Choose the run's experiment, or none.",
        )


def _parent(store: Store, outer: active.Active | None, parent_run_id: str | None) -> str | None:
    if not parent_run_id:
        return None if outer is None else outer.run.run_id
    if outer is not None and outer.run.run_id != parent_run_id:
        raise StateError(
            f"Current run with UUID {outer.run.run_id} does not match the specified parent_run_id {parent_run_id}.",
            code=ErrorCode.RUN_ACTIVE,
            hint="First end the current run with end_run().",
        )
    if store.get_run(parent_run_id).info.lifecycle_stage == "deleted":
        raise StateError(
            f"Cannot start run under parent run with ID {parent_run_id} because it is in the deleted state.",
            code=ErrorCode.RUN_DELETED,
            hint="Restore it first.",
        )
    return parent_run_id


def _with_note(tags: Mapping[str, Any] | None, description: str | None) -> dict[str, Any]:
    tags = dict(tags or {})
    if description:
        if _NOTE_TAG in tags:
            raise InvalidInputError(
                f"Description is already set via the tag {_NOTE_TAG} in tags.",
                hint=f"Remove the key {_NOTE_TAG} from the tags or omit the description.",
            )
        tags[_NOTE_TAG] = description
    return tags
