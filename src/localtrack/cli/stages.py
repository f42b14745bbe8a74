"""The options that choose between what is there and what is deleted."""

from __future__ import annotations

from collections.abc import Callable

import click

from localtrack.cli.session import Command
from localtrack.types import ViewType


def stage_options(things: str) -> Callable[[Command], Command]:
    """Add `--deleted` and `--all`."""

    def add(function: Command) -> Command:
        deleted = click.option("--deleted", "is_deleted", is_flag=True, help=f"Show deleted {things} only.")
        everything = click.option("--all", "is_all", is_flag=True, help=f"Show deleted {things} too.")
        return deleted(everything(function))

    return add


def view_type(*, is_deleted: bool, is_all: bool) -> int:
    """Return the view that the options ask for.

    Raises:
        click.UsageError: They contradict each other.
    """
    if is_deleted and is_all:
        raise click.UsageError("Give --deleted or --all, not both.")
    if is_deleted:
        return ViewType.DELETED_ONLY
    return ViewType.ALL if is_all else ViewType.ACTIVE_ONLY
