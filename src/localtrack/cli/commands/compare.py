"""`localtrack compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from localtrack.cli.documents import comparison_document
from localtrack.cli.lookup import find_run_id, find_run_ids
from localtrack.cli.output import terminal_width, write_json, write_lines
from localtrack.cli.run_columns import shortest_id_chars
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.tables import Column, format_table
from localtrack.cli.text import MISSING, format_number

if TYPE_CHECKING:
    from localtrack.query.comparison import Comparison, MetricRow

_BEST: Final = "*"


@click.command
@click.argument("run_ids", metavar="RUN_ID...", nargs=-1, required=True)
@click.option("--baseline", metavar="RUN_ID", help="The run that the others are held against.  [default: the first]")
@click.option("-m", "--metric", "metrics", multiple=True, metavar="KEY", help="Show only this metric; can be repeated.")
@click.option("--minimize", multiple=True, metavar="KEY", help="Less of this metric is better; can be repeated.")
@click.option("--maximize", multiple=True, metavar="KEY", help="More of this metric is better; can be repeated.")
@general_options
@pass_session
def compare(
    session: Session,
    run_ids: tuple[str, ...],
    baseline: str | None,
    metrics: tuple[str, ...],
    minimize: tuple[str, ...],
    maximize: tuple[str, ...],
) -> None:
    """Hold runs against each other, side by side.

    Params that differ, last values of metrics with their differences from the baseline, and the best marked by a
    star. Which way a metric is better its name tells (val_loss, accuracy), or --minimize and --maximize.
    """
    with session.open_store() as store:
        ids = find_run_ids(store, run_ids)
        base = None if baseline is None else find_run_id(store, baseline)
        comparison = store.compare(
            ids if base is None or base in ids else [base, *ids],
            baseline=base,
            metrics=metrics or None,
            minimize=minimize,
            maximize=maximize,
        )
    if session.is_json:
        write_json(comparison_document(comparison))
    else:
        write_lines([*_table(comparison), *_legend(comparison)])


def _table(comparison: Comparison) -> list[str]:
    width = terminal_width()
    id_chars = None if width is None else shortest_id_chars(comparison.run_ids)
    columns = [
        Column("RUN ID", can_be_cut=True),
        *(Column(run_id[:id_chars], can_be_cut=True, can_be_left_out=True) for run_id in comparison.run_ids),
    ]
    rows = [
        ["name", *(run.info.run_name for run in comparison.runs)],
        ["status", *(run.info.status for run in comparison.runs)],
        *(
            [f"params.{row.key}", *(MISSING if value is None else value for value in row.values)]
            for row in comparison.params
        ),
        *([f"metrics.{row.key}", *_cells(row, comparison.baseline)] for row in comparison.metrics),
    ]
    return format_table(columns, rows, width=width)


def _cells(row: MetricRow, baseline: int) -> list[str]:
    cells = []
    for place, value in enumerate(row.values):
        text, delta = format_number(value), row.deltas[place]
        if delta is not None and place != baseline:
            text += f" ({delta:+.3g})" if delta == delta else " (NaN)"
        cells.append(f"{text} {_BEST}" if row.best[place] else text)
    return cells


def _legend(comparison: Comparison) -> list[str]:
    lines: list[str] = []
    if any(any(row.best) for row in comparison.metrics):
        lines.append(f"{_BEST} best")
    if comparison.same_params_count:
        count = comparison.same_params_count
        lines.append(f"{count} more {'param is' if count == 1 else 'params are'} the same in all.")
    return ["", *lines] if lines else []
