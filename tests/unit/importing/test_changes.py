"""Three-way: what the source has, what is here, what the last import left."""

from __future__ import annotations

import itertools

import pytest

from localtrack.importing.changes import NOTHING, judge, plan_tags


@pytest.mark.parametrize(
    ("source", "here", "base", "verdict"),
    [
        ("a", NOTHING, NOTHING, "take"),
        ("a", "a", NOTHING, "keep"),
        ("a", "b", NOTHING, "conflict"),
        ("a", "a", "a", "keep"),
        ("a", "b", "a", "keep"),
        ("b", "a", "a", "take"),
        ("b", "c", "a", "conflict"),
        ("b", "b", "a", "keep"),
        ("a", NOTHING, "a", "keep"),
        ("b", NOTHING, "a", "conflict"),
        (NOTHING, "a", "a", "take"),
        (NOTHING, "b", "a", "conflict"),
        (NOTHING, "b", NOTHING, "keep"),
        (None, 5, 5, "take"),
        (None, NOTHING, NOTHING, "take"),
    ],
)
def test_who_has_changed_it_counts(source: object, here: object, base: object, verdict: str) -> None:
    assert judge(source, here, base) == verdict


def test_once_taken_there_is_nothing_more_to_take() -> None:
    for source, here, base in itertools.product(["a", "b", None, NOTHING], repeat=3):
        if judge(source, here, base) == "take":
            assert judge(source, source, source) == "keep"


def test_a_tag_that_could_not_be_read_is_not_deleted() -> None:
    assert plan_tags({}, {"a": "1"}, {"a": "1"}, is_whole=False) == ({}, [])
    assert plan_tags({}, {"a": "1"}, {"a": "1"}, is_whole=True) == ({"a": None}, [])
