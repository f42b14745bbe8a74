"""Point records to columns."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localtrack.format.metric_fold import Folds, combine_folds
from localtrack.format.point_stretch import decode_stretch, gather_stretch
from localtrack.format.points import PointColumns, PointReader


def read(*records: list[Any], base_ms: int = 1_000) -> PointReader:
    reader = PointReader(base_ms)
    assert reader.take_points(records) == []
    return reader


def test_a_point_is_one_for_each_key_of_its_set() -> None:
    reader = read(["k", 0, ["a"]], ["k", 1, ["a", "b"]], [0, 5, 1, 0.5], [1, 6, 2, 1, "NaN"])
    *numbers, last = reader.columns
    assert numbers == [("a", 1, 1_005, 0.5), ("a", 2, 1_006, 1.0)]
    assert last[:3] == ("b", 2, 1_006)
    assert math.isnan(last[3])
    assert reader.problems == []


def test_a_set_may_bring_its_own_bases() -> None:
    reader = read(["k", 0, ["a"], 500_000, 70], [0, -3, 2, 1.0])
    assert list(reader.columns) == [("a", 72, 499_997, 1.0)]


def test_several_points_are_one_record() -> None:
    reader = read(["k", 0, ["a"]], ["p", [[0, 0, 1, 1.0], [0, 0, 2, "-Infinity"]]])
    assert list(reader.columns) == [("a", 1, 1_000, 1.0), ("a", 2, 1_000, -math.inf)]


@pytest.mark.parametrize(
    "point",
    [
        [1, 0, 0, 1.0],  # no such set
        [0, 0, 0],
        [0, 0, 0, 1.0, 2.0],
        [0, 0.5, 0, 1.0],
        [0, 0, None, 1.0],
        [0, 0, True, 1.0],
        [0, 0, 0, "nan"],
        [0, 0, 0, True],
        [0, 0, 0, None],
        [0, 2**63 - 1, 0, 1.0],
        [0, 0, 2**63, 1.0],
    ],
)
def test_a_damaged_point_is_told_and_leaves_nothing(point: list[Any]) -> None:
    reader = read(["k", 0, ["a"]], point, [0, 1, 1, 1.0])
    assert list(reader.columns) == [("a", 1, 1_001, 1.0)]
    assert len(reader.problems) == 1


@pytest.mark.parametrize("keys", [["k", "0", ["a"]], ["k", 0, []], ["k", 0, "a"], ["k", 0, [1]], ["k", 0]])
def test_a_damaged_key_set_is_told(keys: list[Any]) -> None:
    reader = PointReader(0)
    reader.take_points([keys, [0, 0, 0, 1.0]])
    assert len(reader.columns) == 0
    assert len(reader.problems) == 2


def test_what_is_not_about_points_is_given_back() -> None:
    tag = ["tag", 1, {"a": "b"}]
    assert PointReader(0).take_points([["k", 0, ["a"]], tag, [0, 0, 0, 1.0]]) == [tag]


@pytest.mark.parametrize(
    "odd",
    [[9, 0, 0, 1.0, 1.0], [0, 0, 0, True, 1.0], [0, 0.5, 0, 1.0, 1.0], [0, 0, 2**63, 1, 1], [0, 0, 0, 1.0, "nan"]],
)
def test_a_stretch_is_taken_whole_or_not_at_all(odd: list[Any]) -> None:
    sets = [["k", 0, ["a", "b"]], ["k", 1, ["a"]], ["k", 2, ["b", "c"], 7, 5]]
    plain = [[0, n, -n, n / 3, "NaN"] for n in range(50)] + [[2, n, n, n, "-Infinity"] for n in range(50)]
    slow, fast = read(*sets, *plain), read(*sets)
    stretch = gather_stretch(plain)
    assert stretch is not None
    assert list(stretch.points()) == plain
    assert fast.take_stretch(stretch)
    assert str(list(fast.columns)) == str([point for one in plain for point in read(*sets, one).columns])
    assert str(list(fast.columns)) == str(list(slow.columns))
    refusing = read(*sets)
    other = gather_stretch([*plain, odd])
    assert other is None or not refusing.take_stretch(other)
    assert len(refusing.columns) == 0


def test_a_stretch_of_other_width_than_its_keys_is_refused() -> None:
    stretch = gather_stretch([[0, n, n, 1.0, 2.0] for n in range(20)])
    assert stretch is not None
    assert not read(["k", 0, ["a"]]).take_stretch(stretch)


@pytest.mark.parametrize(
    "lines",
    [
        b"[0,1,2,3.5]\n[0,1,2,3.5,4.5]",
        b"[0,1,2]\n[0,1,2,3,4]",  # as many numbers as two points
        b"[0,1,2,3.5],[0,1,2,3.5]",
        b"[0,1,\n2,3.5]\n[0,1,2,3.5]",
        b"[0,1,2,3.5]\n\n[0,1,2,3.5]",
        b"[0,1,2,[3]\n[4],1]\n[0,1,2,3.5]",
        b"[0,1,2,3.5]\n[0,1,2,3.5",
        b"[0,1,2,null]\n[0,1,2,3.5]",
        b"[0,1,2,3.5,null,0,1,2,3.5]",
        b"[0,1,2,true]\n[0,1,2,3.5]",
        b"[0,1,2,false]\n[0,1,2,3.5]",
        b"[0.0,1,2,3.5]\n[0,1,2,3.5]",
        b'["a",1,2,3.5]\n[0,1,2,3.5]',
        b"[0,1,2]\n[0,1,2]",
        b"[]\n[]",
        b"0,1,2,3.5\n0,1,2,3.5",
        b"{}",
        b"",
    ],
)
def test_lines_that_are_not_all_points_of_one_width_are_no_stretch(lines: bytes) -> None:
    assert decode_stretch(b"[0,1,2,3.5]\n[0,1,2,3.5]") is not None
    assert decode_stretch(lines) is None


@settings(deadline=None, max_examples=100)
@given(
    records=st.lists(
        st.one_of(
            st.tuples(st.sampled_from([0, 1, 2, 9]), st.integers(-5, 5), st.integers(-5, 5), st.floats()).map(list),
            st.sampled_from(
                [
                    *(
                        [0, 0, 0, "NaN"],
                        [0, True, 0, 1.0],
                        [True, 0, 0, 1.0],
                        [0, 0, 0, False],
                        [0, 0],
                        [0, 2**63, 0, 1],
                    ),
                    *(
                        [1, 0, 0, 1.0, 2.0],
                        [0, 0, 2**62, 1],
                        [0, 0, 0, "x"],
                        ["p", [[0, 0, 0, 1.0], 5]],
                        ["tag", 1, {}],
                    ),
                    *(["k", 9, ["z"]], ["k", 0, ["again"]], ["p", 5], [0, None, 0, 1.0], [0, 0, 0, None]),
                ]
            ),
        ),
        max_size=80,
    )
)
def test_taking_stretches_at_once_is_taking_each(records: list[list[Any]]) -> None:
    sets = [["k", 0, ["a"]], ["k", 1, ["a", "b"]], ["k", 2, ["b"], 7, 5]]
    records = [copy.deepcopy(record) for record in records for _ in range(3)]
    at_once, one_by_one = read(*sets), read(*sets)
    others = at_once.take_points(records)
    slow = [other for record in records for other in one_by_one.take_points([record])]
    assert others == slow
    assert str(list(at_once.columns)) == str(list(one_by_one.columns))
    assert at_once.problems == one_by_one.problems


def test_columns_can_be_added_to_others() -> None:
    one, other = read(["k", 0, ["a"]], [0, 0, 0, 1.0]).columns, read(["k", 0, ["b", "a"]], [0, 0, 0, 2.0, 3.0]).columns
    total = PointColumns()
    total.extend(one)
    total.extend(other)
    assert [(point[0], point[3]) for point in total] == [("a", 1.0), ("b", 2.0), ("a", 3.0)]


VALUES = st.sampled_from([0.0, -0.0, 1.0, 0.5, 2, -3.25, "NaN", "Infinity", "-Infinity", None, True, "x", 10**400])
RECORDS = st.one_of(
    st.builds(lambda *point: list(point), st.integers(0, 3), st.integers(-2, 3), st.integers(-2, 3), VALUES),
    st.builds(lambda *point: list(point), st.just(1), st.integers(0, 3), st.integers(0, 3), VALUES, VALUES),
    st.sampled_from(
        [[0], [0, 1], [0, 1.0, 1, 1.0], [0, 1, 2**63, 1.0], [0, 2**63, 1, 1.0], ["k", 3, ["c"]], ["p", []]]
    ),
)


@settings(max_examples=300)
@given(st.lists(st.lists(RECORDS, max_size=3), max_size=6))
def test_few_points_added_to_folds_are_what_columns_of_them_fold_to(batches: list[list[list[Any]]]) -> None:
    few, many = (read(["k", 0, ["a"]], ["k", 1, ["a", "b"]], ["k", 2, ["b"], 7, 2]) for _ in range(2))
    folds: Folds = {}
    total: list[Folds] = []
    for batch in batches:
        before = dict(folds)
        added = few.add_to(folds, batch)
        assert folds == before or repr(folds) == repr(before), "what a view may hold stays as it is"
        many.columns = PointColumns()
        others = many.take_points(copy.deepcopy(batch))
        are_points = not others and not many.problems and all(type(record[0]) is int for record in batch)
        assert (added is not None) == are_points
        if added is None:
            break
        folds = added
        total.append(many.columns.fold())
        assert repr(sorted(folds.items())) == repr(sorted(combine_folds(total).items()))
