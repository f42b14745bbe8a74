"""The same experiments and searches, here and in MLflow's SQLite store: the same ids in order, or both an error."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from mlflow.entities import ExperimentTag
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from tests.conformance.filter_mutations import hold_against, mutate

from localtrack.errors import InvalidInputError
from localtrack.query.experiments import search_experiments
from localtrack.types import Experiment

NAMES = ["churn", "Churn", "/Shared/team/churn", "a%b", "a_b", "it's", "ça va", "x y"]
TAGS = {"team": ["red", "Red", "blue", ""], "a b": ["1", "2"]}


class Both:
    """One set of experiments in both places."""

    def __init__(self, folder: Path) -> None:
        self.mlflow = SqlAlchemyStore(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts"))
        dice = random.Random(3)
        for place in range(14):
            name = NAMES[place] if place < len(NAMES) else f"more {place}"
            tags = [ExperimentTag(k, dice.choice(v)) for k, v in TAGS.items() if dice.random() < 0.6]
            made = self.mlflow.create_experiment(name, tags=tags)
            if dice.random() < 0.2:
                self.mlflow.delete_experiment(made)
        self.experiments = [
            Experiment(
                e.experiment_id,
                e.name,
                e.artifact_location,
                e.lifecycle_stage,
                e.tags,
                e.creation_time,
                e.last_update_time,
            )
            for e in self.mlflow.search_experiments(view_type=3)
        ]
        dice.shuffle(self.experiments)

    def theirs(self, text: str, order: list[str], view: int = 1, page: int = 100, token: object = None) -> object:
        try:
            answer = self.mlflow.search_experiments(view, page, text, order, token)
        except (MlflowException, StopIteration):
            return "error"
        return [e.experiment_id for e in answer], answer.token

    def ours(self, text: str, order: list[str], view: int = 1, page: int = 100, token: object = None) -> object:
        try:
            answer = search_experiments(
                self.experiments,
                filter_string=text,
                order_by=order,
                max_results=page,
                page_token=token,  # type: ignore[arg-type]
                view_type=view,
            )
        except InvalidInputError:
            return "error"
        return [e.experiment_id for e in answer], answer.token


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return Both(tmp_path_factory.mktemp("search"))


def _condition(dice: random.Random, experiments: list[Experiment]) -> str:
    chosen = dice.choice(experiments)
    match dice.randrange(4):
        case 0:
            field, value = f"{dice.choice(['', 'attribute.'])}name", dice.choice(NAMES)
            pattern = dice.choice(["%churn", "C%", "a_b", "%", "/Shared/%"])
        case 1:
            key = dice.choice(list(TAGS))
            field = f"{dice.choice(['tag', 'tags'])}.`{key}`"
            value, pattern = dice.choice(TAGS[key]), dice.choice(["r%", "%d", "_"])
            if dice.random() < 0.3:
                return f"{field} {dice.choice(['IS NULL', 'IS NOT NULL'])}"
        case 2:
            field = f"{dice.choice(['', 'attribute.'])}{dice.choice(['creation_time', 'last_update_time'])}"
            return f"{field} {dice.choice(['>', '>=', '=', '!=', '<', '<='])} {chosen.creation_time}"
        case _:
            ids = ", ".join(f"'{dice.choice(experiments).experiment_id}'" for _ in range(3))
            if dice.random() < 0.5:
                return f"experiment_id {dice.choice(['IN', 'NOT IN'])} ({ids})"
            return f"experiment_id {dice.choice(['=', '!='])} '{chosen.experiment_id}'"
    operator = dice.choice(["=", "!=", "LIKE", "ILIKE"])
    text = pattern if "LIKE" in operator else value
    return f'{field} {operator} "{text}"'


@pytest.mark.parametrize("seed", range(10))
def test_generated_searches_find_the_same_experiments_in_the_same_order(both: Both, seed: int) -> None:
    dice = random.Random(seed)
    found_count = 0
    for _ in range(20):
        text = " AND ".join(_condition(dice, both.experiments) for _ in range(dice.choice([0, 1, 1, 2])))
        fields = ["name", "experiment_id", "creation_time", "attribute.last_update_time"]
        order = [f + dice.choice(["", " ASC", " desc"]) for f in dice.sample(fields, dice.randrange(3))]
        view = dice.choice([1, 2, 3])
        theirs = both.theirs(text, order, view)
        assert both.ours(text, order, view) == theirs, (text, order, view)
        assert theirs != "error", text
        found_count += len(theirs[0])  # type: ignore[index]
    assert found_count


def test_pages_are_the_same_and_end_at_the_same_place(both: Both) -> None:
    theirs_token = ours_token = None
    seen: list[str] = []
    while True:
        theirs, ours = both.theirs("", [], 3, 4, theirs_token), both.ours("", [], 3, 4, ours_token)
        assert isinstance(theirs, tuple)
        assert isinstance(ours, tuple)
        assert ours[0] == theirs[0]
        seen += ours[0]
        theirs_token, ours_token = theirs[1], ours[1]
        assert (ours_token is None) == (theirs_token is None)
        if ours_token is None:
            break
    assert len(seen) == len(both.experiments)


@pytest.mark.parametrize(
    "text",
    [
        "name",
        "name =",
        "name = 5",
        "experiment_id > '1'",
        "creation_time LIKE '1'",
        "creation_time = 'then'",
        "params.a = 'x'",
        "metrics.a > 1",
        "tag.team = 5 6",
        "nothing = 'a'",
    ],
)
def test_nonsense_is_refused_by_both(both: Both, text: str) -> None:
    assert both.theirs(text, []) == both.ours(text, []) == "error"


DIFFERENCES = {
    "alternatives": ("name = 'a' OR name = 'churn'", "an extension: MLflow has AND only"),
    "null attribute": ("creation_time IS NULL", "an extension"),
    "fraction of a millisecond": ("creation_time > 1.5", "runs take it, in MLflow too"),
    "list of names": ("name IN ('churn', 'x y')", "an extension"),
    "id that is no number": ("experiment_id = 'abc'", "ids are opaque here: no such experiment"),
    "lower-case operator": ("name like 'c%'", "runs take it, in MLflow too"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_what_mlflow_refuses_and_has_a_meaning_is_accepted(both: Both, name: str) -> None:
    text, _reason = DIFFERENCES[name]
    assert both.theirs(text, []) == "error"
    assert both.ours(text, []) != "error"


def test_an_order_by_tag_is_an_extension(both: Both) -> None:
    assert both.theirs("", ["tag.team"]) == "error"
    assert both.ours("", ["tag.team"]) != "error"


def test_the_same_order_key_twice_is_refused(both: Both) -> None:
    """As for runs, in MLflow too; for experiments MLflow ignores the second one."""
    assert both.theirs("", ["name", "name DESC"]) != "error"
    assert both.ours("", ["name", "name DESC"]) == "error"


@pytest.mark.parametrize("seed", range(3))
def test_experiments_are_found_alike_page_by_page_whatever_is_done_to_the_filter(both: Both, seed: int) -> None:
    dice = random.Random(seed)
    answered_count = 0
    for _ in range(30):
        text = " AND ".join(_condition(dice, both.experiments) for _ in range(dice.choice([1, 1, 2])))
        for _ in range(dice.choice([0, 1, 1, 2])):
            text = mutate(dice, text)
        fields = ["name", "experiment_id", "creation_time", "last_update_time"]
        order = [f + dice.choice(["", " ASC", " DESC"]) for f in dice.sample(fields, dice.randrange(3))]
        answered_count += hold_against(both, text, order, dice.choice([1, 3]), dice.choice([5, 50]))
    assert answered_count > 5
