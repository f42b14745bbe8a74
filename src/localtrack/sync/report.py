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
