"""From what a user writes to the storage behind it.

A path, `file:` and `localtrack:` URIs, and any URL that fsspec knows.
"""

from __future__ import annotations

import os
import re
from typing import Final

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.storage.base import Storage
from localtrack.storage.local import LocalStorage

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:")
"""Two characters or more: `C:` is a drive."""


def open_storage(location: str | os.PathLike[str]) -> Storage:
    """Return the storage at a path or URL.

    Args:
        location: A path; `file:///path`; `localtrack:///path` (percent-encoded where needed);
            `localtrack+s3://bucket/path`; or a
            URL with a protocol that fsspec knows.

    Raises:
        InvalidInputError: It names no place.
    """
    text = os.fspath(location)
    if not text or "\0" in text:
        raise InvalidInputError(
            f"{text!r} is not a place for a store.", code=ErrorCode.INVALID_PATH, hint="Give a folder or a URL."
        )
    match = _SCHEME.match(text)
    if match is None:
        return LocalStorage(os.path.expanduser(text))
    scheme = match[0][:-1].lower()
    if scheme.startswith("localtrack+"):
        return open_storage(text[len("localtrack+") :])
    if scheme in ("localtrack", "file", "local"):
        return LocalStorage(_local_path(text))
    if scheme in ("http", "https", "sqlite", "mysql", "postgresql", "mssql", "databricks", "databricks-uc"):
        raise InvalidInputError(
            f"{text!r} names an MLflow server or database, not a localtrack store.",
            code=ErrorCode.INVALID_PATH,
            hint="Give a folder or a URL of files.",
        )
    from localtrack.storage.objects import ObjectStorage

    return ObjectStorage.at(text)


def _local_path(uri: str) -> str:
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        # `localtrack://relative/path`: the first part is no host.
        if parts.scheme.lower() == "localtrack":
            return unquote(parts.netloc + parts.path)
        raise InvalidInputError(
            f"{uri!r} names another host.", code=ErrorCode.INVALID_PATH, hint="Write file:///absolute/path."
        )
    path = unquote(parts.path)
    if not path:
        raise InvalidInputError(f"{uri!r} names no folder.", code=ErrorCode.INVALID_PATH)
    return path[1:] if re.match(r"/[A-Za-z]:[/\\]", path) else path
