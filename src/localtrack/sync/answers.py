"""What became of a request: carried out, refused, not carried out, or unsure.

The one place that reads the errors of servers.
"""

from __future__ import annotations

import json
from typing import Any, Final

from localtrack.errors import ErrorCode, RefusedError, ThrottledError, UnsureError

_QUOTA_WORDS: Final = ("maximum allowed", "raise this quota", "quota exceeded")
"""Source: texts of Databricks, which has no error code of its own for quotas of tracking."""


def judge_answer(status: int, headers: Any, body: bytes, *, what: str) -> dict[str, Any]:
    """Return the JSON object of a good answer, else raise what became of the request.

    Args:
        status: The HTTP status.
        headers: A mapping of header names.
        body: The whole body.
        what: The request for people, as "runs/create".

    Raises:
        RefusedError: A definite no.
        ThrottledError: 429.
        UnsureError: 408, 5xx but for 501, or a body that is no JSON object.
    """
    if status == 429:
        raise ThrottledError(f"The target throttles {what}.", wait_s=_parse_wait_s(headers.get("retry-after")))
    document = _decode(body)
    if 200 <= status < 300:
        if document is None:
            raise UnsureError(f"The answer to {what} was cut off, or is no JSON.")
        return document
    remote_code = str((document or {}).get("error_code") or "")
    text = str((document or {}).get("message") or "").strip()
    if status == 408 or (status >= 500 and status != 501):
        raise UnsureError(f"The target failed at {what} with HTTP {status}{_shown(text)}.")
    raise refusal(status, remote_code, text, what=what)


def refusal(status: int, remote_code: str, text: str, *, what: str) -> RefusedError:
    """Return the error of a definite no."""
    lowered = text.lower()
    if status in (401, 403):
        return RefusedError(
            f"The target refused {what} with HTTP {status}{_shown(text)}.",
            code=ErrorCode.SYNC_DENIED,
            hint="Check the user name and password, or the token, and what they may do.",
            status=status,
            remote_code=remote_code,
        )
    is_quota = status == 413 or remote_code in ("QUOTA_EXCEEDED", "RESOURCE_LIMIT_EXCEEDED")
    if is_quota or any(words in lowered for words in _QUOTA_WORDS):
        return RefusedError(
            f"A quota of the target is used up at {what}{_shown(text)}.",
            code=ErrorCode.QUOTA_EXCEEDED,
            status=status,
            remote_code=remote_code,
        )
    if 300 <= status < 400:
        return RefusedError(
            f"The target answered {what} with a redirection (HTTP {status}).",
            hint="Give the URI of the server itself; a login page may stand in between.",
            status=status,
        )
    return RefusedError(
        f"The target refused {what} with HTTP {status}{_shown(text)}.", status=status, remote_code=remote_code
    )


def _decode(body: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _parse_wait_s(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return max(float(text), 0.0)
    except ValueError:
        pass
    import datetime
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return max((moment - datetime.datetime.now(datetime.UTC)).total_seconds(), 0.0)


def _shown(text: str) -> str:
    return f": {text[:300]}".rstrip(".") if text else ""
