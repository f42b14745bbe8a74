"""`localtrack delete`, `localtrack restore` and `localtrack end`: what becomes of runs."""

from __future__ import annotations

import click

from localtrack.cli.lookup import find_run_ids
from localtrack.cli.output import write_json_lines, write_lines
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.errors import ErrorCode, StateError
from localtrack.types import TERMINAL_STATUSES, Liveness


@click.command
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN_ID...")
@general_options
@pass_session
def delete(session: Session, run_ids: tuple[str, ...]) -> None:
    """Delete runs; `localtrack restore` takes it back.

    The beginning of an id is enough. If one of them cannot be found, none is deleted.
    """
    with session.open_store() as store:
        found = find_run_ids(store, run_ids)
        changed_count = store.delete_run(*found)
    _answer(session, found, f"Deleted {_runs(changed_count)}.", {"lifecycle_stage": "deleted"})


@click.command
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN_ID...")
@general_options
@pass_session
def restore(session: Session, run_ids: tuple[str, ...]) -> None:
    """Take back the deletion of runs.

    The beginning of an id is enough. If one of them cannot be found, none is restored.
    """
    with session.open_store() as store:
        found = find_run_ids(store, run_ids)
        changed_count = store.restore_run(*found)
    _answer(session, found, f"Restored {_runs(changed_count)}.", {"lifecycle_stage": "active"})


@click.command
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN_ID...")
@click.option(
    "--status",
    type=click.Choice(TERMINAL_STATUSES, case_sensitive=False),
    default="KILLED",
    show_default=True,
    help="What the runs are to be.",
)
@click.option("--force", is_flag=True, help="Also runs whose process is alive, and runs that have ended already.")
@general_options
@pass_session
def end(session: Session, run_ids: tuple[str, ...], status: str, force: bool) -> None:
    """Record the end of runs whose process died.

    Their end is when their files last changed. The beginning of an id is enough. If one of them cannot be found, or
    is alive, none is ended.
    """
    with session.open_store() as store:
        found = find_run_ids(store, run_ids)
        if not force:
            for run_id in found:
                _require_not_going_on(run_id, store.describe_run(run_id).liveness)
        for run_id in found:
            store.end_run(run_id, status)
    _answer(session, found, f"Ended {_runs(len(found))} as {status}.", {"status": status})


def _require_not_going_on(run_id: str, liveness: Liveness) -> None:
    if liveness == "alive":
        raise StateError(
            f"The process of run {run_id} is alive.",
            code=ErrorCode.RUN_ACTIVE,
            hint="Stop the process, or give --force.",
        )
    if liveness == "ended":
        raise StateError(
            f"Run {run_id} has ended already.", code=ErrorCode.RUN_ENDED, hint="Give --force to set another status."
        )


def _answer(session: Session, run_ids: list[str], sentence: str, fields: dict[str, str]) -> None:
    if session.is_json:
        write_json_lines({"run_id": run_id, **fields} for run_id in run_ids)
    else:
        write_lines([sentence])


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
