"""The active runs: a stack for each thread, as in MLflow, and the list of all that this process has to end.

New threads and forked children start with an empty stack. A run that was ended through its own object (`run.end()`, the
end of a `with` block) leaves its stack when somebody next looks. What is still open when the interpreter ends is ended
FINISHED, as in MLflow, and that in all threads.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from localtrack.api import environment
from localtrack.api.active_model import note_use

if TYPE_CHECKING:
    from collections.abc import Callable

    from localtrack.api.run import ActiveRun
    from localtrack.api.store import Store

MAX_ATTACHED_COUNT: Final = 64
"""How many runs of others are kept open; each costs a file descriptor."""


class Active(NamedTuple):
    """A run that fluent calls log to."""

    run: ActiveRun
    store: Store
    pid: int
    """The process that began it: a forked child may log to it by its id, but does not end it when it ends itself."""
    requested_id: str | None
    """What the environment named as the run to resume when this one began; the next run must not resume it again."""


class _ThreadRuns(threading.local):
    def __init__(self) -> None:
        self.stack: list[Active] = []
        self.last: Active | None = None


_thread = _ThreadRuns()
# Every active run of this process, of whatever thread, in the order they were begun. Appending to a list, removing from
# it and copying it are one step each to other threads.
_open: list[Active] = []
# Runs of others that were logged to by id, least recently used first.
_attached: dict[tuple[str, str], Active] = {}
_lock = threading.Lock()
_is_registered = False
_watchers: list[Callable[[ActiveRun, Store], object]] = []


def push(run: ActiveRun, store: Store) -> None:
    """Make a run the active one of the calling thread."""
    _register()
    entry = Active(run, store, os.getpid(), environment.run_id())
    if environment.active_model_id() is not None:
        note_use()
    for other in list(_open):
        if other.run.is_ended:
            _forget(other)
    _open.append(entry)
    _thread.stack.append(entry)
    for watcher in _watchers:
        watcher(run, store)


def watch(watcher: Callable[[ActiveRun, Store], object]) -> None:
    """Call something with each run that becomes active from now on, and with the one that is, in the calling thread."""
    if watcher in _watchers:
        return
    _watchers.append(watcher)
    entry = top()
    if entry is not None:
        watcher(entry.run, entry.store)


def top() -> Active | None:
    """Return the active run of the calling thread with its store, or None."""
    stack = _thread.stack
    while stack:
        entry = stack[-1]
        if not entry.run.is_ended:
            return entry
        pop()
    return None


def pop() -> None:
    """Take the active run off the stack of the calling thread, whether or not it has ended."""
    entry = _thread.stack.pop()
    _thread.last = entry
    _forget(entry)
    if entry.requested_id is not None and entry.requested_id == environment.run_id():
        environment.take_run_id()


def last() -> Active | None:
    """Return the run that was taken off the stack of the calling thread last, or None."""
    return _thread.last


def find(run_id: str) -> Active | None:
    """Return the run of an id if any thread of this process has it open."""
    return next((entry for entry in reversed(_open) if entry.run.run_id == run_id and not entry.run.is_ended), None)


def attach(store: Store, run_id: str) -> ActiveRun:
    """Return a run that this process has not begun, to log to it by its id; its status stays as it is.

    It is kept for the next call, as each attaching makes a log file. Of many, the one used least recently is let go.

    Raises:
        NotFoundError: There is no such run.
        StateError: It is deleted.
    """
    key = (store.uri, run_id)
    with _lock:
        entry = _attached.pop(key, None)
        if entry is None or entry.pid != os.getpid() or entry.run.is_ended:
            entry = Active(store.attach_run(run_id), store, os.getpid(), None)
            _register()
        _attached[key] = entry
        oldest = _attached.pop(next(iter(_attached))) if len(_attached) > MAX_ATTACHED_COUNT else None
    if oldest is not None:
        oldest.run.detach()
    return entry.run


def end_all() -> None:
    """End every run that this process began, inner ones before outer ones. Never raises: the interpreter is ending."""
    ends: list[tuple[Active, Callable[[], object]]] = [(entry, entry.run.end) for entry in reversed(_open)]
    ends += [(entry, entry.run.detach) for entry in _attached.values()]
    for entry, end in ends:
        if entry.pid != os.getpid():
            continue
        try:
            end()
        except Exception as error:  # whatever one run meets, the others are ended too
            import logging

            logger = logging.getLogger("localtrack")
            logger.error("The end of run %s could not be recorded: %s", entry.run.run_id, error, exc_info=error)


def _register() -> None:
    global _is_registered
    if not _is_registered:
        # Not on import: handlers run last registered first, and the store's have to come after this one.
        atexit.register(end_all)
        _is_registered = True


def _start_anew_in_child() -> None:
    global _lock, _thread
    # Another thread of the parent may hold it at the moment of the fork, and nobody would let go of the child's copy.
    _lock = threading.Lock()
    _thread = _ThreadRuns()


def _forget(entry: Active) -> None:
    # By identity: two objects may write to one run.
    for number, other in enumerate(_open):
        if other.run is entry.run:
            del _open[number]
            return


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_in_child)
