"""`localtrack seal`."""

from __future__ import annotations

import click

from localtrack.cli.lookup import find_run_id
from localtrack.cli.output import write_json, write_lines
from localtrack.cli.session import Session, general_options, pass_session


@click.command
@click.argument("run_id", required=False)
@general_options
@pass_session
def seal(session: Session, run_id: str | None) -> None:
    """Turn closed points into small Parquet files.

    Those of RUN_ID, or of all runs. Writers do it themselves; this makes up for those that died before. The beginning
    of the id is enough.
    """
    with session.open_store() as store:
        sealed_count = store.seal(find_run_id(store, run_id) if run_id else None)
    if session.is_json:
        write_json({"sealed_count": sealed_count})
    else:
        write_lines([f"Sealed {sealed_count} chunk{'' if sealed_count == 1 else 's'}."])
