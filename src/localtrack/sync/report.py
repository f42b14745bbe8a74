"""What became of a push."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from localtrack.sync.translation import Loss

Outcome = Literal["sent", "already_there", "skipped", "failed"]


@dataclass(slots=True)
class RunOutcome:
    """What became of one run."""

    run_id: str
    outcome: Outcome
    remote_id: str = ""
    points_sent: int = 0
    artifacts_sent: int = 0
    reason: str = ""
    """Why it was skipped or failed."""


@dataclass(slots=True)
class PushReport:
    """What a push did."""

    target: str
    identity: str = ""
    is_dry_run: bool = False
    runs: list[RunOutcome] = field(default_factory=list)
    """Of runs that there was something to do for; not those that are unchanged."""
    merged_count: int = 0
    """Runs that were copied to another store, or extended there."""
    unchanged_count: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    experiments: dict[str, str] = field(default_factory=dict)
    """Name on the target → id there."""
    losses: list[Loss] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Artifacts that were not sent, and why."""
    notes: list[str] = field(default_factory=list)
    points_sent: int = 0
    artifacts_sent: int = 0
    models_sent: int = 0
    requests_count: int = 0
    sent_bytes: int = 0
    throttled_count: int = 0
    duration_s: float = 0.0
    is_interrupted: bool = False
    failure: str = ""
    """Why the push ended early: the target could not be reached any more."""
    plan: dict[str, Any] | None = None
    """Of a dry run: counts, bytes and expected time."""

    def count(self, outcome: Outcome) -> int:
        """Return how many runs came to this."""
        return sum(run.outcome == outcome for run in self.runs)

    @property
    def is_complete(self) -> bool:
        """Whether the target has everything that was to be sent."""
        return not self.is_interrupted and not self.failure and not self.count("failed")


class PushProgress:
    """How far a push is."""

    def __init__(self, *, runs_count: int, points_count: int) -> None:
        self.runs_count = runs_count
        self.runs_done = 0
        self.points_count = points_count
        self.points_sent = 0
        self.last: RunOutcome | None = None
        """The run that was just finished."""


def encode_report(report: PushReport) -> dict[str, Any]:
    """Return a report as a JSON document, for `--json` and for the log of a push."""
    return {
        "target": report.target,
        "identity": report.identity,
        "dry_run": report.is_dry_run,
        "complete": report.is_complete,
        "failure": report.failure or None,
        "interrupted": report.is_interrupted,
        "runs": [
            {
                "run_id": run.run_id,
                "outcome": run.outcome,
                "remote_run_id": run.remote_id or None,
                "points_sent": run.points_sent,
                "artifacts_sent": run.artifacts_sent,
                "reason": run.reason or None,
            }
            for run in report.runs
        ],
        "unchanged": report.unchanged_count,
        "skipped": report.skipped,
        "experiments": report.experiments,
        "losses": [{"run_id": loss.run_id, "kind": loss.kind, "what": loss.what} for loss in report.losses],
        "left_out": report.left_out,
        "notes": report.notes,
        "points_sent": report.points_sent,
        "artifacts_sent": report.artifacts_sent,
        "requests": report.requests_count,
        "sent_bytes": report.sent_bytes,
        "duration_s": round(report.duration_s, 3),
        "plan": report.plan,
    }
