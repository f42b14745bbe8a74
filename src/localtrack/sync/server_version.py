"""Which version of MLflow a server is: servers before MLflow 3 take less."""

from __future__ import annotations

import re
from typing import Final

from localtrack.errors import ThrottledError, UnsureError
from localtrack.sync.http import Http

_VERSION: Final = re.compile(rb"\s*([0-9]{1,4})\.([0-9]{1,4})[0-9A-Za-z.+-]*\s*")
_BEFORE_IT_SAID: Final = (1, 0)
"""A server that answers `/health` and not `/version`: MLflow 2.0 and before."""


def ask_version(http: Http) -> tuple[int, int] | None:
    """Return the major and minor version of an MLflow server; None where it cannot be told, as behind some proxies."""
    status, body = _read(http, "version")
    match = _VERSION.fullmatch(body) if status == 200 else None
    if match is not None:
        return int(match[1]), int(match[2])
    # What passes on /health passes on everything, so that it is the server that knows no /version.
    if status == 404 and _read(http, "health") == (200, b"OK"):
        return _BEFORE_IT_SAID
    return None


def _read(http: Http, path: str) -> tuple[int, bytes]:
    def once() -> tuple[int, bytes]:
        response = http.exchange("GET", f"/{path}")
        if response.status_code == 429:
            raise ThrottledError(f"The target throttles {path}.")
        if response.status_code >= 500:
            raise UnsureError(f"The target failed at {path} with HTTP {response.status_code}.")
        return response.status_code, response.content

    answer: tuple[int, bytes] = http.persist(once)
    return answer
