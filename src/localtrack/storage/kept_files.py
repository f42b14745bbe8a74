"""Keeps files open that grow all the time: opening one takes several times as long as reading what was appended."""

from __future__ import annotations

import contextlib
import os
import weakref
from typing import Final

from localtrack.storage.local import read_end

_SHARE: Final = 4
"""One in so many of the files that the process may have open is kept at most."""
_MOST_COUNT: Final = 4_096
_FEW_BYTES: Final = 448
"""What most looks find is shorter; with its header such an object comes from Python's own pools."""


class KeptFiles:
    """Open files by key.

    A file stays the same one whatever happens to its name, so that whoever asks must be told of that in another way.

    Concurrency: not thread-safe.
    """

    def __init__(self) -> None:
        self.fds: dict[str, int] = {}
        """The descriptor of each."""
        self._most_count = _count_allowed()
        self._close = weakref.finalize(self, _close_all, self.fds)
        self._close.atexit = False

    def keep(self, key: str, path: str) -> bool:
        """Open a file; return whether it is kept: there may be too many, and it may be gone."""
        if key in self.fds:
            return True
        if len(self.fds) >= self._most_count:
            return False
        try:
            self.fds[key] = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError:  # whoever reads it by its name is told why
            return False
        return True

    def read_from(self, key: str, offset: int) -> bytes:
        """Return the bytes of a kept file from an offset on; none if they cannot be read."""
        try:
            fd = self.fds[key]
            part = os.pread(fd, _FEW_BYTES, offset)
            return part if len(part) < _FEW_BYTES else read_end(fd, offset)
        except OSError:  # whoever reads it by its name is told why
            return b""

    def drop(self, key: str) -> None:
        """Keep a file no longer; nothing if it is not kept."""
        fd = self.fds.pop(key, None)
        if fd is not None:
            os.close(fd)

    def clear(self) -> None:
        """Keep none."""
        _close_all(self.fds)


def _close_all(fds: dict[str, int]) -> None:
    while fds:
        with contextlib.suppress(OSError):  # nothing was written to it
            os.close(fds.popitem()[1])


def _count_allowed() -> int:
    """Return how many files may be kept."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return 0
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_COUNT if limit == resource.RLIM_INFINITY else min(limit // _SHARE, _MOST_COUNT)
