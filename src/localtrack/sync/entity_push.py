"""What a run read and made: data sets, model inputs and model outputs, on the target once each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from localtrack.errors import SyncError, UnsureError
from localtrack.format.run_fold import RunState
from localtrack.sync.context import PushContext

_REQUEST_BYTES: Final = 900_000
_REQUEST_COUNT: Final = 100


def push_entities(context: PushContext, state: RunState, remote_id: str, remote: Mapping[str, Any] | None) -> None:
    """Add to a run of the target the inputs and outputs that it lacks.

    Args:
        context: The push, which knows the models of the target.
        state: The run.
        remote_id: There.
        remote: The run as the target shows it; None for one that was just made.

    Raises:
        SyncError: They are not there afterwards.
    """
    if not (state.datasets or state.model_inputs or state.model_outputs):
        return
    if context.limits.has_models and remote is not None and state.model_outputs and "outputs" not in remote:
        # It may come from a search, which leaves outputs out on servers of MLflow 3.1.
        remote = context.tracking.get_run(remote_id)
    patience = context.tracking.http.patience
    for number in range(patience.tries_count):
        datasets, inputs, outputs = _missing(context, state, remote)
        if not (datasets or inputs or outputs):
            return
        try:
            for part in _parts(datasets):
                context.tracking.log_inputs({"run_id": remote_id, "datasets": part})
            if inputs:
                context.tracking.log_inputs({"run_id": remote_id, "models": inputs})
            if outputs:
                context.tracking.log_outputs({"run_id": remote_id, "models": outputs})
        except UnsureError as error:
            if number == patience.tries_count - 1:
                raise
            context.tracking.http.sleep(patience.before_asking_s(number, error))
        # Whatever the answers were: a second output of one model is refused, so the target is asked.
        remote = context.tracking.get_run(remote_id)
    datasets, inputs, outputs = _missing(context, state, remote)
    if datasets or inputs or outputs:
        raise SyncError("The target does not show all inputs and outputs of the run after they were sent.")


def _missing(
    context: PushContext, state: RunState, remote: Mapping[str, Any] | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return what the target lacks, as it wants to have it. Models that it does not have are left out."""
    shown = remote or {}
    there = shown.get("inputs", {})
    sets_there = {(row["dataset"]["name"], row["dataset"]["digest"]) for row in there.get("dataset_inputs", [])}
    inputs_there = {row["model_id"] for row in there.get("model_inputs", [])}
    outputs_there = {row["model_id"] for row in shown.get("outputs", {}).get("model_outputs", [])}
    wanted = state.datasets if context.limits.has_datasets else {}
    datasets = [_dataset_input(payload) for key, payload in wanted.items() if key not in sets_there]
    inputs = [{"model_id": remote_id} for model in state.model_inputs if (remote_id := context.model_ids.get(model))]
    # A target keeps one step of a model that a run made: the first.
    steps: dict[str, int] = {}
    for model, step in state.model_outputs:
        steps[model] = min(steps.get(model, step), step)
    outputs = [
        {"model_id": remote_id, "step": step}
        for model, step in steps.items()
        if (remote_id := context.model_ids.get(model))
    ]
    return (
        datasets,
        [row for row in inputs if row["model_id"] not in inputs_there],
        [row for row in outputs if row["model_id"] not in outputs_there],
    )


def _dataset_input(payload: Mapping[str, Any]) -> dict[str, Any]:
    dataset = {name: payload.get(name) for name in ("name", "digest", "source_type", "source", "schema", "profile")}
    return {
        "dataset": {name: value for name, value in dataset.items() if value is not None},
        "tags": [{"key": key, "value": value} for key, value in (payload.get("tags") or {}).items()],
    }


def _parts(datasets: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield data sets in groups that fit into one request."""
    part: list[dict[str, Any]] = []
    total = 0
    for row in datasets:
        size = len(json.dumps(row))
        if part and (total + size > _REQUEST_BYTES or len(part) >= _REQUEST_COUNT):
            yield part
            part, total = [], 0
        part.append(row)
        total += size
    if part:
        yield part
