"""`localtrack merge`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from localtrack.cli.documents import finding_document
from localtrack.cli.output import Progress, write_findings, write_json, write_lines
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.text import format_bytes, printable

if TYPE_CHECKING:
    from localtrack.store.merging import MergeReport


@click.command
@click.argument("destination", metavar="DEST")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--create", is_flag=True, help="Make the store DEST if it is not there.")
@general_options
@pass_session
def merge(session: Session, destination: str, sources: tuple[str, ...], create: bool) -> None:
    """Copy everything of some stores into another.

    The sources are only read. A merge can be repeated, and done in any order; one that was cut short is completed by
    the next.
    """
    session.refuse_store("The stores of a merge are its arguments DEST and SOURCE; leave --store out.")
    from localtrack.api.location import parse_store_uri
    from localtrack.api.store import Store

    places = [parse_store_uri(source) for source in sources]
    for place in places:
        # Before anything is copied: a slip in the last name is no half merge.
        Store.open(place, create=False, spool="").close()
    documents: list[dict[str, Any]] = []
    with Store.open(parse_store_uri(destination), create=create, spool="") as store:
        for place in places:
            with Progress(f"Merging {printable(place)}") as progress:
                report = store.merge(place, progress=progress.show)
            documents.append(_document(place, report))
            if not session.is_json:
                write_lines([_sentence(place, report)])
            write_findings(report.findings)
        if session.is_json:
            write_json({"destination": store.uri, "sources": documents})


def _document(place: str, report: MergeReport) -> dict[str, Any]:
    return {
        "source": place,
        "experiments_added": report.experiments_added,
        "runs_added": report.runs_added,
        "runs_extended": report.runs_extended,
        "runs_unchanged": report.runs_unchanged,
        "models_added": report.models_added,
        "models_extended": report.models_extended,
        "models_unchanged": report.models_unchanged,
        "files_copied": report.files_copied,
        "bytes_copied": report.bytes_copied,
        "findings": [finding_document(finding) for finding in report.findings],
    }


def _sentence(place: str, report: MergeReport) -> str:
    models = ""
    if report.models_added or report.models_extended or report.models_unchanged:
        models = (
            f"{report.models_added} logged models added, {report.models_extended} extended, "
            f"{report.models_unchanged} unchanged; "
        )
    return (
        f"{printable(place)}: {report.runs_added} runs added, {report.runs_extended} extended, {report.runs_unchanged} "
        f"unchanged; {models}{report.experiments_added} experiments added; {report.files_copied} files, "
        f"{format_bytes(report.bytes_copied)} copied"
    )
