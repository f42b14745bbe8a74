"""What the general options said, and how a command gets at the store and answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from localtrack.api.store import Store

Command = TypeVar("Command", bound=Callable[..., Any])

STORE_HELP = (
    "The store: a folder or a URL.  [default: LOCALTRACK_TRACKING_URI, MLFLOW_TRACKING_URI where it names a localtrack "
    "store, the nearest folder upward that holds localtrack.json, ./ltruns]"
)
JSON_HELP = "Print JSON: one document, or one per line for lists (see `localtrack help json`)."
DEBUG_HELP = "Print the traceback of an error; also LOCALTRACK_DEBUG=1."


@dataclass(slots=True)
class Session:
    """One call of the command line."""

    store_path: str | None = None
    """What `--store` said."""
    is_json: bool = False
    is_debug: bool = False

    def open_store(self) -> Store:
        """Open the store that the options, the environment or the current folder name; it has to be there.

        Raises:
            NotFoundError: There is no store.
        """
        from localtrack.api.location import resolve_store_path
        from localtrack.api.store import Store

        # Not by way of a spool: commands act on the store itself.
        return Store.open(resolve_store_path(self.store_path), create=False, spool="")

    def refuse_store(self, reason: str) -> None:
        """Raise a usage error if `--store` was given to a command whose arguments name the stores."""
        if self.store_path is not None:
            raise click.UsageError(reason)


pass_session = click.make_pass_decorator(Session, ensure=True)


def store_option(function: Command) -> Command:
    """Add `--store`."""
    return _option("--store", "store_path", metavar="PATH", help=STORE_HELP)(function)


def json_option(function: Command) -> Command:
    """Add `--json`."""
    return _option("--json", "is_json", is_flag=True, default=None, help=JSON_HELP)(function)


def debug_option(function: Command) -> Command:
    """Add `--debug`."""
    return _option("--debug", "is_debug", is_flag=True, default=None, help=DEBUG_HELP)(function)


def general_options(function: Command) -> Command:
    """Add the options that stand before the command's name as well as after it."""
    return store_option(json_option(debug_option(function)))


def _option(flag: str, field: str, **settings: Any) -> Callable[[Command], Command]:
    def keep(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        # Not given after the command's name: what was given before it stays.
        if value is not None:
            # At the root: there the errors of all commands arrive.
            setattr(ctx.find_root().ensure_object(Session), field, value)

    return click.option(flag, field, expose_value=False, callback=keep, **settings)
