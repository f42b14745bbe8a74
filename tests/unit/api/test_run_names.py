"""Random run names: their form, and that they leave the program's random numbers alone."""

from __future__ import annotations

import random
import re

from localtrack.api import run_names


def test_a_name_is_adjective_noun_number() -> None:
    for _ in range(2_000):
        adjective, noun, number = run_names.random_run_name().split("-")
        assert adjective in run_names.ADJECTIVES
        assert noun in run_names.NOUNS
        assert 1 <= int(number) <= run_names.MAX_NUMBER


def test_the_words_are_lower_case_ascii_without_repeats() -> None:
    words = run_names.ADJECTIVES + run_names.NOUNS
    assert len(words) == len(set(words))
    assert all(re.fullmatch(r"[a-z]{3,9}", word) for word in words)
    assert len(run_names.ADJECTIVES) >= 100
    assert len(run_names.NOUNS) >= 150


def test_a_seed_neither_fixes_the_names_nor_is_disturbed() -> None:
    random.seed(1)
    state = random.getstate()
    first = [run_names.random_run_name() for _ in range(5)]
    assert random.getstate() == state
    random.seed(1)
    assert [run_names.random_run_name() for _ in range(5)] != first


def test_all_parts_vary() -> None:
    names = [run_names.random_run_name().split("-") for _ in range(20_000)]
    # Of 20,000 draws from fewer than 1,000 values none stays out, but for odds below one in a million.
    assert {adjective for adjective, _, _ in names} == set(run_names.ADJECTIVES)
    assert {noun for _, noun, _ in names} == set(run_names.NOUNS)
    numbers = {int(number) for _, _, number in names}
    assert {min(numbers), max(numbers)} <= {1, 2, 3, 997, 998, 999}
