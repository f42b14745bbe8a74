"""`localtrack env`."""

from __future__ import annotations

import click

from localtrack.cli.output import terminal_width, write_json, write_lines
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.tables import Column, format_table
from localtrack.cli.text import MISSING, printable


@click.command
@general_options
@pass_session
def env(session: Session) -> None:
    """Show which store is used, and all variables.

    Of each environment variable: what it says now, MLflow's name for it, and what it is for.
    """
    from localtrack.api.environment import settings
    from localtrack.api.location import resolve_store_path

    location = resolve_store_path(session.store_path)
    if session.is_json:
        variables = [
            {
                "name": setting.variable.name,
                "twin": setting.variable.twin or None,
                "source": setting.source or None,
                "value": setting.value if setting.source else None,
                "counts": setting.counts,
                "meaning": setting.variable.meaning,
            }
            for setting in settings()
        ]
        write_json({"store": location, "variables": variables})
        return
    rows = []
    for setting in settings():
        value = setting.value if setting.source else MISSING
        if setting.source == setting.variable.twin and setting.source:
            value += f" ({setting.source}{'' if setting.counts else ', left aside'})"
        rows.append([setting.variable.name, value, setting.variable.twin or MISSING, setting.variable.meaning])
    columns = [
        Column("VARIABLE"),
        Column("VALUE", can_be_cut=True),
        Column("MLFLOW'S NAME", can_be_left_out=True),
        Column("MEANING", can_be_cut=True, can_be_left_out=True),
    ]
    write_lines([f"Store: {printable(location)}", "", *format_table(columns, rows, width=terminal_width())])
