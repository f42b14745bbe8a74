"""The same logged models and searches, here and in MLflow's SQLite store: the same models in order, or an error.

Accepted differences are the table `DIFFERENCES`, each with its reason; a test holds both sides of each.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import LoggedModelParameter, LoggedModelTag, Metric
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from localtrack import Store
from localtrack.errors import InvalidInputError, LocaltrackError

TEXTS = ["", "a", "A", "ab", "a_b", "a%b", "aXb", "0.1", "x y", "ça"]
KEYS = ["acc", "loss", "a.b", "val/loss", "x-y z"]
NUMBERS = [0.0, -1.5, 1.0, 2.0, 1e-9, 1e300, 3.25]
DATASETS = [("iris", "1"), ("iris", "2"), ("wine", "1")]


class Both:
    """The same models in both stores, under the same ids and times."""

    def __init__(self, folder: Path) -> None:
        dice = random.Random(7)
        self.mlflow = SqlAlchemyStore(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts"))
        self.ours = Store.open(folder / "store")
        other = self.mlflow.create_experiment("other")
        self.experiments = {"0": "0", other: self.ours.create_experiment("other")}
        runs = [self.mlflow.create_run("0", "ada", 1, [], f"r{number}").info.run_id for number in range(3)]
        for number in range(40):
            experiment = dice.choice(list(self.experiments))
            params = {key: dice.choice(TEXTS) for key in KEYS if dice.random() < 0.5}
            tags = {key: dice.choice(TEXTS) for key in KEYS if dice.random() < 0.5}
            made = self.mlflow.create_logged_model(
                experiment,
                dice.choice(["net", "Net", "forest", "ne_t"]),
                dice.choice([None, *runs]),
                [LoggedModelTag(*item) for item in tags.items()],
                [LoggedModelParameter(*item) for item in params.items()],
                dice.choice([None, "sklearn", "torch"]),
            )
            self.ours.create_logged_model(
                self.experiments[experiment],
                made.name,
                made.source_run_id,
                tags,
                params,
                made.model_type,
                model_id=made.model_id,
                creation_timestamp=made.creation_timestamp,
            )
            self._log_metrics(dice, made.model_id, runs)
            if number % 9 == 0:
                self.mlflow.delete_logged_model(made.model_id)
                self.ours.delete_logged_model(made.model_id)

    def _log_metrics(self, dice: random.Random, model_id: str, runs: list[str]) -> None:
        for key in KEYS:
            # To MLflow two at one time and step are one metric, whatever their values.
            places = {(dice.randrange(3), dice.randrange(3)) for _ in range(dice.choice([0, 0, 1, 2, 4]))}
            for timestamp, step in sorted(places):
                name, digest = dice.choice([(None, None), *DATASETS])
                run = dice.choice(runs)
                metric = Metric(key, dice.choice(NUMBERS), timestamp, step, model_id, name, digest, run)
                self.mlflow.log_batch(run, [metric], [], [])
                self.ours.log_logged_model_metrics(model_id, [metric])

    def theirs(self, **search: Any) -> object:
        try:
            page = self.mlflow.search_logged_models(**{"experiment_ids": list(self.experiments)} | search)
        except (MlflowException, AttributeError, ValueError, TypeError, SyntaxError):
            return "error"  # MLflow lets some errors of its parser through
        return [model.model_id for model in page], page.token is None

    def mine(self, **search: Any) -> object:
        ids = search.pop("experiment_ids", list(self.experiments))
        try:
            page = self.ours.search_logged_models([self.experiments.get(id_, id_) for id_ in ids], **search)
        except InvalidInputError:
            return "error"
        return [model.model_id for model in page], page.token is None


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return Both(tmp_path_factory.mktemp("models"))


def _text(dice: random.Random) -> str:
    return "'" + dice.choice(TEXTS[1:]) + "'"


def _condition(dice: random.Random) -> str:
    key = dice.choice(KEYS)
    name = key if key.isalnum() else f"`{key}`"
    number = dice.choice(["<", "<=", ">", ">=", "=", "!="])
    match dice.randrange(5):
        case 0:
            return f"metrics.{name} {number} {dice.choice(NUMBERS)}"
        case 1:
            return (
                f"{dice.choice(['creation_time', 'creation_timestamp', 'attributes.creation_timestamp_ms'])} {number} 0"
            )
        case 2:
            field, values = dice.choice(
                [
                    ("name", ["net", "Net", "n%", "NE_T", "forest"]),
                    ("attributes.name", ["net", "%t"]),
                    ("model_type", ["sklearn", "%o%"]),
                    ("lifecycle_stage", ["active", "deleted"]),
                ]
            )
            text = "'" + dice.choice(values) + "'"
        case _:
            field, text = f"{dice.choice(['params', 'tags'])}.{name}", _text(dice)
    operator = dice.choice(["=", "!=", "LIKE", "ILIKE", "like", "IN", "NOT IN"])
    if operator in ("IN", "NOT IN"):
        return f"{field} {operator} ({text}, {_text(dice)})"
    return f"{field} {operator} {text}"


def _search(dice: random.Random) -> dict[str, Any]:
    search: dict[str, Any] = {}
    if dice.random() < 0.8:
        search["filter_string"] = " AND ".join(_condition(dice) for _ in range(dice.choice([1, 1, 2, 3])))
    if dice.random() < 0.4:
        chosen = dice.sample(DATASETS, dice.choice([1, 2]))
        search["datasets"] = [
            {"dataset_name": name} | ({"dataset_digest": digest} if dice.random() < 0.5 else {})
            for name, digest in chosen
        ]
    if dice.random() < 0.6:
        search["order_by"] = [_order(dice) for _ in range(dice.choice([1, 2]))]
    if dice.random() < 0.5:
        search["max_results"] = dice.choice([1, 3, 50])
    if dice.random() < 0.2:
        search["experiment_ids"] = ["0"]
    return search


def _order(dice: random.Random) -> dict[str, Any]:
    order: dict[str, Any] = {}
    if dice.random() < 0.7:
        order["field_name"] = f"metrics.{dice.choice(KEYS)}"
        if dice.random() < 0.5:
            order["dataset_name"], digest = dice.choice(DATASETS)
            if dice.random() < 0.5:
                order["dataset_digest"] = digest
    else:
        order["field_name"] = dice.choice(["name", "creation_time", "model_id", "last_updated_timestamp", "model_type"])
    if dice.random() < 0.7:
        order["ascending"] = dice.random() < 0.5
    return order


def test_random_searches_find_the_same(both: Both, rounds: Callable[[int, int], int]) -> None:
    dice = random.Random(11)
    found = 0
    for _ in range(rounds(250, 5_000)):
        search = _search(dice)
        if "last_updated" in str(search):
            continue  # a deletion and a creation in one millisecond here need not be in one there
        theirs = both.theirs(**search)
        assert both.mine(**search) == theirs, search
        found += theirs != "error" and bool(theirs[0])  # type: ignore[index]
    assert found > 50


def test_all_pages_together_are_the_whole_answer(both: Both) -> None:
    for search in ({}, {"order_by": [{"field_name": "metrics.acc", "ascending": False}]}):
        pages: dict[str, list[list[str]]] = {"ours": [], "mlflow": []}
        for name, call in (("mlflow", both.mlflow.search_logged_models), ("ours", both.ours.search_logged_models)):
            ids = list(both.experiments.values() if name == "ours" else both.experiments)
            token = None
            while True:
                page = call(ids, max_results=7, page_token=token, **search)
                pages[name].append([model.model_id for model in page])
                token = page.token
                if token is None:
                    break
        assert pages["ours"] == pages["mlflow"]


@pytest.mark.parametrize(
    "search",
    [
        {"filter_string": "metrics.acc LIKE 'a'"},
        {"filter_string": "metrics.acc > 'a'"},
        {"filter_string": "params.acc > 1"},
        {"filter_string": "attributes.creation_time > 0"},
        {"filter_string": "tags.acc BETWEEN 'a' AND 'b'"},
        {"filter_string": "creation_time LIKE 'a'"},
        {"filter_string": "colour = 'red'"},
        {"filter_string": "datasets.name = 'iris'"},
        {"filter_string": "name = 'net' AND"},
        {"filter_string": "name ="},
        {"filter_string": "name = 'net';"},
        {"order_by": [{"field_name": "params.acc"}]},
        {"order_by": [{"field_name": "colour"}]},
        {"datasets": [{"dataset_digest": "1"}]},
        {"datasets": [{"dataset_name": ""}]},
        {"datasets": ["iris"]},
        {"order_by": ["metrics.acc DESC"]},
        {"order_by": "metrics.acc"},
        {"page_token": "nonsense"},
    ],
    ids=repr,
)
def test_what_mlflow_refuses_is_refused(both: Both, search: dict[str, Any]) -> None:
    if repr(search) not in DIFFERENCES:
        assert both.theirs(**search) == "error"
        assert both.mine(**search) == "error"
    else:
        theirs, ours, _ = DIFFERENCES[repr(search)]
        assert ((both.theirs(**search) == "error"), (both.mine(**search) == "error")) == (theirs, ours)


DIFFERENCES: dict[str, tuple[bool, bool, str]] = {
    "{'filter_string': 'attributes.creation_time > 0'}": (True, False, "an alias is one also behind its entity"),
    "{'filter_string': 'params.acc > 1'}": (True, False, "params are compared as numbers here"),
    "{'filter_string': \"tags.acc BETWEEN 'a' AND 'b'\"}": (True, False, "BETWEEN is known here"),
    "{'filter_string': \"name = 'net' AND\"}": (False, True, "a dangling AND is a slip"),
}
"""Whether it is an error there, and here, and why."""


def test_a_token_counts_for_its_query_only(both: Both) -> None:
    page = both.ours.search_logged_models(["0"], max_results=1, filter_string="name != 'x'")
    assert page.token is not None
    for change, says in (
        ({"experiment_ids": ["0", "1"]}, "Experiment IDs in the page token"),
        ({"filter_string": "name != 'y'"}, "Filter string in the page token"),
        ({"order_by": [{"field_name": "name"}]}, "Order by in the page token"),
    ):
        search: dict[str, Any] = {"experiment_ids": ["0"], "filter_string": "name != 'x'", "page_token": page.token}
        with pytest.raises(LocaltrackError, match=says):
            both.ours.search_logged_models(**search | change)
        theirs = both.mlflow.search_logged_models(["0"], max_results=1, filter_string="name != 'x'")
        with pytest.raises(MlflowException, match=says):
            both.mlflow.search_logged_models(**search | change | {"page_token": theirs.token})


def test_a_status_can_be_searched_for(both: Both) -> None:
    """In MLflow's store it is a number, which no text equals."""
    search = {"filter_string": "status = 'PENDING'", "max_results": 50}
    assert both.theirs(**search) == ([], True)
    assert both.mine(**search) == both.mine(max_results=50)


@pytest.mark.parametrize(
    "filter_string",
    [
        "metrics.acc > 0 OR params.acc = 'a'",
        "NOT metrics.acc > 0",
        "metrics.acc IS NULL",
        "(metrics.acc IS NOT NULL AND tags.loss IS NULL)",
        "creation_time > now() - 1d",
    ],
)
def test_what_only_localtrack_knows_is_what_it_says(both: Both, filter_string: str) -> None:
    models = both.ours.search_logged_models(max_results=1_000)
    found = {model.model_id for model in both.ours.search_logged_models(None, filter_string, max_results=1_000)}

    def holds(model: Any) -> bool:
        acc = [metric.value for metric in model.metrics if metric.key == "acc"]
        is_above = any(value > 0 for value in acc)
        return {
            "metrics.acc > 0 OR params.acc = 'a'": is_above or model.params.get("acc") == "a",
            "NOT metrics.acc > 0": not is_above,
            "metrics.acc IS NULL": not acc,
            "(metrics.acc IS NOT NULL AND tags.loss IS NULL)": bool(acc) and "loss" not in model.tags,
            "creation_time > now() - 1d": True,
        }[filter_string]

    assert found == {model.model_id for model in models if holds(model)}
    assert len(found) > 0
