"""Plain text tables that fit the terminal. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from localtrack.cli.text import cut, display_width, printable

_GAP: Final = "  "
_LEAST_WIDTH: Final = 8
"""A column that may be cut keeps so much."""
_FAIR_WIDTH: Final = 16
"""A column that may be cut is not narrowed below this while there is another one that can be left out."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    is_number: bool = False
    """Aligned to the right."""
    can_be_cut: bool = False
    can_be_left_out: bool = False
    """Left out where the terminal is too narrow, the rightmost first."""


def format_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, width: int | None = None, indent: str = ""
) -> list[str]:
    """Return a table as lines, the titles first.

    Args:
        columns: What stands over the rows.
        rows: A text per column.
        width: Columns of the terminal; None to cut and leave out nothing. Tables that cannot be made so narrow are
            wider.
        indent: Stands before each line.
    """
    cells = [[printable(column.title) for column in columns], *([printable(text) for text in row] for row in rows)]
    widths = [max(display_width(row[place]) for row in cells) for place in range(len(columns))]
    places = list(range(len(columns)))
    if width is not None:
        places = _choose(columns, widths, width - len(indent))
        _narrow(columns, widths, places, width - len(indent))
    return [indent + _format_row(columns, widths, places, row) for row in cells]


def _choose(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    places = list(range(len(columns)))
    needed = [min(w, _FAIR_WIDTH) if c.can_be_cut else w for c, w in zip(columns, widths, strict=True)]
    while _total(needed, places) > width:
        spare = [place for place in places if columns[place].can_be_left_out]
        if not spare:
            break
        places.remove(spare[-1])
    return places


def _narrow(columns: Sequence[Column], widths: list[int], places: Sequence[int], width: int) -> None:
    while (excess := _total(widths, places) - width) > 0:
        wide = [place for place in places if columns[place].can_be_cut and widths[place] > _LEAST_WIDTH]
        if not wide:
            break
        widest = max(wide, key=lambda place: widths[place])
        others = [widths[place] for place in wide if place != widest]
        # Down to the next widest at once, then step by step with it: long columns lose before short ones.
        floor = max([_LEAST_WIDTH, *(w for w in others if w < widths[widest])])
        widths[widest] = max(floor, widths[widest] - excess) if widths[widest] > floor else widths[widest] - 1


def _total(widths: Sequence[int], places: Sequence[int]) -> int:
    return sum(widths[place] for place in places) + len(_GAP) * (len(places) - 1)


def _format_row(columns: Sequence[Column], widths: Sequence[int], places: Sequence[int], row: Sequence[str]) -> str:
    parts: list[str] = []
    for place in places:
        text = cut(row[place], widths[place])
        padding = " " * (widths[place] - display_width(text))
        parts.append(padding + text if columns[place].is_number else text + padding)
    return _GAP.join(parts).rstrip()
