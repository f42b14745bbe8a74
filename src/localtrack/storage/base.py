"""What the layers above may ask of the place where a store lies."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

if TYPE_CHECKING:
    from localtrack.storage.capabilities import Capabilities


class Entry(NamedTuple):
    """One name in a folder."""

    name: str
    is_folder: bool
    size: int
    """Bytes; 0 for a folder."""
    mtime_ms: int
    """Last change, milliseconds since 1970, UTC; 0 where the medium does not know it."""


class Appender(Protocol):
    """A log that this process alone appends to.

    Concurrency: the owner holds the lock that it gave to `create_log` around every call but `sync`, which takes it
        itself.
    """

    key: str
    is_retryable: bool
    """True: after a failed `sync` the same file can be tried again.

    False: what it was to sync must be written elsewhere.
    """
    is_locked: bool
    """True: this process holds a lock on the file that readers on the same machine can see."""

    @property
    def size(self) -> int:
        """Bytes handed to the medium so far."""
        ...

    @property
    def has_backlog(self) -> bool:
        """True: a part of it is durable elsewhere, and `sync` has to be tried again to bring it to the medium."""
        ...

    def is_due(self) -> bool:
        """Return whether it is time for a sync in the background."""
        ...

    def append(self, data: bytes, *, is_last: bool = False) -> bool:
        """Append whole lines; `is_last` if nothing may follow them.

        Returns:
            True now and then, at least every 64 KiB: a time to look how large the file has become.

        Raises:
            StorageError: They are not (all) in the file. The next call marks what got in as torn.

        Durability: handed to the operating system on return.
        """
        ...

    def settle(self) -> None:
        """Mark a torn end as such, so that `size` and `checksum` are those before the next record."""
        ...

    def recall(self) -> bytes | None:
        """Return everything that was appended if it is still in memory, else None."""
        ...

    def checksum(self) -> int:
        """Return the CRC-32 of all bytes so far."""
        ...

    def is_in_place(self) -> bool:
        """Return whether the file is still under its name."""
        ...

    def take_unsynced(self) -> bytes:
        """Return the bytes that no sync has covered yet."""
        ...

    def sync(self) -> None:
        """Make everything appended before the call durable, with the name of the file.

        Raises:
            StorageError: It failed, and what came since the last good sync may be lost with the host: write it again
                elsewhere.
        """
        ...

    def touch(self) -> None:
        """Show on other hosts that the writer is alive, by the file's time of change."""
        ...

    def close(self) -> None:
        """Let go of the file; idempotent. What is not durable yet stays owed to `sync`."""
        ...

    def abandon(self) -> None:
        """Let go of the file and of what is owed: it was written elsewhere, or is somebody else's."""
        ...

    def abandon_after_fork(self) -> None:
        """Let go of the file in the child of a fork, so that only the parent, which goes on writing, holds it."""
        ...


class Storage(Protocol):
    """Bytes under keys below one root. Every method raises `StorageError` when the medium fails."""

    uri: str
    """The root for people and other programs: a path, or a URL with its protocol."""
    can_append: bool
    """True: a log is one file that grows. False: it is a sequence of parts."""
    is_local: bool
    """True: `path` gives paths that the operating system can open."""

    @property
    def capabilities(self) -> Capabilities:
        """What the medium can do."""
        ...

    @property
    def can_watch(self) -> bool:
        """Whether what happens to files and folders is told to a `KernelWatch` of their paths."""
        ...

    def path(self, key: str) -> str:
        """Return where a key lies: a path, or a URL."""
        ...

    def is_log_locked(self, key: str) -> bool | None:
        """Return whether a process on this machine holds the writer's lock on a log; None if that cannot be told."""
        ...

    def read(self, key: str) -> bytes:
        """Return the bytes under a key. `FileNotFoundError` (the builtin) if there is nothing."""
        ...

    def open(self, key: str) -> BinaryIO:
        """Open for reading at any place. `FileNotFoundError` if there is nothing."""
        ...

    def exists(self, key: str) -> bool:
        """Return whether there is a file or folder."""
        ...

    def entries(self, key: str) -> list[Entry]:
        """Return what a folder holds, in no order; nothing if there is no folder.

        Links that lead nowhere are left out.
        """
        ...

    def names(self, key: str) -> list[str]:
        """Return the names in a folder, nothing more; cheaper than `entries`."""
        ...

    def stat(self, key: str) -> Entry | None:
        """Return what is known of a file or folder; None if there is none."""
        ...

    def look(self, keys: Sequence[str]) -> list[tuple[int, int] | None]:
        """Return time of last change in ms and size of many files and folders; None for those that are not there.

        As `stat`, for whoever asks about thousands at each search.
        """
        ...

    def read_from(self, key: str, offset: int) -> bytes:
        """Return the bytes of a file from an offset on. `FileNotFoundError` if there is none."""
        ...

    def view(self, key: str) -> Storage:
        """Return a storage for reading everything below a key once, in as few requests as the medium needs.

        What it lists may be as of now for as long as it is used; this storage itself where listing is cheap.
        """
        ...

    def load(self, folders: Sequence[str]) -> None:
        """Fetch the logs in some folders, which are read next, where many at once are quicker than one by one."""
        ...

    def make_folder(self, key: str) -> None:
        """Make a folder and those above it; idempotent."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Put a whole file in place, replacing what was there. Atomic for readers.

        Durability: durable on return.
        """
        ...

    def write_new(self, key: str, data: bytes) -> bool:
        """Put a whole file in place unless there is one; return whether it was put. Readers never see a part of it.

        Durability: durable on return if it was put.
        """
        ...

    def write_stream(self, folder: str) -> StreamFile:
        """Begin a file in `folder` whose name is given at the end, when its content is known."""
        ...

    def create_log(self, key: str, lock: Lock, *, in_new_folder: bool = False) -> Appender:
        """Create an empty log that was not there, its folder included, and lock it where the medium has locks.

        Args:
            key: The log.
            lock: What the owner holds around its calls.
            in_new_folder: The folder is probably not there yet.
        """
        ...

    def make_durable(self, key: str) -> None:
        """Return when a whole file and its name in its folder are durable, whoever wrote it.

        Raises:
            StorageError: They are not, or the file is gone.
        """
        ...

    def remove(self, key: str) -> None:
        """Remove a file; nothing happens if there is none."""
        ...

    def remove_folder(self, key: str) -> bool:
        """Remove a folder if it is empty; return whether it is gone."""
        ...


class StreamFile(Protocol):
    """An unfinished file: a place to write to that becomes visible at the end."""

    sink: BinaryIO

    def commit(self, key: str) -> bool:
        """Put it in place under `key`, in the folder where it was begun, replacing what was there; return True.

        Durability: durable on return.
        """
        ...

    def discard(self) -> None:
        """Remove it; idempotent, and nothing after `commit`."""
        ...
