"""Pages of an answer: how long they may be, and the token that asks for the next one."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Final, TypeVar

from localtrack.errors import ErrorCode, InvalidInputError

T = TypeVar("T")

MAX_RESULTS: Final = 50_000
"""MLflow's greatest page. Source: mlflow.store.tracking.SEARCH_MAX_RESULTS_THRESHOLD."""
DEFAULT_MAX_RESULTS: Final = 1_000

_MAX_TOKEN_CHARS: Final = 200
_MAX_OFFSET: Final = 2**62


class Page(list[T]):
    """A list of results, and the token with which the next page is asked for; None on the last page."""

    def __init__(self, items: Iterable[T] = (), token: str | None = None) -> None:
        super().__init__(items)
        self.token = token


def validate_max_results(max_results: int | None) -> None:
    """Check the length of a page: 1 to 50,000, or None for all.

    Raises:
        InvalidInputError: It is not.
    """
    if max_results is None:
        return
    if type(max_results) is not int or not 1 <= max_results <= MAX_RESULTS:
        raise InvalidInputError(
            f"max_results must be a whole number from 1 to {MAX_RESULTS}, not {str(max_results)[:40]!r}.",
            code=ErrorCode.INVALID_VALUE,
        )


def encode_token(offset: int) -> str:
    """Return the token of the page that begins at a row; MLflow's form."""
    return base64.b64encode(json.dumps({"offset": offset}).encode()).decode()


def parse_token(token: str | bytes | None) -> int:
    """Return the row at which a page begins: 0 without a token.

    Raises:
        InvalidInputError: It is no token of a search.
    """
    if not token:
        return 0
    try:
        if len(token) > _MAX_TOKEN_CHARS:
            raise ValueError
        offset = json.loads(base64.b64decode(token, validate=True))["offset"]
        if type(offset) is not int or not 0 < offset < _MAX_OFFSET:
            raise ValueError
    except (ValueError, binascii.Error, TypeError, LookupError, RecursionError) as error:
        raise InvalidInputError(
            f"The page token {str(token)[:40]!r} did not come from a search.",
            code=ErrorCode.INVALID_VALUE,
            hint="Pass the token of the page before, or none for the first page.",
        ) from error
    return offset
