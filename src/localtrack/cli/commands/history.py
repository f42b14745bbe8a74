"""`localtrack history`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from localtrack.cli.lookup import find_run_id
from localtrack.cli.output import terminal_width, write_json_lines, write_lines, write_note
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.tables import Column, format_table
from localtrack.cli.text import format_time
from localtrack.errors import InvalidInputError

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS: Final = 10_000
"""Rows that are aligned with each other: a long history is printed as it is read."""
_SHOWN_KEYS_COUNT: Final = 20


@click.command
@click.argument("run_id")
@click.argument("key", required=False)
@general_options
@pass_session
def history(session: Session, run_id: str, key: str | None) -> None:
    """Print every point of a run, or of its metric KEY.

    The points of a metric stand in the order of their times. The beginning of the id is enough.
    """
    with session.open_store() as store:
        run_id = find_run_id(store, run_id)
        points = store.metric_history(run_id, key)
        known = [] if points.num_rows else sorted(store.get_run(run_id).data.metrics)
    if key is not None and points.num_rows == 0:
        shown = ", ".join(known[:_SHOWN_KEYS_COUNT]) + (", …" if len(known) > _SHOWN_KEYS_COUNT else "")
        raise InvalidInputError(
            f"Run {run_id} has no metric {key!r}.", hint=f"It has {shown}." if known else "It has no metrics."
        )
    if session.is_json:
        write_json_lines(point for batch in _batches(points) for point in batch)
    elif points.num_rows:
        write_lines(_table_lines(points, has_key=key is None))
    else:
        write_note("The run has no metrics.")


def _batches(points: pa.Table) -> Iterator[list[dict[str, Any]]]:
    for batch in points.select(["key", "step", "timestamp_ms", "value"]).to_batches(max_chunksize=_BATCH_ROWS):
        yield batch.to_pylist()


def _table_lines(points: pa.Table, *, has_key: bool) -> Iterator[str]:
    columns = [Column("STEP", is_number=True), Column("TIME"), Column("VALUE", is_number=True)]
    if has_key:
        columns.insert(0, Column("KEY", can_be_cut=True))
    for number, batch in enumerate(_batches(points)):
        rows = [
            [
                *([point["key"]] if has_key else []),
                str(point["step"]),
                format_time(point["timestamp_ms"]),
                _exact(point["value"]),
            ]
            for point in batch
        ]
        yield from format_table(columns, rows, width=terminal_width())[1 if number else 0 :]


def _exact(value: float) -> str:
    return "NaN" if value != value else repr(value)
