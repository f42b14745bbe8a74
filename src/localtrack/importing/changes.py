"""Which of two values counts: what the source has now, or what the store has, given what the last import left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from localtrack.format.run_fold import fold_run
from localtrack.format.runlog import RunLog

Verdict = Literal["take", "keep", "conflict"]


class _Nothing:
    """What is not there: None is a value of some fields."""


NOTHING: Final = _Nothing()


def judge(source: Any, here: Any, base: Any) -> Verdict:
    """Return whether to take what the source has.

    Args:
        source: What the source has; NOTHING if it has nothing.
        here: What the store has; NOTHING likewise.
        base: What imports have left; NOTHING if none has brought it.

    Returns:
        `take` what has changed in the source; `keep` what is equal, or was changed here alone; `conflict` (and keep)
        if both have changed, or it was here before any import.
    """
    if _equal(source, here) or _equal(source, base):
        return "keep"
    return "take" if _equal(here, base) else "conflict"


def _equal(left: Any, right: Any) -> bool:
    return left is right or (left is not NOTHING and right is not NOTHING and left == right)


@dataclass(slots=True)
class Base:
    """What imports have left of a run."""

    info: dict[str, Any] = field(default_factory=dict)
    """`status`, `start_ms`, `end_ms`."""
    tags: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)


def fold_base(logs: Mapping[str, RunLog]) -> Base:
    """Return what the logs of imports, among those of a run, add up to."""
    imported = [log for log in logs.values() if log.is_imported]
    if not imported:
        return Base()
    state = fold_run(imported)
    info = {"status": state.status, "start_ms": state.start_ms, "end_ms": state.end_ms}
    return Base(info, state.tags, state.artifacts)


def plan_tags(
    source: Mapping[str, str], here: Mapping[str, str], base: Mapping[str, str], *, is_whole: bool
) -> tuple[dict[str, str | None], list[str]]:
    """Return the tags to set (None deletes), and the keys of those that have changed on both sides.

    Args:
        source: All tags that the source has.
        here: All that the store has.
        base: What imports have left.
        is_whole: The source's tags could all be read, so that one that is missing was deleted there.
    """
    changes: dict[str, str | None] = {}
    conflicts: list[str] = []
    keys = [*source, *(key for key in base if key not in source)] if is_whole else list(source)
    for key in keys:
        verdict = judge(source.get(key, NOTHING), here.get(key, NOTHING), base.get(key, NOTHING))
        if verdict == "take":
            changes[key] = source.get(key)
        elif verdict == "conflict":
            conflicts.append(key)
    return changes, conflicts
