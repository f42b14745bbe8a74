from __future__ import annotations

import pytest

from localtrack.errors import InvalidInputError
from localtrack.query.experiments import search_experiments
from localtrack.types import Experiment, ViewType

EXPERIMENTS = [
    Experiment("0", "Default", "a", creation_time=1, last_update_time=9),
    Experiment("9", "churn", "b", tags={"team": "red", "n": "3"}, creation_time=5, last_update_time=5),
    Experiment("10", "Churn/x", "c", tags={"team": "blue"}, creation_time=5, last_update_time=7),
    Experiment("11", "old", "d", "deleted", creation_time=2),
]


def _found(filter_string: str = "", **search: object) -> list[str]:
    answer = search_experiments(EXPERIMENTS, filter_string=filter_string, **search)  # type: ignore[arg-type]
    return [e.experiment_id for e in answer]


def test_the_latest_comes_first_and_ids_are_ordered_as_numbers() -> None:
    assert _found() == ["9", "10", "0"]
    assert _found(order_by=["experiment_id DESC"]) == ["10", "9", "0"]


def test_ties_of_a_given_order_go_to_the_greatest_id() -> None:
    assert _found(order_by=["creation_time DESC"]) == ["10", "9", "0"]


def test_filters_have_the_same_language_as_those_of_runs() -> None:
    assert _found("name ILIKE 'churn%'") == ["9", "10"]
    assert _found("tags.team = 'red' OR name = 'Default'") == ["9", "0"]
    assert _found("tags.n > 2") == ["9"]
    assert _found("tags.team IS NULL") == ["0"]
    assert _found("experiment_id IN ('9', 0)") == ["9", "0"]
    assert _found("last_update_time > 5", order_by=["last_update_time"]) == ["10", "0"]


def test_deleted_ones_are_shown_when_asked_for() -> None:
    assert _found(view_type=ViewType.DELETED_ONLY) == ["11"]
    assert _found(view_type=ViewType.ALL, order_by=["last_update_time"]) == ["9", "10", "0", "11"]


@pytest.mark.parametrize("text", ["metrics.a > 1", "params.a = 'x'", "run_id = 'x'", "MIN(metrics.a) > 1"])
def test_fields_of_runs_are_none_of_experiments(text: str) -> None:
    with pytest.raises(InvalidInputError, match="expected"):
        _found(text)
