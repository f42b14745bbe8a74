"""Searching runs: choose row numbers in DuckDB, hand out the rows."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.query.compile import compile_search
from localtrack.query.expression import OrderKey
from localtrack.query.fields import RUNS
from localtrack.query.grammar import parse_filter, parse_order_by
from localtrack.query.pages import DEFAULT_MAX_RESULTS, Page, encode_token, parse_token, validate_max_results
from localtrack.query.snapshot import RowSnapshot, RunSnapshot
from localtrack.types import RunRow, ViewType

RunPage = Page[RunRow]

_NO_NAMES: Final[Mapping[str, str]] = types.MappingProxyType({})
_STAGES: Final[Mapping[int, tuple[str, ...]]] = {
    ViewType.ACTIVE_ONLY: ("active",),
    ViewType.DELETED_ONLY: ("deleted",),
    ViewType.ALL: ("active", "deleted"),
}
_LATEST_FIRST: Final = OrderKey(RUNS.attributes["start_time"], is_ascending=False)
_BY_RUN_ID: Final = OrderKey(RUNS.attributes["run_id"])


def search_runs(
    runs: RunSnapshot | Iterable[RunRow],
    *,
    filter_string: str | None = "",
    order_by: Iterable[str] | None = (),
    max_results: int | None = DEFAULT_MAX_RESULTS,
    page_token: str | bytes | None = None,
    view_type: int = ViewType.ACTIVE_ONLY,
    experiment_names: Mapping[str, str] = _NO_NAMES,
    now_ms: int | None = None,
) -> RunPage:
    """Return the runs that match a filter, in order, one page of them.

    Args:
        runs: The runs to choose from.
        filter_string: Which; empty for all.
        order_by: Order keys such as `metrics.loss ASC`. Runs without the value come last in both directions, NaN
            just before those; ties are broken by start time, latest first, then by run id.
        max_results: Length of a page, 1 to 50,000; None for all.
        page_token: The token of the page before.
        view_type: Life-cycle stages to return; also a filter that names `lifecycle_stage` sees only these.
        experiment_names: Name by experiment id, for `experiment_name`; a snapshot knows them.
        now_ms: What `now()` stands for, milliseconds since 1970; the present by default.

    Raises:
        InvalidInputError: An argument cannot be read.
    """
    snapshot = RowSnapshot(runs, experiment_names=experiment_names) if isinstance(runs, Iterable) else runs
    numbers, token = select_page(
        snapshot,
        filter_string=filter_string,
        order_by=order_by,
        max_results=max_results,
        page_token=page_token,
        view_type=view_type,
        now_ms=now_ms,
    )
    return Page(snapshot.rows(numbers), token)


def select_page(
    snapshot: RunSnapshot,
    *,
    filter_string: str | None = "",
    order_by: Iterable[str] | None = (),
    max_results: int | None = DEFAULT_MAX_RESULTS,
    page_token: str | bytes | None = None,
    view_type: int = ViewType.ACTIVE_ONLY,
    now_ms: int | None = None,
) -> tuple[Sequence[int], str | None]:
    """Return the numbers of the runs on a page, in order, and the token of the next one. See `search_runs`."""
    validate_max_results(max_results)
    stages = parse_view_type(view_type)
    expression = parse_filter(filter_string, RUNS, now_ms=now_ms)
    order = parse_order_by(order_by, RUNS)
    offset = parse_token(page_token)
    named = {key.field for key in order}
    order += tuple(key for key in (_LATEST_FIRST, _BY_RUN_ID) if key.field not in named)
    statement = compile_search(RUNS, expression, order, stages=stages, limit=one_more(max_results), offset=offset)
    return cut_numbers(snapshot.select(statement), max_results=max_results, offset=offset)


def parse_view_type(view_type: object) -> tuple[str, ...]:
    """Return the life-cycle stages that a view shows.

    Raises:
        InvalidInputError: There is no such view.
    """
    if not isinstance(view_type, int) or view_type not in _STAGES:
        raise InvalidInputError(
            f"There is no view type {str(view_type)[:40]!r}.",
            code=ErrorCode.INVALID_VALUE,
            hint="Use ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY or ViewType.ALL.",
        )
    return _STAGES[view_type]


def one_more(max_results: int | None) -> int | None:
    """Return how many rows to ask for: one more than the page holds tells whether there is another page."""
    return None if max_results is None else max_results + 1


def cut_numbers(numbers: Sequence[int], *, max_results: int | None, offset: int) -> tuple[Sequence[int], str | None]:
    """Return the numbers that a page holds, without the one that was asked for beyond it, and the next page's token."""
    if max_results is None or len(numbers) <= max_results:
        return numbers, None
    return numbers[:max_results], encode_token(offset + max_results)
