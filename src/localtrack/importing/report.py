"""What an import did, and what it could not do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from localtrack.errors import ErrorCode
from localtrack.types import Finding

Progress = Callable[[int, int], None]
"""Called with how many runs are done, and how many there are."""


@dataclass(slots=True)
class ImportReport:
    """Counts, and findings by run. With `dry_run` what would be done."""

    source: str
    experiments_added: int = 0
    experiments_extended: int = 0
    runs_added: int = 0
    runs_extended: int = 0
    runs_unchanged: int = 0
    runs_failed: int = 0
    """Runs of which nothing could be brought."""
    models_added: int = 0
    models_extended: int = 0
    models_unchanged: int = 0
    models_failed: int = 0
    points_added: int = 0
    points_repeated: int = 0
    """Points that the source holds more than once: each is one point here."""
    params_added: int = 0
    tags_changed: int = 0
    inputs_added: int = 0
    """Data sets and logged models that runs read or made."""
    model_metrics_added: int = 0
    life_cycles_changed: int = 0
    """Runs, logged models and experiments that were deleted or restored in the source."""
    artifacts_added: int = 0
    artifact_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)
    """What was left out or had to be guessed (`warning`, `error`), and what is good to know (`info`)."""

    @property
    def is_complete(self) -> bool:
        """Whether everything in the source is in the store: no finding says that something was left out."""
        return all(finding.severity == "info" for finding in self.findings)

    @property
    def changes_count(self) -> int:
        """How many things were added or changed: 0 if the store had everything."""
        return (
            self.experiments_added
            + self.experiments_extended
            + self.runs_added
            + self.runs_extended
            + self.models_added
            + self.models_extended
            + self.life_cycles_changed
        )


class Findings:
    """Collects what is to be said about one thing in the source."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.found: list[Finding] = []

    def note(self, name: str, what: str, *, severity: Literal["info", "warning", "error"] = "warning") -> None:
        """Add a finding.

        Args:
            name: What it is about, below the place; empty for the place itself.
            what: One sentence without its full stop.
            severity: `info` if nothing is missing because of it.
        """
        key = "/".join(filter(None, (self.place, name)))
        self.found.append(Finding(key, what, ErrorCode.DAMAGED if severity != "info" else ErrorCode.DIVERGED, severity))
