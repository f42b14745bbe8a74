"""`localtrack gc`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from localtrack.cli.lookup import find_experiment
from localtrack.cli.output import progress_bar, write_json, write_lines
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.text import format_bytes, printable

if TYPE_CHECKING:
    from localtrack.store.cleaning.report import Garbage, GcReport

_SHOWN_COUNT = 50
_KINDS = {
    "run": "deleted run",
    "leftovers": "leftovers",
    "model": "deleted model",
    "experiment": "deleted experiment",
    "artifacts": "artifacts that nobody owns",
    "temporary": "unfinished file",
}


@click.command
@click.option("--dry-run/--remove", default=True, help="Show what would go, or remove it.  [default: --dry-run]")
@click.option(
    "--older-than",
    metavar="TIME",
    default="30d",
    show_default=True,
    help="What was deleted so long ago: 30d, 12h, 1d12h.",
)
@click.option(
    "-e", "--experiment", "experiments", multiple=True, metavar="NAME", help="Only this one, and what is in it."
)
@click.option("--filter", "filter_string", default="", metavar="FILTER", help="Only deleted runs that match.")
@click.option("--keep-best", type=click.IntRange(1), metavar="N", help="Keep the N best runs of each experiment.")
@click.option("--keep-synced", "target", metavar="TARGET", help="Only runs of which this target of sync has all.")
@click.option("--by", metavar="KEY", help="What is best comes first by this, such as `metrics.loss ASC`.")
@general_options
@pass_session
def gc(
    session: Session,
    dry_run: bool,
    older_than: str,
    experiments: tuple[str, ...],
    filter_string: str,
    keep_best: int | None,
    by: str | None,
    target: str | None,
) -> None:
    """Remove for good what was deleted long ago.

    That is runs, logged models, and experiments with all that is in them; also artifacts that nobody owns, and
    unfinished files of processes that died. Without --remove it only shows what would go. What is damaged, or a process
    may be writing to, stays. With --filter or --keep-synced only runs go.
    """
    with session.open_store() as store, progress_bar("Looking") as show:
        experiment_ids = [find_experiment(store, name).experiment_id for name in experiments]
        report = store.gc(
            dry_run=dry_run,
            older_than=older_than,
            experiment_ids=experiment_ids or None,
            filter_string=filter_string,
            keep_best=keep_best,
            by=by,
            only_synced_to=target,
            progress=show,
        )
        uri = store.uri
    if session.is_json:
        write_json(_document(uri, report))
    else:
        write_lines(_lines(report))


def _document(uri: str, report: GcReport) -> dict[str, Any]:
    return {
        "store": uri,
        "is_dry_run": report.is_dry_run,
        "runs_count": report.runs_count,
        "models_count": report.count("model"),
        "experiments_count": report.count("experiment"),
        "files_count": report.files_count,
        "bytes_count": report.bytes_count,
        "garbage": [_garbage_document(item) for item in report.garbage],
        "spared": [asdict(item) for item in report.spared],
    }


def _garbage_document(item: Garbage) -> dict[str, Any]:
    return {
        "kind": item.kind,
        "key": item.key,
        "run_id": item.run_id,
        "model_id": item.model_id,
        "experiment_id": item.experiment_id,
        "deleted_ms": item.deleted_ms,
        "files_count": item.files_count,
        "bytes_count": item.bytes_count,
    }


def _lines(report: GcReport) -> list[str]:
    lines = [
        f"{_KINDS[item.kind]} {printable(item.key)}: {item.files_count} files, {format_bytes(item.bytes_count)}"
        for item in report.garbage[:_SHOWN_COUNT]
    ]
    if len(report.garbage) > _SHOWN_COUNT:
        lines.append(f"… and {len(report.garbage) - _SHOWN_COUNT} more; --json shows all.")
    lines += [f"kept {printable(item.key)}: {printable(item.reason)}" for item in report.spared[:_SHOWN_COUNT]]
    if len(report.spared) > _SHOWN_COUNT:
        lines.append(f"… and {len(report.spared) - _SHOWN_COUNT} more are kept; --json shows all.")
    counts = Counter(item.kind for item in report.garbage)
    what = ", ".join(f"{count} {_KINDS[kind]}" for kind, count in sorted(counts.items())) or "nothing"
    verb = "Would remove" if report.is_dry_run else "Removed"
    lines.append(f"{verb} {what}: {report.files_count} files, {format_bytes(report.bytes_count)}.")
    return lines
