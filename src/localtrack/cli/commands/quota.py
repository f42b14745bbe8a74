"""`localtrack quota`: how near to limits everything is; `quota set` and `quota show`."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from localtrack.cli.output import write_json, write_lines
from localtrack.cli.process_title import hide_password
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.tables import Column, format_table
from localtrack.cli.text import printable
from localtrack.errors import InvalidInputError, QuotaExceededError

if TYPE_CHECKING:
    from localtrack.quota.report import QuotaReport
    from localtrack.store.quota_use import QuotaUse

_UNITS: Final = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@click.group(invoke_without_command=True)
@click.option(
    "--target",
    metavar="TARGET",
    help="Would it fit there? `databricks`, or a target of sync, which is asked what it has.",
)
@click.option("--ask/--no-ask", default=None, help="Ask the target what it has already; a URI is asked by default.")
@click.option("--prefix", default="", metavar="TEXT", help="Put before the names of experiments there, as in sync.")
@click.option("-e", "--experiment", "experiments", multiple=True, metavar="NAME", help="Count only runs of this one.")
@click.option("--filter", "filter_string", default="", metavar="FILTER", help="Count only runs that match.")
@click.option("-n", "--max", "max_count", type=click.IntRange(1), default=20, show_default=True, help="Show so many.")
@general_options
@click.pass_context
def quota(
    ctx: click.Context,
    target: str | None,
    ask: bool | None,
    prefix: str,
    experiments: tuple[str, ...],
    filter_string: str,
    max_count: int,
) -> None:
    """Show what is nearest to its limit.

    By store, experiment, run and logged model, against the limits of the store (`quota set`) or of a service, with how
    fast it grows and when it gets there; what a target has already counts where it is asked. The exit code is 7 if
    something exceeds its limit, else 0.
    """
    if ctx.invoked_subcommand is not None:
        return
    session = ctx.find_root().ensure_object(Session)  # the one that the commands below find, too
    hide_password(target or "")
    with session.open_store() as store:
        report, uri = (
            store.quota(
                target=target,
                ask=ask,
                prefix=prefix,
                experiment_names=experiments or None,
                filter_string=filter_string,
            ),
            store.uri,
        )
    if session.is_json:
        document = {"store": uri, "target": report.target or None, "asked": report.asked or None, "fits": report.fits}
        write_json(document | {"notes": report.notes, "uses": [_document(use) for use in report.uses]})
    else:
        write_lines(_lines(report, max_count))
    ctx.exit(0 if report.fits else QuotaExceededError.exit_code)


@quota.command("set")
@click.argument("limits", nargs=-1, metavar="[NAME=VALUE...]")
@click.option("--preset", metavar="SERVICE", help="Set the limits of a service: `databricks`.")
@click.option(
    "--action",
    type=click.Choice(["warn", "refuse", "thin"]),
    default="warn",
    show_default=True,
    help="Beyond it: say so, refuse, or keep fewer points.",
)
@general_options
@pass_session
def set_(session: Session, limits: tuple[str, ...], preset: str | None, action: Any) -> None:
    """Set limits, such as `run.metric_steps=100k` or `store.bytes=2g`; `NAME=none` takes one away."""
    wanted = dict(_parse(text) for text in limits)
    with session.open_store() as store:
        store.set_quota(wanted, action=action, preset=preset)
    _show(session)


@quota.command("show")
@general_options
@pass_session
def show(session: Session) -> None:
    """Show the limits that are set, and those that there are."""
    _show(session)


def _show(session: Session) -> None:
    from localtrack.format.quota import LIMITS

    with session.open_store() as store:
        limits, uri = store.get_quota(), store.uri
    if session.is_json:
        found = [{"name": name, "limit": limit.value, "action": limit.action} for name, limit in limits.items()]
        kinds = [
            {"name": kind.name, "actions": list(kind.actions), "meaning": kind.meaning} for kind in LIMITS.values()
        ]
        write_json({"store": uri, "limits": found, "kinds": kinds})
        return
    rows = []
    for kind in LIMITS.values():
        limit = limits.get(kind.name)
        value, action = (str(limit.value), limit.action) if limit else ("-", "-")
        rows.append([kind.name, value, action, " ".join(kind.actions), kind.meaning])
    columns = [Column("LIMIT"), Column("VALUE", is_number=True), Column("ACTION"), Column("CAN"), Column("OF WHAT")]
    write_lines(format_table(columns, rows))


def _parse(text: str) -> tuple[str, int | None]:
    name, found, value = text.partition("=")
    digits, factor = value.lower(), 1
    if digits[-1:] in _UNITS:
        digits, factor = digits[:-1], _UNITS[digits[-1]]
    if value.lower() == "none":
        return name, None
    if not found or not digits.isdigit():
        raise InvalidInputError(f"{text!r} is no limit.", hint="Write NAME=VALUE, such as run.params=1000.")
    return name, int(digits) * factor


def _document(use: QuotaUse) -> dict[str, Any]:
    return {
        "level": use.level,
        "id": use.id,
        "name": use.name,
        "limit_name": use.limit_name,
        "used": use.used,
        "there": use.there,
        "limit": use.limit,
        "share": use.share,
        "is_exceeded": use.is_exceeded,
        "action": use.action,
        "per_day": use.per_day,
        "reached_ms": use.reached_ms,
        "source": use.source,
        "as_of": use.as_of,
    }


def _lines(report: QuotaReport, max_count: int) -> list[str]:
    if not report.uses:
        return ["No limit is set; `localtrack quota set` sets some." if not report.target else "It has no such limits."]
    rows = [
        [use.limit_name, printable(use.name or use.id), f"{use.used}", f"{use.limit}", f"{use.share:.1%}", _when(use)]
        for use in report.uses[:max_count]
    ]
    numbers = [Column(title, is_number=True) for title in ("USED", "LIMIT", "SHARE")]
    lines = format_table([Column("WHICH"), Column("OF"), *numbers, Column("REACHED")], rows)
    if report.target:
        known = [use for use in report.uses if use.source]
        sources = sorted({f"{use.limit_name} {use.limit}: {use.source}, {use.as_of}" for use in known})
        over_count = sum(use.is_exceeded for use in report.uses)
        verdict = "All of it fits" if report.fits else f"{over_count} do not fit"
        asked = [f"What {report.asked} has already counts."] if report.asked else []
        lines += [*sources, *report.notes, *asked, f"{verdict} {report.target}."]
    return lines


def _when(use: QuotaUse) -> str:
    if use.is_exceeded:
        return "exceeded"
    if use.reached_ms is None:
        return "-"
    try:
        return f"{datetime.datetime.fromtimestamp(use.reached_ms / 1000, datetime.UTC):%Y-%m-%d}"
    except (OverflowError, ValueError, OSError):
        return "-"  # in more years than a calendar has
