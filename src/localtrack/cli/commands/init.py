"""`localtrack init`."""

from __future__ import annotations

import click

from localtrack.cli.output import write_json, write_lines
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.text import printable


@click.command
@click.argument("path", required=False)
@general_options
@pass_session
def init(session: Session, path: str | None) -> None:
    """Make a store at PATH, a folder or a URL.

    Without PATH it is made where --store or LOCALTRACK_TRACKING_URI says, else at ./ltruns. A store that is there
    already stays as it is.
    """
    from localtrack.api.environment import tracking_uri
    from localtrack.api.location import DEFAULT_FOLDER, resolve_store_path
    from localtrack.api.store import Store
    from localtrack.errors import NotFoundError

    if path is not None:
        session.refuse_store("Give PATH or --store, not both.")
    # A store in a folder above is not meant: whoever asks for one here wants one here.
    location = resolve_store_path(path or session.store_path or tracking_uri() or DEFAULT_FOLDER)
    try:
        store, is_new = Store.open(location, create=False, spool=""), False
    except NotFoundError:
        store, is_new = Store.open(location, create=True, spool=""), True
    with store:
        if session.is_json:
            write_json({"store": store.uri, "store_id": store.store_id, "created": is_new})
        else:
            write_lines([f"{'Made the store' if is_new else 'There is a store at'} {printable(store.uri)}"])
