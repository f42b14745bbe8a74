"""Has the kernel tell which of the runs that go on have changed, where there are many of them.

What is watched is watched before it is looked at, so that nothing can happen between the two. What is not watched, for
whatever reason, is looked at each time. A file that grows from look to look is not watched for that, but kept open and
read each time, which takes less.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from localtrack.format.layout import INBOX, RUNS
from localtrack.storage.base import Storage
from localtrack.storage.kept_files import KeptFiles
from localtrack.storage.kernel_watch import ANYTHING, GROWTH, ITSELF, NAMES, KernelWatch
from localtrack.store.index.live_run import LiveRun

WORTH_COUNT: Final = 64
"""Fewer runs, and fewer files in the inbox, are looked at as quickly."""


class RunWatch:
    """What is watched of one store, and what the kernel has told and nobody has looked into yet.

    Args:
        storage: The store's bytes.

    Concurrency: as `RunIndex`.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._kernel: KernelWatch | None = None
        self._is_unavailable = False
        self.runs: dict[str, tuple[LiveRun, Sequence[str]]] = {}
        """What is watched, by folder: the run, its folder, and its files that may grow. All that may change of a run is
        watched, or has been told of, if this is the very run and it is marked so."""
        self._parents: set[str] = set()
        self._told: set[str] = set()
        self._busy = KeptFiles()
        """Files that grew at two looks in a row, and have grown at each one since."""
        self._busy_of: dict[str, list[str]] = {}
        """The same by folder."""
        self._grew: set[str] = set()
        """Other files that were told of at the last look."""
        self._grew_before: set[str] = set()
        self.is_inbox_still = False
        """Nothing happened in the inbox since `watch_inbox`."""

    def listen(self, *, count: int) -> None:
        """Take note of what the kernel has told. If notices were lost, or the store is another, nothing is watched.

        Args:
            count: How many runs and files there are to watch.
        """
        if self._kernel is None:
            if count >= WORTH_COUNT and not self._is_unavailable and self._storage.can_watch:
                self._kernel = KernelWatch.open(self._storage.path(RUNS))
                self._is_unavailable = self._kernel is None
            return
        told = self._kernel.take()
        if told is None or told & self._parents or not self._storage.can_watch:
            self.reset()
            return
        if INBOX in told:
            self.is_inbox_still = False
            told.discard(INBOX)
        self._told |= told

    def reset(self) -> None:
        """Watch nothing: everything is to be looked at."""
        if self._kernel is not None:
            self._kernel.close()
        self._kernel, self.is_inbox_still = None, False
        self.runs, self._parents, self._told, self._grew = {}, set(), set(), set()
        self._busy.clear()
        self._busy_of.clear()

    def take(self) -> tuple[dict[str, list[str]], set[str]]:
        """Return what the kernel has told of runs since the last call.

        Returns:
            The files that have grown, or may have, by folder: see `read_on`. And the folders whose files are others.
        """
        grown = dict(self._busy_of)
        stirred: set[str] = set()
        self._grew, self._grew_before = set(), self._grew
        for key in self._told:
            if key in self.runs:
                stirred.add(key)
            elif key not in self._busy.fds:  # of those the kernel may still tell what it was asked before
                folder = key.rpartition("/")[0]
                grown[folder] = [*grown.get(folder, ()), key]
        self._told = set()
        return grown, stirred

    def watch(self, run: LiveRun) -> None:
        """Watch a run from now on, if it can be. Comes before it is looked at."""
        kernel, path, folder = self._kernel, self._storage.path, run.folder
        self._let_go(folder)
        if kernel is None or not run.can_be_watched or not self._watch_parents(kernel, folder.rpartition("/")[0]):
            run.is_watched = False
            return
        keys = run.watched_keys
        if folder in self.runs:
            for key in set(self.runs[folder][1]) - set(keys):
                kernel.drop(key)
        self.runs[folder] = run, keys
        run.is_watched = kernel.watch(folder, path(folder), NAMES) and all(
            kernel.watch(key, path(key), GROWTH) for key in keys[1:]
        )

    def read_on(self, run: LiveRun, key: str) -> bool:
        """Have a run take what was appended to a file; return whether that was all there is to do.

        Args:
            run: The run.
            key: One of its files that have grown, or may have. It is watched as before from now on, or kept open.

        Raises:
            FileNotFoundError: The file is gone.
            StorageError: The file cannot be read.
        """
        kernel, busy = self._kernel, self._busy
        if key in busy.fds:
            return run.read_on(key, busy.read_from)
        if key in self._grew_before and busy.keep(key, self._storage.path(key)):
            self._busy_of[run.folder] = [*self._busy_of.get(run.folder, ()), key]
            return run.read_on(key, busy.read_from)
        self._grew.add(key)
        return kernel is not None and kernel.watch_again(key) and run.read_on(key, self._storage.read_from)

    def keep(self, folders: Collection[str]) -> None:
        """Watch the runs in no other folders than these any longer."""
        for folder in self.runs.keys() - folders:
            run, keys = self.runs.pop(folder)
            run.is_watched = False
            self._let_go(folder)
            if self._kernel is not None:
                for key in keys:
                    self._kernel.drop(key)

    def _let_go(self, folder: str) -> None:
        """Keep no file of a run open."""
        for key in self._busy_of.pop(folder, ()):
            self._busy.drop(key)

    def watch_inbox(self) -> None:
        """Watch the inbox from now on, if it can be. Comes before it is looked at."""
        kernel, path = self._kernel, self._storage.path(INBOX)
        self.is_inbox_still = kernel is not None and kernel.watch(INBOX, path, ANYTHING) and kernel.is_here(path)

    def _watch_parents(self, kernel: KernelWatch, day: str) -> bool:
        """Watch the folder of a day, and that of all days, for being moved away: what is below tells nothing then."""
        for key in (RUNS, day):
            if key not in self._parents:
                path = self._storage.path(key)
                if not kernel.watch(key, path, ITSELF) or not kernel.is_here(path):
                    return False
                self._parents.add(key)
        return True
