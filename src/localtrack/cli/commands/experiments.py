"""`localtrack experiments`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from localtrack.cli.documents import experiment_document, folder_document
from localtrack.cli.output import terminal_width, write_findings, write_json_lines, write_lines, write_note
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.stages import stage_options, view_type
from localtrack.cli.tables import Column, format_table
from localtrack.cli.text import format_time
from localtrack.types import Experiment, ViewType

if TYPE_CHECKING:
    from localtrack.query.folders import Subfolder


@click.command
@click.argument("path", required=False)
@click.option("--prefix", metavar="TEXT", help="Only experiments whose name begins so, such as /Shared/team/.")
@stage_options("experiments")
@general_options
@pass_session
def experiments(session: Session, path: str | None, prefix: str | None, is_deleted: bool, is_all: bool) -> None:
    """List the experiments of the store.

    With PATH, such as /Shared/team or /, as a directory: the folders in it with how many experiments each holds, and
    the experiments in it.
    """
    if path is not None and prefix is not None:
        raise click.UsageError("Give PATH or --prefix, not both.")
    view = view_type(is_deleted=is_deleted, is_all=is_all)
    folders: tuple[Subfolder, ...] = ()
    with session.open_store() as store:
        if path is None:
            found: Sequence[Experiment] = store.list_experiments(view, prefix=prefix)
        else:
            folder = store.browse_experiments(path, view)
            folders, found = folder.folders, folder.experiments
        findings = store.experiment_findings
    if session.is_json:
        write_json_lines([*map(folder_document, folders), *map(experiment_document, found)])
    elif found or folders:
        write_lines(
            [
                *(_folder_lines(folders) if folders else []),
                *([""] if folders and found else []),
                *(_experiment_lines(found, has_stage=view != ViewType.ACTIVE_ONLY) if found else []),
            ]
        )
    else:
        write_note("No experiments match.")
    write_findings(findings)


def _folder_lines(folders: Sequence[Subfolder]) -> list[str]:
    rows = [[f"{folder.path}/", str(folder.experiments_count)] for folder in folders]
    columns = [Column("FOLDER", can_be_cut=True), Column("EXPERIMENTS", is_number=True)]
    return format_table(columns, rows, width=terminal_width())


def _experiment_lines(found: Sequence[Experiment], *, has_stage: bool) -> list[str]:
    columns = [
        Column("EXPERIMENT ID"),
        Column("NAME", can_be_cut=True),
        *([Column("STAGE")] if has_stage else []),
        Column("CREATED"),
    ]
    rows = [
        [e.experiment_id, e.name, *([e.lifecycle_stage] if has_stage else []), format_time(e.creation_time)]
        for e in found
    ]
    return format_table(columns, rows, width=terminal_width())
