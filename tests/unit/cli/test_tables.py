"""Tables are aligned, and fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from localtrack.cli.tables import Column, format_table
from localtrack.cli.text import display_width

KEY, NUMBER = Column("KEY", can_be_cut=True), Column("N", is_number=True)


def test_texts_stand_left_and_numbers_right() -> None:
    assert format_table([Column("KEY"), NUMBER], [["a", "1"], ["long", "100"]]) == [
        "KEY     N",
        "a       1",
        "long  100",
    ]


def test_wide_characters_keep_the_columns_in_line() -> None:
    assert format_table([KEY, NUMBER], [["漢字", "1"], ["abcd", "2"]]) == ["KEY   N", "漢字  1", "abcd  2"]


def test_a_line_break_in_a_cell_makes_no_new_line() -> None:
    assert format_table([KEY], [["a\nb"]]) == ["KEY", "a\\nb"]


def test_without_a_width_nothing_is_cut() -> None:
    assert format_table([KEY, NUMBER], [["x" * 500, "1"]])[1] == "x" * 500 + "  1"


def test_the_widest_column_is_cut_first() -> None:
    lines = format_table([KEY, KEY, NUMBER], [["a" * 10, "b" * 40, "123"]], width=40)
    assert lines[1] == "a" * 10 + "  " + "b" * 22 + "…  123"


def test_columns_that_can_be_left_out_go_from_the_right() -> None:
    spare = Column("SPARE", can_be_left_out=True)
    rows = [["a" * 20, "s" * 12, "t" * 12]]
    assert format_table([Column("KEY"), spare, spare], rows, width=40)[1] == "a" * 20 + "  " + "s" * 12
    assert format_table([Column("KEY"), spare, spare], rows, width=20)[1] == "a" * 20


def test_what_can_be_neither_cut_nor_left_out_is_wider_than_the_terminal() -> None:
    assert format_table([Column("ID")], [["a" * 32]], width=10) == ["ID", "a" * 32]


CELLS = st.text(st.characters(codec="utf-8"), max_size=40)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=5), st.integers(20, 120))
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[str, str, str]], width: int) -> None:
    columns = [KEY, KEY, Column("SPARE", can_be_left_out=True)]
    lines = format_table(columns, rows, width=width, indent="  ")
    assert len(lines) == len(rows) + 1
    assert all(display_width(line) <= width for line in lines)
