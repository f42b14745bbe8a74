"""Objects that never change, kept on the local disk, so that a search fetches each of them once.

The cache is disposable, of one user, and bounded: what was used least recently goes first.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from typing import Final

from localtrack.format.layout import TEMPORARY_PREFIX, parse_run_file

LIMIT_BYTES: Final = 1024 * 1024 * 1024
OBJECT_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""Larger objects are read in ranges, and not kept."""
_LOOK_BYTES: Final = 32 * 1024 * 1024
"""How much is added before the size of the cache is looked at."""
_NAMED_BY_CONTENT: Final = re.compile(r"packs/[0-9a-f]{64}\.zip")


def is_unchanging(key: str) -> bool:
    """Return whether an object under this key is always the same: a part of a log, a segment, a pack."""
    file = parse_run_file(key.rpartition("/")[2])
    return (file is not None and (file.part is not None or file.kind == "segment")) or bool(
        _NAMED_BY_CONTENT.fullmatch(key)
    )


class ObjectCache:
    """The cache of one store. Nothing here raises: a cache that cannot be used is a cache that has nothing.

    Args:
        uri: The store.
        root: The folder of all caches; one of the user's among the temporary ones by default.
        is_off: Keep nothing, as of a store in memory.
    """

    def __init__(self, uri: str, root: str | None = None, *, is_off: bool = False) -> None:
        self._root = root or os.path.join(
            tempfile.gettempdir(), f"localtrack-cache-{os.getuid() if hasattr(os, 'getuid') else 0}"
        )
        self._folder = os.path.join(self._root, hashlib.sha256(uri.encode()).hexdigest()[:16])
        self._is_usable: bool | None = False if is_off else None
        self._added_bytes = _LOOK_BYTES  # so that the first addition looks

    def get(self, key: str) -> bytes | None:
        """Return an object if it is here."""
        if not self._is_ready():
            return None
        path = self._path(key)
        try:
            with open(path, "rb") as file:
                data = file.read()
            os.utime(path)
        except OSError:
            return None
        digest, _, content = data.partition(b"\n")
        # A disk that was full, or anybody's mistake, must not become a wrong answer.
        return content if digest == hashlib.sha256(content).hexdigest().encode() else None

    def put(self, key: str, data: bytes) -> None:
        """Keep an object."""
        if len(data) > OBJECT_LIMIT_BYTES or not self._is_ready():
            return
        path = self._path(key)
        temporary = os.path.join(self._folder, TEMPORARY_PREFIX + os.urandom(8).hex())
        try:
            with open(temporary, "xb") as file:
                file.write(hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            return
        self._added_bytes += len(data)
        if self._added_bytes >= _LOOK_BYTES:
            self._added_bytes = 0
            self._trim()

    def _path(self, key: str) -> str:
        return os.path.join(self._folder, hashlib.sha256(key.encode()).hexdigest()[:40])

    def _is_ready(self) -> bool:
        if self._is_usable is None:
            try:
                os.makedirs(self._root, mode=0o700, exist_ok=True)
                # What somebody else made might hold anything.
                status = os.lstat(self._root)
                self._is_usable = stat.S_ISDIR(status.st_mode) and (
                    not hasattr(os, "getuid") or status.st_uid == os.getuid()
                )
                if self._is_usable:
                    os.makedirs(self._folder, exist_ok=True)
            except OSError:
                self._is_usable = False
        return self._is_usable

    def _trim(self) -> None:
        found: list[tuple[float, int, str]] = []
        with contextlib.suppress(OSError):
            for folder in os.scandir(self._root):
                for entry in os.scandir(folder.path):
                    with contextlib.suppress(OSError):  # removed by another process
                        status = entry.stat()
                        found.append((status.st_mtime, status.st_size, entry.path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= LIMIT_BYTES:
                return
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= size
