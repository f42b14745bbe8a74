"""An appending file of the operating system. FORMAT.md sections 5.3 and 13."""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from threading import Lock
from typing import Any, Final

from localtrack.errors import StorageError
from localtrack.format.lines import encode_span, encode_torn
from localtrack.storage.failures import mapped_errors, show_path, to_storage_error

_fcntl: Any
try:
    import fcntl as _fcntl
except ImportError:  # Windows
    _fcntl = None

_TRIES: Final = 5
"""How often a folder is made that somebody removes because it is empty."""
SPAN_BYTES: Final = 64 * 1024
"""After so many bytes a `c` record with their checksum is written."""

# Without O_NONBLOCK opening a FIFO that somebody put in the place of a file would never return.
_ANY_OPEN: Final[int] = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
READ_FLAGS: Final[int] = os.O_RDONLY | _ANY_OPEN
SYNC_FLAGS: Final[int] = (os.O_RDWR if os.name == "nt" else os.O_RDONLY) | _ANY_OPEN
EXTEND_FLAGS: Final[int] = os.O_WRONLY | os.O_APPEND | _ANY_OPEN
_FLAGS: Final = (
    os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


class LocalLog:
    """See `Appender`. Keeps what no sync has covered in memory.

    Because a failed sync may drop it from the page cache.
    """

    __slots__ = (
        "_crc",
        "_fd",
        "_left",
        "_lock",
        "_root",
        "_span",
        "_span_start",
        "_span_synced",
        "_sync_failed",
        "_synced_folders",
        "_syncing",
        "_torn",
        "_unsynced",
        "is_locked",
        "key",
        "path",
    )

    is_retryable = False
    has_backlog = False

    def __init__(self, key: str, path: str, root: str, fd: int, lock: Lock, *, is_locking: bool = True) -> None:
        self.key = key
        self.path = path
        self.is_locked = is_locking and _try_lock(fd)
        self._fd = fd
        self._root = root
        self._lock = lock
        self._synced_folders = False
        self._sync_failed = False
        self._syncing: set[int] = set()  # descriptors through which a sync goes on
        self._torn = 0  # bytes of a partial record at the end of the file
        self._crc = 0  # of all bytes before the span
        self._span: list[bytes] = []  # what was written since the last `c` record
        self._span_start = 0
        self._left = SPAN_BYTES  # bytes until the span ends
        self._span_synced = 0  # how many items of the span a sync has covered
        self._unsynced: list[bytes] = []  # earlier spans that no sync has covered

    @classmethod
    def create(
        cls, key: str, path: str, root: str, lock: Lock, *, in_new_folder: bool = False, is_locking: bool = True
    ) -> LocalLog:
        """Create the file, and its folders where they are missing; lock it if a lock says something there."""
        if in_new_folder:
            with contextlib.suppress(FileNotFoundError):
                _ensure_folder(os.path.dirname(path))
        try:
            fd = os.open(path, _FLAGS, 0o666)
        except FileNotFoundError:
            fd = _open_in_new_folder(path)
        return cls(key, path, root, off_standard_streams(fd), lock, is_locking=is_locking)

    @property
    def size(self) -> int:
        """See `Appender.size`."""
        return self._span_start + SPAN_BYTES - self._left

    def is_due(self) -> bool:
        """See `Appender.is_due`: each time, as it costs others nothing."""
        return True

    def append(self, data: bytes, *, is_last: bool = False) -> bool:
        """See `Appender.append`."""
        if self._torn:
            self.settle()
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            raise to_storage_error(error, f"Writing {show_path(self.path)}") from error
        length = len(data)
        if written != length:
            self._write_rest(data, written)
            return True
        self._span.append(data)
        self._left -= length
        if self._left > 0 or is_last:
            return False
        self._end_span()
        return True

    def settle(self) -> None:
        """See `Appender.settle`."""
        if self._torn:
            self._write(encode_torn(self._torn))
            self._torn = 0

    def recall(self) -> bytes | None:
        """See `Appender.recall`."""
        return b"".join(self._span) if self._span_start == 0 else None

    def checksum(self) -> int:
        """See `Appender.checksum`."""
        return zlib.crc32(b"".join(self._span), self._crc)

    def ensure_lock(self) -> bool:
        """Hold the lock on the file, waiting for readers that look at it; return whether there are locks here."""
        if _fcntl is None:
            return False
        try:
            _fcntl.flock(self._fd, _fcntl.LOCK_EX)
        except OSError:
            return False
        return True

    def is_in_place(self) -> bool:
        """See `Appender.is_in_place`."""
        try:
            there, here = os.stat(self.path), os.fstat(self._fd)
        except OSError:
            return False
        return (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev)

    def take_unsynced(self) -> bytes:
        """See `Appender.take_unsynced`."""
        return b"".join([*self._unsynced, *self._span[self._span_synced :]])

    @property
    def unsynced_bytes_count(self) -> int:
        """How many bytes wait for a sync, roughly."""
        return sum(map(len, self._unsynced)) + SPAN_BYTES - self._left

    def sync(self) -> None:
        """See `Appender.sync`."""
        if self._sync_failed:  # another try may seem to succeed although the data is gone from the cache
            raise StorageError(f"{show_path(self.path)} could not be synced before.")
        with self._lock:
            spans, items, start, fd = len(self._unsynced), len(self._span), self._span_start, self._fd
            # The owner may close its descriptor meanwhile; data can be synced through any descriptor of the file.
            if fd >= 0:
                with mapped_errors(f"Syncing {show_path(self.path)}"):
                    fd = os.dup(fd)
                self._syncing.add(fd)
        if fd < 0:
            fd = self._open_again()
        is_gone = False
        with mapped_errors(f"Syncing {show_path(self.path)}"):
            try:
                os.fsync(fd)
            except OSError:
                self._sync_failed = True
                raise
            finally:
                self._syncing.discard(fd)
                os.close(fd)
            if not self._synced_folders:
                is_gone = not _sync_folders_if_there(self.path, self._root)
                if is_gone and self._fd >= 0:
                    raise FileNotFoundError(errno.ENOENT, "No such file", self.path)
                self._synced_folders = True
        if is_gone:
            raise FileNotFoundError(self.path)  # a closed file that is gone was sealed, packed or moved, durably
        with self._lock:
            del self._unsynced[:spans]
            # If the span ended meanwhile its block stays as a whole: what is written again twice counts once.
            if self._span_start == start:
                self._span_synced = items

    def touch(self) -> None:
        """Show on other hosts that the writer is alive."""
        if self._fd >= 0:
            os.utime(self._fd if os.utime in os.supports_fd else self.path)

    def close(self) -> None:
        """See `Appender.close`."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with mapped_errors(f"Closing {show_path(self.path)}"):
                try:
                    os.close(fd)
                except OSError:  # a network drive may tell only here, and only once, that a write was lost
                    self._sync_failed = True
                    raise

    def abandon(self) -> None:
        """See `Appender.abandon`."""
        with contextlib.suppress(StorageError):  # what is owed is owed no more
            self.close()
        self._span, self._unsynced = [], []

    def abandon_after_fork(self) -> None:
        """See `Appender.abandon_after_fork`."""
        # A descriptor that stays open here would hold the parent's lock when the parent is dead.
        for fd in self._syncing:
            with contextlib.suppress(OSError):
                os.close(fd)
        self._syncing = set()
        self.abandon()

    def _open_again(self) -> int:
        """Return a new descriptor of a file that its owner has closed."""
        try:
            return os.open(self.path, SYNC_FLAGS)
        except FileNotFoundError:
            raise  # a closed file that is gone was sealed or packed, durably
        except OSError as error:
            raise to_storage_error(error, f"Syncing {show_path(self.path)}") from error

    def _write(self, data: bytes) -> None:
        """Write something small in front of, or behind, what was asked for."""
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            raise to_storage_error(error, f"Writing {show_path(self.path)}") from error
        if written != len(data):
            self._write_rest(data, written)
            return
        self._count(data)

    def _write_rest(self, data: bytes, written: int) -> None:
        """Go on after a short write; if that fails, keep account of what is in the file."""
        while written < len(data):
            try:
                written += os.write(self._fd, data[written:])
            except OSError as error:
                whole = data.rfind(b"\n", 0, written) + 1
                if data[:1] == b"\n" and whole <= 1:  # a `torn` record in front: its line break alone is no line
                    whole = 0
                self._torn = self._torn + written if whole == 0 else written - whole
                self._count(data[:written])
                raise to_storage_error(error, f"Writing {show_path(self.path)}") from error
        self._count(data)

    def _count(self, data: bytes) -> None:
        self._span.append(data)
        self._left -= len(data)

    def _end_span(self) -> None:
        block = b"".join(self._span)
        start, self._span_start = self._span_start, self.size
        self._left = SPAN_BYTES
        self._crc = zlib.crc32(block, self._crc)
        self._unsynced.append(block)
        self._span, self._span_synced = [], 0
        # On failure the caller's record is in the file all the same; the next one says what is torn.
        with contextlib.suppress(StorageError):
            self._write(encode_span(start, self.size, zlib.crc32(block)))


def off_standard_streams(fd: int) -> int:
    """Return a descriptor of the same file that is none of 0 to 2.

    In a process that was started without them, as some batch systems and daemons do, the next file that is opened gets
    such a number, and what libraries and children print to stderr would stand in it, in the middle of a record.
    """
    if fd > 2 or _fcntl is None:
        return fd
    try:
        return int(_fcntl.fcntl(fd, _fcntl.F_DUPFD_CLOEXEC, 3))
    finally:
        os.close(fd)


def _open_in_new_folder(path: str) -> int:
    """Create a file and the folders above it, which somebody who cleans up may find empty, and remove, meanwhile."""
    for _ in range(_TRIES):
        try:
            _ensure_folder(os.path.dirname(path))
            return os.open(path, _FLAGS, 0o666)
        except FileNotFoundError:
            continue
    _ensure_folder(os.path.dirname(path))
    return os.open(path, _FLAGS, 0o666)


def _ensure_folder(folder: str) -> None:
    try:
        os.mkdir(folder)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
    except FileExistsError:
        pass


_durable_folders: set[str] = set()
"""Folders above the run folders whose names this process has made durable."""


def sync_folders_of(path: str, root: str) -> None:
    """Make the name of a file durable, with the folders between it and the store's root."""
    folder = os.path.dirname(path)
    sync_folder(folder)
    depth = 0
    while len(folder) > len(root):
        folder = os.path.dirname(folder)
        depth += 1
        if depth == 1 or folder not in _durable_folders:
            sync_folder(folder)
        if depth > 1:
            _durable_folders.add(folder)


def _sync_folders_if_there(path: str, root: str) -> bool:
    """Make the name of a file durable; return False if its folder is gone."""
    try:
        sync_folders_of(path, root)
    except FileNotFoundError:
        return False
    return True


def sync_folder(path: str) -> None:
    """Make the names in a folder durable."""
    if os.name == "nt":
        return  # Windows cannot open folders, and makes names durable by itself
    fd = os.open(path, READ_FLAGS)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync folders
            raise
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    """Take the lock that shows readers on this machine that the writer is alive."""
    if _fcntl is None:
        return False
    try:
        _fcntl.flock(fd, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
    except OSError:
        return False  # a file system without locks: readers then look at the process itself
    return True


def remove_if_let_go(path: str, size: int) -> bool:
    """Remove a log that its writer has let go of, and that is no longer than it was; return whether it is gone.

    Of an empty one that cannot be told: its writer may be about to lock it.
    """
    if _fcntl is None:
        return False
    fd = os.open(path, READ_FLAGS)
    try:
        # The writer locks it before the first byte, and never again: who gets the lock is alone with the file.
        _fcntl.flock(fd, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        if os.fstat(fd).st_size != size:
            return False
        os.unlink(path)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def is_locked(path: str) -> bool | None:
    """Return whether some process on this machine holds the writer's lock on a file; None if that cannot be told."""
    if _fcntl is None:
        return None
    try:
        fd = os.open(path, READ_FLAGS)
    except OSError:
        return None
    try:
        _fcntl.flock(fd, _fcntl.LOCK_SH | _fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(fd)
    return False
