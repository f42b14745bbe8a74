"""What waits in spools."""

from __future__ import annotations

from dataclasses import dataclass

from localtrack.format.layout import EDITS, MODELS, TEMPORARY_PREFIX
from localtrack.storage.base import Storage
from localtrack.storage.spool_folders import Spool, list_spools
from localtrack.store.run_reading import list_run_folders


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a spool holds."""

    files: int
    bytes: int
    runs: int


def look_into(spool: Spool) -> Waiting:
    """Return how much of a spool was not moved, or belongs to writers that go on. Empty files hold nothing."""
    storage = spool.storage
    by_run = [sizes for folder in list_run_folders(storage) if (sizes := _sizes_below(storage, folder))]
    others = (_sizes_below(storage, folder) for folder in (EDITS, MODELS))
    sizes = [size for sizes in (*by_run, *others) for size in sizes]
    return Waiting(len(sizes), sum(sizes), len(by_run))


def list_waiting(root: str) -> list[tuple[Spool, Waiting]]:
    """Return the spools below a folder, with what they hold."""
    return [(spool, look_into(spool)) for spool in list_spools(root)]


def _sizes_below(storage: Storage, folder: str) -> list[int]:
    sizes: list[int] = []
    for entry in storage.entries(folder):
        if entry.is_folder:
            sizes += _sizes_below(storage, f"{folder}/{entry.name}")
        elif entry.size and not entry.name.startswith(TEMPORARY_PREFIX):
            sizes.append(entry.size)
    return sizes
