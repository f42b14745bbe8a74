"""What counts towards limits, as it lies on the disk: in the folder of one run, in experiments, in the store."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from localtrack.format.layout import ARTIFACTS, run_folder
from localtrack.storage.packed import PackedStorage
from localtrack.storage.trees import walk_tree

if TYPE_CHECKING:
    from localtrack.store.index.view import IndexView

STORE: Final = ""
"""Stands for the whole store where others are named by the ids of experiments."""
_ARTIFACTS_HOLD_S: Final = 1.0
_COST_FACTOR: Final = 100.0
"""What a look at artifacts showed holds so many times as long as the look took."""


class Use(NamedTuple):
    """How much there is of what limits are about."""

    metric_steps: int = 0
    bytes: int = 0
    files: int = 0
    artifact_bytes: int = 0

    def plus(self, other: Use) -> Use:
        """Return both together."""
        return Use(*map(int.__add__, self, other))

    def minus(self, other: Use) -> Use:
        """Return what is left without the other, at least nothing."""
        return Use(*(max(mine - theirs, 0) for mine, theirs in zip(self, other, strict=True)))

    def of(self, measure: str) -> int:
        """Return one of them, by the last part of a limit's name."""
        return int(getattr(self, measure))


def measure_folder(packs: PackedStorage, folder: str) -> Use:
    """Return what lies in the folder of a run, its points aside: files, and what packs hold of it."""
    return _measure_logs(packs, folder).plus(_measure_artifacts(packs, folder))


def _measure_logs(packs: PackedStorage, folder: str) -> Use:
    files = [entry for entry in packs.inner.entries(folder) if not entry.is_folder]
    packed_bytes = sum(member.stored_bytes for _, member in packs.members_of(folder).values())
    return Use(0, sum(entry.size for entry in files) + packed_bytes, len(files))


def _measure_artifacts(packs: PackedStorage, folder: str) -> Use:
    sizes = [entry.size for entry in walk_tree(packs.inner, f"{folder}/{ARTIFACTS}") if not entry.is_folder]
    return Use(0, sum(sizes), len(sizes), sum(sizes))


class FolderMeter:
    """What lies in the folder of a run, as its writer knows it: it is looked at now and then, and added to meanwhile.

    Args:
        packs: The store's bytes.
        folder: The run's folder.
        own_bytes: Gives how much the writer has written, ever.
    """

    def __init__(self, packs: PackedStorage, folder: str, own_bytes: Callable[[], int]) -> None:
        self._packs = packs
        self._folder = folder
        self._own_bytes = own_bytes
        self._own_before = 0
        self._logs = self._artifacts = Use()
        self._artifacts_s = -1.0  # when they were looked at, and how long that took
        self._artifacts_cost_s = 0.0

    @property
    def grown_bytes(self) -> int:
        """How much the writer has written since the last look."""
        return self._own_bytes() - self._own_before

    def look(self, *, is_thorough: bool = False) -> None:
        """Look at the folder; at the artifacts, of which there may be many, only if that was long ago."""
        self._own_before = self._own_bytes()
        self._logs = _measure_logs(self._packs, self._folder)
        now_s = time.monotonic()
        holds_s = max(_ARTIFACTS_HOLD_S, _COST_FACTOR * self._artifacts_cost_s)
        if is_thorough or self._artifacts_s < 0 or now_s - self._artifacts_s > holds_s:
            self._artifacts = _measure_artifacts(self._packs, self._folder)
            self._artifacts_s, self._artifacts_cost_s = now_s, time.monotonic() - now_s

    def add_artifacts(self, use: Use) -> None:
        """Take note of artifacts that are about to be put in place."""
        self._artifacts = self._artifacts.plus(use)

    def use(self) -> Use:
        """Return what there is, points aside."""
        return self._logs.plus(self._artifacts).plus(Use(0, self.grown_bytes))


def measure_tree(packs: PackedStorage) -> Use:
    """Return the bytes of all files of a store, and how many files and folders there are."""
    bytes_count = files_count = 0
    for entry in walk_tree(packs.inner, ""):
        bytes_count += entry.size
        files_count += 1
    return Use(0, bytes_count, files_count)


def measure_all(view: IndexView, packs: PackedStorage, *, has_folders: bool) -> dict[str, Use]:
    """Return what there is of each experiment, by id, and of the store.

    Args:
        view: All runs of the store.
        packs: Its bytes.
        has_folders: Look into the folders of all runs, for bytes and files.
    """
    found: dict[str, Use] = defaultdict(Use)
    for experiment_id, points_count in _points_by_experiment(view).items():
        found[experiment_id] = Use(points_count)
    whole = Use(sum(use.metric_steps for use in found.values()))
    if has_folders:
        experiment_ids = [str(experiment_id) for experiment_id in view.narrow("experiment_id").to_pylist()]
        for number in view.shown_numbers():
            use = measure_folder(packs, run_folder(view.run_id(number)))
            found[experiment_ids[number]] = found[experiment_ids[number]].plus(use)
            whole = whole._replace(artifact_bytes=whole.artifact_bytes + use.artifact_bytes)
        whole = whole.plus(measure_tree(packs))
    return {**found, STORE: whole}


def _points_by_experiment(view: IndexView) -> dict[str, int]:
    import pyarrow as pa

    experiment_ids = view.narrow("experiment_id").cast(pa.string())
    totals: dict[str, int] = defaultdict(int)
    for key in view.keys("metrics"):
        table = view.tall_table("metrics", keys=[key])
        of_key = pa.table([experiment_ids.take(table.column("row")), table.column("count")], names=["id", "count"])
        for row in of_key.group_by("id").aggregate([("count", "sum")]).to_pylist():
            totals[row["id"]] += row["count_sum"] or 0
    return totals
