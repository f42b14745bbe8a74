"""A run as a target can have it: what is settable as it is, the rest in tags, and what is lost on the way. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from localtrack.format.run_fold import RUN_NAME_TAG, RunState
from localtrack.sync.limits import Limits
from localtrack.types import TERMINAL_STATUSES

RUN_ID_TAG: Final = "localtrack.run_id"
STORE_ID_TAG: Final = "localtrack.store_id"
PARENT_ID_TAG: Final = "localtrack.parent_run_id"
USER_TAG: Final = "localtrack.user"
CONFLICT_TAG_PREFIX: Final = "localtrack.param_conflict."
MLFLOW_USER_TAG: Final = "mlflow.user"
MLFLOW_PARENT_TAG: Final = "mlflow.parentRunId"

_CREATE_TAGS_COUNT: Final = 19
"""Databricks guarantees 20 tags in runs/create, one of which is a claim; the rest goes with the first batch."""
_CREATE_VALUE_CHARS: Final = 5000

LossKind = Literal["cut", "clamped", "refused", "quota", "conflict", "not_settable"]


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that the target cannot have as it is here."""

    run_id: str
    """Empty for what is about an experiment or a logged model."""
    kind: LossKind
    what: str
    """One sentence."""


@dataclass(slots=True)
class Translation:
    """What a run should be on the target."""

    run_id: str
    name: str
    user: str
    start_ms: int
    status: str
    end_ms: int | None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    parent_id: str | None = None
    """The parent's id in the store."""
    is_parent_missing: bool = False
    """The parent has no counterpart on the target (yet)."""
    losses: list[Loss] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """Whether the run ends on the target."""
        return self.status in TERMINAL_STATUSES


def translate_run(
    state: RunState,
    limits: Limits,
    *,
    store_id: str,
    remote_ids: Mapping[str, str],
    is_dead: bool = False,
    changed_ms: int = 0,
) -> Translation:
    """Return what a run should be on the target.

    Args:
        state: The run.
        limits: Of the target.
        store_id: The store that pushes.
        remote_ids: Local run id → remote one, of runs that are there.
        is_dead: Report it as KILLED although nobody recorded its end.
        changed_ms: Last change of its files: the end of a dead run.
    """
    losses: list[Loss] = []
    parent_id = state.tags.get(MLFLOW_PARENT_TAG)
    name = _cut(state, "its name", state.name, limits.run_name_chars, losses)
    tags: dict[str, str] = {}
    for key, value in state.tags.items():
        if key == MLFLOW_PARENT_TAG:
            continue
        if key in limits.refused_tags:
            if key != MLFLOW_USER_TAG:
                losses.append(Loss(state.run_id, "refused", f"The target sets the tag {key!r} itself."))
            continue
        if not limits.takes_key(key):
            losses.append(refused_key(state.run_id, "tag", key))
            continue
        if key == RUN_NAME_TAG:
            value = name
        tags[key] = _cut(state, f"tag {key!r}", value, limits.tag_value_chars, losses)
    tags[RUN_ID_TAG] = state.run_id
    tags[STORE_ID_TAG] = store_id
    user = state.user or state.tags.get(MLFLOW_USER_TAG, "")
    if user and MLFLOW_USER_TAG not in tags:
        tags[USER_TAG] = user
    if parent_id:
        tags[PARENT_ID_TAG] = parent_id
        if parent_id in remote_ids:
            tags[MLFLOW_PARENT_TAG] = remote_ids[parent_id]
    params = {
        key: _cut(state, f"param {key!r}", value, limits.param_value_chars, losses)
        for key, value in state.params.items()
        if limits.takes_key(key)
    }
    losses += [refused_key(state.run_id, "param", key) for key in state.params if not limits.takes_key(key)]
    losses += _unknown_entities(state, limits)
    for problem in state.problems:
        losses.append(Loss(state.run_id, "conflict", problem[:1].upper() + problem[1:] + "."))
    status, end_ms = state.status, state.end_ms
    if is_dead and status not in TERMINAL_STATUSES:
        status, end_ms = "KILLED", max(changed_ms, state.start_ms)
    return Translation(
        state.run_id,
        name,
        user,
        state.start_ms,
        status,
        end_ms,
        params,
        tags,
        parent_id or None,
        bool(parent_id) and parent_id not in remote_ids,
        losses,
    )


def first_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that go with runs/create: first those that say which run it is."""
    ours = [key for key in tags if key.startswith("localtrack.")]
    others = [key for key in tags if not key.startswith("localtrack.")]
    short = [key for key in [*ours, *others] if len(tags[key]) <= _CREATE_VALUE_CHARS]
    return {key: tags[key] for key in short[:_CREATE_TAGS_COUNT]}


def refused_key(run_id: str, kind: str, key: str) -> Loss:
    """Return the loss of a metric, param or tag whose key the target does not take."""
    return Loss(run_id, "refused", f"The {kind} {key!r} stays here: the target takes no colon in keys.")


def _unknown_entities(state: RunState, limits: Limits) -> list[Loss]:
    """Return the loss of what servers before some version of MLflow do not have."""
    losses: list[Loss] = []
    if state.datasets and not limits.has_datasets:
        what = f"{len(state.datasets)} data sets of it stay here: the target is of a version that has none."
        losses.append(Loss(state.run_id, "refused", what))
    models_count = len({*state.model_inputs, *(model for model, _ in state.model_outputs)})
    if models_count and not limits.has_models:
        what = f"That it used {models_count} logged models stays here: the target is of a version that has none."
        losses.append(Loss(state.run_id, "refused", what))
    return losses


def _cut(state: RunState, what: str, value: str, limit: int, losses: list[Loss]) -> str:
    if len(value) <= limit:
        return value
    losses.append(
        Loss(
            state.run_id, "cut", f"{what[:1].upper()}{what[1:]} has {len(value)} characters; the target takes {limit}."
        )
    )
    return value[:limit]
