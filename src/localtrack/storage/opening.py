"""From what a user writes to the storage behind it.

A path, `file:` and `localtrack:` URIs, and any URL that fsspec knows.
"""

from __future__ import annotations

import os
import re
from typing import Final

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.redaction import mask_url
from localtrack.storage.base import Storage
from localtrack.storage.credentials import keep_password
from localtrack.storage.local import LocalStorage

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:")
"""Two characters or more: `C:` is a drive."""

_NO_PLACE: Final = frozenset(
    [
        *("adl", "async_wrapper", "asyncwrapper", "asynclocal", "blockcache", "cached", "filecache", "simplecache"),
        *("dask", "data", "dir", "dvc", "generic", "gist", "git", "github", "libarchive", "pyscript", "reference"),
        *("tar", "wandb", "zip"),
    ]
)
"""Protocols of fsspec for reading, for one archive, or in front of others."""


def open_storage(location: str | os.PathLike[str]) -> Storage:
    """Return the storage at a path or URL.

    Args:
        location: A path; `file:///path`; `localtrack:///path` (percent-encoded where needed);
            `localtrack+s3://bucket/path`; or a
            URL with a protocol that fsspec knows.

    Raises:
        InvalidInputError: It names no place.
        StorageError: It cannot be reached.
        MissingPackageError: What reaches it is not installed.
    """
    path, url = _parse(os.fspath(location))
    if path:
        return LocalStorage(path)
    from localtrack.storage.objects import ObjectStorage

    return ObjectStorage.at(url)


def parse_location(location: str | os.PathLike[str]) -> str:
    """Return the absolute path or the URL of a place, as `Storage.uri` has it, without going there.

    A password in it is left out, and remembered in this process.

    Raises:
        InvalidInputError: It names no place, or fsspec does not know its protocol.
    """
    path, url = _parse(os.fspath(location))
    return LocalStorage(path).uri if path else keep_password(url).rstrip("/")


def _parse(text: str) -> tuple[str, str]:
    """Return a path, or else the URL of a place that is not of this machine."""
    if not text or "\0" in text:
        raise InvalidInputError(
            f"{text!r} is not a place for a store.", code=ErrorCode.INVALID_PATH, hint="Give a folder or a URL."
        )
    match = _SCHEME.match(text)
    if match is None:
        return os.path.expanduser(text), ""
    scheme = match[0][:-1].lower()
    if scheme.startswith("localtrack+"):
        return _parse(text[len("localtrack+") :])
    if scheme in ("localtrack", "file", "local"):
        return _local_path(text), ""
    if scheme in ("http", "https", "sqlite", "mysql", "postgresql", "mssql", "databricks", "databricks-uc"):
        raise InvalidInputError(
            f"{mask_url(text)!r} names an MLflow server or database, not a localtrack store.",
            code=ErrorCode.INVALID_PATH,
            hint="Give a folder or a URL of files.",
        )
    _require_files(text, scheme)
    return "", text


def _require_files(url: str, scheme: str) -> None:
    """Raise unless a URL names a place of files by itself."""
    shown = mask_url(url)
    if "://" in url and "::" in url.partition("://")[0]:
        raise InvalidInputError(
            f"{shown!r} is several URLs in a chain, and a store needs one place.",
            code=ErrorCode.INVALID_PATH,
            hint="Leave out what stands before the last `::`; what is read is kept on this machine without it.",
        )
    if not url[len(scheme) :].startswith("://"):
        raise InvalidInputError(
            f"{shown!r} is neither a path nor a URL.",
            code=ErrorCode.INVALID_PATH,
            hint=f"A URL begins with {scheme}://, and a folder of that name is written ./{shown}.",
        )
    if not url.partition("://")[2].strip("/") and scheme != "memory":
        raise InvalidInputError(f"{shown!r} names no place.", code=ErrorCode.INVALID_PATH, hint="Give the whole URL.")
    if "?" in url and mask_url(url).partition("?")[2] != url.partition("?")[2]:
        raise InvalidInputError(
            f"{shown!r} has a key in its query, and fsspec takes none from there.",
            code=ErrorCode.INVALID_PATH,
            hint="Sign in by the environment, as fsspec and the package for that protocol document it.",
        )
    import fsspec

    if scheme not in fsspec.available_protocols() and scheme not in fsspec.registry:  # the latter: at run time
        raise InvalidInputError(
            f"{shown!r} has a protocol that fsspec does not know.",
            code=ErrorCode.INVALID_PATH,
            hint="Check its beginning, or install the package that brings it.",
        )
    if scheme in _NO_PLACE:
        raise InvalidInputError(
            f"{shown!r} is no place for a store: by {scheme}:// nothing can be put under a name.",
            code=ErrorCode.INVALID_PATH,
            hint="Give a folder, or a URL of an object store or a server of files.",
        )


def _local_path(uri: str) -> str:
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        # `localtrack://relative/path`: the first part is no host.
        if parts.scheme.lower() == "localtrack":
            return os.path.expanduser(unquote(parts.netloc + parts.path))
        raise InvalidInputError(
            f"{uri!r} names another host.", code=ErrorCode.INVALID_PATH, hint="Write file:///absolute/path."
        )
    path = unquote(parts.path)
    if not path:
        raise InvalidInputError(f"{uri!r} names no folder.", code=ErrorCode.INVALID_PATH)
    return path[1:] if re.match(r"/[A-Za-z]:[/\\]", path) else path
