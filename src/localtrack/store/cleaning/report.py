"""What garbage collection found and removed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

GarbageKind = Literal["run", "model", "experiment", "leftovers", "artifacts", "temporary"]


@dataclass(frozen=True, slots=True)
class Garbage:
    """One thing that can go, or has gone."""

    kind: GarbageKind
    """`run`, `model`, `experiment`: past retention; `leftovers`: of one that was removed before; `artifacts`: without a
    run or model; `temporary`: an unfinished file of a writer that died."""
    key: str
    """Its folder or file, as a key in the store."""
    files_count: int
    bytes_count: int
    run_id: str | None = None
    experiment_id: str | None = None
    deleted_ms: int | None = None
    """When it was deleted, or its experiment; milliseconds since 1970, UTC."""
    model_id: str | None = None


@dataclass(frozen=True, slots=True)
class Spared:
    """Something that is old enough to go, and stays."""

    key: str
    reason: str


@dataclass(slots=True)
class GcReport:
    """What a garbage collection did, or, as a dry run, would do."""

    is_dry_run: bool = True
    garbage: list[Garbage] = field(default_factory=list)
    spared: list[Spared] = field(default_factory=list)

    @property
    def runs_count(self) -> int:
        """How many runs are past retention."""
        return self.count("run")

    def count(self, kind: GarbageKind) -> int:
        """Return how many things there are of a kind."""
        return sum(item.kind == kind for item in self.garbage)

    @property
    def files_count(self) -> int:
        """How many files that is."""
        return sum(item.files_count for item in self.garbage)

    @property
    def bytes_count(self) -> int:
        """How many bytes that is."""
        return sum(item.bytes_count for item in self.garbage)
