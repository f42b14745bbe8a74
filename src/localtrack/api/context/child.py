"""A child process without input and output, that can be asked and killed from any thread.

On POSIX this is `os.posix_spawn` and not `subprocess`, whose import alone takes longer than everything else at the
start of a run.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

# A killed process is gone within milliseconds, unless a dead network drive holds it: then init gets it when we exit.
_MAX_KILL_WAIT_S: Final = 0.2
_KILL_POLL_S: Final = 0.002


class Child(Protocol):
    """A child process."""

    def poll(self) -> int | None:
        """Return the exit code, negative after a signal or where it is not known; None while the process runs."""

    def kill(self) -> None:
        """Kill the process. No effect on one that has ended."""


def start_child(arguments: Sequence[str], environ: Mapping[str, str]) -> Child:
    """Start a program given by its absolute path."""
    if sys.platform == "win32":
        import subprocess

        nothing = subprocess.DEVNULL
        flags = subprocess.CREATE_NO_WINDOW
        return subprocess.Popen(
            arguments, stdin=nothing, stdout=nothing, stderr=nothing, env=dict(environ), creationflags=flags
        )
    return _PosixChild(arguments, environ)


class _PosixChild:
    """A process in a group of its own: what it starts is killed with it, and Ctrl-C does not reach it."""

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        import signal

        nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
        self._lock = threading.Lock()
        self._code: int | None = None
        self._pid = os.posix_spawn(
            arguments[0],
            list(arguments),
            dict(environ),
            file_actions=nowhere,
            setpgroup=0,
            # Python ignores SIGPIPE, and a thread may block signals: a child would inherit both.
            setsigdef=[signal.SIGPIPE],
            setsigmask=[],
        )

    def poll(self) -> int | None:
        with self._lock:
            return self._reap()

    def kill(self) -> None:
        import signal

        with self._lock:
            if self._reap() is not None:
                return
            os.killpg(self._pid, signal.SIGKILL)
            end_s = time.monotonic() + _MAX_KILL_WAIT_S
            while self._reap() is None and time.monotonic() < end_s:
                time.sleep(_KILL_POLL_S)

    def _reap(self) -> int | None:
        # Once reaped, the number may belong to another process: never wait for it or signal it again.
        if self._code is None:
            try:
                pid, status = os.waitpid(self._pid, os.WNOHANG)
            except ChildProcessError:
                # Somebody else took it: another thread's waitpid(-1), or SIGCHLD is ignored.
                self._code = -1
            else:
                self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code
