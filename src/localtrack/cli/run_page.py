"""What `localtrack show` prints of one run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from localtrack.cli.run_columns import format_status
from localtrack.cli.tables import Column, format_table
from localtrack.cli.text import format_bytes, format_duration, format_number, format_time, printable
from localtrack.types import FileInfo, RunRow

if TYPE_CHECKING:
    from localtrack.api.store import Store
    from localtrack.store.runs import RunReport

_INDENT = "  "


def list_artifact_tree(store: Store, run_id: str, path: str | None = None) -> Iterator[FileInfo]:
    """Yield the artifacts of a run, each folder before what is in it."""
    for file in store.list_artifacts(run_id, path):
        yield file
        if file.is_dir:
            yield from list_artifact_tree(store, run_id, file.path)


def run_page(
    report: RunReport, *, experiment_name: str, artifacts: Sequence[FileInfo], now_ms: int, width: int | None
) -> Iterator[str]:
    """Yield the lines that describe a run.

    Args:
        report: The run.
        experiment_name: The name of its experiment.
        artifacts: Files and folders to list.
        now_ms: Milliseconds since 1970, UTC.
        width: Columns of the terminal; None to cut nothing.
    """
    yield from _facts(report, experiment_name=experiment_name, now_ms=now_ms)
    yield from _texts("Params", report.row.params, width)
    yield from _metrics(report.row, width)
    yield from _texts("Tags", report.row.tags, width)
    yield from _links(report.row, width)
    if artifacts:
        yield from ("", "Artifacts")
        yield from artifact_table(artifacts, width=width, indent=_INDENT)


def artifact_table(artifacts: Iterable[FileInfo], *, width: int | None, indent: str = "") -> list[str]:
    """Return artifacts and their sizes as lines; see `format_table`."""
    columns = [Column("PATH", can_be_cut=True), Column("SIZE", is_number=True)]
    rows = [[file.path + "/" * file.is_dir, "" if file.is_dir else format_bytes(file.file_size)] for file in artifacts]
    return format_table(columns, rows, width=width, indent=indent)


def _facts(report: RunReport, *, experiment_name: str, now_ms: int) -> Iterator[str]:
    info = report.row.info
    facts = {
        "Run": info.run_id,
        "Name": info.run_name,
        "Experiment": f"{experiment_name} ({info.experiment_id})",
        "Status": format_status(info.status, (report.liveness, report.silent_since_ms), now_ms=now_ms),
        "Started": f"{format_time(info.start_time)}, {_ago(info.start_time, now_ms)}",
    }
    if report.silent_since_ms is not None:
        facts["Silent since"] = f"{format_time(report.silent_since_ms)}, {_ago(report.silent_since_ms, now_ms)}"
    if info.end_time is not None:
        facts["Ended"] = f"{format_time(info.end_time)}, after {format_duration(info.end_time - info.start_time)}"
    if info.user_id:
        facts["User"] = info.user_id
    if info.lifecycle_stage == "deleted":
        facts["Stage"] = "deleted; `localtrack restore` takes it back"
    facts["Artifacts in"] = info.artifact_uri
    for name, text in facts.items():
        yield f"{name + ':':<14}{printable(text)}"


def _metrics(row: RunRow, width: int | None) -> Iterator[str]:
    if not row.metrics:
        return
    yield from ("", "Metrics")
    columns = [
        Column("KEY", can_be_cut=True),
        *(Column(title, is_number=True) for title in ("LAST", "STEP", "MIN", "MAX", "COUNT")),
    ]
    rows = [
        [key, format_number(m.value), str(m.step), format_number(m.min), format_number(m.max), str(m.count)]
        for key, m in sorted(row.metrics.items())
    ]
    yield from format_table(columns, rows, width=width, indent=_INDENT)


def _links(row: RunRow, width: int | None) -> Iterator[str]:
    """Yield what the run reads and makes."""
    if row.datasets:
        yield from ("", "Data sets")
        columns = [
            Column("NAME", can_be_cut=True),
            Column("DIGEST"),
            Column("CONTEXT"),
            Column("SOURCE", can_be_cut=True),
        ]
        rows = [[i.dataset.name, i.dataset.digest, i.context or "", i.dataset.source] for i in row.datasets]
        yield from format_table(columns, rows, width=width, indent=_INDENT)
    if row.model_inputs or row.model_outputs:
        yield from ("", "Logged models")
        columns = [Column("MODEL ID"), Column("USE"), Column("STEP", is_number=True)]
        rows = [[model.model_id, "read", ""] for model in row.model_inputs]
        rows += [[output.model_id, "made", str(output.step)] for output in row.model_outputs]
        yield from format_table(columns, rows, width=width, indent=_INDENT)


def _texts(title: str, values: Mapping[str, str], width: int | None) -> Iterator[str]:
    if not values:
        return
    yield from ("", title)
    columns = [Column("KEY", can_be_cut=True), Column("VALUE", can_be_cut=True)]
    yield from format_table(columns, sorted(values.items()), width=width, indent=_INDENT)


def _ago(time_ms: int, now_ms: int) -> str:
    # Clocks differ between hosts.
    return f"{format_duration(now_ms - time_ms)} ago" if now_ms >= time_ms else "in the future"
