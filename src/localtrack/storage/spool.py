"""A store that is written to a local disk first: what lies there and what lies at its destination, as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import BinaryIO, Final, TypeVar

from localtrack import reporting
from localtrack.errors import StorageError
from localtrack.format.layout import parse_run_file
from localtrack.storage.base import Appender, Entry, Storage, StreamFile
from localtrack.storage.capabilities import Capabilities
from localtrack.storage.local import LocalStorage
from localtrack.storage.localpaths import is_within, real_path
from localtrack.storage.patience import ask

T = TypeVar("T")

PATIENCE_S: Final = 15.0
"""So long a read waits for the destination before it is taken to be away."""
AWAY_S: Final = 10.0
"""For so long a destination that was found away is not asked again by readers."""


class SpooledStorage:
    """Writes to `front`, reads `front` and `back` as one. What both have is read where it is longer.

    Concurrency: as the parts. While the destination is away, what lies there is missing in listings; that is said once.
    """

    can_append = True
    is_local = False  # what lies at the destination has no path on this disk, and may be reached through neither
    can_watch = False

    def __init__(self, front: LocalStorage, back: Storage, *, patience_s: float = PATIENCE_S) -> None:
        self.front = front
        self.back = back
        self.uri = back.uri
        self.on_create: Callable[[], None] = lambda: None
        """Called when a log was created: there is something to move."""
        self._patience_s = patience_s
        self._away_until_s = 0.0
        self._is_told = False

    @property
    def capabilities(self) -> Capabilities:
        """See `Storage.capabilities`: those of the disk that is written to."""
        return self.front.capabilities

    @property
    def is_away(self) -> bool:
        """Whether the destination did not answer lately."""
        return time.monotonic() < self._away_until_s

    def path(self, key: str) -> str:
        """See `Storage.path`: where a key will lie."""
        return self.back.path(key)

    # -- reading both

    def read(self, key: str) -> bytes:
        """See `Storage.read`."""
        front = self._front_or_none(key)
        if front is None:
            return self._must(lambda: self._back_read(key), f"Reading {self.path(key)}")
        if not key.endswith(".jsonl") or self._is_ours(key):
            return front
        try:
            back = self._maybe(lambda: self._back_read(key), b"")
        except FileNotFoundError:
            return front
        return back if len(back) > len(front) else front

    def look(self, keys: Sequence[str]) -> list[tuple[int, int] | None]:
        """See `Storage.look`."""
        return [None if entry is None else (entry.mtime_ms, entry.size) for entry in map(self.stat, keys)]

    def read_from(self, key: str, offset: int) -> bytes:
        """See `Storage.read_from`."""
        return self.read(key)[offset:] if offset else self.read(key)

    def open(self, key: str) -> BinaryIO:
        """See `Storage.open`."""
        try:
            return self.front.open(key)
        except FileNotFoundError:
            return self._must(lambda: self._back_open(key), f"Reading {self.path(key)}")

    def exists(self, key: str) -> bool:
        """See `Storage.exists`."""
        return self.front.exists(key) or self._maybe(lambda: self.back.exists(key), False)

    def stat(self, key: str) -> Entry | None:
        """See `Storage.stat`."""
        nothing: Entry | None = None
        return _join(self.front.stat(key), self._maybe(lambda: self.back.stat(key), nothing))

    def entries(self, key: str) -> list[Entry]:
        """See `Storage.entries`."""
        found = {entry.name: entry for entry in self.front.entries(key)}
        nothing: list[Entry] = []
        for entry in self._maybe(lambda: self._back_entries(key), nothing):
            whole = entry.name.partition(".part")[0]
            if whole != entry.name and whole in found and parse_run_file(entry.name):
                continue  # a part of a log that is here as a whole
            joined = _join(found.get(entry.name), entry)
            assert joined is not None
            found[entry.name] = joined
        return list(found.values())

    def names(self, key: str) -> list[str]:
        """See `Storage.names`."""
        nothing: list[str] = []
        return list({*self.front.names(key), *self._maybe(lambda: self.back.names(key), nothing)})

    def is_log_locked(self, key: str) -> bool | None:
        """See `Storage.is_log_locked`."""
        return self.front.is_log_locked(key) if self.front.exists(key) else self.back.is_log_locked(key)

    def view(self, key: str) -> SpooledStorage:
        """See `Storage.view`."""
        back = self._maybe(lambda: self.back.view(key), self.back)
        return self if back is self.back else SpooledStorage(self.front, back, patience_s=self._patience_s)

    def load(self, folders: Sequence[str]) -> None:
        """See `Storage.load`."""
        self._maybe(lambda: self.back.load(folders), None)

    # -- writing to the front

    def make_folder(self, key: str) -> None:
        """See `Storage.make_folder`."""
        self.front.make_folder(key)

    def write(self, key: str, data: bytes) -> None:
        """See `Storage.write`."""
        self.front.write(key, data)

    def write_new(self, key: str, data: bytes) -> bool:
        """See `Storage.write_new`."""
        return not self.exists(key) and self.front.write_new(key, data)

    def write_stream(self, folder: str) -> StreamFile:
        """See `Storage.write_stream`."""
        return self.front.write_stream(folder)

    def create_log(self, key: str, lock: Lock, *, in_new_folder: bool = False) -> Appender:
        """See `Storage.create_log`."""
        log = self.front.create_log(key, lock, in_new_folder=in_new_folder)
        # The lock is for whoever moves the file. At the destination, which gets a copy, nobody can see it.
        log.ensure_lock()
        log.is_locked = False
        self.on_create()
        return log

    def make_durable(self, key: str) -> None:
        """See `Storage.make_durable`."""
        if self.front.exists(key):
            self.front.make_durable(key)
        else:
            self._must(lambda: self.back.make_durable(key), f"Syncing {self.path(key)}")

    def remove(self, key: str) -> None:
        """See `Storage.remove`: only what was not moved yet. What a segment covers at the destination goes there."""
        self.front.remove(key)

    def remove_folder(self, key: str) -> bool:
        """See `Storage.remove_folder`."""
        return self.front.remove_folder(key)

    # -- the destination, which may be away

    def _front_or_none(self, key: str) -> bytes | None:
        try:
            return self.front.read(key)
        except FileNotFoundError:
            return None

    def _is_ours(self, key: str) -> bool:
        """Return whether a process here still writes to a log: then nobody else has more of it."""
        return self.front.is_log_locked(key) is True

    def _back_read(self, key: str) -> bytes:
        self._require_inside(key)
        return self.back.read(key)

    def _back_open(self, key: str) -> BinaryIO:
        self._require_inside(key)
        return self.back.open(key)

    def _back_entries(self, key: str) -> list[Entry]:
        entries = self.back.entries(key)
        if not self.back.is_local or "/artifacts" not in key:
            return entries
        return [entry for entry in entries if self._is_inside(f"{key}/{entry.name}")]

    def _is_inside(self, key: str) -> bool:
        return not self.back.is_local or is_within(self.back.path(key), real_path(self.back.path("")))

    def _require_inside(self, key: str) -> None:
        """Raise `FileNotFoundError` for a link that leads out of the destination's store."""
        if "/artifacts/" in key and not self._is_inside(key):
            raise FileNotFoundError(key)

    def _must(self, call: Callable[[], T], what: str) -> T:
        """Ask the destination; raise if it is away, since any answer might be wrong."""
        if self.is_away:
            raise StorageError(f"{what} failed: {self.uri} does not answer.", hint="It is asked again soon.")
        try:
            return ask(call, patience_s=self._patience_s, what=what)
        except FileNotFoundError:
            self._is_told = False
            raise
        except StorageError as error:
            self._be_away(error)
            raise

    def _maybe(self, call: Callable[[], T], default: T) -> T:
        """Ask the destination; while it is away its part of the answer is missing."""
        if self.is_away:
            return default
        try:
            found = ask(call, patience_s=self._patience_s, what=f"Asking {self.uri}")
        except FileNotFoundError:
            raise
        except StorageError as error:
            self._be_away(error)
            return default
        self._is_told = False
        return found

    def _be_away(self, error: StorageError) -> None:
        self._away_until_s = time.monotonic() + AWAY_S
        if not self._is_told:
            self._is_told = True
            reporting.warn("only what is spooled on this machine can be seen for now: %s", error)


def _join(front: Entry | None, back: Entry | None) -> Entry | None:
    if front is None or back is None:
        return front or back
    return Entry(front.name, front.is_folder, max(front.size, back.size), max(front.mtime_ms, back.mtime_ms))
