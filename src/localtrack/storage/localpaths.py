"""Paths of the user's own files, and links: what artifacts come from, go to, and must not lead out of."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final, Literal

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.format.layout import TEMPORARY_PREFIX
from localtrack.storage.base import Entry
from localtrack.storage.failures import NOT_THERE, mapped_errors, show_path
from localtrack.storage.locallog import sync_folder

Kind = Literal["file", "folder", "other"]
"""`other` is what is no place for bytes: a FIFO, a socket, a device."""


def kind_of(path: str) -> Kind | None:
    """Return what lies at a path, links followed; None if nothing does."""
    with mapped_errors(f"Looking at {show_path(path)}"):
        try:
            return _kind_of_mode(os.stat(path).st_mode)
        except OSError as error:
            if error.errno in NOT_THERE:
                return None
            raise


def is_within(path: str, folder: str) -> bool:
    """Return whether a path, all links followed, is `folder` or lies in it. `folder` is taken as it is."""
    real = os.path.realpath(path)
    return real == folder or real.startswith(folder.rstrip(os.sep) + os.sep)


def real_path(path: str) -> str:
    """Return the path that all links on the way lead to."""
    return os.path.realpath(path)


def scan_within(path: str, folder: str) -> list[Entry]:
    """Return the files and folders in the folder at `path`, in no order; nothing if it is not there.

    Left out: links that lead out of `folder` or nowhere, FIFOs, sockets and devices.
    """
    found: list[Entry] = []
    with mapped_errors(f"Listing {show_path(path)}"):
        try:
            listing = os.scandir(path)
        except OSError as error:
            if error.errno in NOT_THERE:
                return found
            raise
        with listing:
            for item in listing:
                if item.is_symlink() and not is_within(item.path, folder):
                    continue
                try:
                    status = item.stat()
                except OSError as error:
                    if error.errno in NOT_THERE:
                        continue  # removed since it was listed, or a link that leads nowhere
                    raise
                kind = _kind_of_mode(status.st_mode)
                if kind != "other":
                    size = status.st_size if kind == "file" else 0
                    found.append(Entry(item.name, kind == "folder", size, status.st_mtime_ns // 1_000_000))
    return found


def open_source(path: str) -> BinaryIO:
    """Open a file of the user for reading.

    Raises:
        InvalidInputError: It is not there, or is a folder, FIFO, socket or device.
        StorageError: It cannot be read.
    """
    require_source(path)
    with mapped_errors(f"Reading {show_path(path)}"):
        # Without O_NONBLOCK a FIFO that took the file's place since the look would be waited for without end.
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | _BINARY)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise _no_source(path, "is no regular file")
        return os.fdopen(fd, "rb", buffering=0)


def size_of(path: str) -> int:
    """Return how many bytes a file has, links followed."""
    with mapped_errors(f"Looking at {show_path(path)}"):
        return os.stat(path).st_size


def require_source(path: str) -> None:
    """Raise `InvalidInputError` unless there is a regular file, or a link to one, that can be opened."""
    kind = kind_of(path)
    if kind is None:
        raise _no_source(path, "is not there")
    if kind == "folder":
        raise _no_source(path, "is a folder")
    if kind == "other":
        raise _no_source(path, "is a FIFO, socket or device")


def walk_sources(folder: str, *, leave_out: str | None = None) -> Iterator[tuple[str, str]]:
    """Yield (path, name relative to `folder`, `/`-separated) of each file in a folder and those below.

    Links to files are followed; links to folders are not, and are reported as `(path, "")`.

    Args:
        folder: Where to begin.
        leave_out: A folder that is not entered, as a real path; `folder` itself is entered in any case.
    """
    pending = [(folder, "")]
    while pending:
        path, prefix = pending.pop()
        with mapped_errors(f"Listing {show_path(path)}"):
            with os.scandir(path) as listing:
                items = sorted(listing, key=lambda item: item.name)
            for item in items:
                if not item.is_dir():
                    yield item.path, prefix + item.name
                elif item.is_symlink():
                    yield item.path, ""
                elif leave_out is None or os.path.realpath(item.path) != leave_out:
                    pending.append((item.path, f"{prefix}{item.name}/"))


@contextmanager
def writing_copy(path: str) -> Iterator[BinaryIO]:
    """Write a file outside of the store that appears under `path` when it is complete. Its folder is made."""
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, TEMPORARY_PREFIX + secrets.token_hex(8))
    with mapped_errors(f"Writing {show_path(path)}"):
        os.makedirs(folder, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                yield file
            os.replace(temporary, path)
        except BaseException:  # of the file system or of whoever writes, an interrupt too: no half of a copy stays
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise


def missing_folders(path: str) -> list[str]:
    """Return the folders that have to be made for the folder `path` to be there, innermost first."""
    missing: list[str] = []
    while not os.path.isdir(path) and path != os.path.dirname(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing


def sync_names(paths: list[str]) -> None:
    """Make the names of new folders durable."""
    for path in paths:
        with mapped_errors(f"Making the folder {show_path(path)} durable"):
            sync_folder(os.path.dirname(path))


def make_temporary_folder() -> str:
    """Make an empty folder among the system's temporary ones; whoever asked removes it."""
    with mapped_errors("Making a temporary folder"):
        return os.path.realpath(tempfile.mkdtemp(prefix="localtrack-"))


def make_local_folder(path: str) -> None:
    """Make a folder outside of the store, and those above it; idempotent."""
    with mapped_errors(f"Making the folder {show_path(path)}"):
        os.makedirs(path, exist_ok=True)


_BINARY: Final[int] = getattr(os, "O_BINARY", 0)


def _kind_of_mode(mode: int) -> Kind:
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"


def _no_source(path: str, problem: str) -> InvalidInputError:
    return InvalidInputError(
        f"{show_path(path)} cannot be logged as a file: it {problem}.", code=ErrorCode.INVALID_PATH
    )
