"""This process's writers: one for each run that it logs to, kept open between MLflow's calls, which only name the run.

A run that is logged to through a server is written by each of the server's workers, and ended by whichever gets the
call. A worker therefore looks now and then whether runs that it has not written to for a while have ended, and lets go
of those; also of logged models that were deleted.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from localtrack import reporting
from localtrack.api.store import Store
from localtrack.errors import ErrorCode, LocaltrackError, NotFoundError, StateError
from localtrack.format.edits import ExperimentState
from localtrack.format.layout import parse_run_file
from localtrack.mlflow_plugin.failures import not_active, run_not_found
from localtrack.store.run_writer import RunWriter
from localtrack.types import TERMINAL_STATUSES

T = TypeVar("T")

MAX_OPEN_COUNT: Final = 256
"""How many runs are kept open; each costs a file descriptor."""
RECENT_S: Final = 1.0
"""How long it may take until a run that another process deleted is refused here."""
IDLE_S: Final = 30.0
"""How long a run is not written to before it is looked at whether it has ended; the pause doubles with each look."""


class _Open:
    """One run that this process writes to."""

    __slots__ = ("checked_epoch", "checked_s", "look_s", "pid", "used_s", "writer")

    def __init__(self, writer: RunWriter, now_s: float, epoch: int) -> None:
        self.writer = writer
        self.pid = os.getpid()
        self.used_s = self.checked_s = now_s
        self.checked_epoch = epoch
        self.look_s = IDLE_S


class RunWriters:
    """The open writers of one store. Thread-safe; a forked child begins with none."""

    def __init__(self, store: Store, *, max_open_count: int = MAX_OPEN_COUNT) -> None:
        self._store = store
        self._max_open_count = max_open_count
        self._open: dict[str, _Open] = {}  # least recently used first
        self._lock = threading.Lock()
        self._epoch = 0
        self._watcher: threading.Thread | None = None
        self._closing = threading.Event()
        _alive.add(self)

    def begin(self, experiment: ExperimentState, *, start_ms: int | None, user: str, tags: Mapping[str, str]) -> str:
        """Begin a run and return its id. See `Runs.begin`."""
        writer = self._store.runs.begin(experiment, start_ms=start_ms, user=user, tags=tags)
        self._keep(writer.run_id, _Open(writer, time.monotonic(), self._epoch))
        return writer.run_id

    def use(self, run_id: str, call: Callable[[RunWriter], T]) -> T:
        """Call something with this process's writer of a run, which is opened where there is none yet.

        Raises:
            MlflowException: There is no such run, or it is deleted.
        """
        while True:
            try:
                return call(self._writer(run_id))
            except StateError as error:
                # Another thread has let go of the writer since it was found here; nothing of the call was written.
                if error.code != ErrorCode.RUN_ENDED:
                    raise
                self._forget(run_id)

    def end(self, run_id: str, info: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Record the end of a run, and let go of it.

        Args:
            run_id: The run.
            info: The payload of its last `info` record.
            tags: Tags to set before.
        """

        def end(writer: RunWriter) -> None:
            if tags:
                writer.set_tags(tags)
            self._store.end_writer(writer, info)

        self.use(run_id, end)
        self._forget(run_id)

    def learn_params(self, writer: RunWriter) -> None:
        """Let a writer know the params that other processes have logged to its run."""
        files = (parse_run_file(name) for name in self._store.storage.names(writer.folder))
        if any(file is not None and file.writer != writer.writer for file in files):
            for key, value in self._store.runs.read(writer.run_id).state.params.items():
                writer.params.setdefault(key, value)

    def forget_life_cycles(self) -> None:
        """After this process deleted or restored something: ask again which runs are deleted."""
        self._epoch += 1

    def let_go(self, run_id: str) -> None:
        """Close this process's log of a run, if it has one; the run stays as it is."""
        with self._lock:
            entry = self._open.pop(run_id, None)
        if entry is not None:
            self._close(entry)

    def close(self) -> None:
        """Close all logs; the runs stay as they are. Logging to one opens it again."""
        self._closing.set()
        while True:
            with self._lock:
                if not self._open:
                    return
                _, entry = self._open.popitem()
            self._close(entry)

    def __len__(self) -> int:
        return len(self._open)

    # -- behind

    def _writer(self, run_id: str) -> RunWriter:
        now_s = time.monotonic()
        entry = self._open.get(run_id)
        if entry is None or entry.pid != os.getpid():
            entry = self._attach(run_id, now_s)
        elif now_s - entry.checked_s > RECENT_S or entry.checked_epoch != self._epoch:
            epoch = self._epoch
            experiment_id = entry.writer.experiment.experiment_id
            if self._store.catalog.read().is_run_deleted(run_id, experiment_id):
                raise not_active("run", run_id)
            entry.checked_s, entry.checked_epoch = now_s, epoch
        entry.used_s, entry.look_s = now_s, IDLE_S
        return entry.writer

    def _attach(self, run_id: str, now_s: float) -> _Open:
        epoch = self._epoch
        with _missing_as_mlflow(run_id):
            writer = self._store.runs.resume(run_id, is_running=False)
        entry = _Open(writer, now_s, epoch)
        return self._keep(run_id, entry)

    def _keep(self, run_id: str, entry: _Open) -> _Open:
        """Remember an open run, unless another thread has opened it meanwhile, and let go of what is too much."""
        surplus: list[_Open] = []
        with self._lock:
            known = self._open.get(run_id)
            if known is not None and known.pid == entry.pid and not known.writer.is_closed:
                return known  # the one opened here has not written, and so has no file
            self._open.pop(run_id, None)
            self._open[run_id] = entry
            if len(self._open) > self._max_open_count:
                by_use = sorted(self._open.items(), key=lambda item: item[1].used_s)
                for other_id, _ in by_use[: max(1, self._max_open_count // 8)]:
                    if other_id != run_id:
                        surplus.append(self._open.pop(other_id))
            self.watch()
        for other in surplus:
            self._close(other)
        return entry

    def _forget(self, run_id: str) -> None:
        with self._lock:
            entry = self._open.get(run_id)
            if entry is not None and entry.writer.is_closed:
                del self._open[run_id]

    def _close(self, entry: _Open) -> None:
        if entry.pid != os.getpid() or entry.writer.is_closed:
            return
        try:
            self._store.end_writer(entry.writer, None)
        except LocaltrackError as error:  # what was logged is in the log all the same
            reporting.warn("the log of run %s stays open: %s", entry.writer.run_id, error)

    # -- watching

    def watch(self) -> None:
        """See to it that logs are closed that nobody needs any more, as a server has no end."""
        if self._watcher is None and not self._closing.is_set():
            self._watcher = threading.Thread(target=self._look_now_and_then, name="localtrack-mlflow", daemon=True)
            self._watcher.start()

    def _look_now_and_then(self) -> None:
        while not self._closing.wait(IDLE_S):
            self.let_go_of_ended(time.monotonic())
            try:
                self._store.let_go_of_deleted_models()
            except LocaltrackError as error:
                reporting.debug("logs of logged models stay open: %s", error)

    def let_go_of_ended(self, now_s: float) -> None:
        """Close the logs of those runs that have not been written to for a while, and have ended.

        Args:
            now_s: The time on the monotonic clock.
        """
        for run_id, entry in list(self._open.items()):
            if now_s - entry.used_s < entry.look_s:
                continue
            entry.look_s *= 2
            try:
                has_ended = self._store.runs.read(run_id).state.status in TERMINAL_STATUSES
            except NotFoundError:
                has_ended = True  # removed for good
            except LocaltrackError as error:
                reporting.debug("run %s cannot be looked at: %s", run_id, error)
                continue
            if has_ended:
                self.let_go(run_id)

    def forget_after_fork(self) -> None:
        """In the child of a fork: the parent's writers are the parent's."""
        self._lock = threading.Lock()
        self._open = {}
        self._watcher = None
        self._closing = threading.Event()


@contextmanager
def _missing_as_mlflow(run_id: str) -> Iterator[None]:
    """Raise what MLflow's stores raise for a run that is not there, or is deleted."""
    try:
        yield
    except NotFoundError as error:
        raise run_not_found(run_id) from error
    except StateError as error:
        if error.code != ErrorCode.RUN_DELETED:
            raise
        raise not_active("run", run_id) from error


_alive: weakref.WeakSet[RunWriters] = weakref.WeakSet()


def _forget_after_fork() -> None:
    for writers in list(_alive):
        writers.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
