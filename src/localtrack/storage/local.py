"""A store on a path of the operating system: a disk, or a mounted network drive."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat as stat_module
from collections.abc import Callable, Sequence
from threading import Lock
from typing import BinaryIO, Final, NamedTuple

from localtrack.errors import StorageError
from localtrack.format.layout import STORE_FILE, TEMPORARY_PREFIX
from localtrack.storage.base import Entry
from localtrack.storage.capabilities import Capabilities, of_mount
from localtrack.storage.failures import NOT_THERE, absolute_path, mapped_errors, show_path, to_storage_error
from localtrack.storage.locallog import (
    EXTEND_FLAGS,
    READ_FLAGS,
    SYNC_FLAGS,
    LocalLog,
    is_locked,
    off_standard_streams,
    remove_if_let_go,
    sync_folder,
)
from localtrack.storage.mappedfile import MappedFile
from localtrack.storage.mounts import find_mount
from localtrack.storage.once import once

_NO_HARD_LINKS: Final = frozenset(
    [errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EACCES]
)


class FileMark(NamedTuple):
    """Which file lies under a name, to tell whether it was replaced."""

    inode: int
    mtime_ns: int
    size: int


_READ_BYTES: Final = 64 * 1024
_LISTINGS_COUNT: Final = 10
"""How often a folder is listed out of which files go meanwhile; then it is taken as it is."""
_FEW_BYTES: Final = 2 * 1024
"""Read first, since making room for more takes longer than reading it."""
_pread: Final[Callable[[int, int, int], bytes] | None] = getattr(os, "pread", None)


class LocalStorage:
    """Direct file operations below one folder."""

    can_append = True
    is_local = True

    def __init__(self, root: str) -> None:
        self.root = absolute_path(root)
        self.uri = self.root
        self.must_be_there = False
        """True: there is a store; a root that is missing is a drive that is away, and is not made again."""

    @once
    def capabilities(self) -> Capabilities:
        """See `Storage.capabilities`: those of the file system that is mounted here."""
        return of_mount(find_mount(self.root))

    @once
    def can_watch(self) -> bool:
        """See `Storage.can_watch`."""
        mount = find_mount(self.root)
        return mount is not None and of_mount(mount).tells_changes

    def path(self, key: str) -> str:
        """See `Storage.path`."""
        return f"{self.root}/{key}" if key else self.root

    def read(self, key: str) -> bytes:
        """See `Storage.read`."""

        def read() -> bytes:
            with open(self.path(key), "rb", buffering=0, opener=_open_plain) as file:
                return file.readall()

        with self._reading(key):
            return _once_more_if_stale(read)

    def open(self, key: str) -> BinaryIO:
        """See `Storage.open`."""
        path = self.path(key)
        with self._reading(key):
            return io.BufferedReader(MappedFile(open(path, "rb", buffering=0, opener=_open_plain), path))

    def exists(self, key: str) -> bool:
        """See `Storage.exists`. That one may not look counts as no, that the drive fails does not."""
        try:
            os.stat(self.path(key))
        except PermissionError:
            return False
        except OSError as error:
            if error.errno in NOT_THERE:
                return False
            raise to_storage_error(error, f"Looking for {show_path(self.path(key))}") from error
        return True

    def entries(self, key: str) -> list[Entry]:
        """See `Storage.entries`.

        A file that goes between the listing and the look at it may have gone because another one holds what it held,
        which the listing does not know yet: then the folder is listed anew.
        """
        path = self.path(key)
        with mapped_errors(f"Listing {show_path(path)}"):
            for _ in range(_LISTINGS_COUNT):
                found, is_whole = _list_entries(path)
                if is_whole:
                    break
        return found

    def names(self, key: str) -> list[str]:
        """Return the names in a folder, nothing more: one system call where `entries` makes one a name."""
        with mapped_errors(f"Listing {show_path(self.path(key))}"):
            try:
                return os.listdir(self.path(key))
            except OSError as error:
                if error.errno in NOT_THERE:
                    return []
                raise

    def stat(self, key: str) -> Entry | None:
        """See `Storage.stat`."""
        path = self.path(key)
        try:
            found = os.stat(path)
        except OSError as error:
            if error.errno in NOT_THERE:
                return None
            raise to_storage_error(error, f"Looking at {show_path(path)}") from error
        is_folder = stat_module.S_ISDIR(found.st_mode)
        if not is_folder and not stat_module.S_ISREG(found.st_mode):
            return None  # a FIFO, socket or device, as in listings
        size = 0 if is_folder else found.st_size
        return Entry(key.rpartition("/")[2], is_folder, size, found.st_mtime_ns // 1_000_000)

    def look(self, keys: Sequence[str]) -> list[tuple[int, int] | None]:
        """See `Storage.look`."""
        prefix, stat = f"{self.root}/", os.stat
        found: list[tuple[int, int] | None] = []
        for key in keys:
            try:
                it = stat(prefix + key)
            except OSError as error:
                if error.errno not in NOT_THERE:
                    raise to_storage_error(error, f"Looking at {show_path(self.path(key))}") from error
                found.append(None)
            else:
                found.append((it.st_mtime_ns // 1_000_000, it.st_size))
        return found

    def read_from(self, key: str, offset: int) -> bytes:
        """See `Storage.read_from`. Without a file object: searches call this for each run that goes on."""
        path = f"{self.root}/{key}"
        try:
            return _read_from(path, offset)
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno != errno.ESTALE and error.errno not in NOT_THERE:
                raise to_storage_error(error, f"Reading {show_path(path)}") from error
        with self._reading(key):
            return _read_from(path, offset)

    def is_log_locked(self, key: str) -> bool | None:
        """See `Storage.is_log_locked`.

        None where a lock that was taken elsewhere is not seen here: by another mount, or through a server.
        """
        return is_locked(self.path(key)) if self.capabilities.can_show_life else None

    def view(self, key: str) -> LocalStorage:
        """See `Storage.view`."""
        del key
        return self

    def load(self, folders: Sequence[str]) -> None:
        """See `Storage.load`."""

    def make_folder(self, key: str) -> None:
        """See `Storage.make_folder`."""
        with mapped_errors(f"Making the folder {show_path(self.path(key))}"):
            if not self.must_be_there:
                os.makedirs(self.path(key), exist_ok=True)
                return
            self._require_store()
            path = self.root
            for part in key.split("/") if key else []:  # one by one: `makedirs` would make the root again
                path = f"{path}/{part}"
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path)

    def write(self, key: str, data: bytes) -> None:
        """See `Storage.write`."""
        self._put(key, data, os.replace)

    def write_new(self, key: str, data: bytes) -> bool:
        """See `Storage.write_new`."""
        if self.exists(key):
            return False
        return self._put(key, data, self._link_new)

    def write_stream(self, folder: str) -> LocalStreamFile:
        """See `Storage.write_stream`."""
        self.make_folder(folder)
        return LocalStreamFile(self, folder)

    def create_log(self, key: str, lock: Lock, *, in_new_folder: bool = False) -> LocalLog:
        """See `Storage.create_log`."""
        path = self.path(key)
        self._require_store()
        with mapped_errors(f"Creating {show_path(path)}"):
            return LocalLog.create(
                key, path, self.root, lock, in_new_folder=in_new_folder, is_locking=self.capabilities.can_show_life
            )

    def make_durable(self, key: str) -> None:
        """See `Storage.make_durable`."""
        path = self.path(key)
        with mapped_errors(f"Syncing {show_path(path)}"):
            fd = os.open(path, SYNC_FLAGS)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            sync_folder(os.path.dirname(path))

    def remove(self, key: str) -> None:
        """See `Storage.remove`."""
        with mapped_errors(f"Removing {show_path(self.path(key))}"), contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(key))

    def remove_if_let_go(self, key: str, size: int, *, may_be_empty: bool = False) -> bool:
        """Remove a log of that size that its writer has let go of, if locks tell; return whether it is gone."""
        if not self.capabilities.can_show_life:
            return False
        with mapped_errors(f"Removing {show_path(self.path(key))}"):
            return (size > 0 or may_be_empty) and remove_if_let_go(self.path(key), size)

    def mark(self, key: str) -> FileMark | None:
        """Return which file lies under a key; None if none does."""
        try:
            found = os.stat(self.path(key))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise to_storage_error(error, f"Looking at {show_path(self.path(key))}") from error
        return FileMark(found.st_ino, found.st_mtime_ns, found.st_size)

    def remove_if_same(self, key: str, mark: FileMark) -> bool:
        """Remove a file unless another one has taken its place; return whether it is gone."""
        path = self.path(key)
        aside = f"{os.path.dirname(path)}/{TEMPORARY_PREFIX}{os.urandom(8).hex()}"
        with mapped_errors(f"Removing {show_path(path)}"):
            try:
                # Away from its name first: between a look and an unlink somebody might replace it.
                os.rename(path, aside)
            except FileNotFoundError:
                return True
            found = os.stat(aside)
            is_same = FileMark(found.st_ino, found.st_mtime_ns, found.st_size) == mark
            if not is_same:
                with contextlib.suppress(FileExistsError):  # a newer one is in place already
                    os.link(aside, path)
            os.unlink(aside)
        return is_same

    def extend(self, key: str, data: bytes, *, at: int) -> bool:
        """Append to the copy of a log that nobody else writes to, if it is `at` bytes long; return whether it was.

        Durability: durable on return. What got in when it failed is a beginning of `data`.
        """
        path = self.path(key)
        with mapped_errors(f"Writing {show_path(path)}"):
            fd = os.open(path, EXTEND_FLAGS)
            try:
                if os.fstat(fd).st_size != at:
                    return False
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(fd, rest) :]
                os.fsync(fd)
            finally:
                os.close(fd)
        return True

    def remove_folder(self, key: str) -> bool:
        """See `Storage.remove_folder`."""
        with mapped_errors(f"Removing the folder {show_path(self.path(key))}"):
            try:
                os.rmdir(self.path(key))
            except FileNotFoundError:
                return True
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    return False
                raise
        return True

    def _require_store(self) -> None:
        """Raise if a store that was here is not: a drive that is away leaves an empty folder, or none.

        What is written there would be hidden when the drive is back.
        """
        if self.must_be_there and not os.path.exists(self.path(STORE_FILE)):
            error = StorageError(
                f"{show_path(self.root)} has lost its store.",
                hint="The drive is not mounted, or the store was removed.",
            )
            error.errno = errno.ENOENT
            raise error

    def _put(self, key: str, data: bytes, place: Callable[[str, str], object]) -> bool:
        folder = key.rpartition("/")[0]
        self.make_folder(folder)
        stream = LocalStreamFile(self, folder)
        try:
            with mapped_errors(f"Writing {show_path(self.path(key))}"):
                stream.sink.write(data)
            return stream.commit(key, place=place)
        finally:
            stream.discard()

    @staticmethod
    def _link_new(temporary: str, path: str) -> bool:
        """Give a finished temporary file its name unless the name is taken; return whether it got it."""
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            # FAT, some FUSE and SMB mounts have no hard links. Whoever can create the empty claim may rename over it.
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            except FileExistsError:
                return False
            os.replace(temporary, path)
        return True

    def _reading(self, key: str) -> _Reading:
        return _Reading(self.path(key))


def _list_entries(path: str) -> tuple[list[Entry], bool]:
    """Return what lies in a folder, and whether all that was listed was still there when it was looked at.

    What is no place for bytes is left out: links that lead nowhere, FIFOs, sockets, devices. See `list_strange`.
    """
    found: list[Entry] = []
    is_whole = True
    try:
        listing = os.scandir(path)
    except OSError as error:
        if error.errno in NOT_THERE:
            return found, is_whole
        raise
    with listing:
        for item in listing:
            try:
                stat = item.stat()
                is_folder = item.is_dir()
            except OSError as error:
                if error.errno not in NOT_THERE:
                    raise
                is_whole &= item.is_symlink()  # a link may lead nowhere
                continue
            if not is_folder and not stat_module.S_ISREG(stat.st_mode):
                continue
            size = 0 if is_folder else stat.st_size
            found.append(Entry(item.name, is_folder, size, stat.st_mtime_ns // 1_000_000))
    return found, is_whole


def _open_plain(path: str, _flags: int) -> int:
    """Open a file for reading, as an `opener`; anything else that lies there, as a device without end, is an error."""
    fd = os.open(path, READ_FLAGS)
    mode = os.fstat(fd).st_mode
    if not stat_module.S_ISREG(mode) and not stat_module.S_ISDIR(mode):  # of a folder `open` says that it is one
        os.close(fd)
        raise OSError(errno.ENXIO, "It is a FIFO, socket or device", path)
    return fd


def _read_from(path: str, offset: int) -> bytes:
    fd = os.open(path, READ_FLAGS)
    try:
        return read_end(fd, offset)
    finally:
        os.close(fd)


def read_end(fd: int, offset: int) -> bytes:
    """Return the bytes of an open file from an offset on."""
    if _pread is not None:
        part: bytes = _pread(fd, _FEW_BYTES, offset)
        if len(part) < _FEW_BYTES:
            return part  # at the end: what comes later is for the next look
    os.lseek(fd, offset, os.SEEK_SET)
    parts: list[bytes] = []
    while part := os.read(fd, _READ_BYTES):
        parts.append(part)
        if len(part) < _READ_BYTES:
            break
    return b"".join(parts)


def _once_more_if_stale(read: Callable[[], bytes]) -> bytes:
    """Return what `read` returns. On NFS, a file that another host replaces or removes while it is read is stale.

    What lies under the name now is another file, or none.
    """
    try:
        return read()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return read()


class _Reading:
    """Like `mapped_errors`, but lets `FileNotFoundError` pass: that is an answer."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.errno in NOT_THERE and not isinstance(error, FileNotFoundError):
            raise FileNotFoundError(errno.ENOENT, "No such file", self._path) from error
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError | StorageError):
            with mapped_errors(f"Reading {show_path(self._path)}"):
                raise error


