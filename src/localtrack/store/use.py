"""What counts towards limits, as it lies on the disk: in the folder of one run, in experiments, in the store."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from localtrack.format.layout import ARTIFACTS, MODELS, RUNS, run_folder
from localtrack.storage.packed import PackedStorage
from localtrack.storage.trees import walk_tree
from localtrack.store.run_counts import count_contents

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


NOTHING: Final = Use()


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


class StoreFolders(NamedTuple):
    """What lies in the folders of a store, points aside."""

    runs: Mapping[str, Use]
    """By the key of a run's folder."""
    models: Mapping[str, Use]
    """By the key of a logged model's folder."""
    whole: Use
    """The bytes of all files, how many files and folders there are, and the artifacts among them."""


def measure_folders(packs: PackedStorage) -> StoreFolders:
    """Return what lies in a store, by one look at each folder of it."""
    found: dict[str, dict[str, list[int]]] = {
        RUNS: defaultdict(lambda: [0, 0, 0]),
        MODELS: defaultdict(lambda: [0, 0, 0]),
    }
    bytes_count = files_count = artifact_bytes = 0
    for key, is_folder, size, _ in walk_tree(packs.inner, ""):
        bytes_count += size
        files_count += 1
        if is_folder:
            continue
        top, _, below = key.partition("/")
        parts = below.split("/", 3) if top in found else []
        is_artifact = len(parts) == 4 and parts[2] == ARTIFACTS
        if len(parts) == 3 or is_artifact:
            counts = found[top][f"{top}/{parts[0]}/{parts[1]}"]
            counts[0] += size
            counts[1] += 1
            if is_artifact:
                counts[2] += size
                artifact_bytes += size
    for folder, members in packs.packed_folders().items():
        found[RUNS][folder][0] += sum(member.stored_bytes for _, member in members.values())
    runs, models = ({folder: Use(0, *counts) for folder, counts in of_top.items()} for of_top in found.values())
    return StoreFolders(runs, models, Use(0, bytes_count, files_count, artifact_bytes))


def measure_all(
    view: IndexView, packs: PackedStorage, *, has_folders: bool, owner_of: Callable[[str], str | None]
) -> dict[str, Use]:
    """Return what there is of each experiment, by id, and of the store.

    Args:
        view: All runs of the store.
        packs: Its bytes.
        has_folders: Look into the folders of all runs and logged models, for bytes and files.
        owner_of: Gives the experiment of a logged model, by its folder.
    """
    points = count_contents(view, ["metric_steps"])["metric_steps"]
    experiment_ids = [str(experiment_id) for experiment_id in view.narrow("experiment_id").to_pylist()]
    folders = measure_folders(packs) if has_folders else StoreFolders({}, {}, NOTHING)
    found: dict[str, Use] = defaultdict(Use)
    whole = folders.whole
    for number in view.shown_numbers():
        use = Use(points[number])
        whole = whole.plus(use)
        if has_folders:
            use = use.plus(folders.runs.get(run_folder(view.run_id(number)), NOTHING))
        found[experiment_ids[number]] = found[experiment_ids[number]].plus(use)
    for folder, use in folders.models.items():
        if (owner := owner_of(folder)) is not None:
            found[owner] = found[owner].plus(use)
    return {**found, STORE: whole}
