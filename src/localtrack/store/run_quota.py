"""Keeps the limits of a run while it is written. FORMAT.md section 20.

The path of one point is not touched as long as the limit is far: the writer looks here when it looks at the size of its
file, every 64 KiB, and counts point by point only when fewer are left than fit into that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from localtrack import reporting
from localtrack.errors import LocaltrackError, QuotaExceededError
from localtrack.format.layout import ARTIFACTS, parse_run_file
from localtrack.format.names import MAX_INT64
from localtrack.format.points import count_points
from localtrack.format.quota import Limit
from localtrack.storage.base import Storage
from localtrack.storage.trees import walk_tree
from localtrack.store.thinning import Thinner

BETWEEN_LOOKS_COUNT: Final = 8_192
"""More points than fit into 64 KiB of a log."""
_LOOK_COUNT: Final = 1_024
"""Near a limit a writer looks so often at what others have written."""
_REREAD_S: Final = 1.0
"""What is refused is looked up so often: somebody may have raised the limit."""

Limits = Mapping[str, Limit]


def slack_of(limit: int) -> int:
    """Return by how many points each further writer that logs at once can exceed a limit on a run's points."""
    return BETWEEN_LOOKS_COUNT if limit > BETWEEN_LOOKS_COUNT else max(16, limit // 20)


class RunQuota:
    """What this process may still write to one run. Its writer's lock guards it.

    Args:
        storage: The store's bytes.
        folder: The run's folder.
        run_id: The run.
        limits: Those that are set, by name.
        keys: Metrics that the run has.
        reread: Gives the limits that are set now.
    """

    def __init__(
        self,
        storage: Storage,
        folder: str,
        run_id: str,
        limits: Limits,
        *,
        keys: Iterable[str] = (),
        reread: Callable[[], Limits],
    ) -> None:
        self._storage = storage
        self._folder = folder
        self._run_id = run_id
        self._limits = limits
        self._reread = reread
        self._reread_s = time.monotonic()
        self._keys = set(keys)
        self._said: set[str] = set()
        self._own_writers: set[str] = set()
        self._own_before = 0  # points of earlier writers of this process
        self._others = _OtherPoints(storage, folder)
        self._others_count = 0
        self.granted = 0
        """The current writer may come to so many points without a further look."""
        self.thinner: Thinner | None = None

    def begin_writer(self, writer: str, *, before_count: int) -> None:
        """Take note that this process goes on as another writer, and how many points the one before had."""
        if self._own_writers:
            self._own_before += before_count
        self._own_writers.add(writer)
        self.granted = 0

    def forget_after_fork(self) -> None:
        """In the child of a fork: what the parent writes is another's."""
        self._own_writers.clear()
        self._own_before = self.granted = 0
        self._others = _OtherPoints(self._storage, self._folder)

    # -- points

    def is_near(self, points_count: int) -> bool:
        """Return whether each point has to be counted until the writer looks again.

        Args:
            points_count: How many the current writer has.
        """
        limit = self._limits.get("run.metric_steps")
        if limit is None:
            self.granted = MAX_INT64
            return False
        if self.thinner is not None or limit.value <= BETWEEN_LOOKS_COUNT:
            return True
        spare = self._left(limit, points_count) - BETWEEN_LOOKS_COUNT
        if spare >= 0:  # single points are not counted until the next look, and there may be so many
            self.granted = points_count + spare
        return spare < 0

    def admit_points(self, points_count: int, count: int) -> bool:
        """Return whether points may be written as they are; False: they have to be thinned.

        Raises:
            QuotaExceededError: They may not be written.
        """
        if points_count + count <= self.granted:
            return self.thinner is None
        limit = self._limits.get("run.metric_steps")
        if limit is None or self.thinner is not None:
            return self.thinner is None
        left = self._left(limit, points_count)
        if count > left and limit.action != "thin" and (fresh := self._look_up("run.metric_steps")) != limit:
            return self.admit_points(points_count, count) if fresh is not None else True
        if count <= left:
            self.granted = points_count + max(count, min(left, _look_count(limit)))
            return True
        if limit.action == "thin":
            self._begin_thinning(limit, points_count)
            return False
        used = self._own_before + points_count + self._others_count
        self._exceed("run.metric_steps", limit, used, used + count)
        self.granted = points_count + BETWEEN_LOOKS_COUNT
        return True

    def admit_keys(self, keys: Iterable[str]) -> None:
        """Raise `QuotaExceededError` if a run may not have these metrics, too."""
        new = set(keys) - self._keys
        if new:
            self._admit("run.metric_keys", len(self._keys), len(self._keys) + len(new))
            self._keys |= new

    def _left(self, limit: Limit, points_count: int) -> int:
        self._others_count = self._others.count(self._own_writers)
        threshold = limit.value // 2 if limit.action == "thin" else limit.value
        return threshold - self._own_before - points_count - self._others_count

    def _begin_thinning(self, limit: Limit, points_count: int) -> None:
        used = self._own_before + points_count + self._others_count
        self.thinner = Thinner(max(limit.value - used, 0))
        reporting.warn(
            "run %s has %d points, half of its limit run.metric_steps of %d: from now on fewer are kept, "
            "among them the least, greatest and last of each metric",
            self._run_id,
            used,
            limit.value,
        )

    # -- everything else

    def admit_state(self, params: int, new_params: int, tags: int, new_tags: int) -> None:
        """Raise `QuotaExceededError` if a run may not have so many params or tags."""
        if new_params:
            self._admit("run.params", params, params + new_params)
        if new_tags:
            self._admit("run.tags", tags, tags + new_tags)

    def admit_artifacts(self, bytes_count: int) -> None:
        """Raise `QuotaExceededError` if so many bytes of artifacts may not be added."""
        if "run.artifact_bytes" in self._limits:
            used = sum(entry.size for entry in walk_tree(self._storage, f"{self._folder}/{ARTIFACTS}"))
            self._admit("run.artifact_bytes", used, used + bytes_count)

    def _admit(self, name: str, used: int, wanted: int) -> None:
        limit = self._limits.get(name)
        if limit is not None and wanted > limit.value:
            limit = self._look_up(name)
        if limit is not None and wanted > limit.value:
            self._exceed(name, limit, used, wanted)

    def _look_up(self, name: str) -> Limit | None:
        """Return a limit as it is now: somebody may have raised it."""
        if time.monotonic() - self._reread_s >= _REREAD_S:
            self._reread_s = time.monotonic()
            try:
                self._limits = self._reread()
            except LocaltrackError as error:  # those that are known hold
                reporting.debug("the limits of %s cannot be read now: %s", self._storage.uri, error)
        return self._limits.get(name)

    def _exceed(self, name: str, limit: Limit, used: int, wanted: int) -> None:
        require_within(name, limit, used, wanted, what=f"Run {self._run_id}", said=self._said)


def require_within(name: str, limit: Limit, used: int, wanted: int, *, what: str, said: set[str]) -> None:
    """Raise `QuotaExceededError` if a limit refuses what would exceed it, else say so once.

    Args:
        name: The limit.
        limit: Its value and action.
        used: How much there is.
        wanted: How much there would be.
        what: Of what, at the beginning of a sentence.
        said: Names of limits of which it was said; added to.
    """
    if wanted <= limit.value:
        return
    if limit.action == "refuse":
        raise QuotaExceededError(
            f"{what} has {used} of the {limit.value} that its limit {name} allows; {wanted - used} more were to come.",
            hint=f"Nothing of the call was written. Raise it with `localtrack quota set {name}=…`, or log less.",
        )
    if name not in said:
        said.add(name)
        reporting.warn("%s exceeds its limit %s of %d", what, name, limit.value)


def _look_count(limit: Limit) -> int:
    return _LOOK_COUNT if limit.value > BETWEEN_LOOKS_COUNT else slack_of(limit.value)


class _OtherPoints:
    """Counts the points that other writers of a run have written, reading only what is new."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self._folder = folder
        self._seen: dict[str, tuple[int, int]] = {}
        """Per file how far it was read, and its points."""

    def count(self, own_writers: set[str]) -> int:
        """Return how many points there are of writers that are not among these, about: no file is read twice."""
        total = 0
        for entry in self._storage.entries(self._folder):
            file = parse_run_file(entry.name)
            if file is None or file.writer in own_writers or entry.is_folder:
                continue
            offset, points = self._seen.get(entry.name, (0, 0))
            if entry.size > offset:
                offset, points = self._read_more(entry.name, offset, points, is_segment=file.kind == "segment")
                self._seen[entry.name] = offset, points
            total += points
        return total

    def _read_more(self, name: str, offset: int, points: int, *, is_segment: bool) -> tuple[int, int]:
        key = f"{self._folder}/{name}"
        try:
            if is_segment:
                from localtrack.format.segment import read_info

                with self._storage.open(key) as source:
                    return 1 << 62, read_info(source).points
            data = self._storage.read_from(key, offset)
        except (FileNotFoundError, LocaltrackError):
            return offset, points  # sealed since it was listed, or damaged: what is known counts
        end = data.rfind(b"\n") + 1
        return offset + end, points + _count_in(data[:end].splitlines(keepends=True))


def _count_in(lines: Sequence[bytes]) -> int:
    try:
        return count_points(b"".join(lines))
    except (ValueError, TypeError, LookupError):
        if len(lines) <= 1:
            return 0  # damaged
        middle = len(lines) // 2
        return _count_in(lines[:middle]) + _count_in(lines[middle:])
