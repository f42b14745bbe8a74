"""The command line: a thin skin over `localtrack.api`. `localtrack --help` starts here.

Words: a *command* reads its arguments, makes one or two calls of the API and prints; a *document* is what a command
gives under `--json`; a *session* is what the general options (`--store`, `--json`, `--debug`) said.

Only this package prints. Its modules import click alone at their top: everything else is imported inside the
commands, so that `--help` costs what click costs.
"""

from localtrack.cli.app import app, main

__all__ = ["app", "main"]
