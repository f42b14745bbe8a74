"""The options of commands that list what matches a filter."""

from __future__ import annotations

from collections.abc import Callable

import click

from localtrack.cli.session import Command


def list_options(things: str, *, order_examples: tuple[str, str]) -> Callable[[Command], Command]:
    """Add `--experiment`, `--order-by` and `--max`.

    Args:
        things: What is listed.
        order_examples: What it can be ordered by.
    """

    def add(function: Command) -> Command:
        for option in (
            click.option(
                "-n",
                "--max",
                "max_results",
                type=click.IntRange(1, 50_000),
                default=50,
                show_default=True,
                help=f"Show at most so many {things}.",
            ),
            click.option(
                "-o",
                "--order-by",
                multiple=True,
                metavar="KEY",
                help="Such as `{}` or `{}`; can be repeated.  [default: latest first]".format(*order_examples),
            ),
            click.option(
                "-e",
                "--experiment",
                "experiments",
                multiple=True,
                metavar="NAME",
                help=f"Only {things} of this experiment (name or id); can be repeated.",
            ),
        ):
            function = option(function)
        return function

    return add
