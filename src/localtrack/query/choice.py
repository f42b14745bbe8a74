"""Which runs a question is about, and tables of just those: what comparisons and dashboards are computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from localtrack.format.arrow_columns import column
from localtrack.query.compile import compile_search
from localtrack.query.connection import cursor
from localtrack.query.fields import RUNS
from localtrack.query.grammar import parse_filter, parse_order_by
from localtrack.query.search import parse_view_type
from localtrack.query.snapshot import RunSnapshot
from localtrack.types import ViewType

if TYPE_CHECKING:
    import pyarrow as pa


def choose_runs(
    snapshot: RunSnapshot,
    *,
    filter_string: str | None = "",
    view_type: int = ViewType.ACTIVE_ONLY,
    now_ms: int | None = None,
) -> list[int]:
    """Return the numbers of all runs that match a filter, in the order of a search: latest first, then by id.

    Raises:
        InvalidInputError: An argument cannot be read.
    """
    statement = compile_search(
        RUNS,
        parse_filter(filter_string, RUNS, now_ms=now_ms),
        parse_order_by(["start_time DESC", "run_id"], RUNS),
        stages=parse_view_type(view_type),
        limit=None,
    )
    return snapshot.select(statement)


def ask_about(
    snapshot: RunSnapshot,
    numbers: Sequence[int],
    query: str,
    *,
    keys: Mapping[str, Sequence[str] | None],
    parameters: Mapping[str, Any] | None = None,
) -> pa.Table:
    """Return the answer of our own SQL over the relations of some runs.

    Args:
        snapshot: Where the runs are.
        numbers: The runs.
        query: Reads `chosen` (row, place: the place in `numbers`), `runs`, and the relations of `keys`; those hold
            other runs too.
        keys: The tall relations that it reads, and which keys of them; None for all.
        parameters: Values for `$name`.
    """
    import pyarrow as pa

    tables = {
        "chosen": pa.Table.from_arrays(
            [column("int32", numbers), column("int32", range(len(numbers)))], names=["row", "place"]
        ),
        "runs": snapshot.runs(),
        **{name: snapshot.table(name, keys=wanted) for name, wanted in keys.items()},
    }
    with cursor() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        answer: pa.Table = connection.sql(query, params=dict(parameters or {})).to_arrow_table()
        return answer
