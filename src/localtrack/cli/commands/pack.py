"""`localtrack pack` and `localtrack unpack`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from localtrack.cli.lookup import find_run_ids
from localtrack.cli.output import progress_bar, write_json, write_lines
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.text import format_bytes

if TYPE_CHECKING:
    from localtrack.store.packing.report import PackReport

_MIB: Final = 1024 * 1024


@click.command
@click.option("--dry-run", is_flag=True, help="Show what would be packed, and change nothing.")
@click.option(
    "--older-than", metavar="TIME", default="1d", show_default=True, help="Runs still for so long: 1d, 12h, 30m."
)
@click.option("--max-run-mib", type=click.FloatRange(0), default=1.0, show_default=True, help="Only runs up to this.")
@general_options
@pass_session
def pack(session: Session, dry_run: bool, older_than: str, max_run_mib: float) -> None:
    """Put finished small runs into a few files.

    For file systems that count files. Nothing changes in any answer; artifacts stay where they are. `localtrack unpack`
    undoes it.
    """
    with session.open_store() as store, progress_bar("Packing") as show:
        report = store.pack(
            older_than=older_than, max_run_bytes=round(max_run_mib * _MIB), dry_run=dry_run, progress=show
        )
        uri = store.uri
    if session.is_json:
        write_json(
            {
                "store": uri,
                "is_dry_run": report.is_dry_run,
                "runs_count": report.runs_count,
                "packs_written": report.packs_written,
                "files_removed": report.files_removed,
                "bytes_before": report.bytes_before,
                "bytes_after": report.bytes_after,
                "left": dict(report.left),
            }
        )
    else:
        write_lines(_lines(report))


@click.command
@click.argument("run_ids", nargs=-1, metavar="[RUN_ID...]")
@general_options
@pass_session
def unpack(session: Session, run_ids: tuple[str, ...]) -> None:
    """Put packed runs back into their folders.

    Those named, or all of them. The beginning of an id is enough.
    """
    with session.open_store() as store:
        report = store.unpack(*find_run_ids(store, run_ids))
        uri = store.uri
    if session.is_json:
        write_json(
            {
                "store": uri,
                "runs_count": report.runs_count,
                "files_written": report.files_written,
                "packs_removed": report.packs_removed,
            }
        )
    else:
        write_lines([f"Unpacked {_counted(report.runs_count, 'run')}: {_counted(report.files_written, 'file')}."])


def _lines(report: PackReport) -> list[str]:
    lines = [f"left {count}: {reason}" for reason, count in sorted(report.left.items())]
    if report.is_dry_run:
        return [*lines, f"Would pack {report.runs_count} runs, {format_bytes(report.bytes_before)}."]
    gone = f"{report.files_removed} files and folders less"
    return [
        *lines,
        f"Packed {_counted(report.runs_count, 'run')} into {_counted(report.packs_written, 'pack')}: {gone}.",
    ]


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
