"""`localtrack check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from localtrack.cli.documents import finding_document
from localtrack.cli.output import progress_bar, write_json, write_lines
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.text import printable
from localtrack.errors import FormatError

if TYPE_CHECKING:
    from localtrack.store.checking.report import CheckReport
    from localtrack.types import CheckFinding


@click.command
@click.option("--repair", is_flag=True, help="Mend what can be mended without loss; `quarantine/` keeps the rest.")
@click.option("--sizes-only", is_flag=True, help="Compare the sizes of artifacts, and do not read them.")
@general_options
@pass_session
@click.pass_context
def check(ctx: click.Context, session: Session, repair: bool, sizes_only: bool) -> None:
    """Look at every file for damage.

    Each finding names a file, the invariant of FORMAT.md that it breaks, and what to do. The exit code is 0 if nothing
    is wrong (pieces of information do not count), and 10 if something is and was not repaired.
    """
    from localtrack.api.location import resolve_store_path
    from localtrack.api.store_cleanup import check_document_at

    path = resolve_store_path(session.store_path)
    report = check_document_at(path, repair=repair)
    if report.is_sound:
        with session.open_store() as store, progress_bar("Checking") as show:
            document_repaired = report.repaired
            report = store.check(repair=repair, sizes_only=sizes_only, progress=show)
            report.repaired = [*document_repaired, *report.repaired]
    if session.is_json:
        write_json(
            {
                "store": path,
                "is_sound": report.is_sound,
                "runs_count": report.runs_count,
                "files_count": report.files_count,
                "bytes_count": report.bytes_count,
                "findings": [finding_document(finding) for finding in report.findings],
                "repaired": [finding_document(finding) for finding in report.repaired],
            }
        )
    else:
        write_lines(_lines(report))
    ctx.exit(0 if report.is_sound else FormatError.exit_code)


def _lines(report: CheckReport) -> list[str]:
    lines = [_sentence(finding, "repaired") for finding in report.repaired]
    for finding in report.findings:
        lines += [_sentence(finding, finding.severity), f"    {printable(finding.remedy)}"]
    errors, warnings = (sum(f.severity == name for f in report.findings) for name in ("error", "warning"))
    seen = f"{_counted(report.runs_count, 'run')}, {_counted(report.files_count, 'file')}"
    found = f"{_counted(errors, 'error')}, {_counted(warnings, 'warning')}, {len(report.repaired)} repaired."
    return [*lines, f"{seen}: {found}"]


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _sentence(finding: CheckFinding, label: str) -> str:
    return f"{label} {finding.invariant} {printable(finding.key)}: {printable(finding.what)}"
