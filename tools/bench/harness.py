"""Takes turns, times calls, and says on what machine."""

from __future__ import annotations

import gc
import importlib.metadata
import math
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")

Turns = dict[str, dict[int, T]]
"""Side → round → what its turn returned."""

TINY_ROUND_COUNT = 2


@dataclass(frozen=True, slots=True)
class Setting:
    """What the command line has chosen for all workloads."""

    folder: Path
    """An empty folder for this workload alone, on the file system to be measured."""
    rounds: int | None = None
    """None: as many as the workload finds right."""
    tiny: bool = False
    """Only to see that everything runs: the numbers mean nothing."""
    with_mlflow: bool = True
    kills: int = 50
    seed: int = 12

    def choose(self, usual: int, tiny: int) -> int:
        """Return the amount of work: the usual one, or the tiny one."""
        return tiny if self.tiny else usual

    def round_count(self, usual: int) -> int:
        """Return how many rounds to run."""
        return self.rounds or self.choose(usual, TINY_ROUND_COUNT)


@dataclass(frozen=True, slots=True)
class Side(Generic[T]):
    """One contestant."""

    name: str
    turn: Callable[[], T]
    every: int = 1
    """Has a turn in every n-th round only: for a peer that takes many times longer than the others."""


@dataclass(frozen=True, slots=True)
class Calls:
    """When each call of a turn began, and how long it took, in nanoseconds of `perf_counter_ns`."""

    starts: list[int]
    durations: list[int]

    def quantile_s(self, share: float) -> float:
        """Return a quantile of the durations in seconds."""
        return quantile(self.durations, share) / 1e9


def run_in_turns(sides: Sequence[Side[T]], rounds: int) -> Turns[T]:
    """Give every side its turn, round after round, in one order: A B C A B C.

    What else the machine does at the time hits all sides of a round alike, so that their ratio is steadier than
    either time.
    """
    turns: Turns[T] = {side.name: {} for side in sides}
    gc.collect()
    gc.freeze()  # else each full collection walks the peers' modules too, in whoever's turn it comes
    try:
        for number in range(rounds):
            for side in sides:
                if number % side.every == 0:
                    turns[side.name][number] = side.turn()
    finally:
        gc.unfreeze()
    return turns


def map_turns(turns: Turns[T], measure: Callable[[T], U]) -> Turns[U]:
    """Reduce what every turn returned."""
    return {side: {number: measure(value) for number, value in by_round.items()} for side, by_round in turns.items()}


def time_calls(call: Callable[[T, int], object], values: Iterable[T], *, first_step: int = 0) -> Calls:
    """Call once per value and time each call.

    The clock's own time (some 50 ns) is in every duration. It is the same for all sides, so it moves a ratio
    towards 1, never below what is true of a faster side.
    """
    clock = time.perf_counter_ns
    starts: list[int] = []
    durations: list[int] = []
    for step, value in enumerate(values, first_step):
        start = clock()
        call(value, step)
        durations.append(clock() - start)
        starts.append(start)
    return Calls(starts, durations)


def time_once(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    start = time.perf_counter_ns()
    action()
    return (time.perf_counter_ns() - start) / 1e9


def quantile(values: Sequence[float], share: float) -> float:
    """Return the least value that at least `share` of all values do not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


class Syncer:
    """Runs an fsync again and again in a thread, and remembers when, so that the calls it met can be told apart."""

    def __init__(self, sync: Callable[[], object], *, pause_s: float = 0.005) -> None:
        self.spans: list[tuple[int, int]] = []
        self._sync = sync
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Syncer:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                start = time.perf_counter_ns()
                self._sync()
                self.spans.append((start, time.perf_counter_ns()))
                self._stop.wait(self._pause_s)
        except BaseException as failure:  # handed to the thread that asked, which raises it
            self._failure = failure

    def met(self, calls: Calls) -> list[int]:
        """Return the durations, in nanoseconds, of the calls that ran while an fsync did."""
        met: list[int] = []
        spans = iter(self.spans)
        span = next(spans, None)
        for start, duration in zip(calls.starts, calls.durations, strict=True):
            while span is not None and span[1] < start:
                span = next(spans, None)
            if span is not None and span[0] <= start + duration:
                met.append(duration)
        return met


def describe_environment(folder: Path) -> dict[str, str]:
    """Say on what the numbers were taken."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan
    return {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "cpus": str(os.cpu_count()),
        "load": f"{load:.2f}",
        "file system": find_file_system(folder),
        **{name: find_version(name) for name in ("localtrack", "duckdb", "pyarrow", "pandas", "mlflow")},
    }


def find_file_system(folder: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """Return the type of the file system that a folder lies on, or "unknown"."""
    if not mounts.exists():
        return "unknown"
    here = folder.resolve()
    best, found = -1, "unknown"
    for line in mounts.read_text().splitlines():
        _, mount_point, kind = line.split(" ")[:3]
        place = Path(mount_point.encode().decode("unicode_escape"))  # a space is written \040
        if here.is_relative_to(place) and len(place.parts) >= best:
            best, found = len(place.parts), kind
    return found


def find_version(name: str) -> str:
    """Return the version of an installed distribution, or what stands for none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "source tree" if name == "localtrack" else "not installed"
