"""Limits that a store can have, and the records that set them. FORMAT.md section 20."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

Action = Literal["warn", "refuse", "thin"]
Level = Literal["run", "experiment", "store", "logged_model"]


class Limit(NamedTuple):
    """One limit that was set."""

    value: int
    action: Action


class LimitKind(NamedTuple):
    """What a limit of some name is about."""

    name: str
    level: Level
    """What each of has to keep within it."""
    actions: tuple[Action, ...]
    """What can be asked for: `thin` only where there are points of which fewer can be kept."""
    meaning: str


_REFUSE: Final[tuple[Action, ...]] = ("warn", "refuse")
_THIN: Final[tuple[Action, ...]] = ("warn", "refuse", "thin")

LIMITS: Final[dict[str, LimitKind]] = {
    kind.name: kind
    for kind in (
        LimitKind("run.metric_steps", "run", _THIN, "points logged, over all keys"),
        LimitKind("run.metric_keys", "run", _REFUSE, "different metrics"),
        LimitKind("run.params", "run", _REFUSE, "params"),
        LimitKind("run.tags", "run", _REFUSE, "tags, MLflow's own included"),
        LimitKind("run.artifact_bytes", "run", _REFUSE, "bytes of artifacts"),
        LimitKind("run.bytes", "run", _REFUSE, "bytes in its folder, packed or not"),
        LimitKind("run.files", "run", _REFUSE, "files in its folder"),
        LimitKind("experiment.runs", "experiment", _REFUSE, "runs that were not removed for good, deleted ones too"),
        LimitKind("experiment.tags", "experiment", _REFUSE, "tags of the experiment"),
        LimitKind("experiment.metric_steps", "experiment", _THIN, "points of all its runs"),
        LimitKind("experiment.logged_models", "experiment", _REFUSE, "logged models"),
        LimitKind("experiment.artifact_bytes", "experiment", _REFUSE, "bytes of artifacts of its runs"),
        LimitKind("experiment.bytes", "experiment", _REFUSE, "bytes in the folders of its runs"),
        LimitKind("experiment.files", "experiment", _REFUSE, "files in the folders of its runs"),
        LimitKind("store.runs", "store", _REFUSE, "runs that were not removed for good, deleted ones too"),
        LimitKind("store.metric_steps", "store", _THIN, "points of all runs"),
        LimitKind("store.logged_models", "store", _REFUSE, "logged models"),
        LimitKind("store.artifact_bytes", "store", _REFUSE, "bytes of artifacts of runs"),
        LimitKind("store.bytes", "store", _REFUSE, "bytes of all files"),
        LimitKind("store.files", "store", _REFUSE, "files and folders"),
        LimitKind("logged_model.metrics", "logged_model", _REFUSE, "metrics of a logged model"),
        LimitKind("logged_model.params", "logged_model", _REFUSE, "params of a logged model"),
        LimitKind("logged_model.tags", "logged_model", _REFUSE, "tags of a logged model"),
    )
}
"""By name; more may come, and limits that a reader does not know are kept and ignored."""


def is_sound_quota(payload: dict[str, Any]) -> bool:
    """Return whether a `quota` record sets limits in the way that all readers understand."""
    limits = payload.get("limits")
    return type(limits) is dict and all(limit is None or _is_sound_limit(limit) for limit in limits.values())


def _is_sound_limit(limit: Any) -> bool:
    return type(limit) is list and len(limit) == 2 and type(limit[0]) is int and limit[0] >= 0 and type(limit[1]) is str
