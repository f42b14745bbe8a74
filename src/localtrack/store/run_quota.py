"""Keeps the limits of a run, its experiment and its store while it is written. FORMAT.md section 20.

The path of one point is not touched as long as every limit is far: the writer looks here when it looks at the size of
its file, every 64 KiB, and has each call counted only when less is left than fits into that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from localtrack import reporting
from localtrack.errors import LocaltrackError, QuotaExceededError
from localtrack.format.layout import ARTIFACTS, parse_run_file
from localtrack.format.names import MAX_INT64
from localtrack.format.points import count_points
from localtrack.format.quota import Limit
from localtrack.storage.base import Storage
from localtrack.storage.packed import PackedStorage
from localtrack.store.thinning import Thinner
from localtrack.store.use import STORE, FolderMeter, Use

if TYPE_CHECKING:
    from localtrack.store.use_meter import UseMeter

BETWEEN_LOOKS_COUNT: Final = 8_192
"""More points than fit into 64 KiB of a log."""
BETWEEN_LOOKS_BYTES: Final = 64 * 1024
_LOOK_COUNT: Final = 1_024
"""Near a limit a writer looks so often at what others have written."""
_LOOK_BYTES: Final = 4_096
_REREAD_S: Final = 1.0
"""What is refused is looked up so often: somebody may have raised the limit."""
THIN_SHARE: Final = 16
"""One run gets so small a part of what is left of a limit of its experiment or store: others log, too."""
MEASURED: Final = frozenset(["metric_steps", "bytes", "files", "artifact_bytes"])
"""What limits of experiments and stores are about, by the last part of their names, that a meter counts."""

Limits = Mapping[str, Limit]


def slack_of(limit: int) -> int:
    """Return by how many points each further writer that logs at once can exceed a limit on a run's points."""
    return BETWEEN_LOOKS_COUNT if limit > BETWEEN_LOOKS_COUNT else max(16, limit // 20)


def bytes_slack_of(limit: int) -> int:
    """Return by how many bytes each further writer can exceed a limit on a run's bytes, besides one call of each."""
    return max(_LOOK_BYTES, min(limit // 20, BETWEEN_LOOKS_BYTES))


class _Standing(NamedTuple):
    """How things stand to one limit."""

    name: str
    limit: Limit
    used: int
    left: int
    """Before something happens; with `thin` that is at half of the limit."""


class RunQuota:
    """What this process may still write to one run. Its writer's lock guards it.

    Args:
        packs: The store's bytes.
        folder: The run's folder.
        run_id: The run.
        experiment_id: Its experiment.
        limits: Those that are set, by name.
        is_new: Nobody else can have written to the run yet.
        keys: Metrics that the run has.
        own_bytes: Gives how much its writer has written, ever.
        meter: Knows about the experiment and the store; None where no limit is about what it counts.
        reread: Gives the limits that are set now.
    """

    def __init__(
        self,
        packs: PackedStorage,
        folder: str,
        run_id: str,
        experiment_id: str,
        limits: Limits,
        *,
        is_new: bool,
        keys: Iterable[str] = (),
        own_bytes: Callable[[], int],
        meter: UseMeter | None,
        reread: Callable[[], Limits],
    ) -> None:
        self._packs = packs
        self._folder = folder
        self._scopes = {"run": run_id, "experiment": experiment_id, "store": STORE}
        self._reread = reread
        self._reread_s = time.monotonic()
        self._keys = set(keys)
        self._said: set[str] = set()
        self._own_writers: set[str] = set()
        self._own_before = 0  # points of earlier writers of this process
        self._points_count = 0  # of the current writer, when it was last told
        self._others = _OtherPoints(packs, folder)
        self._others_count = 0
        self._own_bytes = own_bytes
        self._contents = FolderMeter(packs, folder, own_bytes)
        self._meter = meter
        self._told = Use()  # what the meter knows of points and open files of this process
        self._is_bytes_near = not is_new  # until the first look; whoever begins a run has looked whether it may begin
        self.granted = 0
        """The current writer may come to so many points without a further look."""
        self.spare_state = 0
        """So many params and tags may be set without a further look."""
        self.thinner: Thinner | None = None
        self._is_new = is_new
        self._take_limits(limits)
        if not is_new and self._by_measure.keys() & {"bytes", "files", "artifact_bytes"}:
            self._contents.look()

    def _take_limits(self, limits: Limits) -> None:
        self._limits = limits
        self._by_measure: dict[str, list[str]] = {}
        for name in limits:
            level, _, measure = name.partition(".")
            if level == "run" or (level in self._scopes and measure in MEASURED and self._meter is not None):
                self._by_measure.setdefault(measure, []).append(name)

    def begin_writer(self, writer: str, *, before_count: int) -> None:
        """Take note that this process goes on as another writer, and how many points the one before had."""
        if self._own_writers:
            self._own_before += before_count
        self._own_writers.add(writer)
        self.granted = 0

    def forget_after_fork(self) -> None:
        """In the child of a fork: what the parent writes is another's."""
        self._own_writers.clear()
        self._own_before = self._points_count = self.granted = 0
        self._others = _OtherPoints(self._packs, self._folder)
        self._told = Use(0, self._own_bytes())

    # -- looks

    def is_near(self, points_count: int) -> bool:
        """Return whether each call has to be counted until the writer looks again.

        Args:
            points_count: How many points the current writer has.
        """
        self.tell(points_count)
        self._is_bytes_near = False
        if self._waiting("bytes"):
            if not self._is_new:
                self._contents.look()
            standing = self._nearest("bytes")
            self._is_bytes_near = standing is not None and standing.left < 2 * BETWEEN_LOOKS_BYTES
            self.spare_state = 0
        if "metric_steps" not in self._by_measure:
            self._is_new, self.granted = False, MAX_INT64
            return self._is_bytes_near
        standing = self._nearest_in_points(points_count)
        self._is_new = False
        if self.thinner is not None or standing.limit.value <= BETWEEN_LOOKS_COUNT:
            return True
        spare = standing.left - BETWEEN_LOOKS_COUNT
        if spare >= 0:  # single points are not counted until the next look, and there may be so many
            self.granted = points_count + spare
        return spare < 0 or self._is_bytes_near

    def tell(self, points_count: int) -> None:
        """Let the meter know what this process has written to the run since the last time.

        Args:
            points_count: How many points the current writer has.
        """
        self._points_count = points_count
        if self._meter is not None:
            # What was told ahead, of points that are being written, is not told again.
            points_count = max(self._own_before + points_count, self._told.metric_steps)
            now = Use(points_count, self._own_bytes())
            if now != self._told:
                self._add(now.minus(self._told))
                self._told = now

    def _waiting(self, measure: str) -> list[str]:
        """Return the limits on something, but for those of which nothing more is to be said."""
        names = self._by_measure.get(measure, ())
        return [name for name in names if name not in self._said or self._limits[name].action != "warn"]

    def _stand(self, name: str, *, of_run: int, untold: int = 0) -> _Standing:
        """Return how things stand to a limit.

        Args:
            name: The limit.
            of_run: How much the run has of what it is about.
            untold: How much of that the meter does not know of.
        """
        level, _, measure = name.partition(".")
        limit, used = self._limits[name], of_run
        if level != "run":
            assert self._meter is not None
            self._meter.renew_if_due()
            used = self._meter.used(self._scopes[level], measure) + untold
        return _Standing(name, limit, used, (limit.value // 2 if limit.action == "thin" else limit.value) - used)

    def _standings(self, measure: str) -> list[_Standing]:
        """Return how things stand to the limits on bytes, files or artifacts of which something is to be said."""
        names = self._waiting(measure)
        of_run = self._contents.use().of(measure) if names else 0
        untold = self._own_bytes() - self._told.bytes if measure == "bytes" else 0
        return [self._stand(name, of_run=of_run, untold=untold) for name in names]

    def _nearest(self, measure: str) -> _Standing | None:
        return min(self._standings(measure), key=_left, default=None)

    def _nearest_in_points(self, points_count: int) -> _Standing:
        if "run.metric_steps" in self._limits and not self._is_new:
            self._others_count = self._others.count(self._own_writers)
        self.tell(points_count)
        of_run, names = self._own_before + points_count + self._others_count, self._by_measure["metric_steps"]
        return min((self._stand(name, of_run=of_run) for name in names), key=_left)

    # -- points

    def admit_points(self, points_count: int, count: int) -> bool:
        """Return whether points may be written as they are; False: they have to be thinned.

        Raises:
            QuotaExceededError: They may not be written.
        """
        if self._is_bytes_near:
            self.admit_bytes()
        if points_count + count <= self.granted or self.thinner is not None or "metric_steps" not in self._by_measure:
            return self.thinner is None
        standing = self._nearest_in_points(points_count)
        if count > standing.left and standing.limit.action != "thin" and self._look_again([standing]):
            if "metric_steps" not in self._by_measure:
                return True
            standing = self._nearest_in_points(points_count)
        if count <= standing.left:
            if standing.name.startswith("run."):
                self.granted = points_count + max(count, min(standing.left, _look_count(standing.limit)))
            else:  # other runs of this process are to know of it at once
                self.granted = points_count + count
                self.tell(self.granted)
            return True
        if standing.limit.action == "thin":
            self._begin_thinning(standing)
            return False
        self._exceed(standing, count)
        self.granted = points_count + BETWEEN_LOOKS_COUNT
        return True

    def admit_keys(self, keys: Iterable[str]) -> None:
        """Raise `QuotaExceededError` if a run may not have these metrics, too."""
        new = set(keys) - self._keys
        if new:
            self._admit("metric_keys", len(self._keys), len(new))
            self._keys |= new

    def _begin_thinning(self, standing: _Standing) -> None:
        left = max(standing.limit.value - standing.used, 0)
        self.thinner = Thinner(left if standing.name.startswith("run.") else left // THIN_SHARE)
        reporting.warn(
            "%s has %d points, half of its limit %s of %d: from now on fewer are kept of run %s, "
            "among them the least, greatest and last of each metric",
            self._whose(standing.name),
            standing.used,
            standing.name,
            standing.limit.value,
            self._scopes["run"],
        )

    # -- everything else

    def admit_state(self, params: int, new_params: int, tags: int, new_tags: int) -> None:
        """Raise `QuotaExceededError` if a run may not have so many params or tags, or no more bytes."""
        if new_params:
            self._admit("params", params, new_params)
        if new_tags:
            self._admit("tags", tags, new_tags)
        self.admit_bytes()
        counts = (("run.params", params + new_params), ("run.tags", tags + new_tags))
        spares = [self._limits[name].value - count for name, count in counts if name in self._limits]
        self.spare_state = 0 if self._is_bytes_near else min(spares, default=MAX_INT64)

    def admit_bytes(self) -> None:
        """Raise `QuotaExceededError` if there are as many bytes as a limit allows."""
        nearest = self._nearest("bytes") if self._is_bytes_near else None
        if nearest is not None and self._contents.grown_bytes >= bytes_slack_of(nearest.limit.value):
            self._contents.look()
            nearest = self._nearest("bytes")
        if nearest is not None and nearest.left <= 0:
            self._require("bytes", 0)

    def admit_chunk(self) -> None:
        """Raise `QuotaExceededError` if there may not be another file."""
        if "files" in self._by_measure:
            self._contents.look()
            self._require("files", 1)
            self._add(Use(files=1))

    def admit_artifacts(self, planned: Iterable[tuple[str, int]]) -> None:
        """Raise `QuotaExceededError` if artifacts may not be added.

        Args:
            planned: Path and size of each. One that is there already is replaced.
        """
        if not self._by_measure.keys() & {"artifact_bytes", "bytes", "files"}:
            return
        bytes_count = files_count = 0
        for path, size in dict(planned).items():
            there = self._packs.inner.stat(f"{self._folder}/{ARTIFACTS}/{path}")
            bytes_count += size - (there.size if there is not None else 0)
            files_count += there is None
        self._contents.look()
        if bytes_count > 0:
            self._require("artifact_bytes", bytes_count)
            self._require("bytes", bytes_count)
        if files_count:
            self._require("files", files_count)
        use = Use(0, max(bytes_count, 0), files_count, max(bytes_count, 0))
        self._contents.add_artifacts(use)
        self._add(use)

    def _add(self, use: Use) -> None:
        if self._meter is not None:
            self._meter.add(self._scopes["experiment"], use)

    def _admit(self, measure: str, used: int, count: int) -> None:
        """Look at a limit that only this process's own counters are held against."""
        name = f"run.{measure}"
        if name in self._limits:
            standing = self._stand(name, of_run=used)
            if count > standing.left and self._look_again([standing]) and name in self._limits:
                standing = self._stand(name, of_run=used)
            if count > standing.left and name in self._limits:
                self._exceed(standing, count)

    def _require(self, measure: str, count: int) -> None:
        """Raise `QuotaExceededError`, or say so, where so many more are too many; 0: any more."""
        exceeded = [standing for standing in self._standings(measure) if max(count, 1) > standing.left]
        if exceeded and self._look_again(exceeded):
            self._contents.look(is_thorough=True)
            exceeded = [standing for standing in self._standings(measure) if max(count, 1) > standing.left]
        for standing in sorted(exceeded, key=_left):
            self._exceed(standing, count)

    def _look_again(self, exceeded: list[_Standing]) -> bool:
        """Look whether there is more room than was known: somebody may have raised a limit, or made room."""
        is_other = False
        if time.monotonic() - self._reread_s >= _REREAD_S:
            self._reread_s = time.monotonic()
            try:
                limits = self._reread()
            except LocaltrackError as error:  # those that are known hold
                reporting.debug("the limits of %s cannot be read now: %s", self._packs.uri, error)
            else:
                is_other = limits != self._limits
                self._take_limits(limits)
        if self._meter is not None and any(not standing.name.startswith("run.") for standing in exceeded):
            self.tell(self._points_count)  # else it is counted twice: as it was measured, and as it is told later
            is_other |= self._meter.renew()
        return is_other

    def _whose(self, name: str) -> str:
        level = name.partition(".")[0]
        return f"The store {self._packs.uri}" if level == "store" else f"{level.capitalize()} {self._scopes[level]}"

    def _exceed(self, standing: _Standing, count: int) -> None:
        name, limit, used, _ = standing
        require_within(name, limit, used, used + count, what=self._whose(name), said=self._said)


def _left(standing: _Standing) -> int:
    return standing.left


def require_within(name: str, limit: Limit, used: int, wanted: int, *, what: str, said: set[str]) -> None:
    """Raise `QuotaExceededError` if a limit refuses what would exceed it, else say so once.

    Args:
        name: The limit.
        limit: Its value and action.
        used: How much there is.
        wanted: How much there would be; as much as `used` where that cannot be told, and any more is too much.
        what: Of what, at the beginning of a sentence.
        said: Names of limits of which it was said; added to.
    """
    if wanted <= limit.value and (wanted > used or used < limit.value):
        return
    if limit.action == "refuse":
        more = f"; {wanted - used} more were to come" if wanted > used else ""
        raise QuotaExceededError(
            f"{what} has {used} of the {limit.value} that its limit {name} allows{more}.",
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
