"""Everything that the command line prints passes through here: answers to stdout, what is amiss to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from typing import Any, Final, TextIO

import click

from localtrack.cli.text import printable
from localtrack.errors import LocaltrackError, StorageError
from localtrack.types import Finding

_BLOCK_LINES: Final = 1_000
"""Lines written at once: click flushes after each call."""
_SHOWN_FINDINGS_COUNT: Final = 20
_MANY_COUNT: Final = 300
"""What has fewer parts is done soon, and needs no bar."""


def write_lines(lines: Iterable[str]) -> None:
    """Print lines to stdout, in blocks."""
    rest = iter(lines)
    while block := list(islice(rest, _BLOCK_LINES)):
        with answering():
            click.echo(_encodable("\n".join(block), sys.stdout))


@contextmanager
def answering() -> Iterator[None]:
    """Say in one sentence why stdout cannot be written to, as where it is a file on a full disk.

    Raises:
        StorageError: It cannot. That a reader has gone passes as it is: `BrokenPipeError`.
    """
    try:
        yield
    except (BrokenPipeError, LocaltrackError):
        raise
    except OSError as error:
        silence_stdout()
        raise StorageError(f"The answer cannot be written: {error.strerror or error}.") from error


def silence_stdout() -> None:
    """Let nothing more come to stdout: Python flushes it once more at its end, and would complain again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_json(document: Any) -> None:
    """Print one JSON document to stdout."""
    write_lines([encode_json(document, indent=2)])


def write_json_lines(documents: Iterable[Any]) -> None:
    """Print a list as JSON lines to stdout."""
    write_lines(map(encode_json, documents))


def write_note(text: str) -> None:
    """Print what helps a person but is no part of the answer, to stderr."""
    click.echo(_encodable(text, sys.stderr), err=True)


def write_error(text: str) -> None:
    """Print why the command failed, to stderr; a filter that cannot be read is shown on lines of its own."""
    write_note("Error: " + "\n".join(map(printable, text.splitlines())))


def write_findings(findings: Iterable[Finding]) -> None:
    """Print what is wrong in the store as warnings that name the file, to stderr."""
    rest = iter(findings)
    for finding in islice(rest, _SHOWN_FINDINGS_COUNT):
        write_note(f"Warning: {printable(finding.key)}: {printable(finding.what)}")
    if unseen_count := sum(1 for _ in rest):
        write_note(f"Warning: {unseen_count} more findings are not shown.")


def encode_json(document: Any, *, indent: int | None = None) -> str:
    """Return a document as JSON that any terminal and any program can take.

    Floats that JSON has no number for are strings: "NaN", "Infinity", "-Infinity", as in the store.
    """
    import json

    text = json.dumps(_without_nan(document), indent=indent, ensure_ascii=False, allow_nan=False)
    if _is_encodable(text, sys.stdout):
        return text
    return json.dumps(_without_nan(document), indent=indent, allow_nan=False)


def terminal_width() -> int | None:
    """Return how many columns the terminal has; None where stdout is none, and nothing is cut."""
    if not sys.stdout.isatty():
        return None
    import shutil

    return shutil.get_terminal_size().columns


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        if value != value:
            return "NaN"
        if value in (float("inf"), float("-inf")):
            return "Infinity" if value > 0 else "-Infinity"
        return value
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return value


def _is_encodable(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _encodable(text: str, stream: TextIO) -> str:
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr while the block runs, if there is much to do; nothing where stderr is no terminal.

    Args:
        title: What is going on; printable.

    Returns:
        What to call with how much is done, and how much there is.
    """
    with ExitStack() as shown:
        bar: Any = None

        def show(done_count: int, total_count: int) -> None:
            nonlocal bar
            if bar is None and total_count >= _MANY_COUNT and sys.stderr.isatty():
                bar = shown.enter_context(click.progressbar(length=total_count, label=title, file=sys.stderr))
            if bar is not None:
                bar.update(done_count - bar.pos)

        yield show


class Progress:
    """One line on stderr that says how far something is; nothing where stderr is no terminal.

    Args:
        title: What is going on; printable.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._is_shown = sys.stderr.isatty()
        self._percent = -1

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._percent >= 0:
            click.echo("\r\x1b[K", nl=False, err=True)

    def show(self, done_count: int, total_count: int) -> None:
        """Say how much is done."""
        percent = 100 * done_count // max(total_count, 1)
        if self._is_shown and percent != self._percent:
            self._percent = percent
            click.echo(_encodable(f"\r{self._title}: {percent} %", sys.stderr), nl=False, err=True)
