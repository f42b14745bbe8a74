"""Several logs of one run to one state, the same whichever order they come in. FORMAT.md section 12."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from localtrack.format.runlog import Change, RunLog

RUN_NAME_TAG: Final = "mlflow.runName"


@dataclass(slots=True)
class RunState:
    """What the state records of a run's logs add up to."""

    run_id: str
    experiment_id: str
    experiment_name: str
    """The experiment's original name."""
    generation: int
    start_ms: int
    status: str = "RUNNING"
    user: str = ""
    name: str = ""
    end_ms: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Per path the payload of the highest `artifact` record."""
    greatest_stamp: int = 0
    problems: list[str] = field(default_factory=list)


def fold_run(logs: Iterable[RunLog]) -> RunState:
    """Return the state of a run from its logs, of which there must be one.

    The experiment is that of the lowest `run` record's log, else of the log with the least base time.
    """
    ordered = sorted(logs, key=lambda log: (log.header["base_ms"], log.writer))
    changes = sorted((change for log in ordered for change in log.changes), key=lambda change: change[:3])
    creation = next((change for change in changes if change.kind == "run"), None)
    owner = ordered[0]
    if creation is not None:
        owner = next(log for log in ordered if log.writer == creation.writer)
    state = RunState(
        owner.header["run"],
        owner.header["experiment_id"],
        owner.header["experiment_name"],
        owner.header["generation"],
        ordered[0].header["base_ms"],
        greatest_stamp=max(log.greatest_stamp for log in ordered),
    )
    if creation is None:
        state.problems.append("the record of its creation is missing")
    else:
        state.start_ms, state.status = creation.payload["start_ms"], creation.payload["status"]
        state.user = str(creation.payload.get("user", ""))
    for change in changes:
        _apply(state, change)
    return state


def _apply(state: RunState, change: Change) -> None:
    payload = change.payload
    if change.kind == "param":
        for key, value in payload.items():
            kept = state.params.setdefault(key, value)
            if kept != value:
                state.problems.append(f"param {key!r} was set to {kept!r} and to {value!r}; the first counts")
    elif change.kind == "tag":
        for key, value in payload.items():
            if value is None:
                state.tags.pop(key, None)
            else:
                state.tags[key] = value
                if key == RUN_NAME_TAG:
                    state.name = value
    elif change.kind == "artifact":
        state.artifacts[payload["path"]] = payload
    elif change.kind == "info":
        state.status = payload.get("status", state.status)
        state.end_ms = payload.get("end_ms", state.end_ms)
        state.start_ms = payload.get("start_ms", state.start_ms)
