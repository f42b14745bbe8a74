"""A store on whatever fsspec reaches: object stores above all, which cannot append. FORMAT.md section 5.4."""

from __future__ import annotations

import datetime
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any, BinaryIO, Final, cast

from localtrack.errors import ErrorCode, LocaltrackError, StorageError
from localtrack.format.layout import part_name
from localtrack.storage.base import Entry
from localtrack.storage.capabilities import of_protocol
from localtrack.storage.failures import to_storage_error

PART_BYTES: Final = 1024 * 1024
"""So much is kept in memory before a part is written without being asked for."""
RECALL_BYTES: Final = 256 * 1024
"""A log no longer than this is kept in memory as a whole, to fold it at the end of a short run without reading it."""
_SPOOL_BYTES: Final = 16 * 1024 * 1024


class ObjectStorage:
    """Whole files below a URL, through fsspec."""

    can_append = False
    is_local = False

    def __init__(self, fs: Any, root: str, uri: str) -> None:
        self._fs = fs
        self._root = root.rstrip("/")
        self.uri = uri.rstrip("/")
        protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
        self.capabilities = of_protocol(protocol)

    @classmethod
    def at(cls, url: str) -> ObjectStorage:
        """Return the storage at a URL.

        Raises:
            LocaltrackError: The package for its protocol is not installed.
            StorageError: fsspec does not know the protocol, or it refuses the URL.
        """
        import fsspec

        try:
            fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise LocaltrackError(
                f"{url} needs another package: {error}.", code=ErrorCode.MISSING_EXTRA, hint="Install it with pip."
            ) from error
        except ValueError as error:
            raise StorageError(
                f"{url} cannot be opened: {error}.", code=ErrorCode.UNSUPPORTED, hint="Check the protocol."
            ) from error
        return cls(fs, root, url)

    def path(self, key: str) -> str:
        """See `Storage.path`."""
        return f"{self.uri}/{key}" if key else self.uri

    def is_log_locked(self, key: str) -> bool | None:
        """See `Storage.is_log_locked`: there are no locks here."""
        del key
        return None

    def read(self, key: str) -> bytes:
        """See `Storage.read`."""
        with _mapped(f"Reading {self.path(key)}"):
            return bytes(self._fs.cat_file(self._full(key)))

    def open(self, key: str) -> BinaryIO:
        """See `Storage.open`."""
        with _mapped(f"Reading {self.path(key)}"):
            return cast("BinaryIO", self._fs.open(self._full(key), "rb"))

    def exists(self, key: str) -> bool:
        """See `Storage.exists`."""
        with _mapped(f"Looking for {self.path(key)}"):
            return bool(self._fs.exists(self._full(key)))

    def entries(self, key: str) -> list[Entry]:
        """See `Storage.entries`."""
        folder = self._full(key)
        with _mapped(f"Listing {self.path(key)}"):
            try:
                items = self._fs.ls(folder, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
        found: list[Entry] = []
        for item in items:
            name = str(item["name"]).rstrip("/")
            if name.strip("/") == folder.strip("/"):
                continue  # some object stores list the folder's own placeholder
            is_folder = item["type"] == "directory"
            size = 0 if is_folder else int(item.get("size") or 0)
            found.append(Entry(name.rpartition("/")[2], is_folder, size, _mtime_ms(item)))
        return found

    def names(self, key: str) -> list[str]:
        """See `Storage.names`."""
        return [entry.name for entry in self.entries(key)]

    def stat(self, key: str) -> Entry | None:
        """See `Storage.stat`."""
        with _mapped(f"Looking for {self.path(key)}"):
            try:
                item = self._fs.info(self._full(key))
            except FileNotFoundError:
                return None
        is_folder = item["type"] == "directory"
        size = 0 if is_folder else int(item.get("size") or 0)
        return Entry(key.rpartition("/")[2], is_folder, size, _mtime_ms(item))

    def read_from(self, key: str, offset: int) -> bytes:
        """See `Storage.read_from`."""
        with _mapped(f"Reading {self.path(key)}"):
            return bytes(self._fs.cat_file(self._full(key), start=offset))

    def make_folder(self, key: str) -> None:
        """See `Storage.make_folder`."""
        if self.capabilities.has_folders:
            with _mapped(f"Making the folder {self.path(key)}"):
                self._fs.makedirs(self._full(key), exist_ok=True)

    def write(self, key: str, data: bytes) -> None:
        """See `Storage.write`: a whole object is put at once."""
        self.make_folder(key.rpartition("/")[0])
        with _mapped(f"Writing {self.path(key)}"):
            self._fs.pipe_file(self._full(key), data)

    def write_new(self, key: str, data: bytes) -> bool:
        """See `Storage.write_new`.

        Where the medium has no conditional put, two at the same moment may both believe that theirs stayed.
        """
        if self.exists(key):
            return False
        self.make_folder(key.rpartition("/")[0])
        with _mapped(f"Writing {self.path(key)}"):
            try:
                self._fs.pipe_file(self._full(key), data, mode="create")
            except FileExistsError:
                return False
            except (TypeError, ValueError, RuntimeError):  # it knows no such mode, or has not made it yet
                self._fs.pipe_file(self._full(key), data)
        return self.read(key) == data

    def write_stream(self, folder: str) -> ObjectStreamFile:
        """See `Storage.write_stream`: the file is kept on the local disk until it is complete."""
        del folder
        return ObjectStreamFile(self)

    def create_log(self, key: str, lock: Lock, *, in_new_folder: bool = False) -> ObjectLog:
        """See `Storage.create_log`."""
        del in_new_folder
        return ObjectLog(self, key, lock)

    def make_durable(self, key: str) -> None:
        """See `Storage.make_durable`. What can be seen in an object store is durable."""

    def remove(self, key: str) -> None:
        """See `Storage.remove`."""
        with _mapped(f"Removing {self.path(key)}"), suppress(FileNotFoundError):
            self._fs.rm_file(self._full(key))

    def remove_folder(self, key: str) -> bool:
        """See `Storage.remove_folder`."""
        if self.entries(key):
            return False
        if self.capabilities.has_folders and self.exists(key):
            with _mapped(f"Removing the folder {self.path(key)}"):
                self._fs.rmdir(self._full(key))
        return True

    def put_stream(self, key: str, file: BinaryIO) -> None:
        """Upload a file from its beginning."""
        self.make_folder(key.rpartition("/")[0])
        with _mapped(f"Writing {self.path(key)}"), self._fs.open(self._full(key), "wb") as target:
            file.seek(0)
            while block := file.read(PART_BYTES):
                target.write(block)

    def _full(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root


class ObjectStreamFile:
    """See `StreamFile`."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        # Open until `commit` or `discard`.
        self.sink: BinaryIO = cast("BinaryIO", tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES))  # noqa: SIM115

    def commit(self, key: str) -> bool:
        """See `StreamFile.commit`."""
        self._storage.put_stream(key, self.sink)
        self.sink.close()
        return True

    def discard(self) -> None:
        """See `StreamFile.discard`."""
        self.sink.close()


class ObjectLog:
    """See `Appender`: lines are gathered, and written as one part when they are synced, or many."""

    is_locked = False
    is_retryable = True

    def __init__(self, storage: ObjectStorage, key: str, lock: Lock) -> None:
        self.key = key
        self.size = 0
        self._storage = storage
        self._lock = lock
        self._sending = Lock()
        self._crc = 0
        self._lines: list[bytes] = []
        self._lines_bytes = 0
        self._part: bytes | None = None  # given to the store, which has not confirmed it: sent again as it is
        self._parts_count = 0
        self._early: list[bytes] | None = []

    def append(self, data: bytes, *, is_last: bool = False) -> bool:
        """See `Appender.append`. In memory only: `sync` is what acknowledges."""
        del is_last
        self.size += len(data)
        self._crc = zlib.crc32(data, self._crc)
        self._lines.append(data)
        self._lines_bytes += len(data)
        if self._early is not None:
            self._early.append(data)
            if self.size > RECALL_BYTES:
                self._early = None
        if self._lines_bytes >= PART_BYTES:
            from localtrack.storage.syncer import syncer

            syncer.hurry()
        return True

    def settle(self) -> None:
        """See `Appender.settle`: parts are whole."""

    def recall(self) -> bytes | None:
        """See `Appender.recall`."""
        return None if self._early is None else b"".join(self._early)

    def checksum(self) -> int:
        """See `Appender.checksum`."""
        return self._crc

    def is_in_place(self) -> bool:
        """See `Appender.is_in_place`: what others remove are parts, and later ones do not need them."""
        return True

    def take_unsynced(self) -> bytes:
        """See `Appender.take_unsynced`."""
        return (self._part or b"") + b"".join(self._lines)

    def sync(self) -> None:
        """See `Appender.sync`."""
        with self._sending:
            while True:
                with self._lock:
                    if self._part is None:
                        self._part, self._lines, self._lines_bytes = b"".join(self._lines), [], 0
                    part = self._part
                    if not part:
                        self._part = None
                        return
                self._storage.write(part_name(self.key, self._parts_count), part)
                with self._lock:
                    self._part = None
                    self._parts_count += 1

    def touch(self) -> None:
        """See `Appender.touch`: an object store keeps the time of the last part."""

    def close(self) -> None:
        """See `Appender.close`."""

    def abandon(self) -> None:
        """See `Appender.abandon`."""
        self._lines, self._part = [], None

    def abandon_after_fork(self) -> None:
        """See `Appender.abandon_after_fork`."""
        self.abandon()


def _mtime_ms(item: dict[str, Any]) -> int:
    for name in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = item.get(name)
        if isinstance(value, int | float):
            return int(value * 1000)
        if isinstance(value, datetime.datetime):
            return int(value.timestamp() * 1000)
    return 0


@contextmanager
def _mapped(what: str) -> Iterator[None]:
    """Turn errors of fsspec into ours; `FileNotFoundError` passes, that is an answer."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if isinstance(error, LocaltrackError):
            raise
        raise to_storage_error(error, what) from error
