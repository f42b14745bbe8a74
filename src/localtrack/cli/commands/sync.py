"""`localtrack sync`."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any, Final

import click

from localtrack.cli.output import write_json, write_json_lines, write_lines, write_note
from localtrack.cli.process_title import hide_password
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.tables import Column, format_table
from localtrack.cli.text import format_bytes, format_duration, printable
from localtrack.errors import ErrorCode, LocaltrackError, SyncError

if TYPE_CHECKING:
    from localtrack.api.store import Store
    from localtrack.sync.report import PushProgress, PushReport

_SHOWN_COUNT: Final = 20


@click.command
@click.argument("action", required=False, type=click.Choice(["status"]))
@click.option("--to", "target", metavar="URI", help="http(s)://…, databricks, databricks://profile, or a store.")
@click.option(
    "-f", "--filter", "filter_string", metavar="FILTER", help="Only runs that match, as in `localtrack runs`."
)
@click.option("-e", "--experiment", "experiments", multiple=True, metavar="NAME", help="Only runs of this experiment.")
@click.option("-r", "--run", "run_ids", multiple=True, metavar="ID", help="Only this run; can be repeated.")
@click.option("--status", "statuses", multiple=True, metavar="STATUS", help="Only runs of this status.")
@click.option(
    "--since", metavar="TIME", help="Only runs that started then or later: 2026-11-23, or 12h for 12 hours ago."
)
@click.option("--until", metavar="TIME", help="Only runs that started before.")
@click.option("--prefix", default="", metavar="TEXT", help="Put before the name of each experiment, as /Shared/team/.")
@click.option("--rename", "renames", multiple=True, metavar="OLD=NEW", help="Name of an experiment there.")
@click.option("--every", type=click.IntRange(1), default=1, metavar="N", help="Send each n-th point of a metric.")
@click.option(
    "--max-points", type=click.IntRange(2), metavar="N", help="Send about so many points of a metric at most."
)
@click.option("--skip-artifacts", is_flag=True, help="Leave artifacts here.")
@click.option("--artifact", "artifacts", multiple=True, metavar="GLOB", help="Only artifacts of this path, as model/*.")
@click.option("--exclude-artifact", "excluded", multiple=True, metavar="GLOB", help="Not artifacts of this path.")
@click.option("--max-artifact-bytes", type=click.IntRange(0), metavar="N", help="Not artifacts that are larger.")
@click.option(
    "--dead",
    "dead_runs",
    type=click.Choice(["leave", "killed"]),
    default="leave",
    show_default=True,
    help="Runs whose process died: leave them RUNNING, or report them as KILLED.",
)
@click.option(
    "--dead-after",
    metavar="TIME",
    help="With --dead killed: so is a run of another host that is silent so long: 12h.",
)
@click.option("--deletions", is_flag=True, help="Delete and restore there what is deleted and restored here.")
@click.option("--forget", multiple=True, metavar="ID", help="Send this run anew: it was removed there for good.")
@click.option("--dry-run", is_flag=True, help="Change nothing; show what would be sent, and what would be lost.")
@click.option("--verify", is_flag=True, help="Change nothing; compare the runs here with those there.")
@click.option("--watch", is_flag=True, help="Push again and again as runs log, until interrupted.")
@click.option("--interval", type=click.FloatRange(0.1), default=5.0, metavar="S", help="Seconds between two pushes.")
@click.option("--compress", is_flag=True, help="Compress requests: only where the server is known to take that.")
@click.option("--workers", type=click.IntRange(1, 64), default=4, show_default=True, help="Runs sent at once.")
@general_options
@pass_session
def sync(
    session: Session,
    action: str | None,
    target: str | None,
    filter_string: str | None,
    experiments: tuple[str, ...],
    run_ids: tuple[str, ...],
    statuses: tuple[str, ...],
    since: str | None,
    until: str | None,
    prefix: str,
    renames: tuple[str, ...],
    every: int,
    max_points: int | None,
    skip_artifacts: bool,
    artifacts: tuple[str, ...],
    excluded: tuple[str, ...],
    max_artifact_bytes: int | None,
    dead_runs: str,
    dead_after: str | None,
    deletions: bool,
    forget: tuple[str, ...],
    dry_run: bool,
    verify: bool,
    watch: bool,
    interval: float,
    compress: bool,
    workers: int,
) -> None:
    """Push runs to a server, Databricks or a store, exactly once.

    It can be repeated, and sends what is new. A push that was cut short is completed by the next one: what has arrived
    is known from a ledger, or asked from the target, and never sent twice.

    Times are UTC where they name no zone. With --watch a time ago is counted from the beginning of the watch.

    `localtrack sync status` shows where this store was pushed to, and how far.
    """
    if action == "status":
        _show_status(session)
        return
    if target is None:
        raise click.UsageError("Missing option '--to'.")
    from localtrack.api.store_cleanup import parse_duration_ms

    options: dict[str, Any] = {
        "filter_string": filter_string,
        "experiment_names": experiments or None,
        "run_ids": run_ids or None,
        "statuses": statuses or None,
        "since_ms": _parse_time_ms(since, "--since"),
        "until_ms": _parse_time_ms(until, "--until"),
        "prefix": prefix,
        "rename": dict(_parse_rename(text) for text in renames),
        "every": every,
        "max_points": max_points,
        "skip_artifacts": skip_artifacts,
        "artifacts": artifacts,
        "exclude_artifacts": excluded,
        "max_artifact_bytes": max_artifact_bytes,
        "dead_runs": dead_runs,
        "dead_after_ms": None if dead_after is None else parse_duration_ms(dead_after),
        "deletions": deletions,
        "forget": forget,
        "compress": compress,
        "workers": workers,
    }
    if watch:
        _watch(session, target, options, interval_s=interval)
        return
    from localtrack.sync.report import encode_report

    with session.open_store() as store:
        report = _push(session, store, target, options, is_dry=dry_run, is_check=verify)
    if session.is_json:
        write_json(encode_report(report))
    else:
        write_lines(_summary(report, is_check=verify))
    if not report.is_complete and not dry_run:
        failed = report.count("failed")
        what = f"{failed} runs differ." if verify else f"{failed} runs failed."
        raise SyncError(
            report.failure or ("The push was interrupted." if report.is_interrupted else what),
            code=None if report.failure else ErrorCode.SYNC_INCOMPLETE,
            hint="Push again: what has arrived is not sent twice.",
        )


def _push(
    session: Session,
    store: Store,
    target: str,
    options: dict[str, Any],
    *,
    is_dry: bool = False,
    is_check: bool = False,
) -> PushReport:
    from localtrack.sync.target import target_kind

    if target_kind(target) == "store":
        if is_check:
            raise click.UsageError("--verify compares with a server; `localtrack merge` tells what a store lacks.")
        report: PushReport = store.sync(target, dry_run=is_dry, **options)
        return report
    shown = _ProgressLine()
    push = store.plan_sync(target, progress=shown.show, **options)
    hide_password(target)
    if not session.is_json:
        write_note(f"Target: {printable(push.target.shown)}, signed in as {printable(push.target.identity)}")
    try:
        if is_dry:
            return push.dry_run()[1]
        return push.verify() if is_check else push.run()
    except KeyboardInterrupt:
        push.stop.set()
        raise
    finally:
        shown.clear()


def _watch(session: Session, target: str, options: dict[str, Any], *, interval_s: float) -> None:
    """Push again and again; one line, or JSON document, for each push that sent something or failed."""
    from localtrack.sync.report import encode_report
    from localtrack.sync.watch import watch

    is_shown = False

    def push_once() -> PushReport:
        nonlocal is_shown
        with session.open_store() as store:
            push = store.plan_sync(target, **options)
            if not is_shown:
                hide_password(target)
            if not session.is_json and not is_shown:
                write_note(f"Target: {printable(push.target.shown)}, signed in as {printable(push.target.identity)}")
            is_shown = True
            return push.run()

    def heard(report: PushReport | None, error: LocaltrackError | None) -> None:
        if report is not None and session.is_json:
            write_json_lines([encode_report(report)])
        elif report is not None:
            write_lines(_summary(report))
        if error is not None:
            write_note(f"Waiting: {printable(str(error))}")

    watch(push_once, heard=heard, interval_s=interval_s)


def _show_status(session: Session) -> None:
    with session.open_store() as store:
        targets = store.sync_targets()
        now_ms = store.clock()
    if session.is_json:
        write_json({"targets": [dataclasses.asdict(target) for target in targets]})
        return
    if not targets:
        write_note("This store was not pushed to any server yet.")
        return
    columns = [Column("TARGET"), *(Column(name, is_number=True) for name in ("RUNS", "RUNNING", "CUT SHORT", "MODELS"))]
    rows = [
        [
            printable(target.target),
            str(target.runs_count),
            str(target.running_count),
            str(target.cut_short_count),
            str(target.models_count),
            f"{format_duration(max(now_ms - target.last_push_ms, 0))} ago",
        ]
        for target in targets
    ]
    write_lines(format_table([*columns, Column("LAST PUSH")], rows))


def _parse_time_ms(text: str | None, option: str) -> int | None:
    """Return the time that a date, or how long it is ago, means; read as in filters."""
    if text is None:
        return None
    from localtrack.query.literals import parse_date_ms, parse_duration_ms

    ago_ms = parse_duration_ms(text)
    time_ms = parse_date_ms(text) if ago_ms is None else round(time.time() * 1000 - ago_ms)
    if time_ms is None:
        raise click.UsageError(f"{option} takes a time such as 2026-11-23T09:00+01:00 or 12h, not {text!r}.")
    return time_ms


def _parse_rename(text: str) -> tuple[str, str]:
    old, found, new = text.partition("=")
    if not found or not old or not new:
        raise click.UsageError(f"--rename takes OLD=NEW, not {text!r}.")
    return old, new


class _ProgressLine:
    """How far the push is, on a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        import sys

        self._is_shown = sys.stderr.isatty()

    def show(self, progress: PushProgress) -> None:
        if self._is_shown:
            text = f"{progress.runs_done} of {progress.runs_count} runs, {progress.points_sent} points"
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)

    def clear(self) -> None:
        if self._is_shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def _summary(report: PushReport, *, is_check: bool = False) -> list[str]:
    lines: list[str] = []
    if is_check:
        lines.append(f"{report.count('already_there')} runs are equal there, {report.count('failed')} differ.")
        lines += _some([f"Differs: {run.run_id}: {run.reason}." for run in report.runs if run.outcome == "failed"])
        return [printable(line) for line in lines]
    if report.is_dry_run and report.plan is not None:
        plan = report.plan
        lines.append(
            f"Would send {plan['runs']} runs ({plan['new_runs']} new), {plan['points']} points and "
            f"{plan['artifacts']} artifacts: {format_bytes(plan['bytes'])} in about {plan['requests']} requests, "
            f"{plan['expected_s']:.0f} s on a small server."
        )
    elif report.merged_count or report.plan is None:
        lines.append(
            f"{report.merged_count} runs copied or extended, {report.unchanged_count} already there; "
            f"{format_bytes(report.sent_bytes)}."
        )
    else:
        lines.append(
            f"{report.count('sent')} runs sent, {report.unchanged_count} already there, "
            f"{report.count('failed')} failed; {report.points_sent} points, {report.artifacts_sent} artifacts, "
            f"{format_bytes(report.sent_bytes)} in {report.requests_count} requests."
        )
    lines += [f"Skipped: {count} runs, {why}." for why, count in report.skipped.items()]
    lines += _some([f"Failed: {run.run_id}: {run.reason}" for run in report.runs if run.outcome == "failed"])
    lines += _some([f"Loss: {loss.run_id + ': ' if loss.run_id else ''}{loss.what}" for loss in report.losses])
    lines += _some([f"Left out: {line}" for line in report.left_out])
    lines += _some([f"Note: {note}" for note in report.notes])
    return [printable(line) for line in lines]


def _some(lines: list[str]) -> list[str]:
    more = len(lines) - _SHOWN_COUNT
    return lines if more <= 0 else [*lines[:_SHOWN_COUNT], f"… and {more} more; --json shows all."]
