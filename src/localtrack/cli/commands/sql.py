"""`localtrack sql`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from localtrack.cli.output import answering, terminal_width, write_findings, write_lines, write_note
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.tables import Column, format_table
from localtrack.cli.text import MISSING, format_number

if TYPE_CHECKING:
    from localtrack.query.sql.result import SqlResult

_FORMATS: Final = ("table", "csv", "json", "parquet")


@click.command
@click.argument("query")
@click.option(
    "-p",
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="A text for $NAME in the query; can be repeated.",
)
@click.option(
    "-f",
    "--format",
    "kind",
    type=click.Choice(_FORMATS),
    help="How to print it.  [default: table, or as the suffix of --output says]",
)
@click.option("-o", "--output", metavar="FILE", help="Write to this file.")
@click.option(
    "-n",
    "--max",
    "max_rows",
    type=click.IntRange(1),
    default=1_000,
    show_default=True,
    help="Show at most so many rows in a table; other formats hold all.",
)
@general_options
@pass_session
def sql(
    session: Session, query: str, parameters: tuple[str, ...], kind: str | None, output: str | None, max_rows: int
) -> None:
    """Answer a SELECT over the views of the store.

    The views are runs, params, metrics, metric_history, tags, datasets, experiments, models, artifacts;
    `localtrack help sql` describes them. `-` as QUERY reads it from stdin.
    """
    if query == "-":
        query = sys.stdin.read()
    if kind is None:
        kind = _kind_of(output) if output is not None else "json" if session.is_json else "table"
    if kind == "parquet" and output is None:
        raise click.UsageError("Parquet is not text: name a file with --output.")
    if kind == "table" and output is not None:
        raise click.UsageError("A file holds csv, json or parquet: choose with --format.")
    with session.open_store() as store, store.sql(query, _parameters(parameters) or None) as answer:
        if output is not None:
            with _new_file(output) as sink:
                rows_count = _write(answer, sink, kind)
            write_note(f"{rows_count} rows written to {output}.")
        elif kind == "table":
            _print_table(answer, max_rows)
        else:
            with answering():
                _write(answer, sys.stdout.buffer, kind)
                sys.stdout.buffer.flush()
        findings = answer.findings
    write_findings(findings)


@contextlib.contextmanager
def _new_file(path: str) -> Iterator[BinaryIO]:
    """Give a file that comes into the place of `path` when all is written, and not at all when that fails."""
    import os

    unfinished = f"{path}.{os.getpid()}.tmp"
    try:
        with open(unfinished, "wb") as sink:
            yield sink
        os.replace(unfinished, path)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(unfinished)


def _kind_of(path: str) -> str:
    from localtrack.query.sql.output import format_of

    return format_of(path)


def _parameters(texts: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.UsageError(f"{text!r} is not NAME=VALUE.")
        found[name.removeprefix("$")] = value
    return found


def _write(answer: SqlResult, sink: Any, kind: Any) -> int:
    from localtrack.query.sql.output import write_result

    return write_result(answer, sink, kind)


def _print_table(answer: SqlResult, max_rows: int) -> None:
    from localtrack.query.sql.output import column_values

    rows: list[list[str]] = []
    for batch in answer.batches(max_rows + 1):
        values = [column_values(column) for column in batch.columns]
        rows += [[_cell(value) for value in row] for row in zip(*values, strict=True)]
        if len(rows) > max_rows:
            break
    numbers = [kind.partition("(")[0] in _NUMBERS for kind in answer.types]
    columns = [
        Column(name, is_number=is_number, can_be_cut=not is_number)
        for name, is_number in zip(answer.columns, numbers, strict=True)
    ]
    write_lines(format_table(columns, rows[:max_rows], width=terminal_width()))
    if len(rows) > max_rows:
        write_note(f"Only the first {max_rows} rows are shown; --max shows more.")


_NUMBERS: Final = frozenset(
    {
        *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
        *("FLOAT", "DOUBLE", "DECIMAL"),
    }
)


def _cell(value: Any) -> str:
    import json
    from datetime import datetime

    from localtrack.query.sql.output import plain_value

    if value is None:
        return MISSING
    if isinstance(value, float):
        return format_number(value)
    if isinstance(value, datetime):
        return value.isoformat(" ", "milliseconds")
    plain = plain_value(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
