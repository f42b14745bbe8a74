"""Knows about how much there is of an experiment and a store, for whoever keeps their limits while runs are written.

Looking at all runs takes seconds in a large store. So it is done when a process begins, unless another one did so a
short time ago, and again in the background; in between a process adds what it writes itself. FORMAT.md section 20.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from localtrack import reporting
from localtrack.errors import LocaltrackError
from localtrack.format.jsonlines import decode_json, encode_record
from localtrack.format.layout import USE
from localtrack.store.site import Site
from localtrack.store.use import STORE, Use, measure_all

if TYPE_CHECKING:
    from localtrack.store.index.search_index import SearchIndex

_HOLDS_S: Final = 1.0
"""A measurement holds so long at least, …"""
_COST_FACTOR: Final = 100.0
"""… and so many times as long as it took: then measuring costs a process a hundredth of its time at most."""
_AGAIN_S: Final = 1.0
"""Before something is refused it is measured anew, but not twice in so short a time, …"""
_AGAIN_FACTOR: Final = 10.0
"""… or in so many times as long as it took."""
_VERSION: Final = 1


class UseMeter:
    """What is known of the use of one store. Thread-safe.

    Args:
        site: The store.
        index: Gives the search index of this process.
    """

    def __init__(self, site: Site, index: Callable[[], SearchIndex]) -> None:
        self._site = site
        self._index = index
        self._has_folders = False
        self._measured: dict[str, Use] | None = None
        self._measured_s = 0.0  # by the monotonic clock
        self._cost_s = 0.0
        self._owners: dict[str, str] = {}  # per folder of a logged model its experiment
        self._own: dict[str, Use] = defaultdict(Use)
        """What this process has written since it was measured."""
        self.forget_after_fork()
        _alive.add(self)

    def forget_after_fork(self) -> None:
        """In the child of a fork: nobody else measures here, and a lock may be held for ever."""
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._is_measuring = False

    def prepare(self, *, has_folders: bool) -> None:
        """Have something to say before a run is begun.

        Args:
            has_folders: A limit is about bytes or files, not only about points.
        """
        if self._measured is not None and (self._has_folders or not has_folders):
            self.renew_if_due()
            return
        self._has_folders |= has_folders
        if not self._take_over():
            self._measure()

    def used(self, experiment_id: str, measure: str) -> int:
        """Return how much there is of an experiment, or of the store (`STORE`), about."""
        with self._lock:
            measured = (self._measured or {}).get(experiment_id, Use())
            return measured.of(measure) + self._own[experiment_id].of(measure)

    def add(self, experiment_id: str, use: Use, *, folders_count: int = 0) -> None:
        """Take note of what this process has written.

        Args:
            experiment_id: The experiment.
            use: What came.
            folders_count: Folders that came besides: in a store they count as files do.
        """
        with self._lock:
            self._own[experiment_id] = self._own[experiment_id].plus(use)
            self._own[STORE] = self._own[STORE].plus(use._replace(files=use.files + folders_count))

    def renew_if_due(self) -> None:
        """Measure anew in the background, if that was long ago."""
        holds_s = max(_HOLDS_S, _COST_FACTOR * self._cost_s)
        if self._measured is None or self._is_measuring or time.monotonic() - self._measured_s < holds_s:
            return
        self._is_measuring = True
        threading.Thread(target=self._measure_behind, name="localtrack-use", daemon=True).start()

    def renew(self) -> bool:
        """Measure anew now, before something is refused; return False if that was a moment ago."""
        if time.monotonic() - self._measured_s < max(_AGAIN_S, _AGAIN_FACTOR * self._cost_s):
            return False
        return self._measure()

    def _measure_behind(self) -> None:
        try:
            self._measure()
        except Exception as error:  # a bug, whatever it is: the program that logs has nothing to do with it
            reporting.complain("measuring the use of %s failed: %r", self._site.storage.uri, error)
        finally:
            self._is_measuring = False

    def _measure(self) -> bool:
        """Look at all runs; return False where that is not possible now: then what is known goes on to hold."""
        with self._turn:
            began_s, has_folders = time.monotonic(), self._has_folders
            with self._lock:
                own = dict(self._own)
            try:
                found = self._index().answer(
                    lambda view: measure_all(
                        view, self._site.packs, has_folders=has_folders, owner_of=self._owner_of_model
                    )
                )
            except LocaltrackError as error:
                reporting.debug("the use of %s cannot be measured now: %s", self._site.storage.uri, error)
                return False
            with self._lock:
                self._measured = found
                self._measured_s, self._cost_s = time.monotonic(), time.monotonic() - began_s
                for experiment_id, use in own.items():  # it was written before, so it was seen
                    self._own[experiment_id] = self._own[experiment_id].minus(use)
            self._hand_on(found, has_folders=has_folders)
            return True

    def _owner_of_model(self, folder: str) -> str | None:
        """Return the experiment of the logged model in a folder, once it was looked at without a further look."""
        if folder not in self._owners:
            from localtrack.store.model_reading import read_model_folder

            reading = read_model_folder(self._site.storage, folder)
            if reading is None or not reading.has_logs:
                return None
            self._owners[folder] = reading.state.experiment_id
        return self._owners[folder]

    def _hand_on(self, found: dict[str, Use], *, has_folders: bool) -> None:
        document = {
            "version": _VERSION,
            "store": self._site.document.store_id,
            "measured_ms": self._site.clock(),
            "cost_ms": round(self._cost_s * 1000),
            "has_folders": has_folders,
            "experiments": {experiment_id: list(use) for experiment_id, use in found.items()},
        }
        try:
            self._site.storage.write(USE, encode_record(["use", document]))
        except LocaltrackError as error:  # others measure for themselves
            reporting.debug("the use of %s is not handed on: %s", self._site.storage.uri, error)

    def _take_over(self) -> bool:
        """Take over what another process measured a short time ago; return whether there is such a thing."""
        try:
            found: Any = decode_json(self._site.storage.read(USE))[1]
            uses = {str(key): Use(*map(int, numbers)) for key, numbers in found["experiments"].items()}
            age_s, cost_s = (self._site.clock() - found["measured_ms"]) / 1000, found["cost_ms"] / 1000
            is_of_use = (found["version"], found["store"]) == (_VERSION, self._site.document.store_id)
            is_of_use &= bool(found["has_folders"]) or not self._has_folders
        except (FileNotFoundError, LocaltrackError, ValueError, TypeError, LookupError):
            return False  # there is none, or it is of another version, or damaged: it is measured anew
        if not is_of_use or not 0 <= age_s < max(_HOLDS_S, _COST_FACTOR * cost_s):
            return False
        with self._lock:
            self._measured, self._cost_s = uses, cost_s
            self._measured_s = time.monotonic() - age_s
        return True


_alive: weakref.WeakSet[UseMeter] = weakref.WeakSet()


def _forget_after_fork() -> None:
    for meter in list(_alive):
        meter.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
