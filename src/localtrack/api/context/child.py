"""A child process that is read by one thread and can be killed by any.

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

_FIRST_POLL_S: Final = 0.002
_LAST_POLL_S: Final = 0.1
_READ_BYTES: Final = 1 << 16
# A killed process is gone within milliseconds, unless a dead network drive holds it: then init gets it when we exit.
_MAX_KILL_WAIT_S: Final = 0.2


class Child(Protocol):
    """A child process."""

    def wait(self, timeout_s: float) -> tuple[int, bytes] | None:
        """Return the exit code and what was written; None if the process has not ended in time. Call it once.

        The code is negative after a signal, and where it is not known.
        """

    def kill(self) -> None:
        """Kill the process. No effect on one that has ended."""


def start_child(arguments: Sequence[str], environ: Mapping[str, str]) -> Child:
    """Start a program given by its absolute path, with nothing to read and nobody to read its errors."""
    return _WindowsChild(arguments, environ) if sys.platform == "win32" else _PosixChild(arguments, environ)


class _PosixChild:
    """A process in a group of its own: what it starts is killed with it, and Ctrl-C does not reach it."""

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        import signal

        self._lock = threading.Lock()
        self._code: int | None = None
        self._output, write_end = os.pipe()
        try:
            self._pid = os.posix_spawn(
                arguments[0],
                list(arguments),
                dict(environ),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, write_end, 1),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                setpgroup=0,
                # Python ignores SIGPIPE, and a thread may block signals: a child would inherit both.
                setsigdef=[signal.SIGPIPE],
                setsigmask=[],
            )
        except BaseException:  # whatever kept the child from starting, an interrupt too: nobody else closes this end
            os.close(self._output)
            raise
        finally:
            os.close(write_end)

    def wait(self, timeout_s: float) -> tuple[int, bytes] | None:
        os.set_blocking(self._output, False)
        kept: list[bytes] = []
        try:
            code = self._read_until_end(kept, timeout_s)
            return None if code is None else (code, b"".join(kept))
        finally:
            os.close(self._output)

    def _read_until_end(self, kept: list[bytes], timeout_s: float) -> int | None:
        deadline_s = time.monotonic() + timeout_s
        pause_s = _FIRST_POLL_S
        while True:
            # Not until the pipe ends: a forked process may hold the other end for as long as it lives.
            with self._lock:
                code = self._reap()
            while chunk := self._read():
                kept.append(chunk)
            if code is not None or time.monotonic() >= deadline_s:
                return code
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_POLL_S)

    def _read(self) -> bytes:
        try:
            return os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return b""

    def kill(self) -> None:
        import signal

        with self._lock:
            if self._reap() is not None:
                return
            os.killpg(self._pid, signal.SIGKILL)
            end_s = time.monotonic() + _MAX_KILL_WAIT_S
            while self._reap() is None and time.monotonic() < end_s:
                time.sleep(_FIRST_POLL_S)

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


class _WindowsChild:
    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        import subprocess

        nowhere = subprocess.DEVNULL
        self._process = subprocess.Popen(
            arguments,
            env=dict(environ),
            stdin=nowhere,
            stdout=subprocess.PIPE,
            stderr=nowhere,
            # Without it, a program that has no console opens one.
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )

    def wait(self, timeout_s: float) -> tuple[int, bytes] | None:
        import subprocess

        try:
            output, _ = self._process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return None
        return self._process.returncode, output

    def kill(self) -> None:
        self._process.kill()
