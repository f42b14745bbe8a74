"""`localtrack experiments`."""

from __future__ import annotations

import click

from localtrack.cli.documents import experiment_document
from localtrack.cli.output import terminal_width, write_findings, write_json_lines, write_lines, write_note
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.stages import stage_options, view_type
from localtrack.cli.tables import Column, format_table
from localtrack.cli.text import format_time
from localtrack.types import ViewType


@click.command
@click.option("--prefix", metavar="TEXT", help="Only experiments whose name begins so, such as /Shared/team/.")
@stage_options("experiments")
@general_options
@pass_session
def experiments(session: Session, prefix: str | None, is_deleted: bool, is_all: bool) -> None:
    """List the experiments of the store."""
    view = view_type(is_deleted=is_deleted, is_all=is_all)
    with session.open_store() as store:
        found = store.list_experiments(view, prefix=prefix)
        findings = store.experiment_findings
    if session.is_json:
        write_json_lines(map(experiment_document, found))
    elif found:
        columns = [
            Column("EXPERIMENT ID"),
            Column("NAME", can_be_cut=True),
            *([] if view == ViewType.ACTIVE_ONLY else [Column("STAGE")]),
            Column("CREATED"),
        ]
        rows = [
            [
                e.experiment_id,
                e.name,
                *([] if view == ViewType.ACTIVE_ONLY else [e.lifecycle_stage]),
                format_time(e.creation_time),
            ]
            for e in found
        ]
        write_lines(format_table(columns, rows, width=terminal_width()))
    else:
        write_note("No experiments match.")
    write_findings(findings)
