"""The command `localtrack`: its commands, and what becomes of an error."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import click

from localtrack.cli.commands.artifacts import artifacts
from localtrack.cli.commands.check import check
from localtrack.cli.commands.compact import compact
from localtrack.cli.commands.compare import compare
from localtrack.cli.commands.doctor import doctor
from localtrack.cli.commands.drain import drain
from localtrack.cli.commands.env import env
from localtrack.cli.commands.experiments import experiments
from localtrack.cli.commands.gc import gc
from localtrack.cli.commands.help import help_command
from localtrack.cli.commands.history import history
from localtrack.cli.commands.import_runs import import_command
from localtrack.cli.commands.init import init
from localtrack.cli.commands.lifecycle import delete, end, restore
from localtrack.cli.commands.merge import merge
from localtrack.cli.commands.models import models
from localtrack.cli.commands.pack import pack, unpack
from localtrack.cli.commands.pull import pull
from localtrack.cli.commands.quota import quota
from localtrack.cli.commands.runs import runs
from localtrack.cli.commands.seal import seal
from localtrack.cli.commands.show import show
from localtrack.cli.commands.sql import sql
from localtrack.cli.commands.sync import sync
from localtrack.cli.commands.unlock import unlock
from localtrack.cli.commands.version import version
from localtrack.cli.output import silence_stdout, write_error
from localtrack.cli.session import Session, general_options
from localtrack.errors import LocaltrackError
from localtrack.version import VERSION

EXIT_BUG: Final = 1
EXIT_INTERRUPTED: Final = 130
"""128 + SIGINT, as a shell shows it."""
EXIT_BROKEN_PIPE: Final = 141
"""128 + SIGPIPE, as a shell shows it."""

EPILOG: Final = """\
\b
localtrack help exit-codes   what the exit codes mean
localtrack help json         the fields of --json
localtrack help filter       how runs are searched
localtrack help sql          the views of localtrack sql
localtrack env               settings from the environment
"""


class App(click.Group):
    """The group of all commands, which turns errors into one sentence and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order in which they were added."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            with _raising_interrupts():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except LocaltrackError as error:
            _show_traceback(ctx)
            write_error(str(error))
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            silence_stdout()
            ctx.exit(EXIT_BROKEN_PIPE)
        except KeyboardInterrupt:
            _show_traceback(ctx)
            write_error("Interrupted.")
            ctx.exit(EXIT_INTERRUPTED)
        except Exception as error:  # the outermost place: whatever else arrives is a mistake in localtrack
            _show_traceback(ctx)
            write_error(f"localtrack failed with {type(error).__name__}: {error}. This is a bug; --debug shows where.")
            ctx.exit(EXIT_BUG)


@click.group(cls=App, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@general_options
@click.version_option(VERSION, prog_name="localtrack", help="Print the version and exit.")
def app() -> None:
    """Track experiments in plain files: list, show, merge and mend what a store holds."""


for command in (
    init,
    runs,
    show,
    artifacts,
    history,
    compare,
    sql,
    experiments,
    models,
    merge,
    import_command,
    sync,
    pull,
    seal,
    compact,
    quota,
    pack,
    unpack,
    check,
    gc,
    delete,
    restore,
    end,
    doctor,
    drain,
    unlock,
    env,
    version,
    help_command,
):
    app.add_command(command)


def main() -> NoReturn:
    """Run the command line with the arguments of the process, and end the process."""
    # Without a stream, as behind `>&-`, there is nobody to answer; what asks for its width or encoding need not know.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 -- as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 -- likewise
    # Named, because click would call it `python -m localtrack` where it was started so.
    app.main(prog_name="localtrack")
    sys.exit(0)


@contextmanager
def _raising_interrupts() -> Iterator[None]:
    """While a command goes on, let Ctrl-C be an exception also where it ends the process before and after."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _show_traceback(ctx: click.Context) -> None:
    from localtrack.api.environment import is_debug

    if ctx.ensure_object(Session).is_debug or is_debug():
        import traceback

        traceback.print_exc(file=sys.stderr)
