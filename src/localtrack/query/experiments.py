"""Searching experiments: the same language and compiler as for runs, over other fields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from localtrack.query.compile import compile_search
from localtrack.query.expression import OrderKey
from localtrack.query.fields import EXPERIMENTS
from localtrack.query.grammar import parse_filter, parse_order_by
from localtrack.query.pages import DEFAULT_MAX_RESULTS, Page, parse_token, validate_max_results
from localtrack.query.relations import experiments_relation, wide_relation
from localtrack.query.search import cut_numbers, one_more, parse_view_type
from localtrack.query.snapshot import select_from
from localtrack.types import Experiment, ViewType

ExperimentPage = Page[Experiment]

_ID: Final = EXPERIMENTS.attributes["experiment_id"]
# MLflow breaks ties the other way round when it is given an order.
_DEFAULT_ORDER: Final = (OrderKey(EXPERIMENTS.attributes["creation_time"], is_ascending=False), OrderKey(_ID))
_TIE_BREAKER: Final = OrderKey(_ID, is_ascending=False)


def search_experiments(
    experiments: Iterable[Experiment],
    *,
    filter_string: str | None = "",
    order_by: Iterable[str] | None = (),
    max_results: int | None = DEFAULT_MAX_RESULTS,
    page_token: str | bytes | None = None,
    view_type: int = ViewType.ACTIVE_ONLY,
    now_ms: int | None = None,
) -> ExperimentPage:
    """Return the experiments that match a filter, in order, one page of them.

    Args:
        experiments: The experiments to choose from.
        filter_string: Which; empty for all.
        order_by: Order keys such as `name ASC`; latest creation first by default. Ties are broken by the
            id, greatest first.
        max_results: Length of a page, 1 to 50,000; None for all.
        page_token: The token of the page before.
        view_type: Life-cycle stages to return.
        now_ms: What `now()` stands for, milliseconds since 1970; the present by default.

    Raises:
        InvalidInputError: An argument cannot be read.
    """
    validate_max_results(max_results)
    stages = parse_view_type(view_type)
    expression = parse_filter(filter_string, EXPERIMENTS, now_ms=now_ms)
    order = parse_order_by(order_by, EXPERIMENTS) or _DEFAULT_ORDER
    if all(key.field != _ID for key in order):
        order += (_TIE_BREAKER,)
    offset = parse_token(page_token)
    statement = compile_search(
        EXPERIMENTS, expression, order, stages=stages, limit=one_more(max_results), offset=offset
    )
    experiments = list(experiments)
    wide = wide_relation(experiments_relation(experiments), experiments, statement.fields)
    found = select_from(statement, {"experiments": wide})
    numbers, token = cut_numbers(found, max_results=max_results, offset=offset)
    return Page((experiments[number] for number in numbers), token)
