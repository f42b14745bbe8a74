"""Searching runs: choose row numbers in DuckDB, hand out the rows."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.query.compile import Statement, compile_search
from localtrack.query.connection import cursor
from localtrack.query.expression import OrderKey
from localtrack.query.fields import RUNS
from localtrack.query.grammar import parse_filter, parse_order_by
from localtrack.query.pages import DEFAULT_MAX_RESULTS, Page, encode_token, parse_token, validate_max_results
from localtrack.query.relations import Rows, runs_relation, tall_relation
from localtrack.types import RunRow, ViewType

if TYPE_CHECKING:
    import pyarrow as pa

RunPage = Page[RunRow]
T = TypeVar("T")

_NO_NAMES: Final[Mapping[str, str]] = types.MappingProxyType({})
_STAGES: Final[Mapping[int, tuple[str, ...]]] = {
    ViewType.ACTIVE_ONLY: ("active",),
    ViewType.DELETED_ONLY: ("deleted",),
    ViewType.ALL: ("active", "deleted"),
}
_LATEST_FIRST: Final = OrderKey(RUNS.attributes["start_time"], is_ascending=False)
_BY_RUN_ID: Final = OrderKey(RUNS.attributes["run_id"])


def search_runs(
    rows: Iterable[RunRow],
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
        rows: The runs to choose from.
        filter_string: Which; empty for all.
        order_by: Order keys such as `metrics.loss ASC`. Runs without the value come last in both directions, NaN
            just before those; ties are broken by start time, latest first, then by run id.
        max_results: Length of a page, 1 to 50,000; None for all.
        page_token: The token of the page before.
        view_type: Life-cycle stages to return; also a filter that names `lifecycle_stage` sees only these.
        experiment_names: Name by experiment id, for `experiment_name`.
        now_ms: What `now()` stands for, milliseconds since 1970; the present by default.

    Raises:
        InvalidInputError: An argument cannot be read.
    """
    validate_max_results(max_results)
    stages = parse_view_type(view_type)
    expression = parse_filter(filter_string, RUNS, now_ms=now_ms)
    order = parse_order_by(order_by, RUNS)
    offset = parse_token(page_token)
    named = {key.field for key in order}
    order += tuple(key for key in (_LATEST_FIRST, _BY_RUN_ID) if key.field not in named)
    statement = compile_search(RUNS, expression, order, stages=stages, limit=one_more(max_results), offset=offset)
    rows = list(rows)
    narrow = runs_relation(rows, experiment_names=experiment_names)
    return cut_page(rows, select_rows(statement, {"runs": narrow}, rows), max_results=max_results, offset=offset)


def parse_view_type(view_type: int) -> tuple[str, ...]:
    """Return the life-cycle stages that a view shows.

    Raises:
        InvalidInputError: There is no such view.
    """
    if view_type not in _STAGES:
        raise InvalidInputError(
            f"There is no view type {str(view_type)[:40]!r}.",
            code=ErrorCode.INVALID_VALUE,
            hint="Use ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY or ViewType.ALL.",
        )
    return _STAGES[view_type]


def select_rows(statement: Statement, narrow: Mapping[str, pa.Table], rows: Rows) -> list[int]:
    """Run a compiled search over rows and return the numbers of those that match.

    Args:
        statement: The search.
        narrow: The narrow relation by its name.
        rows: What the tall relations are made of; only those, and only the keys, that the statement reads are made.
    """
    tables = dict(narrow)
    for name, keys in statement.keys.items():
        tables[name] = tall_relation(name, rows, keys=keys)
    with cursor() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        found = connection.execute(statement.sql, dict(statement.parameters)).fetchall()
    return [number for (number,) in found]


def one_more(max_results: int | None) -> int | None:
    """Return how many rows to ask for: one more than the page holds tells whether there is another page."""
    return None if max_results is None else max_results + 1


def cut_page(rows: Sequence[T], numbers: list[int], *, max_results: int | None, offset: int) -> Page[T]:
    """Return the rows of these numbers as a page, without the one that was asked for beyond it."""
    token = None
    if max_results is not None and len(numbers) > max_results:
        numbers, token = numbers[:max_results], encode_token(offset + max_results)
    return Page((rows[number] for number in numbers), token)
