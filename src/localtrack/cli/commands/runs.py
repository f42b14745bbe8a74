"""`localtrack runs`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from localtrack.cli.documents import run_document
from localtrack.cli.lists import list_options
from localtrack.cli.lookup import find_experiment
from localtrack.cli.output import terminal_width, write_findings, write_json_lines, write_lines, write_note
from localtrack.cli.run_columns import choose_columns, parse_column, run_table, shortest_id_chars
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.stages import stage_options, view_type
from localtrack.cli.tables import format_table
from localtrack.errors import FormatError, NotFoundError
from localtrack.types import TERMINAL_STATUSES, Liveness

if TYPE_CHECKING:
    from localtrack.api.store import Store


@click.command
@click.argument("filter_string", metavar="[FILTER]", default="")
@list_options("runs", order_examples=("metrics.loss", "start_time DESC"))
@click.option(
    "-c",
    "--column",
    "columns",
    multiple=True,
    metavar="KEY",
    help="Show this column, such as `params.lr`, instead of those chosen; can be repeated.",
)
@stage_options("runs")
@general_options
@pass_session
def runs(
    session: Session,
    filter_string: str,
    experiments: tuple[str, ...],
    order_by: tuple[str, ...],
    max_results: int,
    columns: tuple[str, ...],
    is_deleted: bool,
    is_all: bool,
) -> None:
    """List runs: all, or those that match FILTER.

    A filter is such as "metrics.loss < 0.1 AND params.optimizer = 'adam'"; `localtrack help filter` describes the
    language.

    A run that has not ended shows whether its process is alive, dead, or, where nobody can tell, for how long its
    files have been silent.
    """
    wanted = [parse_column(column) for column in columns]
    with session.open_store() as store:
        page = store.search_runs(
            experiment_ids=[find_experiment(store, name).experiment_id for name in experiments] or None,
            filter_string=filter_string,
            order_by=list(order_by),
            max_results=max_results,
            run_view_type=view_type(is_deleted=is_deleted, is_all=is_all),
        )
        names = {row.info.experiment_id: "" for row in page}
        names = {experiment_id: store.get_experiment(experiment_id).name for experiment_id in names}
        states = {
            row.info.run_id: _state(store, row.info.run_id) for row in page if row.info.status not in TERMINAL_STATUSES
        }
        now_ms = store.clock()
    if session.is_json:
        write_json_lines(
            run_document(
                row,
                experiment_name=names[row.info.experiment_id],
                liveness=states.get(row.info.run_id, ("ended", None))[0],
                silent_since_ms=states.get(row.info.run_id, ("ended", None))[1],
            )
            for row in page
        )
    elif page:
        width = terminal_width()
        table = run_table(
            page,
            keys=wanted or choose_columns(page, expressions=[*order_by, filter_string]),
            states=states,
            experiment_names={} if len(experiments) == 1 else names,
            id_chars=None if width is None else shortest_id_chars([row.info.run_id for row in page]),
            now_ms=now_ms,
        )
        write_lines(format_table(*table, width=width))
    else:
        write_note("No runs match.")
    if page.token is not None:
        write_note(f"Only the first {max_results} runs are shown; --max shows more.")
    write_findings(page.findings)


def _state(store: Store, run_id: str) -> tuple[Liveness, int | None]:
    try:
        report = store.describe_run(run_id)
    except (NotFoundError, FormatError):  # removed or damaged since the search: no reason to hide the other runs
        return "silent", None
    return report.liveness, report.silent_since_ms
