"""`localtrack sync`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from localtrack.cli.output import write_json, write_lines, write_note
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.text import format_bytes, printable
from localtrack.errors import ErrorCode, SyncError

if TYPE_CHECKING:
    from localtrack.sync.push import PushProgress
    from localtrack.sync.report import PushReport

_SHOWN_COUNT: Final = 20


@click.command
@click.option("--to", "target", metavar="URI", required=True, help="http(s)://…, databricks or databricks://profile.")
@click.option(
    "-f", "--filter", "filter_string", metavar="FILTER", help="Only runs that match, as in `localtrack runs`."
)
@click.option("-e", "--experiment", "experiments", multiple=True, metavar="NAME", help="Only runs of this experiment.")
@click.option("-r", "--run", "run_ids", multiple=True, metavar="ID", help="Only this run; can be repeated.")
@click.option("--status", "statuses", multiple=True, metavar="STATUS", help="Only runs of this status.")
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
@click.option("--deletions", is_flag=True, help="Delete and restore there what is deleted and restored here.")
@click.option("--forget", multiple=True, metavar="ID", help="Send this run anew: it was removed there for good.")
@click.option("--dry-run", is_flag=True, help="Change nothing; show what would be sent, and what would be lost.")
@click.option("--workers", type=click.IntRange(1, 64), default=4, show_default=True, help="Runs sent at once.")
@general_options
@pass_session
def sync(
    session: Session,
    target: str,
    filter_string: str | None,
    experiments: tuple[str, ...],
    run_ids: tuple[str, ...],
    statuses: tuple[str, ...],
    prefix: str,
    renames: tuple[str, ...],
    every: int,
    max_points: int | None,
    skip_artifacts: bool,
    artifacts: tuple[str, ...],
    excluded: tuple[str, ...],
    max_artifact_bytes: int | None,
    dead_runs: str,
    deletions: bool,
    forget: tuple[str, ...],
    dry_run: bool,
    workers: int,
) -> None:
    """Push runs to an MLflow server or Databricks, exactly once.

    It can be repeated, and sends what is new. A push that was cut short is completed by the next one: what has arrived
    is known from a ledger, or asked from the target, and never sent twice.
    """
    with session.open_store() as store:
        shown = _ProgressLine()
        push = store.plan_sync(
            target,
            filter_string=filter_string,
            experiment_names=experiments or None,
            run_ids=run_ids or None,
            statuses=statuses or None,
            prefix=prefix,
            rename=dict(_parse_rename(text) for text in renames),
            every=every,
            max_points=max_points,
            skip_artifacts=skip_artifacts,
            artifacts=artifacts,
            exclude_artifacts=excluded,
            max_artifact_bytes=max_artifact_bytes,
            dead_runs=dead_runs,
            deletions=deletions,
            forget=forget,
            workers=workers,
            progress=shown.show,
        )
        if not session.is_json:
            write_note(f"Target: {printable(push.target.shown)}, signed in as {printable(push.target.identity)}")
        report = push.dry_run()[1] if dry_run else push.run()
        shown.clear()
    if session.is_json:
        write_json(report_document(report))
    else:
        write_lines(_summary(report))
    if not report.is_complete and not dry_run:
        failed = report.count("failed")
        raise SyncError(
            report.failure or ("The push was interrupted." if report.is_interrupted else f"{failed} runs failed."),
            code=None if report.failure else ErrorCode.SYNC_INCOMPLETE,
            hint="Push again: what has arrived is not sent twice.",
        )


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


def report_document(report: PushReport) -> dict[str, Any]:
    """Return a report as `--json` prints it."""
    return {
        "target": report.target,
        "identity": report.identity,
        "dry_run": report.is_dry_run,
        "complete": report.is_complete,
        "failure": report.failure or None,
        "interrupted": report.is_interrupted,
        "runs": [
            {
                "run_id": run.run_id,
                "outcome": run.outcome,
                "remote_run_id": run.remote_id or None,
                "points_sent": run.points_sent,
                "artifacts_sent": run.artifacts_sent,
                "reason": run.reason or None,
            }
            for run in report.runs
        ],
        "unchanged": report.unchanged_count,
        "skipped": report.skipped,
        "experiments": report.experiments,
        "losses": [{"run_id": loss.run_id, "kind": loss.kind, "what": loss.what} for loss in report.losses],
        "left_out": report.left_out,
        "notes": report.notes,
        "points_sent": report.points_sent,
        "artifacts_sent": report.artifacts_sent,
        "requests": report.requests_count,
        "sent_bytes": report.sent_bytes,
        "duration_s": round(report.duration_s, 3),
        "plan": report.plan,
    }


def _summary(report: PushReport) -> list[str]:
    lines: list[str] = []
    if report.is_dry_run and report.plan is not None:
        plan = report.plan
        lines.append(
            f"Would send {plan['runs']} runs ({plan['new_runs']} new), {plan['points']} points and "
            f"{plan['artifacts']} artifacts: {format_bytes(plan['bytes'])} in about {plan['requests']} requests, "
            f"{plan['expected_s']:.0f} s on a small server."
        )
    else:
        lines.append(
            f"{report.count('sent')} runs sent, {report.unchanged_count} already there, "
            f"{report.count('failed')} failed; {report.points_sent} points, {report.artifacts_sent} artifacts, "
            f"{format_bytes(report.sent_bytes)} in {report.requests_count} requests."
        )
    lines += [f"Skipped: {count} runs, {why}." for why, count in report.skipped.items()]
    lines += _some([f"Failed: {run.run_id}: {run.reason}" for run in report.runs if run.outcome == "failed"])
    lines += _some([f"Loss: {loss.run_id}: {loss.what}" for loss in report.losses])
    lines += _some([f"Left out: {line}" for line in report.left_out])
    lines += _some([f"Note: {note}" for note in report.notes])
    return [printable(line) for line in lines]


def _some(lines: list[str]) -> list[str]:
    more = len(lines) - _SHOWN_COUNT
    return lines if more <= 0 else [*lines[:_SHOWN_COUNT], f"… and {more} more; --json shows all."]
