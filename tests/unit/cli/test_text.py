"""How values look to a person."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.cli import text

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()


@pytest.fixture(autouse=True)
def _own_zone_again(monkeypatch: pytest.MonkeyPatch) -> object:
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("duration_ms", "shown"),
    [
        (None, "-"),
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1.0 s"),
        (12_340, "12.3 s"),
        (59_949, "59.9 s"),
        (59_950, "1 min 00 s"),
        (MINUTE + 5_000, "1 min 05 s"),
        (HOUR - 1, "1 h 00 min"),
        (2 * HOUR + 10 * MINUTE, "2 h 10 min"),
        (4 * DAY + HOUR, "4 d 01 h"),
        (1_000 * DAY, "1000 d 00 h"),
        (-1_500, "-1.5 s"),
    ],
)
def test_durations(duration_ms: int | None, shown: str) -> None:
    assert text.format_duration(duration_ms) == shown


@pytest.mark.usefixtures("berlin")
def test_times_are_local_with_their_offset() -> None:
    winter, summer = 1_700_000_000_999, 1_690_000_000_000
    assert text.format_time(winter) == "2023-11-14 23:13:20 +01:00"
    assert text.format_time(summer) == "2023-07-22 06:26:40 +02:00"
    assert text.format_time(winter, with_offset=False) == "2023-11-14 23:13:20"
    assert text.common_offset([winter, winter]) == "UTC+01:00"
    assert text.common_offset([winter, summer]) is None


@pytest.mark.parametrize("time_ms", [2**62, -(2**62), 300_000_000_000_000, -70_000_000_000_000])
def test_times_that_no_calendar_has_stay_numbers(time_ms: int) -> None:
    assert text.format_time(time_ms) == f"{time_ms} ms"
    assert text.common_offset([time_ms]) is None


def test_an_unknown_time_is_a_dash() -> None:
    assert text.format_time(None) == "-"


@given(st.integers(-(2**63), 2**63))
def test_any_time_and_any_duration_can_be_shown(number: int) -> None:
    assert text.format_time(number)
    assert text.format_duration(number)
    offset = text.common_offset([number])
    assert offset is None or (offset.startswith("UTC") and ":" in offset)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.0, "1"),
        (1 / 3, "0.333333"),
        (1e-9, "1e-09"),
        (float("nan"), "NaN"),
        (float("-inf"), "-inf"),
        (None, "-"),
    ],
)
def test_numbers(value: float | None, shown: str) -> None:
    assert text.format_number(value) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_048_575, "1.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (2**60, "1048576.0 TiB"),
        (None, "-"),
    ],
)
def test_sizes(size: int | None, shown: str) -> None:
    assert text.format_bytes(size) == shown


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain 漢字 é", "plain 漢字 é"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("a\u2028b", "a\\u2028b"),
        ("\x9b0m", "\\x9b0m"),
        ("\ud800", "\\ud800"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("\u3000wide\u00a0space", "\u3000wide\u00a0space"),
    ],
)
def test_text_cannot_steer_the_terminal(raw: str, shown: str) -> None:
    assert text.printable(raw) == shown


@given(st.text(), st.integers(1, 40))
def test_a_cut_text_is_no_wider_than_asked_and_begins_the_same(raw: str, width: int) -> None:
    shown = text.printable(raw)
    cut = text.cut(shown, width)
    assert text.display_width(cut) <= width
    if cut != shown:
        assert cut[-1] == "…"
        assert shown.startswith(cut[:-1])
    else:
        assert text.display_width(shown) <= width


def test_wide_characters_take_two_columns_and_accents_none() -> None:
    assert text.display_width("漢字") == 4
    assert text.display_width("e\u0301") == 1
    assert text.cut("漢字漢字", 5) == "漢字…"
