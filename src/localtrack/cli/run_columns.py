"""The table of `localtrack runs`: which metrics and params are worth a column, and how a run looks in it. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from localtrack.cli.tables import Column
from localtrack.cli.text import MISSING, common_offset, format_duration, format_number, format_time
from localtrack.errors import InvalidInputError
from localtrack.types import Liveness, RunRow

LEAST_ID_CHARS: Final = 12
"""The milliseconds of a run id."""
_CHOSEN_COUNT: Final = 3
"""How many metrics and how many params are chosen where nobody asks for certain ones."""
_KINDS: Final = {
    **dict.fromkeys(("metric", "metrics"), "metrics"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "params"),
    **dict.fromkeys(("tag", "tags"), "tags"),
}
_NAMED: Final = re.compile(
    r"\b(metrics?|params?|parameters?|tags?)\.(?:`([^`]+)`|\"([^\"]+)\"|([\w.\-/]+))", re.IGNORECASE
)


def parse_column(text: str) -> tuple[str, str]:
    """Return the kind (metrics, params, tags) and the key of a column such as `metrics.loss`.

    Raises:
        InvalidInputError: It names no such column.
    """
    kind, dot, key = text.partition(".")
    if not (dot and key and kind.lower() in _KINDS):
        raise InvalidInputError(
            f"{text!r} is not a column.", hint="Columns are metrics.<key>, params.<key> and tags.<key>."
        )
    if len(key) > 2 and key[0] == key[-1] and key[0] in '`"':
        key = key[1:-1]
    return _KINDS[kind.lower()], key


def choose_columns(rows: Sequence[RunRow], *, expressions: Iterable[str]) -> list[tuple[str, str]]:
    """Return the columns worth showing: those that the search names, then common metrics, then params that differ.

    Args:
        rows: The runs to show.
        expressions: The filter and the order.
    """
    chosen = [
        (_KINDS[match[1].lower()], match[2] or match[3] or match[4])
        for text in expressions
        for match in _NAMED.finditer(text)
    ]
    metrics = Counter(key for row in rows for key in row.metrics)
    chosen += [("metrics", key) for key in sorted(metrics, key=lambda key: (-metrics[key], key))[:_CHOSEN_COUNT]]
    params = Counter(key for row in rows for key in row.params)
    differing = [key for key in params if len({row.params[key] for row in rows if key in row.params}) > 1]
    chosen += [("params", key) for key in sorted(differing, key=lambda key: (-params[key], key))[:_CHOSEN_COUNT]]
    return list(dict.fromkeys(chosen))


def run_table(
    rows: Sequence[RunRow],
    *,
    keys: Sequence[tuple[str, str]],
    states: Mapping[str, tuple[Liveness, int | None]],
    experiment_names: Mapping[str, str],
    id_chars: int | None,
    now_ms: int,
) -> tuple[list[Column], list[list[str]]]:
    """Return the table of runs.

    Args:
        rows: The runs, in order.
        keys: Columns for metrics, params and tags, as `choose_columns` gives them.
        states: Liveness, and since when it is silent, by run id, of the runs that have not ended.
        experiment_names: Name by experiment id; empty to leave the experiment out.
        id_chars: How much of the ids to show; None for all.
        now_ms: Milliseconds since 1970, UTC.

    Returns:
        The columns, and a text per column for each run.
    """
    offset = common_offset([row.info.start_time for row in rows])
    has_deleted = any(row.info.lifecycle_stage == "deleted" for row in rows)
    columns = [
        Column("RUN ID"),
        Column("NAME", can_be_cut=True),
        *([Column("EXPERIMENT", can_be_cut=True)] if experiment_names else []),
        Column("STATUS"),
        *([Column("STAGE")] if has_deleted else []),
        Column(f"STARTED ({offset})" if offset else "STARTED"),
        Column("DURATION", is_number=True),
        *(Column(key, is_number=kind == "metrics", can_be_cut=True, can_be_left_out=True) for kind, key in keys),
    ]
    table: list[list[str]] = []
    for row in rows:
        info = row.info
        state = states.get(info.run_id)
        end_ms = info.end_time if info.end_time is not None or state is None else _last_sign_of_life(state, now_ms)
        table.append(
            [
                info.run_id if id_chars is None else info.run_id[:id_chars],
                info.run_name,
                *([experiment_names.get(info.experiment_id, info.experiment_id)] if experiment_names else []),
                format_status(info.status, state, now_ms=now_ms),
                *([info.lifecycle_stage] if has_deleted else []),
                format_time(info.start_time, with_offset=offset is None),
                format_duration(None if end_ms is None else end_ms - info.start_time),
                *(_cell(row, kind, key) for kind, key in keys),
            ]
        )
    return columns, table


def format_status(status: str, state: tuple[Liveness, int | None] | None, *, now_ms: int) -> str:
    """Return a status, for a run that has not ended with what is known of its process."""
    if state is None or state[0] == "ended":
        return status
    liveness, silent_since_ms = state
    if liveness == "silent" and silent_since_ms is not None:
        return f"{status} (silent {format_duration(max(now_ms - silent_since_ms, 0))})"
    return f"{status} ({liveness})"


def shortest_id_chars(run_ids: Sequence[str]) -> int:
    """Return how many characters tell these ids apart, at least 12."""
    ordered = sorted(set(run_ids))
    needed = LEAST_ID_CHARS
    for left, right in pairwise(ordered):
        common = next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), len(left))
        needed = max(needed, common + 1)
    return needed


def _last_sign_of_life(state: tuple[Liveness, int | None], now_ms: int) -> int | None:
    return now_ms if state[0] == "alive" else state[1]


def _cell(row: RunRow, kind: str, key: str) -> str:
    if kind == "metrics":
        summary = row.metrics.get(key)
        return MISSING if summary is None else format_number(summary.value)
    return (row.params if kind == "params" else row.tags).get(key, MISSING)
