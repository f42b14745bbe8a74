"""`localtrack models`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from localtrack.cli.documents import model_document
from localtrack.cli.lists import list_options
from localtrack.cli.lookup import find_experiment
from localtrack.cli.output import terminal_width, write_findings, write_json_lines, write_lines, write_note
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.tables import Column, format_table
from localtrack.cli.text import format_number, format_time
from localtrack.types import LoggedModel


@click.command
@click.argument("filter_string", metavar="[FILTER]", default="")
@list_options("models", order_examples=("metrics.acc DESC", "name"))
@general_options
@pass_session
def models(
    session: Session, filter_string: str, experiments: tuple[str, ...], order_by: tuple[str, ...], max_results: int
) -> None:
    """List logged models: all, or those that match FILTER.

    A filter is as for runs, and asks about name, status, model_type, source_run_id or creation_time of a model, about
    its params and tags, and about its metrics: one of those with that key must fulfil the condition.
    """
    with session.open_store() as store:
        page = store.search_logged_models(
            [find_experiment(store, name).experiment_id for name in experiments] or None,
            filter_string,
            max_results=max_results,
            order_by=list(map(_order_key, order_by)),
        )
    if session.is_json:
        write_json_lines(map(model_document, page))
    elif page:
        write_lines(_lines(page))
    else:
        write_note("No logged models match.")
    if page.token is not None:
        write_note(f"Only the first {max_results} logged models are shown; --max shows more.")
    write_findings(page.findings)


def _order_key(text: str) -> Mapping[str, Any]:
    """Return `metrics.acc DESC` as the dict that a search takes."""
    field, _, direction = text.strip().rpartition(" ")
    if direction.upper() not in ("ASC", "DESC"):
        return {"field_name": text.strip()}
    return {"field_name": field.strip(), "ascending": direction.upper() == "ASC"}


def _lines(models: Sequence[LoggedModel]) -> list[str]:
    columns = [
        Column("MODEL ID"),
        Column("NAME", can_be_cut=True),
        Column("STATUS"),
        Column("TYPE", can_be_cut=True),
        Column("CREATED"),
        Column("METRICS", can_be_cut=True),
    ]
    rows = [
        [
            model.model_id,
            model.name,
            model.status.value,
            model.model_type or "",
            format_time(model.creation_timestamp),
            ", ".join(f"{key} {format_number(value)}" for key, value in latest_values(model).items()),
        ]
        for model in models
    ]
    return format_table(columns, rows, width=terminal_width())


def latest_values(model: LoggedModel) -> dict[str, float]:
    """Return the latest value of each metric, by timestamp and step."""
    ordered = sorted(model.metrics, key=lambda metric: (metric.key, metric.timestamp, metric.step))
    return {metric.key: metric.value for metric in ordered}
