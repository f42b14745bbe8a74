"""Turns errors of the operating system and of fsspec into ours. The one place that does."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from localtrack.errors import ErrorCode, LocaltrackError, StorageError, StorageFullError

_FULL: Final = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
_READ_ONLY: Final = frozenset([errno.EROFS, errno.EACCES, errno.EPERM])
NOT_THERE: Final = frozenset([errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG])
"""What the operating system says of a path at which nothing lies, among others of links in a circle."""

_NO_FILE: Final = frozenset([errno.ENXIO, errno.EISDIR])
"""What opening says of a FIFO, socket, device or folder."""


def to_storage_error(error: OSError, what: str) -> StorageError:
    """Return our error for one of the operating system.

    Args:
        error: What was raised.
        what: What could not be done, as the start of a sentence: "Writing runs/…".
    """
    reason = _in_one_line(error.strerror or str(error) or type(error).__name__)
    mapped: StorageError
    if error.errno in _FULL:
        mapped = StorageFullError(
            f"{what} failed: {reason}.", hint="Free some space (or quota); what was logged before is safe."
        )
    elif error.errno in _READ_ONLY:
        mapped = StorageError(
            f"{what} failed: {reason}.", code=ErrorCode.READ_ONLY, hint="Check the permissions of the store's folder."
        )
    else:
        mapped = StorageError(f"{what} failed: {reason}.", hint="What was logged before is safe.")
    mapped.errno = error.errno
    return mapped


_REASON_CHARS: Final = 400
_CLIENT_PACKAGES: Final = frozenset(
    [
        *("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "adlfs", "azure", "paramiko", "asyncssh"),
        *("smbprotocol", "requests", "urllib3", "grpc", "fsspec", "webdav4", "httpx"),
    ]
)
"""What object stores and servers are reached with, and which raises errors that are no `OSError`."""


def is_no_file(error: StorageError) -> bool:
    """Return whether something failed because what lies there is a FIFO, socket, device or folder, and no file."""
    return error.errno in _NO_FILE


def is_forbidden(error: StorageError) -> bool:
    """Return whether the permissions of one file or folder were in the way, which says nothing of the others."""
    return error.errno in (errno.EACCES, errno.EPERM)


def foreign_to_storage_error(error: Exception, what: str) -> StorageError | None:
    """Return our error for one that came out of fsspec; None if it is nobody's failure but a mistake of the caller."""
    if isinstance(error, OSError):
        return to_storage_error(error, what)
    if isinstance(error, EOFError):  # paramiko says so of a connection that ends
        return to_storage_error(ConnectionError("the connection has ended"), what)
    if type(error).__module__.partition(".")[0] not in _CLIENT_PACKAGES:
        # adlfs puts a plain RuntimeError around what Azure's client says.
        return foreign_to_storage_error(error.__cause__, what) if isinstance(error.__cause__, Exception) else None
    reason = _in_one_line(str(error) or type(error).__name__).rstrip(".")
    return StorageError(f"{what} failed: {reason}.", hint="What was logged before is safe.")


def _in_one_line(reason: str) -> str:
    """Return a sentence; some packages tell all that they have tried, in a hundred lines."""
    text = " ".join(reason.split())
    return text if len(text) <= _REASON_CHARS else f"{text[:_REASON_CHARS]}…"


@contextmanager
def mapped_errors(what: str) -> Iterator[None]:
    """Turn an `OSError` of the block into a `StorageError` that says what failed. Ours pass."""
    try:
        yield
    except LocaltrackError:
        raise
    except OSError as error:
        raise to_storage_error(error, what) from error


def absolute_path(path: str | os.PathLike[str] = "") -> str:
    """Return a path from the current folder on as an absolute one.

    Raises:
        StorageError: The current folder has been removed.
    """
    try:
        return os.path.abspath(path)
    except FileNotFoundError as error:
        raise StorageError(
            "The current folder has been removed, so that no path from it leads anywhere.",
            hint="Change to another folder, or name the store by an absolute path.",
        ) from error


def show_path(path: str) -> str:
    """Return a path as messages show it: shortened in the middle."""
    text = os.fspath(path)
    return text if len(text) <= 160 else f"{text[:70]}…{text[-80:]}"
