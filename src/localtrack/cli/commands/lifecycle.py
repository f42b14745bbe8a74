"""`localtrack delete`, `localtrack restore` and `localtrack end`: what becomes of runs."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, Final

import click

from localtrack.cli.lookup import find_experiment, find_run_ids
from localtrack.cli.output import write_json_lines, write_lines
from localtrack.cli.session import Command, Session, general_options, pass_session
from localtrack.errors import ErrorCode, StateError
from localtrack.types import TERMINAL_STATUSES, Liveness


def bulk_options(time_flag: str, time_help: str) -> Callable[[Command], Command]:
    """Add the options that choose many runs of an experiment instead of naming them."""

    def add(function: Command) -> Command:
        for option in (
            click.option("--max-runs", type=click.IntRange(1, 10_000), help="At most so many.  [default: 10000]"),
            click.option(time_flag, "time_ms", type=MOMENT, help=time_help),
            click.option("--filter", "filter_string", default="", metavar="FILTER", help="Only runs that match."),
            click.option("-e", "--experiment", metavar="NAME", help="Many runs of this experiment (name or id)."),
        ):
            function = option(function)
        return function

    return add


class _Moment(click.ParamType[int]):
    """A moment: milliseconds since 1970, or an ISO date or time, UTC where it names no zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return milliseconds since 1970, UTC."""
        if isinstance(value, int) or value.isdigit():
            return int(value)
        try:
            moment = datetime.datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time; write 2026-07-28, 2026-07-28T12:00+02:00 or milliseconds since 1970.")
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)
        return round(moment.timestamp() * 1000)


MOMENT: Final = _Moment()


@click.command
@click.argument("run_ids", nargs=-1, metavar="[RUN_ID...]")
@bulk_options("--until", "Only runs that started then or before.")
@general_options
@pass_session
def delete(
    session: Session,
    run_ids: tuple[str, ...],
    experiment: str | None,
    filter_string: str,
    time_ms: int | None,
    max_runs: int | None,
) -> None:
    """Delete runs; `localtrack restore` takes it back.

    Those named (the beginning of an id is enough; if one of them cannot be found, none is deleted), or, oldest first,
    those of an experiment that started before a time or match a filter.
    """
    with session.open_store() as store:
        if _is_bulk(run_ids, experiment, filter_string, time_ms, max_runs):
            experiment_id = find_experiment(store, experiment or "").experiment_id
            found = store.select_runs_to_delete(experiment_id, time_ms, max_runs, filter_string=filter_string)
        else:
            found = find_run_ids(store, run_ids)
        changed_count = store.delete_run(*found)
    _answer(session, found, f"Deleted {_runs(changed_count)}.", {"lifecycle_stage": "deleted"})


@click.command
@click.argument("run_ids", nargs=-1, metavar="[RUN_ID...]")
@bulk_options("--since", "Only runs that were deleted then or later.")
@general_options
@pass_session
def restore(
    session: Session,
    run_ids: tuple[str, ...],
    experiment: str | None,
    filter_string: str,
    time_ms: int | None,
    max_runs: int | None,
) -> None:
    """Take back the deletion of runs.

    Of those named (the beginning of an id is enough; if one of them cannot be found, none is restored), or, last
    deleted first, of those of an experiment that were deleted since a time or match a filter.
    """
    with session.open_store() as store:
        if _is_bulk(run_ids, experiment, filter_string, time_ms, max_runs):
            experiment_id = find_experiment(store, experiment or "").experiment_id
            found = store.select_runs_to_restore(experiment_id, time_ms, max_runs, filter_string=filter_string)
        else:
            found = find_run_ids(store, run_ids)
        changed_count = store.restore_run(*found)
    _answer(session, found, f"Restored {_runs(changed_count)}.", {"lifecycle_stage": "active"})


def _is_bulk(run_ids: tuple[str, ...], experiment: str | None, *choices: object) -> bool:
    if run_ids and (experiment is not None or any(choices)):
        raise click.UsageError("Name runs, or choose them with --experiment; not both.")
    if not run_ids and experiment is None:
        raise click.UsageError("Name runs, or choose them with --experiment.")
    return experiment is not None


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
