"""From what a user writes to the source behind it."""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import unquote, urlsplit

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.importing.source import Source

_SQLITE: Final = re.compile(r"sqlite(\+[a-z]+)?:///?(?P<path>[^?]*)")
_SQLITE_MAGIC: Final = b"SQLite format 3\0"


def open_source_of_runs(location: str | os.PathLike[str]) -> Source:
    """Return the source at a place.

    Args:
        location: An `mlruns` folder, as a path or `file:` URI; `sqlite:///relative.db`, `sqlite:////absolute.db`, or
            the path of a SQLite file.

    Raises:
        InvalidInputError: It names something that cannot be imported, or a library is missing.
        NotFoundError: There is nothing.
        FormatError: It is nothing of MLflow's.
    """
    text = os.fspath(location)
    match = _SQLITE.match(text)
    if match is not None:
        from localtrack.importing.database import Database

        return Database(os.path.expanduser(unquote(match["path"])))
    scheme = text.partition(":")[0].lower() if re.match(r"[A-Za-z][A-Za-z0-9+.\-]+:", text) else ""
    if scheme not in ("", "file"):
        raise InvalidInputError(
            f"{text!r} cannot be imported.",
            code=ErrorCode.INVALID_PATH,
            hint="Give an mlruns folder, or sqlite:///mlflow.db.",
        )
    path = unquote(urlsplit(text).path) if scheme else os.path.expanduser(text)
    if _is_sqlite(path):
        from localtrack.importing.database import Database

        return Database(path)
    from localtrack.importing.mlruns import MlrunsFolder

    return MlrunsFolder(path)


def _is_sqlite(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
