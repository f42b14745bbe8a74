"""`localtrack help`: the pages that are not about one command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import click

from localtrack.cli.output import write_json, write_lines
from localtrack.cli.session import Session, debug_option, json_option, pass_session
from localtrack.cli.tables import Column, format_table

FILTER_PAGE: Final = """\
A filter says which runs are shown:

  metrics.loss < 0.1 AND params.optimizer = 'adam'
  tags.team LIKE 'vision%' OR NOT (status = 'FAILED')
  params.lr BETWEEN 0.001 AND 0.1 AND start_time > now() - 7d
  metrics.`val/acc` >= 0.9 AND run_name IN ('a', 'b')
  min(metrics.loss) < 0.05 AND tags.note IS NOT NULL

Fields       metrics.<key> (its last value), min(...), max(...), params.<key>, tags.<key>, datasets.name,
             datasets.digest, datasets.context, run_id, run_name, status, user_id, start_time, end_time, duration_ms,
             experiment_id, experiment_name, lifecycle_stage, artifact_uri
Comparisons  = != < <= > >= LIKE ILIKE IN BETWEEN IS NULL; each can have NOT before it
Logic        AND, OR, NOT, parentheses
Texts        in 'single quotes'; keys with other characters than letters, digits, _ and . in `backticks`
Numbers      without quotes; then params are compared as numbers, too
Times        milliseconds since 1970, '2026-11-23', '2026-11-23T09:00+01:00', now() - 2h

--order-by takes a field and ASC or DESC."""


def exit_codes() -> dict[int, str]:
    """Return what each exit code of the command line means."""
    from localtrack import errors
    from localtrack.cli.app import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED
    from localtrack.cli.commands.import_runs import EXIT_INCOMPLETE

    codes = {0: "It worked.", errors.LocaltrackError.exit_code: "Anything else; in doubt a mistake in localtrack."}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.LocaltrackError) and kind is not errors.LocaltrackError:
            codes[kind.exit_code] = (kind.__doc__ or "").partition("\n")[0]
    codes[errors.InvalidInputError.exit_code] = "An option or argument is wrong. Nothing was written."
    codes[EXIT_INCOMPLETE] = "Something could not be imported; what, was said. The rest was."
    codes[EXIT_INTERRUPTED] = "Interrupted from the keyboard."
    codes[EXIT_BROKEN_PIPE] = "Whoever read the output closed it, as `head` does."
    return dict(sorted(codes.items()))


def _exit_code_page() -> Iterator[str]:
    rows = [[str(code), meaning] for code, meaning in exit_codes().items()]
    yield from format_table([Column("CODE", is_number=True), Column("MEANING")], rows)


def _json_page() -> Iterator[str]:
    from localtrack.cli.documents import FIELDS, LISTS, PARTS

    yield "With --json a command prints one JSON document or, for lists (*), one per line."
    yield "Times are milliseconds since 1970, UTC; what is unknown is null; NaN, Infinity and -Infinity are strings."
    yield "Fields are added to later versions, never renamed or removed."
    yield ""
    for name, fields in {**{n + "*" * (n in LISTS): f for n, f in FIELDS.items()}, **PARTS}.items():
        yield from _wrap(f"{name:<15} ", fields)


SQL_PAGE: Final = """\
A query is one SELECT in DuckDB's SQL. It reads these views, and nothing else: no file, no network, no setting.

VIEWS

Times are in UTC; timestamp_ms is milliseconds since 1970: make_timestamp_ms(timestamp_ms) is the moment.

  SELECT run_id, value FROM metrics WHERE key = 'loss' ORDER BY value LIMIT 10
  SELECT p.value AS lr, avg(m.value) FROM metrics m JOIN params p USING (run_id)
    WHERE m.key = 'loss' AND p.key = 'lr' GROUP BY ALL
  SELECT step, value FROM metric_history WHERE run_id = $run AND key = 'loss' ORDER BY step
  SELECT date_trunc('day', start_time) AS day, count(*) FROM runs
    WHERE lifecycle_stage = 'active' GROUP BY ALL

metric_history and artifacts read just the runs and metrics that the conditions on run_id and key leave room
for: constants, run_id IN (SELECT ...), joins with a filtered view. Without one they read the whole store."""


def _sql_page() -> Iterator[str]:
    from localtrack.query.sql.columns import MEANINGS, VIEWS

    for line in SQL_PAGE.splitlines():
        if line != "VIEWS":
            yield line
            continue
        for name, columns in VIEWS.items():
            yield f"{name:<15} {MEANINGS[name]}"
            yield from _wrap(" " * 16, ", ".join(f"{column} {_short(kind)}" for column, kind in columns.items()))


def _short(kind: str) -> str:
    return kind.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")


def _wrap(title: str, text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 100, initial_indent=title, subsequent_indent=" " * len(title))


TOPICS: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "exit-codes": _exit_code_page,
    "json": _json_page,
    "filter": lambda: iter(FILTER_PAGE.splitlines()),
    "sql": _sql_page,
}


@click.command("help")
@click.argument("topic", required=False)
@json_option
@debug_option
@pass_session
@click.pass_context
def help_command(ctx: click.Context, session: Session, topic: str | None) -> None:
    """Explain exit-codes, json, filter, sql or a command."""
    root = ctx.find_root()
    assert isinstance(root.command, click.Group)
    command = None if topic is None else root.command.get_command(root, topic)
    if topic is None:
        text = root.get_help()
    elif command is None and topic not in TOPICS:
        raise click.UsageError(f"There is no topic {topic!r}; there are {', '.join(TOPICS)} and the commands.")
    else:
        parts = [] if command is None else [command.get_help(click.Context(command, info_name=topic, parent=root))]
        parts += ["\n".join(TOPICS[topic]())] if topic in TOPICS else []
        text = "\n\n".join(parts)
    if session.is_json:
        write_json({"topic": topic, "text": text})
    else:
        write_lines([text])
