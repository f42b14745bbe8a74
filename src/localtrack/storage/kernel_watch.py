"""Learns from the kernel what happened to files and folders, instead of looking at each of them: inotify(7).

The kernel takes note of a change before the call that makes it returns, so what was written before `take` is told by
it. That holds for the processes of this machine and for file systems whose changes all pass through its kernel.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Sequence
from typing import Any, Final

_MODIFY: Final = 0x2
_NAMES: Final = 0x40 | 0x80 | 0x100 | 0x200  # moved from, moved to, create, delete
_ITSELF: Final = 0x400 | 0x800  # deleted, moved
_ONLY_FOLDER: Final = 0x0100_0000 | 0x0200_0000  # and no link to one, which may lead to another medium
_ONCE: Final = 0x8000_0000
_LOST: Final = 0x4000
"""Source: inotify(7), <sys/inotify.h>."""

GROWTH: Final = _MODIFY | _ONCE
"""Of a file: it was written to. Told once, so that a busy writer does not fill the kernel's queue."""
NAMES: Final = _NAMES | _ITSELF | _ONLY_FOLDER
"""Of a folder: something came into it or left it, or it was itself moved or removed."""
ANYTHING: Final = _NAMES | _ITSELF | _MODIFY | _ONLY_FOLDER | _ONCE
"""Of a folder: as `NAMES`, or a file in it was written to. Told once."""
ITSELF: Final = _ITSELF | _ONLY_FOLDER
"""Of a folder: it was moved or removed."""

_READ_BYTES: Final = 256 * 1024


class KernelWatch:
    """Files and folders under watch, by key.

    Args:
        libc: The C library.
        fd: The kernel's queue.
        base: The folder in which everything lies that is watched.

    Concurrency: not thread-safe. In the child of a fork everything counts as lost.
    """

    def __init__(self, libc: Any, fd: int, base: str) -> None:
        self._add: Any = libc.inotify_add_watch
        self._remove: Any = libc.inotify_rm_watch
        self._fd = fd
        self._pid = os.getpid()
        self._base = base
        self._place = _find_place(base)
        self._keys: dict[int, str] = {}
        """By the kernel's number of each watch. A number is not given to another file for 2**31 watches."""
        self._watched: dict[str, tuple[int, bytes, int]] = {}
        """By key the number, the path and what is watched."""
        self._close = weakref.finalize(self, os.close, fd)
        self._close.atexit = False  # stores do things while the interpreter ends, when the number may be another file's

    @classmethod
    def open(cls, base: str) -> KernelWatch | None:
        """Return a watch of nothing yet; None where the kernel has none, or gives no more of them.

        Args:
            base: The folder in which everything lies that is to be watched.
        """
        if sys.platform != "linux":
            return None
        import ctypes

        try:
            libc = ctypes.CDLL(None)
            fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, AttributeError):  # no such library, or no such function in it
            return None
        return cls(libc, fd, base) if fd >= 0 else None

    def watch(self, key: str, path: str, what: int) -> bool:
        """Watch a file or folder from now on; return whether it is watched.

        Args:
            key: What `take` says of it.
            path: Where it lies.
            what: `GROWTH`, `NAMES`, `ANYTHING` or `ITSELF`.

        Returns:
            False if it is not there, the kernel watches no more for this user, or another key is the same file.
        """
        return self._watch(key, os.fsencode(path), what)

    def watch_again(self, key: str) -> bool:
        """Watch what was told of as before; return whether it is watched."""
        known = self._watched.get(key)
        return known is not None and self._watch(key, known[1], known[2])

    def _watch(self, key: str, path: bytes, what: int) -> bool:
        number: int = self._add(self._fd, path, what)
        if number < 0 or self._keys.setdefault(number, key) != key:
            return False
        known = self._watched.get(key)
        if known is not None and known[0] != number:
            self._keys.pop(known[0], None)
        self._watched[key] = number, path, what
        return True

    def is_here(self, path: str) -> bool:
        """Return whether a folder lies on the same file system as the base."""
        place = _find_place(path)
        return place is not None and self._place is not None and place[0] == self._place[0]

    def drop(self, key: str) -> None:
        """Watch it no more; nothing if it is not watched."""
        known = self._watched.pop(key, None)
        if known is not None and self._keys.pop(known[0], None) is not None:
            self._remove(self._fd, known[0])

    def take(self) -> set[str] | None:
        """Return what something has happened to since it was watched or told last; None if notices were lost.

        What is told once, or is not there any more, is watched no longer. Notices count as lost too if another folder
        has taken the place of the base.
        """
        if not self._close.alive or os.getpid() != self._pid or _find_place(self._base) != self._place:
            return None
        found: set[int] = set()
        while True:
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                return {self._keys[number] for number in found if number in self._keys}
            numbers, masks = _split_events(data)
            if not numbers or any(map(_LOST.__and__, masks)):
                return None
            found.update(numbers)

    def close(self) -> None:
        """Watch nothing any more; idempotent."""
        self._close()


def _split_events(data: bytes) -> tuple[Sequence[int], Sequence[int]]:
    """Return the numbers and the masks of what was read: events of four words, some of them with a name behind."""
    words = memoryview(data).cast("I")
    numbers, masks, lengths = words[0::4].tolist(), words[1::4].tolist(), words[3::4].tolist()
    if not any(lengths):
        return numbers, masks
    numbers, masks, at = [], [], 0
    while at < len(words):
        numbers.append(words[at])
        masks.append(words[at + 1])
        at += 4 + words[at + 3] // 4
    return numbers, masks


def _find_place(path: str) -> tuple[int, int] | None:
    """Return file system and number of what lies at a path; None if nothing does."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