class LocalStreamFile:
    """An unfinished file in the folder where it will lie, so that a rename can put it in place."""

    def __init__(self, storage: LocalStorage, folder: str) -> None:
        self._storage = storage
        self._folder = folder
        self._temporary: str | None = storage.path(f"{folder}/{TEMPORARY_PREFIX}{os.urandom(8).hex()}".lstrip("/"))
        with mapped_errors(f"Creating a file in {show_path(storage.path(folder))}"):
            fd = os.open(self._temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o666)
            fd = off_standard_streams(fd)
            self.sink: BinaryIO = io.BufferedRandom(MappedFile(os.fdopen(fd, "w+b", buffering=0), self._temporary))

    def commit(self, key: str, *, place: Callable[[str, str], object] | None = None) -> bool:
        """See `StreamFile.commit`. With `place` instead of a rename return what that returned."""
        assert self._temporary is not None
        path = self._storage.path(key)
        with mapped_errors(f"Writing {show_path(path)}"):
            self.sink.flush()
            os.fsync(self.sink.fileno())
            self.sink.close()
            placed = (place or os.replace)(self._temporary, path)
            if placed is None:  # renamed: nothing is left to discard
                self._temporary = None
            sync_folder(os.path.dirname(path))
        return placed is None or bool(placed)

    def discard(self) -> None:
        """See `StreamFile.discard`."""
        with contextlib.suppress(OSError):  # what could not be flushed was not wanted any more
            self.sink.close()
        if self._temporary is not None:
            temporary, self._temporary = self._temporary, None
            with contextlib.suppress(OSError):  # a `.tmp-` file that stays is ignored by readers, and removed by gc
                os.unlink(temporary)
