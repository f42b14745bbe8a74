"""What a person names on the command line -> the run or experiment that is meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from localtrack.errors import ErrorCode, InvalidInputError, NotFoundError
from localtrack.types import Experiment, ViewType

if TYPE_CHECKING:
    from localtrack.api.store import Store

_BEGINNING: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What a search for the beginning of an id may hold: nothing that the filter language could take for its own."""
_SHOWN_MATCHES_COUNT: Final = 5


def find_run_id(store: Store, text: str) -> str:
    """Return the id of the one run whose id is, or begins with, `text`; deleted runs too.

    Raises:
        NotFoundError: There is none.
        InvalidInputError: There are several.
    """
    try:
        return store.get_run(text).info.run_id
    except (NotFoundError, InvalidInputError):
        # Not the whole id, or, if it has a character that ids lack, not even the beginning of one.
        if not _BEGINNING.fullmatch(text):
            raise
    found = _run_ids_beginning_with(store, text)
    if not found:
        raise NotFoundError(
            f"There is no run whose id is, or begins with, {text!r} in {store.uri}.",
            hint="`localtrack runs --all` lists them.",
        )
    if len(found) > 1:
        shown = ", ".join(found[:_SHOWN_MATCHES_COUNT]) + (", …" if len(found) > _SHOWN_MATCHES_COUNT else "")
        raise InvalidInputError(
            f"{len(found)} runs have an id that begins with {text!r}: {shown}.", hint="Give more of the id."
        )
    return found[0]


def find_run_ids(store: Store, texts: Iterable[str]) -> list[str]:
    """Return the ids of several runs, each once, in the order given. See `find_run_id`."""
    return list(dict.fromkeys(find_run_id(store, text) for text in texts))


def find_experiment(store: Store, text: str) -> Experiment:
    """Return the experiment of that name, else of that id.

    Raises:
        NotFoundError: There is none.
    """
    experiment = store.get_experiment_by_name(text)
    if experiment is not None:
        return experiment
    if text.isascii() and text.isdigit():
        return store.get_experiment(text)
    raise NotFoundError(
        f"There is no experiment named {text!r} in {store.uri}.",
        code=ErrorCode.EXPERIMENT_NOT_FOUND,
        hint="`localtrack experiments` lists them.",
    )


def _run_ids_beginning_with(store: Store, text: str) -> list[str]:
    page = store.search_runs(
        filter_string=f"attributes.run_id LIKE '{text}%'", max_results=None, run_view_type=ViewType.ALL
    )
    # An underscore in the pattern stands for any character.
    return sorted(row.info.run_id for row in page if row.info.run_id.startswith(text))
