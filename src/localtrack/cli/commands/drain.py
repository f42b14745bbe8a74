"""`localtrack drain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from localtrack.cli.documents import finding_document
from localtrack.cli.output import write_findings, write_json_lines, write_lines, write_note
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.text import format_bytes, printable

if TYPE_CHECKING:
    from localtrack.storage.spool_folders import Spool
    from localtrack.store.spool_waiting import Waiting
    from localtrack.store.spooling import DrainReport


@click.command
@click.argument("spools", nargs=-1, metavar="[SPOOL...]")
@click.option("--list", "is_list", is_flag=True, help="Only show what waits.")
@general_options
@pass_session
def drain(session: Session, spools: tuple[str, ...], is_list: bool) -> None:
    """Move what waits in spools on this machine to its stores.

    SPOOL is the folder that was given as a spool; by default LOCALTRACK_SPOOL, and the folder where logging to object
    stores keeps what these would not take. With --store only what belongs there is moved. Writers may go on; a drain
    can be repeated. The exit code is 8 if a store is away.
    """
    from localtrack.api.environment import spool as named_spool
    from localtrack.api.location import parse_store_uri
    from localtrack.errors import LocaltrackError
    from localtrack.storage.spool_folders import default_spool_root
    from localtrack.store.spool_waiting import list_waiting
    from localtrack.store.spooling import drain as move

    roots = list(dict.fromkeys(spools or [*filter(None, [named_spool()]), default_spool_root()]))
    wanted = None if session.store_path is None else parse_store_uri(session.store_path)
    failure: LocaltrackError | None = None
    documents: list[dict[str, Any]] = []
    for spool, waiting in (found for root in roots for found in list_waiting(root)):
        if wanted is not None and spool.destination != wanted:
            continue
        report, error = None, None
        if not is_list and waiting.files:
            try:
                report = move(spool)
            except LocaltrackError as caught:  # the others are moved all the same
                failure, error = caught, str(caught)
                write_note(f"Warning: {printable(spool.path)}: {printable(str(caught))}")
        documents.append(_document(spool, waiting, report, error))
        if not session.is_json:
            write_lines([_sentence(spool, waiting, report)])
        if report is not None:
            write_findings(report.findings)
    if session.is_json:
        write_json_lines(documents)
    elif not documents:
        write_lines([f"Nothing is spooled in {', '.join(map(printable, roots))}."])
    if failure is not None:
        raise failure


def _sentence(spool: Spool, waiting: Waiting, report: DrainReport | None) -> str:
    place = f"{printable(spool.path)} for {printable(spool.destination)}"
    if report is None:
        runs = "1 run" if waiting.runs == 1 else f"{waiting.runs} runs"
        return f"{place}: {waiting.files} files of {runs}, {format_bytes(waiting.bytes)} wait"
    left = f"; {report.files_left} files stay, whose writers go on" if report.files_left else ""
    return f"{place}: {report.files_moved} files, {format_bytes(report.bytes_moved)} moved{left}"


def _document(spool: Spool, waiting: Waiting, report: DrainReport | None, error: str | None) -> dict[str, Any]:
    return {
        "spool": spool.path,
        "store": spool.destination,
        "files_waiting": waiting.files if report is None else report.files_left,
        "bytes_waiting": waiting.bytes if report is None else report.bytes_left,
        "files_moved": report.files_moved if report is not None else 0,
        "bytes_moved": report.bytes_moved if report is not None else 0,
        "error": error,
        "findings": [finding_document(finding) for finding in report.findings] if report is not None else [],
    }
