"""The beginning of an id is enough, if it is the beginning of one id."""

from __future__ import annotations

import pytest
from tests.unit.cli.conftest import Place

from localtrack.api.store import Store
from localtrack.cli.lookup import find_experiment, find_run_id, find_run_ids
from localtrack.cli.run_columns import shortest_id_chars
from localtrack.errors import ErrorCode, InvalidInputError, NotFoundError


@pytest.fixture
def store(first_place: Place) -> Store:
    return first_place.open()


def test_a_whole_id_and_each_beginning_that_is_its_own(store: Store, first_place: Place) -> None:
    chars = shortest_id_chars(first_place.ids)
    for run_id in first_place.ids:
        assert find_run_id(store, run_id) == run_id
        assert find_run_id(store, run_id[:chars]) == run_id


def test_the_beginning_of_several_names_them(store: Store, first_place: Place) -> None:
    with pytest.raises(InvalidInputError) as caught:
        find_run_id(store, "0")
    assert caught.value.message.startswith("6 runs have an id that begins with '0': ")
    assert caught.value.message.endswith(", ….")
    assert sorted(first_place.ids)[0] in caught.value.message


@pytest.mark.parametrize("text", ["ffff", "f" * 32, "_", "0_", "_" * 32])
def test_what_no_id_begins_with(store: Store, text: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        find_run_id(store, text)
    assert caught.value.code is ErrorCode.RUN_NOT_FOUND


@pytest.mark.parametrize("text", ["%", "' OR '1' = '1", "0%", "", "../..", "0\0", "a\nb", "é"])
def test_what_could_be_no_id_finds_nothing(store: Store, text: str) -> None:
    with pytest.raises((NotFoundError, InvalidInputError)):
        find_run_id(store, text)


def test_several_runs_each_once_in_order(store: Store, first_place: Place) -> None:
    good, better = first_place.ids.good, first_place.ids.better
    assert find_run_ids(store, [better, good, better]) == [better, good]


def test_an_experiment_by_name_comes_before_one_by_id(place: Place) -> None:
    with place.open() as store:
        by_id = store.get_experiment_by_name("team/a")
        assert by_id is not None
        assert find_experiment(store, "team/a") == by_id
        assert find_experiment(store, by_id.experiment_id) == by_id
        named_so = store.create_experiment(by_id.experiment_id)
        assert find_experiment(store, by_id.experiment_id).experiment_id == named_so


@pytest.mark.parametrize("text", ["nobody", "12345", "١٢"])
def test_an_unknown_experiment(store: Store, text: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        find_experiment(store, text)
    assert caught.value.code is ErrorCode.EXPERIMENT_NOT_FOUND
