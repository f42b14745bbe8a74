"""Seals the closed chunks of running runs while the program goes on.

One thread a process, begun with the first chunk.
"""

from __future__ import annotations

import os
import queue
import threading

from localtrack import reporting
from localtrack.errors import LocaltrackError
from localtrack.storage.base import Storage
from localtrack.store.sealing import SealReport, seal_writer

_Job = tuple[Storage, str, str, str]


class Sealer:
    """Takes turns with whoever seals in the foreground: a writer is sealed by one thread at a time."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, without jobs: also for the child of a fork."""
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._turn = threading.Lock()
        self._thread: threading.Thread | None = None
        self._start = threading.Lock()
        self._skipped: set[str] = set()

    def ask(self, storage: Storage, folder: str, writer: str, run_id: str) -> None:
        """Have the closed chunks of a writer sealed soon."""
        self._jobs.put((storage, folder, writer, run_id))
        with self._start:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="localtrack-seal", daemon=True)
                self._thread.start()

    def seal_now(self, storage: Storage, folder: str, writer: str, *, run_id: str) -> SealReport:
        """Make one segment of all closed chunks of a writer that is at its end."""
        with self._start:
            self._skipped.add(writer)
        with self._turn:
            return seal_writer(storage, folder, writer, run_id=run_id, is_final=True)

    def _run(self) -> None:
        while True:
            self._seal(self._jobs.get())

    def _seal(self, job: _Job) -> None:
        storage, folder, writer, run_id = job
        if writer in self._skipped:
            return
        try:
            with self._turn:
                seal_writer(storage, folder, writer, run_id=run_id, is_final=False, is_polite=True)
        except LocaltrackError as error:  # the chunks stay, read as well, and are sealed by the next who tries
            reporting.warn("sealing points of run %s has to wait: %s", run_id, error)
        except Exception as error:  # a bug, whatever it is: the thread must live on to seal other runs
            reporting.complain("sealing points of run %s failed: %r", run_id, error)


sealer = Sealer()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=sealer.forget)
