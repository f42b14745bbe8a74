"""A store on whatever fsspec reaches: object stores above all, which cannot append. FORMAT.md section 5.4."""

from __future__ import annotations

import datetime
import inspect
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any, BinaryIO, Final, cast

from localtrack import reporting
from localtrack.errors import LocaltrackError, StorageError
from localtrack.storage.base import Entry
from localtrack.storage.capabilities import of_protocol
from localtrack.storage.clients import connect
from localtrack.storage.credentials import keep_password
from localtrack.storage.failures import foreign_to_storage_error
from localtrack.storage.local import LocalStorage
from localtrack.storage.mappedfile import MappedFile
from localtrack.storage.object_cache import ObjectCache, is_unchanging
from localtrack.storage.object_log import ObjectLog
from localtrack.storage.spool_folders import ensure_default_root, ensure_spool

_COPY_BYTES: Final = 1024 * 1024
_WHOLE_BYTES: Final = 1024 * 1024
"""An object no larger than this is fetched at once."""
_RANGE_BYTES: Final = 256 * 1024
_SPOOL_BYTES: Final = 16 * 1024 * 1024


class ObjectStorage:
    """Whole files below a URL, through fsspec."""

    can_append = False
    is_local = False
    can_watch = False

    def __init__(self, fs: Any, root: str, uri: str) -> None:
        self._made_fs = fs
        self._pid = os.getpid()
        self._root = root.rstrip("/")
        self.uri = uri.rstrip("/")
        protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
        self.capabilities = of_protocol(protocol)
        # s3fs from 2026 on asks for the size of each object first, to fetch large ones in pieces; what is read whole
        # here is small.
        asks = self.capabilities.medium == "s3" and "max_concurrency" in inspect.signature(fs._cat_file).parameters
        self._read_options = {"max_concurrency": 1} if asks else {}
        self._cache = ObjectCache(self.uri, is_off=not self.capabilities.is_shared)
        self.spool_root = ""
        """Where to keep what the store does not take; a folder of the user's among the temporary ones if empty."""
        self._spool: LocalStorage | None = None
        self._is_failing = False

    @property
    def _fs(self) -> Any:
        """The file system of fsspec. Its connections and threads do not outlive a fork."""
        if self._pid != os.getpid():
            self._made_fs = connect(self.uri)[0]
            self._pid = os.getpid()
        return self._made_fs

    @classmethod
    def at(cls, url: str) -> ObjectStorage:
        """Return the storage at a URL.

        Raises:
            LocaltrackError: The package for its protocol is not installed.
            StorageError: fsspec does not know the protocol, or it refuses the URL.
        """
        shown = keep_password(url)
        fs, root = connect(shown)
        return cls(fs, root, shown)

    def path(self, key: str) -> str:
        """See `Storage.path`."""
        return f"{self.uri}/{key}" if key else self.uri

    def is_log_locked(self, key: str) -> bool | None:
        """See `Storage.is_log_locked`: there are no locks here."""
        del key
        return None

    def read(self, key: str) -> bytes:
        """See `Storage.read`. What never changes is kept on the local disk."""
        is_kept = is_unchanging(key)
        data = self._cache.get(key) if is_kept else None
        if data is None:
            with _mapped(f"Reading {self.path(key)}"):
                data = bytes(self._fs.cat_file(self._full(key), **self._read_options))
            if is_kept:
                self._cache.put(key, data)
        return data

    def read_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return what lies under these keys, read at the same time; what is not there is missing."""
        found: dict[str, bytes] = {}
        for key in keys:
            data = self._cache.get(key) if is_unchanging(key) else None
            if data is not None:
                found[key] = data
        rest = {self._full(key): key for key in keys if key not in found}
        if not rest:
            return found
        with _mapped(f"Reading {len(rest)} objects of {self.uri}"):
            answers = self._cat(list(rest))
        for path, answer in answers.items():
            key = rest.get(path) or rest[path.lstrip("/")]
            if isinstance(answer, FileNotFoundError):
                continue
            with _mapped(f"Reading {self.path(key)}"):
                if isinstance(answer, Exception):
                    raise answer
            found[key] = bytes(answer)
            if is_unchanging(key):
                self._cache.put(key, found[key])
        return found

    def _cat(self, paths: list[str]) -> dict[str, Any]:
        fs = self._fs
        if not fs.async_impl:
            return cast("dict[str, Any]", fs.cat(paths, on_error="return"))
        import fsspec.asyn

        # As `cat` of these packages, but for adlfs, where it reads one after the other and first asks what is there.
        async def read() -> list[Any]:
            reads = [fs._cat_file(path, **self._read_options) for path in paths]
            answers: list[Any] = await fsspec.asyn._run_coros_in_chunks(reads, return_exceptions=True)
            return answers

        return dict(zip(paths, fsspec.asyn.sync(fs.loop, read), strict=True))

    def open(self, key: str) -> BinaryIO:
        """See `Storage.open`. Small objects are fetched as a whole, of others the ranges that are read."""
        if is_unchanging(key) and (data := self._cache.get(key)) is not None:
            return io.BytesIO(data)
        with _mapped(f"Reading {self.path(key)}"):
            size = int(self._fs.info(self._full(key)).get("size") or 0)
        if size <= _WHOLE_BYTES:
            return io.BytesIO(self.read(key))
        with _mapped(f"Reading {self.path(key)}"):
            file = self._fs.open(self._full(key), "rb", block_size=_RANGE_BYTES, cache_type="readahead")
        return io.BufferedReader(MappedFile(file, self.path(key)))

    def view(self, key: str) -> ObjectStorage:
        """See `Storage.view`: from one flat listing, a request for each 1,000 objects."""
        from localtrack.storage.object_view import ObjectView

        return ObjectView(self, key)

    def load(self, folders: Sequence[str]) -> None:
        """See `Storage.load`: only views keep anything."""

    def find(self, key: str) -> dict[str, Entry]:
        """Return all objects below a key, those in folders too, by their keys."""
        if self.capabilities.has_folders:
            return self._walk(key)
        prefix = self._full(key).rstrip("/") + "/"
        with _mapped(f"Listing {self.path(key)}"):
            try:
                items = self._fs.find(prefix, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return {}
        found: dict[str, Entry] = {}
        for path, item in items.items():
            below = path.lstrip("/").removeprefix(prefix.lstrip("/"))
            name = below.rpartition("/")[2]
            if name:
                found[f"{key}/{below}"] = Entry(name, False, int(item.get("size") or 0), _mtime_ms(item))
        return found

    def _walk(self, key: str) -> dict[str, Entry]:
        # Not by fsspec's `find`, which leaves out what it cannot list: a server that fails would be an empty store.
        found: dict[str, Entry] = {}
        folders = [key]
        while folders:
            folder = folders.pop()
            for entry in self.entries(folder):
                if entry.is_folder:
                    folders.append(f"{folder}/{entry.name}")
                else:
                    found[f"{folder}/{entry.name}"] = entry
        return found

    def exists(self, key: str) -> bool:
        """See `Storage.exists`. fsspec's own says of many protocols that there is nothing when the request failed."""
        return self.stat(key) is not None

    def entries(self, key: str) -> list[Entry]:
        """See `Storage.entries`."""
        folder = self._full(key)
        with _mapped(f"Listing {self.path(key)}"):
            try:
                items = self._fs.ls(folder, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
        if len(items) == 1 and self._is_itself(items[0], key):
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

    def _is_itself(self, item: dict[str, Any], key: str) -> bool:
        """Return whether the only thing listed is the file that was asked for, as FTP has it: below itself."""
        own = key.rpartition("/")[2]
        if item["type"] == "directory" or str(item["name"]).rpartition("/")[2] != own or not own:
            return False
        entry = self.stat(key) if self.capabilities.medium == "other files" else None
        return entry is not None and not entry.is_folder

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

    def look(self, keys: Sequence[str]) -> list[tuple[int, int] | None]:
        """See `Storage.look`."""
        return [None if entry is None else (entry.mtime_ms, entry.size) for entry in map(self.stat, keys)]

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
            if not self.capabilities.can_put_if_absent:
                self._fs.pipe_file(self._full(key), data)
                return self.read(key) == data
            try:
                self._fs.pipe_file(self._full(key), data, mode="create")
            except FileExistsError:
                # The store may have taken an attempt of ours whose answer was lost.
                return self.read(key) == data
        return True

    def spool(self) -> LocalStorage:
        """Return where to keep what the store does not take, on the local disk.

        Raises:
            StorageError: It cannot be made.
        """
        if self._spool is None:
            self._spool = ensure_spool(self.spool_root or ensure_default_root(), self.uri).storage
        return self._spool

    def note_failure(self, error: StorageError) -> None:
        """Say once, until it works again, that the store takes nothing and what becomes of what is logged."""
        if not self._is_failing:
            self._is_failing = True
            reporting.warn(
                "%s cannot be written to; what is logged waits in the spool %s, and is sent later: %s",
                self.uri,
                self.spool().uri,
                error.message,
            )

    def note_success(self) -> None:
        """Remember that the store takes what is sent."""
        self._is_failing = False

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
        if (put_whole := getattr(self._fs, "put_stream", None)) is not None:
            with _mapped(f"Writing {self.path(key)}"):
                put_whole(self._full(key), file)
            return
        with _mapped(f"Writing {self.path(key)}"), self._fs.open(self._full(key), "wb") as target:
            file.seek(0)
            while block := file.read(_COPY_BYTES):
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
    """Turn errors of fsspec and of what it stands on into ours; `FileNotFoundError` passes, that is an answer."""
    try:
        yield
    except FileNotFoundError as error:
        # fsspec keeps it in a cycle with the frames that it came through, and so all that their callers hold.
        error.__traceback__ = None
        raise FileNotFoundError(*error.args) from None
    except LocaltrackError:
        raise
    except Exception as error:  # each package has errors of its own; what is none of theirs passes
        mapped = foreign_to_storage_error(error, what)
        if mapped is None:
            raise
        raise mapped from error.with_traceback(None)
