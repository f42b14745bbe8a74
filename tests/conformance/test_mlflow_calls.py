"""The plugin answers calls as MLflow's SQL store does, errors included; what differs is listed with its reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance.mlflow_call_cases import cases
from tests.conformance.mlflow_model_cases import _populated, model_cases
from tests.conformance.mlflow_pair import Case, Pair

ACCEPTED = {
    "param-value-9": "a param without a value is a wrong argument, not a failed constraint of the database",
    "tag-value-9": "a tag's value is a text, as clients send it; None is no text that could be read back",
    "identical_points": "in a history NaN comes after numbers of the same time and step, not where 0 would be",
    "history_with_nan": "as above",
    "experiment_renaming_to_a_taken_name": "the name is taken: RESOURCE_ALREADY_EXISTS, not a failed constraint",
    "models-filter-35": "texts are compared too; MLflow refuses it",
    "models-filter-37": "OR is part of the language; MLflow refuses it",
    "models-filter-36": "a text where a number should be is a wrong argument, not an internal error",
    "infinities": "infinities are kept, not clamped to the greatest number",
}
CASES = dict(cases()) | dict(model_cases())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("pair"))
    yield pair
    _populated.clear()  # another pair may get the same places in memory
    pair.close()


@pytest.mark.parametrize("name", CASES)
def test_a_call_means_the_same(pair: Pair, name: str) -> None:
    case: Case = CASES[name]
    sql, localtrack = pair.notes(f"calls {name}", case)
    if name in ACCEPTED:
        assert sql != localtrack, f"no longer differs: {ACCEPTED[name]}"
    else:
        assert localtrack == sql


def test_there_are_several_hundred_cases() -> None:
    assert len(CASES) > 300
    assert set(ACCEPTED) <= set(CASES)
