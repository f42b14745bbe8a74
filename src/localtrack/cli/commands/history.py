"""`localtrack history`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from localtrack.cli.lookup import find_run_id, find_run_ids
from localtrack.cli.output import terminal_width, write_json_lines, write_lines, write_note
from localtrack.cli.run_columns import shortest_id_chars
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.tables import Column, format_table
from localtrack.cli.text import MISSING, format_time
from localtrack.errors import InvalidInputError

if TYPE_CHECKING:
    import pyarrow as pa

    from localtrack.query.frame import Frame
    from localtrack.query.histories import Axis

_BATCH_ROWS: Final = 10_000
"""Rows that are aligned with each other: a long history is printed as it is read."""
_SHOWN_KEYS_COUNT: Final = 20


@click.command
@click.argument("run_id")
@click.argument("key", required=False)
@click.option(
    "-w", "--with", "others", multiple=True, metavar="RUN_ID", help="Show KEY of this run beside it; can be repeated."
)
@click.option(
    "--by",
    type=click.Choice(["step", "elapsed", "time"]),
    default="step",
    show_default=True,
    help="What runs are aligned by: elapsed is the time since each began.",
)
@click.option(
    "--interval",
    type=click.IntRange(1),
    metavar="N",
    help="Steps or milliseconds that a row of aligned runs stands for.  [default: 1 step, or as 1,000 rows need]",
)
@click.option(
    "--max-points",
    type=click.IntRange(4),
    metavar="N",
    help="Thin out, as for a plot: the ends, least and greatest values stay.",
)
@general_options
@pass_session
def history(
    session: Session,
    run_id: str,
    key: str | None,
    others: tuple[str, ...],
    by: Axis,
    interval: int | None,
    max_points: int | None,
) -> None:
    """Print every point of a run, or of its metric KEY.

    The points of a metric stand in the order of their times. With --with the metric of several runs stands side by
    side. The beginning of an id is enough.
    """
    if others and key is None:
        raise click.UsageError("Name the metric to compare.")
    is_aligned = bool(others) or by != "step" or interval is not None
    if is_aligned and key is None:
        raise click.UsageError("--by and --interval align one metric: name it.")
    with session.open_store() as store:
        run_id = find_run_id(store, run_id)
        if is_aligned and key is not None:
            run_ids = [run_id, *find_run_ids(store, others)]
            frame = store.align_histories(run_ids, key, by=by, interval=interval, max_points=max_points)
            is_missing = len(frame) == 0
        else:
            points = store.metric_history(run_id, key, max_points=max_points)
            is_missing = points.num_rows == 0
        known = sorted(store.get_run(run_id).data.metrics) if is_missing else []
    if key is not None and is_missing:
        shown = ", ".join(known[:_SHOWN_KEYS_COUNT]) + (", …" if len(known) > _SHOWN_KEYS_COUNT else "")
        raise InvalidInputError(
            f"Run {run_id} has no metric {key!r}.", hint=f"It has {shown}." if known else "It has no metrics."
        )
    if is_aligned:
        _print_aligned(session, frame)
    elif session.is_json:
        write_json_lines(point for batch in _batches(points) for point in batch)
    elif points.num_rows:
        write_lines(_table_lines(points, has_key=key is None))
    else:
        write_note("The run has no metrics.")


def _print_aligned(session: Session, frame: Frame) -> None:
    if session.is_json:
        write_json_lines(frame)
        return
    axis, *run_ids = frame.columns
    shown_chars = None if terminal_width() is None else shortest_id_chars(run_ids)
    columns = [Column("TIME" if axis == "timestamp_ms" else axis.upper(), is_number=axis != "timestamp_ms")]
    columns += [Column(run_id[:shown_chars], is_number=True, can_be_left_out=True) for run_id in run_ids]
    rows = [
        [
            format_time(row[axis]) if axis == "timestamp_ms" else str(row[axis]),
            *(MISSING if row[run_id] is None else _exact(row[run_id]) for run_id in run_ids),
        ]
        for row in frame
    ]
    write_lines(format_table(columns, rows, width=terminal_width()))


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
