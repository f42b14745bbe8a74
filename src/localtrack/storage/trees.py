"""All that lies below a folder of a store, links taken as what they are: names, that are never followed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from localtrack.storage.base import Storage
from localtrack.storage.failures import NOT_THERE, mapped_errors, show_path


class TreeEntry(NamedTuple):
    """One name below a folder."""

    key: str
    is_folder: bool
    """False for a link, wherever it leads."""
    size: int
    """Bytes; 0 for folders and links."""
    mtime_ms: int
    """Last change, milliseconds since 1970, UTC; 0 where the medium does not know it."""


def walk_tree(storage: Storage, key: str) -> Iterator[TreeEntry]:
    """Yield everything below a folder; what a folder holds comes before the folder itself. No link is followed.

    Nothing if there is no folder, or a link in its place.
    """
    if storage.is_local:
        if not os.path.islink(storage.path(key)):
            yield from _walk_local(storage, key)
        return
    for entry in storage.entries(key):
        below = f"{key}/{entry.name}"
        if entry.is_folder:
            yield from walk_tree(storage, below)
        yield TreeEntry(below, entry.is_folder, entry.size, entry.mtime_ms)


def _walk_local(storage: Storage, key: str) -> Iterator[TreeEntry]:
    path = storage.path(key)
    with mapped_errors(f"Listing {show_path(path)}"):
        try:
            with os.scandir(path) as listing:
                items = sorted(listing, key=lambda item: item.name)
        except OSError as error:
            if error.errno in NOT_THERE:
                return
            raise
    for item in items:
        below = f"{key}/{item.name}" if key else item.name
        with mapped_errors(f"Looking at {show_path(item.path)}"):
            try:
                status = item.stat(follow_symlinks=False)
                is_folder = item.is_dir(follow_symlinks=False)
            except FileNotFoundError:
                continue  # removed since it was listed
        if is_folder:
            yield from _walk_local(storage, below)
        size = 0 if is_folder or item.is_symlink() else status.st_size
        yield TreeEntry(below, is_folder, size, status.st_mtime_ns // 1_000_000)


def is_link(storage: Storage, key: str) -> bool:
    """Return whether a key is a link in place of a file or folder."""
    return storage.is_local and os.path.islink(storage.path(key))


def list_strange(storage: Storage, key: str) -> list[str]:
    """Return the names in a folder that are no place for bytes, which listings leave out.

    These are links that lead nowhere, FIFOs, sockets and devices.
    """
    if not storage.is_local:
        return []
    found: list[str] = []
    path = storage.path(key)
    with mapped_errors(f"Listing {show_path(path)}"):
        try:
            with os.scandir(path) as listing:
                for item in listing:
                    if item.is_symlink() or not (item.is_file() or item.is_dir()):
                        found.append(item.name)
        except OSError as error:
            if error.errno not in NOT_THERE:
                raise
    return sorted(name for name in found if os.path.lexists(f"{path}/{name}") and not _is_plain(f"{path}/{name}"))


def _is_plain(path: str) -> bool:
    return os.path.isfile(path) or os.path.isdir(path)
