"""`localtrack show`."""

from __future__ import annotations

from itertools import islice
from typing import Final

import click

from localtrack.cli.documents import artifact_document, finding_document, run_document
from localtrack.cli.lookup import find_run_id
from localtrack.cli.output import terminal_width, write_findings, write_json, write_lines
from localtrack.cli.run_page import list_artifact_tree, run_page
from localtrack.cli.session import Session, general_options, pass_session

_SHOWN_ARTIFACTS_COUNT: Final = 100


@click.command
@click.argument("run_id")
@general_options
@pass_session
def show(session: Session, run_id: str) -> None:
    """Show all of a run: data, artifacts, damage.

    Also whether its process is alive, and if nobody can tell, since when its files have been silent. The beginning of
    the id is enough.
    """
    with session.open_store() as store:
        report = store.describe_run(find_run_id(store, run_id))
        info = report.row.info
        experiment_name = store.get_experiment(info.experiment_id).name
        # One more than is shown tells that there are more.
        limit = None if session.is_json else _SHOWN_ARTIFACTS_COUNT + 1
        artifacts = list(islice(list_artifact_tree(store, info.run_id), limit))
        now_ms = store.clock()
    if session.is_json:
        document = run_document(
            report.row,
            experiment_name=experiment_name,
            liveness=report.liveness,
            silent_since_ms=report.silent_since_ms,
        )
        document["artifacts"] = [artifact_document(file) for file in artifacts]
        document["findings"] = [finding_document(finding) for finding in report.findings]
        write_json(document)
    else:
        has_more = len(artifacts) > _SHOWN_ARTIFACTS_COUNT
        lines = run_page(
            report,
            experiment_name=experiment_name,
            artifacts=artifacts[:_SHOWN_ARTIFACTS_COUNT],
            now_ms=now_ms,
            width=terminal_width(),
        )
        write_lines([*lines, *(["  … and more; --json lists all"] if has_more else [])])
    write_findings(report.findings)
