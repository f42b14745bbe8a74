"""Where the store lies when nobody opened one: what the user named, the environment, or the nearest store upward."""

from __future__ import annotations

import os
import stat
from typing import Final

from localtrack.api import environment
from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.storage.failures import absolute_path
from localtrack.storage.opening import parse_location

DEFAULT_FOLDER: Final = "ltruns"
"""Name of the store that is made in the current folder when nothing names another one."""

_FOREIGN_WORDS: Final = frozenset(("databricks", "databricks-uc", "uc"))


def resolve_store_path(explicit: str | os.PathLike[str] | None = None) -> str:
    """Return where the store lies.

    Args:
        explicit: What the user named: a folder, a URI, a URL. Else the environment counts, else the nearest store
            upward from the current folder, else `ltruns` in it, whether or not it is there.

    Returns:
        An absolute path, or an fsspec URL without a password.

    Raises:
        InvalidInputError: What is named can be no store.
        StorageError: Nothing is named, and the current folder has been removed.
    """
    named = os.fspath(explicit) if explicit is not None else None
    named = named or environment.tracking_uri()
    if named:
        return parse_store_uri(named)
    return find_store_upward(absolute_path()) or absolute_path(DEFAULT_FOLDER)


def find_store_upward(start: str | os.PathLike[str]) -> str | None:
    """Return the nearest store: the folder itself, `ltruns` in it, then the same for each folder above.

    Folders like `/tmp`, in which everybody may put things, are passed over on the way up: a store left there by anybody
    would take in the runs of all programs below.

    Args:
        start: The folder to begin with.

    Returns:
        The absolute path of a folder that holds `localtrack.json`, or None.
    """
    first = folder = absolute_path(start)
    while True:
        for candidate in (folder, os.path.join(folder, DEFAULT_FOLDER)):
            if is_store_folder(candidate) and (folder == first or not _is_for_everybody(folder)):
                return candidate
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above


def is_store_folder(path: str) -> bool:
    """Tell whether a folder holds a store."""
    return os.path.isfile(os.path.join(path, environment.STORE_MARKER))


def is_url(path: str) -> bool:
    """Tell whether what `parse_store_uri` returned is an fsspec URL and not a local path."""
    return "://" in path


def parse_store_uri(uri: str | os.PathLike[str]) -> str:
    """Return the absolute path or fsspec URL that a tracking URI means. See `localtrack.storage.opening`.

    Raises:
        InvalidInputError: It names a server, a workspace or a database, or cannot be read.
    """
    text = os.fspath(uri)
    if not isinstance(text, str):
        raise InvalidInputError(f"A tracking URI is a text, not {text!r}.", code=ErrorCode.INVALID_SETTING)
    if text in _FOREIGN_WORDS:
        # A program written for a workspace must not fill a folder of that name unnoticed.
        raise InvalidInputError(
            f"The tracking URI {text!r} names a workspace, not a localtrack store.",
            code=ErrorCode.INVALID_SETTING,
            hint=f"A folder of that name is written './{text}'.",
        )
    return parse_location(text)


def format_store_uri(path: str) -> str:
    """Return the URI that names a store to any process: `file:///…`, or the URL as it is."""
    if is_url(path):
        return path
    from pathlib import Path

    return Path(path).as_uri()


def _is_for_everybody(folder: str) -> bool:
    # The sticky bit tells /tmp from a project folder whose permissions are merely lax.
    mode = os.stat(folder).st_mode
    return bool(mode & stat.S_ISVTX and mode & stat.S_IWOTH)
