"""What packing and unpacking did."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class PackReport:
    """What was packed, or, as a dry run, would be."""

    is_dry_run: bool = False
    runs_count: int = 0
    packs_written: int = 0
    files_removed: int = 0
    """Files and folders that are gone because they lie in packs now."""
    bytes_before: int = 0
    bytes_after: int = 0
    """Size of the packs that were written."""
    left: Counter[str] = field(default_factory=Counter)
    """Why other runs stay as they are, in words, and how many."""


@dataclass(slots=True)
class UnpackReport:
    """What was unpacked."""

    runs_count: int = 0
    files_written: int = 0
    packs_removed: int = 0
