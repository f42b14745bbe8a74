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


def to_storage_error(error: OSError, what: str) -> StorageError:
    """Return our error for one of the operating system.

    Args:
        error: What was raised.
        what: What could not be done, as the start of a sentence: "Writing runs/…".
    """
    reason = error.strerror or str(error) or type(error).__name__
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


@contextmanager
def mapped_errors(what: str) -> Iterator[None]:
    """Turn an `OSError` of the block into a `StorageError` that says what failed. Ours pass."""
    try:
        yield
    except LocaltrackError:
        raise
    except OSError as error:
        raise to_storage_error(error, what) from error


def show_path(path: str) -> str:
    """Return a path as messages show it: shortened in the middle."""
    text = os.fspath(path)
    return text if len(text) <= 160 else f"{text[:70]}…{text[-80:]}"
