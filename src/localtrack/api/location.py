"""Where the store lies: what users write (a folder, a URI) as a path or an fsspec URL, and the store found without it."""

from __future__ import annotations

import os
from typing import Final, NoReturn

from localtrack.api import environment
from localtrack.errors import ErrorCode, InvalidInputError

DEFAULT_FOLDER: Final = "ltruns"
"""Name of the store that is made in the current folder when nothing names another one."""

_OWN_SCHEMES: Final = frozenset(("file", "localtrack"))
_URL_PREFIX: Final = "localtrack+"
# What these name is a tracking server, a workspace or a database. fsspec would take some of them as read-only files.
_FOREIGN_SCHEMES: Final = frozenset(
    ("databricks", "databricks-uc", "http", "https", "mssql", "mysql", "postgresql", "sqlite", "uc")
)


def resolve_store_path(explicit: str | os.PathLike[str] | None = None) -> str:
    """Return where the store lies.

    Args:
        explicit: What the user named, as a folder or a URI. Else the environment counts, else the nearest store upward
            from the current folder, else `ltruns` in it, whether or not it is there.

    Returns:
        An absolute path, or an fsspec URL.

    Raises:
        InvalidInputError: What is named can be no store.
    """
    named = os.fspath(explicit) if explicit is not None else None
    named = named or environment.tracking_uri()
    if named:
        return parse_store_uri(named)
    return find_store_upward(os.getcwd()) or os.path.abspath(DEFAULT_FOLDER)


def find_store_upward(start: str | os.PathLike[str]) -> str | None:
    """Return the nearest store: the folder itself, `ltruns` in it, then the same for each folder above.

    Args:
        start: The folder to begin with.

    Returns:
        The absolute path of a folder that holds `localtrack.json`, or None.
    """
    folder = os.path.abspath(start)
    while True:
        for candidate in (folder, os.path.join(folder, DEFAULT_FOLDER)):
            if is_store_folder(candidate):
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
    """Return the absolute path or fsspec URL that a tracking URI means.

    Args:
        uri: A folder (`~` is the home folder); `file:` or `localtrack:` with a path, in which `%20` and the like are
            decoded; an fsspec URL such as `s3://bucket/runs`, also with `localtrack+` before it.

    Raises:
        InvalidInputError: It names a server or a database, or cannot be read.
    """
    text = os.fspath(uri)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        _refuse(text, "is no folder and no URI")
    scheme = uri_scheme(text)
    if scheme.partition("+")[0] in _FOREIGN_SCHEMES or text in _FOREIGN_SCHEMES:
        _refuse(
            text,
            "names a server or a database, not a localtrack store",
            hint=f"Give a folder, such as './{text}'." if not scheme else "Give a folder, or a URI such as 'file:///data/runs'.",
        )
    if scheme in _OWN_SCHEMES:
        return os.path.abspath(_decode_path(text, text[len(scheme) + 1 :]))
    if scheme.startswith(_URL_PREFIX):
        text = text[len(_URL_PREFIX) :]
        scheme = uri_scheme(text)
    if not scheme:
        return os.path.abspath(os.path.expanduser(text))
    rest = text[len(scheme) + 1 :]
    if scheme in _OWN_SCHEMES:
        return os.path.abspath(_decode_path(text, rest))
    if not rest.startswith("//") or not rest.strip("/"):
        _refuse(text, "has a scheme but names nothing behind it", hint="A folder with a colon is written './a:b'.")
    return scheme + ":" + rest.rstrip("/")


def format_store_uri(path: str) -> str:
    """Return the URI that names a store to any process: `file:///…`, or the URL as it is."""
    if is_url(path):
        return path
    from pathlib import Path

    return Path(path).as_uri()


def uri_scheme(uri: str) -> str:
    """Return the scheme of a URI in lower case, or an empty text for a path."""
    head, colon, _ = uri.partition(":")
    # A single letter is a Windows drive.
    if not colon or len(head) < 2 or not head[0].isalpha() or not all(c.isalnum() or c in "+-." for c in head):
        return ""
    return head.lower()


def _decode_path(uri: str, rest: str) -> str:
    from urllib.parse import unquote

    if "?" in rest or "#" in rest:
        _refuse(uri, "has a query or a fragment", hint="In a path of a URI write ? as %3F and # as %23.")
    host = ""
    if rest.startswith("//"):
        host, slash, tail = rest[2:].partition("/")
        rest = slash + tail
    path = unquote(rest)
    if host not in ("", "localhost"):
        if os.name == "nt":
            return f"//{host}{path}"
        _refuse(uri, f"names the host {host!r}", hint="An absolute path comes after three slashes: 'file:///data/runs'.")
    if not path.strip("/") or "\0" in path:
        _refuse(uri, "names no folder")
    # "/C:/x" is how a URI writes a Windows path.
    return path[1:] if os.name == "nt" and path[2:3] == ":" else path


def _refuse(uri: object, reason: str, *, hint: str = "Give a folder, or a URI such as 'file:///data/runs'.") -> NoReturn:
    raise InvalidInputError(f"The tracking URI {str(uri)[:200]!r} {reason}.", code=ErrorCode.INVALID_SETTING, hint=hint)
