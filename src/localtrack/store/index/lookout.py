"""Finds out which of the runs that go on have changed, and reads on where a file has only grown."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from localtrack.errors import StorageError
from localtrack.storage.base import Storage
from localtrack.store.index.live_run import LiveRun, Seen
from localtrack.store.index.run_watch import RunWatch

_ALL_EVERY: Final = 16
"""Each so many times runs that show no change are looked at too: they may have been still for long."""


class Lookout:
    """See the module.

    Args:
        storage: The store's bytes.

    Concurrency: as `RunIndex`.
    """

    def __init__(self, storage: Storage) -> None:
        self.watch = RunWatch(storage)
        self._turn = 0

    def find(
        self, live: Mapping[str, LiveRun], unsettled: Collection[str], touched: Collection[str], *, storage: Storage
    ) -> list[tuple[str, Seen]]:
        """Return the folders that want a closer look, in order, and what was seen of each; empty if nobody has looked.

        Args:
            live: The runs of the overlay by folder.
            unsettled: Which of them may have changed.
            touched: Those of which a notice speaks; they are always among the answers.
            storage: The store's bytes as this search sees them.
        """
        self._turn += 1
        if not (storage.can_append and storage.is_local):
            return [(folder, ()) for folder in sorted(unsettled)]
        is_thorough = self._turn % _ALL_EVERY == 0
        watch, watched = self.watch, self.watch.runs
        grown, stirred = watch.take()
        wanted = stirred.union(touched)
        doubtful: list[LiveRun] = []
        for folder in unsettled:
            run = live.get(folder)
            if run is None:
                continue
            known = watched.get(folder)
            is_told = run.is_watched and known is not None and known[0] is run and folder not in wanted
            files = grown.get(folder, ())
            if not is_told or not self._read_on(run, files) or (is_thorough and not files):
                doubtful.append(run)
        watch.keep(unsettled)
        return self._look(sorted(doubtful, key=_folder_of), touched, storage, is_thorough=is_thorough)

    def _read_on(self, run: LiveRun, files: Sequence[str]) -> bool:
        """Take what was appended to files of a run; return whether that was all there is to do."""
        try:
            return all(self.watch.read_on(run, key) for key in files)
        except (FileNotFoundError, StorageError):
            return False  # the closer look tells what is wrong

    def _look(
        self, runs: list[LiveRun], touched: Collection[str], storage: Storage, *, is_thorough: bool
    ) -> list[tuple[str, Seen]]:
        for run in runs:
            self.watch.watch(run)
        seen = storage.look([key for run in runs for key in run.watched_keys])
        chosen: list[tuple[str, Seen]] = []
        start = 0
        for run in runs:
            here = seen[start : start + len(run.watched_keys)]
            start += len(here)
            if is_thorough or run.folder in touched or (here != run.still and not run.is_still(here)):
                chosen.append((run.folder, here))
        return chosen


def _folder_of(run: LiveRun) -> str:
    return run.folder
