"""`localtrack version`."""

from __future__ import annotations

from typing import Final

import click

from localtrack.cli.output import write_json, write_lines
from localtrack.cli.session import Session, debug_option, json_option, pass_session
from localtrack.version import VERSION

PACKAGES: Final = (
    "click",
    "duckdb",
    "filelock",
    "fsspec",
    "orjson",
    "pandas",
    "polars",
    "pyarrow",
    "sqlglot",
    "mlflow",
)


@click.command
@json_option
@debug_option
@pass_session
def version(session: Session) -> None:
    """Print the version of all that matters.

    That is localtrack, its format on disk, Python, and the packages that it builds on.
    """
    import platform

    from localtrack.format.lines import FORMAT

    packages = {name: _package_version(name) for name in PACKAGES}
    if session.is_json:
        write_json(
            {
                "version": VERSION,
                "format": FORMAT,
                "python": platform.python_version(),
                "platform": platform.platform(),
                "packages": packages,
            }
        )
        return
    write_lines(
        [
            f"localtrack {VERSION}, format {FORMAT}",
            f"Python {platform.python_version()} on {platform.platform()}",
            *(f"{name} {found or 'is not installed'}" for name, found in packages.items()),
        ]
    )


def _package_version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None
