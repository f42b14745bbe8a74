"""`localtrack pull`."""

from __future__ import annotations

import click

from localtrack.cli.commands.import_runs import EXIT_INCOMPLETE, import_document, import_sentences, import_target
from localtrack.cli.output import progress_bar, write_findings, write_json, write_lines, write_note
from localtrack.cli.process_title import hide_password
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.text import printable


@click.command
@click.option("--from", "source", metavar="URI", required=True, help="http(s)://…, databricks or databricks://profile.")
@click.option("-e", "--experiment", "experiments", multiple=True, metavar="NAME", help="Only this experiment there.")
@click.option("-r", "--run", "run_ids", multiple=True, metavar="ID", help="Only this run, by its id there.")
@click.option("--skip-artifacts", is_flag=True, help="Leave artifacts there.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only say what would be brought.")
@general_options
@pass_session
@click.pass_context
def pull(
    ctx: click.Context,
    session: Session,
    source: str,
    experiments: tuple[str, ...],
    run_ids: tuple[str, ...],
    skip_artifacts: bool,
    is_dry: bool,
) -> None:
    """Bring runs from a server or Databricks into the store.

    They can be searched here then, without a network. The store is made if it is not there.

    A pull can be repeated: it adds what is new there, and leaves alone what was changed here. One that was cut short
    is completed by the next. What cannot be brought is reported, stops nothing, and makes the exit code 12.
    """
    from localtrack.sync.target import resolve_target

    target = resolve_target(source)
    hide_password(source)
    if not session.is_json:
        write_note(f"Source: {printable(target.shown)}, signed in as {printable(target.identity)}")
    with import_target(session, is_dry=is_dry) as store, progress_bar(f"Pulling {printable(target.shown)}") as show:
        report = store.pull_from(
            target,
            experiment_names=experiments or None,
            run_ids=run_ids or None,
            skip_artifacts=skip_artifacts,
            dry_run=is_dry,
            progress=show,
        )
        uri = store.uri
    if session.is_json:
        write_json({"destination": uri, "dry_run": is_dry, **import_document(report)})
    else:
        write_lines(import_sentences(report, is_dry=is_dry))
        write_findings(finding for finding in report.findings if finding.severity != "info")
    if not report.is_complete:
        ctx.exit(EXIT_INCOMPLETE)
