"""Where an index lies: in the store, in the user's cache folder, or in the memory of this process."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO, Protocol, TypeVar

from localtrack.errors import StorageError
from localtrack.storage.base import Storage
from localtrack.storage.failures import is_forbidden

T = TypeVar("T")


class Unfinished(Protocol):
    """A file that is seen once it is committed."""

    sink: BinaryIO

    def commit(self, name: str) -> object:
        """Put it in place under a name."""
        ...

    def discard(self) -> None:
        """Remove it; nothing after `commit`."""
        ...


class Home(Protocol):
    """A folder for the files of one index."""

    @property
    def local_folder(self) -> str | None:
        """The absolute path of the folder; None if there is none that the operating system can open."""
        ...

    def path(self, name: str) -> str:
        """Return what a file is called in messages."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file. `FileNotFoundError` if there is none."""
        ...

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading at any place. `FileNotFoundError` if there is none."""
        ...

    def begin(self) -> Unfinished:
        """Begin a file whose name is given at the end."""
        ...

    def sizes(self) -> dict[str, int]:
        """Return the names and sizes of all files."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        ...


class StorageHome:
    """A folder of a storage."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self.folder = folder

    @property
    def local_folder(self) -> str | None:
        """See `Home.local_folder`."""
        return self._storage.path(self.folder) if self._storage.is_local else None

    def path(self, name: str) -> str:
        """See `Home.path`."""
        return self._storage.path(self._key(name))

    def read(self, name: str) -> bytes:
        """See `Home.read`."""
        return self._unless_forbidden(name, self._storage.read)

    def open(self, name: str) -> BinaryIO:
        """See `Home.open`."""
        return self._unless_forbidden(name, self._storage.open)

    def begin(self) -> Unfinished:
        """See `Home.begin`."""
        return _InFolder(self._storage, self.folder)

    def sizes(self) -> dict[str, int]:
        """See `Home.sizes`."""
        return {entry.name: entry.size for entry in self._storage.entries(self.folder) if not entry.is_folder}

    def remove(self, name: str) -> None:
        """See `Home.remove`."""
        self._storage.remove(self._key(name))

    def _unless_forbidden(self, name: str, ask: Callable[[str], T]) -> T:
        """An index of another user that this one may not read is as good as none: the runs are read themselves."""
        try:
            return ask(self._key(name))
        except StorageError as error:
            if not is_forbidden(error):
                raise
            raise FileNotFoundError(self._key(name)) from error

    def _key(self, name: str) -> str:
        return f"{self.folder}/{name}"


class _InFolder:
    """An unfinished file of a storage that is given its bare name."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._folder = folder
        self._file = storage.write_stream(folder)
        self.sink = self._file.sink

    def commit(self, name: str) -> object:
        return self._file.commit(f"{self._folder}/{name}")

    def discard(self) -> None:
        self._file.discard()


class MemoryHome:
    """Files in memory, for one process that may not write or does not get to."""

    local_folder = None

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def path(self, name: str) -> str:
        """See `Home.path`."""
        return f"memory:{name}"

    def read(self, name: str) -> bytes:
        """See `Home.read`."""
        try:
            return self._files[name]
        except KeyError:
            raise FileNotFoundError(name) from None

    def open(self, name: str) -> BinaryIO:
        """See `Home.open`."""
        return io.BytesIO(self.read(name))

    def begin(self) -> Unfinished:
        """See `Home.begin`."""
        return _InMemory(self._files)

    def sizes(self) -> dict[str, int]:
        """See `Home.sizes`."""
        return {name: len(data) for name, data in self._files.items()}

    def remove(self, name: str) -> None:
        """See `Home.remove`."""
        self._files.pop(name, None)


class _InMemory:
    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files
        self._buffer = io.BytesIO()
        self.sink: BinaryIO = self._buffer

    def commit(self, name: str) -> object:
        self._files[name] = self._buffer.getvalue()
        return True

    def discard(self) -> None:
        pass
