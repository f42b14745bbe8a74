from __future__ import annotations

import math
import re

import pytest

from localtrack.query.literals import NUMBER_PATTERN, parse_date_ms, parse_duration_ms, parse_number


@pytest.mark.parametrize(
    ("word", "number"),
    [("0", 0), ("12", 12), ("1.", 1.0), (".5", 0.5), ("1e3", 1000.0), ("1E-3", 0.001), ("inf", math.inf)],
)
def test_numbers(word: str, number: float) -> None:
    assert parse_number(word) == number
    assert type(parse_number(word)) is type(number)


@pytest.mark.parametrize("word", ["", "a", "1_000", "0x10", "1e", "nan", "1.2.3", "٣", "²", "2d"])
def test_words_that_are_no_numbers(word: str) -> None:
    assert parse_number(word) is None


def test_a_number_beyond_64_bits_is_a_float() -> None:
    assert parse_number("9" * 18) == 10**18 - 1
    assert parse_number("9" * 19) == 1e19
    assert parse_number("9" * 5_000) == math.inf


@pytest.mark.parametrize(
    ("word", "duration_ms"),
    [("5ms", 5), ("30s", 30_000), ("15M", 900_000), ("6h", 21_600_000), ("2d", 172_800_000), ("1h30m", 5_400_000)],
)
def test_durations(word: str, duration_ms: int) -> None:
    assert parse_duration_ms(word) == duration_ms


@pytest.mark.parametrize("word", ["", "5", "d", "2y", "1h30", "2dd", "-2d", "9" * 16 + "d"])
def test_words_that_are_no_durations(word: str) -> None:
    assert parse_duration_ms(word) is None


@pytest.mark.parametrize("text", ["", "soon", "2024-13-01", "99999-01-01", "1700000000000x", "\0"])
def test_texts_that_are_no_dates(text: str) -> None:
    assert parse_date_ms(text) is None


def test_the_first_and_last_dates_are_read() -> None:
    assert parse_date_ms("0001-01-01T00:00:00+23:59") is not None
    assert parse_date_ms("9999-12-31T23:59:59-23:59") is not None


@pytest.mark.parametrize("text", ["1", "-1", "+.5", "5.", "1e400", "NaN", "-inf", "Infinity"])
def test_params_that_hold_numbers(text: str) -> None:
    assert re.fullmatch(NUMBER_PATTERN, text)


@pytest.mark.parametrize("text", ["", " 1", "1 ", "1\n", "1_0", "0x1", "1e", "true", "\u0661", "infinit"])
def test_params_that_hold_none(text: str) -> None:
    assert not re.fullmatch(NUMBER_PATTERN, text)
