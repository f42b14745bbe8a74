"""`localtrack import`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from localtrack.cli.documents import finding_document
from localtrack.cli.output import progress_bar, write_findings, write_json, write_lines, write_note
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.text import format_bytes, printable
from localtrack.errors import NotFoundError

if TYPE_CHECKING:
    from localtrack.api.store import Store
    from localtrack.importing.report import ImportReport

EXIT_INCOMPLETE: Final = 12
"""Something could not be brought; the rest was."""


@click.command("import")
@click.argument("source")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only say what would be imported.")
@click.option(
    "--artifact-root",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False),
    help="Where artifacts lie, by experiment and run, that are not where SOURCE says.",
)
@general_options
@pass_session
@click.pass_context
def import_command(ctx: click.Context, session: Session, source: str, is_dry: bool, artifact_root: str | None) -> None:
    """Bring the runs of MLflow into the store.

    SOURCE is the folder of MLflow's file backend, mlruns, or a SQLite database, such as sqlite:///mlflow.db. It is
    only read, and MLflow need not be installed. The store is made if it is not there.

    An import can be repeated: it adds what is new in SOURCE, and leaves alone what was changed here. One that was cut
    off is completed by the next. What cannot be read is reported, stops nothing, and makes the exit code 12.
    """
    with import_target(session, is_dry=is_dry) as store, progress_bar(f"Importing {printable(source)}") as show:
        report = store.import_from(source, dry_run=is_dry, artifact_root=artifact_root, progress=show)
        uri = store.uri
    if session.is_json:
        write_json({"destination": uri, "dry_run": is_dry, **import_document(report)})
    else:
        write_lines(import_sentences(report, is_dry=is_dry))
        write_findings(finding for finding in report.findings if finding.severity != "info")
        for finding in report.findings:
            if finding.severity == "info":
                write_note(f"Note: {printable(finding.key)}: {printable(finding.what)}")
    if not report.is_complete:
        ctx.exit(EXIT_INCOMPLETE)


@contextmanager
def import_target(session: Session, *, is_dry: bool) -> Iterator[Store]:
    """Open the store, made where it is missing; a dry run makes none, and counts against an empty one."""
    from localtrack.api.location import resolve_store_path
    from localtrack.api.store import Store

    place = resolve_store_path(session.store_path)
    if not is_dry:
        with Store.open(place) as store:
            yield store
        return
    try:
        store = Store.open(place, create=False)
    except NotFoundError:
        with tempfile.TemporaryDirectory(prefix="localtrack-") as folder, Store.open(folder) as empty:
            yield empty
        return
    with store:
        yield store


def import_document(report: ImportReport) -> dict[str, Any]:
    """Return a report as `--json` prints it."""
    return {
        "source": report.source,
        "complete": report.is_complete,
        "experiments_added": report.experiments_added,
        "experiments_extended": report.experiments_extended,
        "runs_added": report.runs_added,
        "runs_extended": report.runs_extended,
        "runs_unchanged": report.runs_unchanged,
        "runs_failed": report.runs_failed,
        "models_added": report.models_added,
        "models_extended": report.models_extended,
        "models_unchanged": report.models_unchanged,
        "models_failed": report.models_failed,
        "points_added": report.points_added,
        "points_repeated": report.points_repeated,
        "params_added": report.params_added,
        "tags_changed": report.tags_changed,
        "inputs_added": report.inputs_added,
        "model_metrics_added": report.model_metrics_added,
        "life_cycles_changed": report.life_cycles_changed,
        "artifacts_added": report.artifacts_added,
        "artifact_bytes": report.artifact_bytes,
        "findings": [finding_document(finding) for finding in report.findings],
    }


def import_sentences(report: ImportReport, *, is_dry: bool) -> Iterator[str]:
    """Yield a report for people."""
    would = "would be " if is_dry else ""
    failed = f", {report.runs_failed} failed" if report.runs_failed else ""
    yield (
        f"{printable(report.source)}: {report.runs_added} runs {would}added, {report.runs_extended} {would}extended, "
        f"{report.runs_unchanged} unchanged{failed}; {report.experiments_added} experiments {would}added"
    )
    yield (
        f"{report.points_added} points, {report.params_added} params, {report.inputs_added} inputs and outputs, "
        f"{report.models_added} logged models, {report.artifacts_added} artifacts "
        f"({format_bytes(report.artifact_bytes)}) {would}added"
    )
