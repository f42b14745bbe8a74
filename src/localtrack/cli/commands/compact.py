"""`localtrack compact`."""

from __future__ import annotations

import dataclasses

import click

from localtrack.cli.output import write_json, write_lines
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.text import format_bytes


@click.command
@general_options
@pass_session
def compact(session: Session) -> None:
    """Bring the search index up to date.

    Searches and writers do it by themselves now and then. The index can be deleted at any moment.
    """
    with session.open_store() as store:
        report = store.compact()
    if session.is_json:
        write_json(dataclasses.asdict(report))
    else:
        runs = "1 run" if report.runs_count == 1 else f"{report.runs_count} runs"
        segments = "1 segment" if report.segments_count == 1 else f"{report.segments_count} segments"
        size = format_bytes(report.bytes_count)
        write_lines([f"The index holds {runs} in {segments}, {size}; {report.runs_written} were written now."])
