"""What a push is asked to do."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.sync.http import Patience
from localtrack.types import Liveness

DeadRuns = Literal["leave", "killed"]


@dataclass(frozen=True, slots=True)
class Thinning:
    """Which points of a history are sent; all of them stay in the store."""

    every: int = 1
    """Each n-th point of a metric."""
    max_points: int | None = None
    """At most about so many points of a metric, evenly spread: from half of it to all of it."""

    def __post_init__(self) -> None:
        if self.every < 1 or (self.max_points is not None and self.max_points < 2):
            raise InvalidInputError("Thinning needs every >= 1 and max_points >= 2.", code=ErrorCode.INVALID_VALUE)

    @property
    def is_off(self) -> bool:
        """Whether all points are sent."""
        return self.every == 1 and self.max_points is None

    @property
    def fingerprint(self) -> str:
        """A text that is equal for equal choices."""
        return "" if self.is_off else f"{self.every}/{self.max_points}"

    def stride(self, count: int) -> int:
        """Return that each n-th point is sent of a metric that has `count`."""
        stride = self.every
        while self.max_points is not None and count > stride * self.max_points:
            stride *= 2  # doubling keeps what a shorter history sent a superset
        return stride


@dataclass(frozen=True, slots=True)
class ArtifactChoice:
    """Which artifacts are sent."""

    is_skipped: bool = False
    include: tuple[str, ...] = ()
    """Globs of paths; all if empty."""
    exclude: tuple[str, ...] = ()
    max_bytes: int | None = None

    def reason_against(self, path: str, size: int) -> str | None:
        """Return why an artifact is not sent; None if it is."""
        if self.include and not any(fnmatch.fnmatchcase(path, glob) for glob in self.include):
            return "not among those chosen"
        if any(fnmatch.fnmatchcase(path, glob) for glob in self.exclude):
            return "excluded"
        if self.max_bytes is not None and size > self.max_bytes:
            return f"larger than {self.max_bytes} bytes"
        return None

    @property
    def fingerprint(self) -> str:
        """A text that is equal for equal choices."""
        if self.is_skipped:
            return "none"
        chosen = (self.include, self.exclude, self.max_bytes)
        return "" if chosen == ((), (), None) else repr(chosen)


@dataclass(frozen=True, slots=True)
class Naming:
    """How an experiment is named on the target."""

    prefix: str = ""
    rename: Mapping[str, str] = field(default_factory=dict)
    """Name here → name there; wins over the prefix."""

    @property
    def fingerprint(self) -> list[Any]:
        """What is equal for equal choices; empty where names stay as they are."""
        return [self.prefix, sorted(self.rename.items())] if self.prefix or self.rename else []

    def remote_name(self, name: str) -> str:
        """Return the name on the target."""
        known = self.rename.get(name)
        return known if known is not None else self.prefix + name


@dataclass(frozen=True, slots=True)
class Selection:
    """Which runs are pushed."""

    run_ids: frozenset[str] | None = None
    experiment_ids: frozenset[str] | None = None
    statuses: frozenset[str] | None = None
    since_ms: int | None = None
    """Only runs that started then or later."""
    until_ms: int | None = None
    """Only runs that started before."""

    def takes(self, *, run_id: str, experiment_id: str, status: str, start_ms: int) -> bool:
        """Return whether a run is chosen."""
        return (
            (self.run_ids is None or run_id in self.run_ids)
            and (self.experiment_ids is None or experiment_id in self.experiment_ids)
            and (self.statuses is None or status in self.statuses)
            and (self.since_ms is None or start_ms >= self.since_ms)
            and (self.until_ms is None or start_ms < self.until_ms)
        )


@dataclass(frozen=True, slots=True)
class PushOptions:
    """Everything that a push can be asked for."""

    selection: Selection = field(default_factory=Selection)
    naming: Naming = field(default_factory=Naming)
    thinning: Thinning = field(default_factory=Thinning)
    artifacts: ArtifactChoice = field(default_factory=ArtifactChoice)
    dead_runs: DeadRuns = "leave"
    dead_after_ms: int | None = None
    """After so long without a sign a run counts as dead of which that cannot be told: of another host."""
    does_delete: bool = False
    """Delete and restore on the target what is deleted and restored here."""
    forgotten: tuple[str, ...] = ()
    """Run ids of which the ledger forgets what it says, as after they were removed there for good."""
    workers_count: int = 4
    """How many runs are sent at once."""
    patience: Patience = field(default_factory=Patience)
    is_compressed: bool = False
    """Compress request bodies: only for targets that are known to take that."""

    def takes_for_dead(self, liveness: Liveness, silent_since_ms: int | None, *, now_ms: int) -> bool:
        """Return whether a run is reported as KILLED although nobody recorded its end."""
        if self.dead_runs != "killed":
            return False
        is_too_silent = (
            self.dead_after_ms is not None
            and silent_since_ms is not None
            and now_ms - silent_since_ms >= self.dead_after_ms
        )
        return liveness == "dead" or is_too_silent

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What makes a run that was pushed with other options worth another look."""
        return {
            "thin": self.thinning.fingerprint,
            "artifacts": self.artifacts.fingerprint,
            "dead": self.dead_runs if self.dead_after_ms is None else [self.dead_runs, self.dead_after_ms],
            "deletes": self.does_delete,
        }
