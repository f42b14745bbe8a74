"""`localtrack artifacts`."""

from __future__ import annotations

from pathlib import Path

import click

from localtrack.cli.documents import artifact_document
from localtrack.cli.lookup import find_run_id
from localtrack.cli.output import terminal_width, write_json, write_json_lines, write_lines, write_note
from localtrack.cli.run_page import artifact_table, list_artifact_tree
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.text import printable
from localtrack.errors import NotFoundError


@click.command
@click.argument("run_id")
@click.argument("path", required=False)
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Copy them to this folder, which is made if need be.",
)
@general_options
@pass_session
def artifacts(session: Session, run_id: str, path: str | None, folder: Path | None) -> None:
    """List the artifacts of a run, or copy them.

    All of them, or the file or folder PATH among them. The beginning of the id is enough.
    """
    with session.open_store() as store:
        run_id = find_run_id(store, run_id)
        files = list(list_artifact_tree(store, run_id, path))
        if path and not files:
            # Listing a file, or nothing, gives nothing.
            parent, _, _ = path.rstrip("/").rpartition("/")
            files = [file for file in store.list_artifacts(run_id, parent or None) if file.path == path.rstrip("/")]
            if not files:
                raise NotFoundError(
                    f"Run {run_id} has no artifact {path!r}.", hint=f"`localtrack artifacts {run_id}` lists them."
                )
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            copied = store.download_artifacts(run_id, path or "", dst=folder)
            if session.is_json:
                write_json({"path": copied})
            else:
                write_note(f"Copied to {printable(copied)}.")
            return
    if session.is_json:
        write_json_lines(artifact_document(file) for file in files)
    elif files:
        write_lines(artifact_table(files, width=terminal_width()))
    else:
        write_note(f"Run {run_id} has no artifacts.")
