"""A file object whose errors are ours, for those who hand it on to PyArrow or read it bit by bit."""

from __future__ import annotations

import errno
import io
from typing import TYPE_CHECKING, Any

from localtrack.storage.failures import mapped_errors, show_path, to_storage_error

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class MappedFile(io.RawIOBase):
    """Passes everything on to an unbuffered file, and raises `StorageError` where that raises `OSError`.

    Args:
        file: The file, opened without a buffer.
        path: What it is called in messages.
    """

    def __init__(self, file: Any, path: str) -> None:
        self._file = file
        self._path = path

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        """Read into a buffer. `FileNotFoundError` where another host has removed the file since, and NFS tells."""
        try:
            return int(self._file.readinto(buffer))
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise to_storage_error(error, f"Reading {show_path(self._path)}") from error
            stale = error
        raise FileNotFoundError(errno.ENOENT, "The file was removed while it was read", self._path) from stale

    def write(self, data: ReadableBuffer) -> int | None:
        """Write, maybe less than all."""
        with mapped_errors(f"Writing {show_path(self._path)}"):
            return int(self._file.write(data))

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            super().close()
            with mapped_errors(f"Closing {show_path(self._path)}"):
                self._file.close()

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move, and return the new position."""
        try:
            return int(self._file.seek(offset, whence))
        except OSError as error:
            raise to_storage_error(error, f"Reading {show_path(self._path)}") from error

    def tell(self) -> int:
        """Return the position."""
        return int(self._file.tell())

    def fileno(self) -> int:
        """Return the descriptor."""
        return int(self._file.fileno())

    def readable(self) -> bool:
        """Return whether it can be read."""
        return bool(self._file.readable())

    def writable(self) -> bool:
        """Return whether it can be written to."""
        return bool(self._file.writable())

    def seekable(self) -> bool:
        """Return whether it can be read at any place."""
        return bool(self._file.seekable())
