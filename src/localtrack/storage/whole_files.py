"""What servers of files have in common for `ObjectStorage`: files are put as a whole, and folders have to be made."""

from __future__ import annotations

import io
import os
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, BinaryIO

from fsspec.spec import AbstractBufferedFile

from localtrack.format.layout import TEMPORARY_PREFIX


class WholeFiles:
    """In front of a file system of fsspec, whose own writes go into the file that readers see.

    A subclass puts one file, makes one folder and reads one range; each may be called again after a connection ended.
    """

    cachable = False

    def __init__(self, *args: Any, **options: Any) -> None:
        self._folders: set[str] = set()
        """Known to be there; they may have been removed since."""
        super().__init__(*args, **options)

    @abstractmethod
    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        """Return the bytes of a file from `start` up to `end`."""

    @abstractmethod
    def _put(self, path: str, temporary: str, file: BinaryIO, *, is_new: bool) -> None:
        """Put a file in place by way of a temporary one beside it; raise `FileExistsError` if it must be new."""

    @abstractmethod
    def _make_folder(self, path: str, mode: int) -> None:
        """Make a folder in one that is there."""

    @abstractmethod
    def _is_there(self, path: str) -> bool:
        """Return whether there is a file or folder."""

    def cat(self, path: Sequence[str], *, on_error: str = "raise", **_: Any) -> dict[str, bytes | Exception]:
        """Return the bytes of many files; with `on_error="return"` what went wrong in their place."""
        found: dict[str, bytes | Exception] = {}
        for one in path:
            try:
                found[one] = self.cat_file(one)
            except OSError as error:
                if on_error != "return":
                    raise
                found[one] = error
        return found

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Put a whole file in place; with `mode="create"` only if there is none.

        Raises:
            FileExistsError: There is one.
        """
        self.put_stream(path, io.BytesIO(value), mode=mode)

    def put_stream(self, path: str, file: BinaryIO, *, mode: str = "overwrite") -> None:
        """As `pipe_file`, from the beginning of a file."""
        path = self._strip_protocol(path)  # type: ignore[attr-defined]
        folder = path.rpartition("/")[0]
        temporary = f"{folder}/{TEMPORARY_PREFIX}{os.urandom(8).hex()}"
        try:
            self._put(path, temporary, file, is_new=mode == "create")
        except FileNotFoundError:  # the folder has been removed since it was made
            self._folders.clear()
            self.makedirs(folder, exist_ok=True)
            self._put(path, temporary, file, is_new=mode == "create")

    def makedirs(self, path: str, exist_ok: bool = False, mode: int = 0o777) -> None:
        """Make a folder and those above it; others may do so at the same moment."""
        path = self._strip_protocol(path).rstrip("/")  # type: ignore[attr-defined]
        if not path or path in self._folders:
            return
        try:
            self._make_folder(path, mode)
        except FileNotFoundError:
            self.makedirs(path.rpartition("/")[0], exist_ok=True, mode=mode)
            try:
                self._make_folder(path, mode)
            except OSError:
                if not self._is_there(path):
                    raise
        except OSError:
            if not exist_ok or not self._is_there(path):
                raise
        self._folders.add(path)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> Any:
        """Open for reading; what is read is fetched in ranges."""
        if mode != "rb":
            raise ValueError(f"{mode}: files are put as a whole")
        return _Ranges(self, path, mode, block_size or "default", cache_type=options.get("cache_type", "readahead"))


class _Ranges(AbstractBufferedFile):  # type: ignore[misc]  # fsspec ships no types
    def _fetch_range(self, start: int, end: int) -> bytes:
        found: bytes = self.fs.cat_file(self.path, start, end)
        return found
