"""The same calls on logged models, inputs and outputs, here and in MLflow's SQLite store: the same answers and errors.

Accepted differences are the table `DIFFERENCES`, each with its reason; a test holds both sides of each. One more: there
an experiment keeps one description of a data set (source, schema, profile), the first; here each run has its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mlflow import entities
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from localtrack import Store
from localtrack.errors import LocaltrackError


class Theirs:
    """MLflow's store, called with plain values."""

    def __init__(self, folder: Path) -> None:
        self.store = SqlAlchemyStore(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts"))
        self.begin()

    def begin(self) -> None:
        self.run = self.store.create_run("0", "ada", 1, [], "r").info.run_id

    def create(self, name: Any = None, tags: Any = (), params: Any = (), kind: Any = None, at: str = "0") -> str:
        tag_list = [entities.LoggedModelTag(*item) for item in dict(tags).items()]
        param_list = [entities.LoggedModelParameter(*item) for item in dict(params).items()]
        return self.store.create_logged_model(at, name, self.run, tag_list, param_list, kind).model_id

    def get(self, model: str, allow_deleted: bool = False) -> dict[str, Any]:
        return describe(self.store.get_logged_model(model, allow_deleted), self.run)

    def finalize(self, model: str, status: str) -> dict[str, Any]:
        return describe(self.store.finalize_logged_model(model, entities.LoggedModelStatus(status)), self.run)

    def tag(self, model: str, tags: dict[str, str]) -> None:
        self.store.set_logged_model_tags(model, [entities.LoggedModelTag(*item) for item in tags.items()])

    def untag(self, model: str, key: str) -> None:
        self.store.delete_logged_model_tag(model, key)

    def param(self, model: str, params: dict[str, str]) -> None:
        self.store.log_logged_model_params(model, [entities.LoggedModelParameter(*item) for item in params.items()])

    def delete(self, model: str) -> None:
        self.store.delete_logged_model(model)

    def metric(self, model: Any, value: float, step: int, name: Any = None, digest: Any = None) -> None:
        self.store.log_batch(self.run, [entities.Metric("acc", value, step, step, model, name, digest)], [], [])

    def inputs(self, datasets: list[tuple[Any, ...]], models: list[str]) -> None:
        self.store.log_inputs(self.run, as_inputs(datasets), [entities.LoggedModelInput(model) for model in models])

    def outputs(self, models: list[tuple[str, int]]) -> None:
        self.store.log_outputs(self.run, [entities.LoggedModelOutput(*item) for item in models])

    def links(self) -> Any:
        return describe_links(self.store.get_run(self.run))

    def delete_run(self) -> None:
        self.store.delete_run(self.run)

    def delete_experiment(self) -> str:
        made = self.store.create_experiment(f"gone with {self.run}")
        self.store.delete_experiment(made)
        return made


class Ours:
    """The same calls here."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(folder / "store")
        self.begin()

    def begin(self) -> None:
        with self.store.start_run(context=False) as run:
            self.run = run.run_id

    def create(self, name: Any = None, tags: Any = (), params: Any = (), kind: Any = None, at: str = "0") -> str:
        return self.store.create_logged_model(at, name, self.run, dict(tags), dict(params), kind).model_id

    def get(self, model: str, allow_deleted: bool = False) -> dict[str, Any]:
        return describe(self.store.get_logged_model(model, allow_deleted), self.run)

    def finalize(self, model: str, status: str) -> dict[str, Any]:
        return describe(self.store.finalize_logged_model(model, status), self.run)

    def tag(self, model: str, tags: dict[str, str]) -> None:
        self.store.set_logged_model_tags(model, tags)

    def untag(self, model: str, key: str) -> None:
        self.store.delete_logged_model_tag(model, key)

    def param(self, model: str, params: dict[str, str]) -> None:
        self.store.log_logged_model_params(model, params)

    def delete(self, model: str) -> None:
        self.store.delete_logged_model(model)

    def metric(self, model: Any, value: float, step: int, name: Any = None, digest: Any = None) -> None:
        run = self.store.attach_run(self.run)
        try:
            run.log_batch([entities.Metric("acc", value, step, step, model, name, digest)])  # type: ignore[list-item]
        finally:
            run.detach()

    def inputs(self, datasets: list[tuple[Any, ...]], models: list[str]) -> None:
        self.store.log_run_inputs(self.run, as_inputs(datasets), models)

    def outputs(self, models: list[tuple[str, int]]) -> None:
        self.store.log_run_outputs(self.run, [entities.LoggedModelOutput(*item) for item in models])

    def links(self) -> Any:
        return describe_links(self.store.get_run(self.run))

    def delete_run(self) -> None:
        self.store.delete_run(self.run)

    def delete_experiment(self) -> str:
        made = self.store.create_experiment(f"gone with {self.run}")
        self.store.delete_experiment(made)
        return made


Side = Theirs | Ours


def as_inputs(datasets: list[tuple[Any, ...]]) -> list[entities.DatasetInput]:
    """(name, digest, context, source) → MLflow's entities, which both stores take."""
    return [
        entities.DatasetInput(
            entities.Dataset(name, digest, "local", source),
            [entities.InputTag("mlflow.data.context", context)] if context else [],
        )
        for name, digest, context, source in datasets
    ]


def describe(model: Any, run: str) -> dict[str, Any]:
    """What both must say of a model, but for ids and times."""
    metrics = [
        [m.key, m.value, m.timestamp, m.step, m.run_id == run, m.dataset_name, m.dataset_digest]
        for m in model.metrics or []
    ]
    return {
        "name": model.name,
        "type": model.model_type,
        "status": str(model.status),
        "message": model.status_message,
        "of run": model.source_run_id == run,
        "tags": dict(sorted(model.tags.items())),
        "params": dict(sorted(model.params.items())),
        "metrics": sorted(metrics, key=repr),
        "is updated": model.last_updated_timestamp >= model.creation_timestamp,
    }


def describe_links(run: Any) -> Any:
    datasets = [
        [i.dataset.name, i.dataset.digest, i.dataset.source, sorted((t.key, t.value) for t in i.tags)]
        for i in run.inputs.dataset_inputs
    ]
    return (
        sorted(datasets, key=repr),
        sorted(i.model_id for i in run.inputs.model_inputs),
        sorted((o.model_id, o.step) for o in run.outputs.model_outputs),
    )


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Theirs, Ours]:
    folder = tmp_path_factory.mktemp("both")
    return Theirs(folder), Ours(folder)


@pytest.fixture
def both(stores: tuple[Theirs, Ours]) -> tuple[Theirs, Ours]:
    """Both stores, with a new run in each."""
    for side in stores:
        side.begin()
    return stores


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (MlflowException, LocaltrackError) as error:
        return f"error {error.error_code}"


CASES: dict[str, Callable[[Side], Any]] = {
    "created": lambda s: s.get(s.create("net", {"a": "1"}, {"p": "2"}, "torch")),
    "finalized": lambda s: s.finalize(s.create("net"), "READY"),
    "failed": lambda s: s.finalize(s.create("net"), "FAILED"),
    "finalized twice": lambda s: [s.finalize(m, status) for m in [s.create("n")] for status in ("READY", "FAILED")],
    "no such model": lambda s: s.get("m-1"),
    "no model id": lambda s: s.get(""),
    "finalize none": lambda s: s.finalize("m-1", "READY"),
    "tag none": lambda s: s.tag("m-1", {"a": "b"}),
    "untag none": lambda s: s.untag("m-1", "a"),
    "param none": lambda s: s.param("m-1", {"a": "b"}),
    "delete none": lambda s: s.delete("m-1"),
    "no such tag": lambda s: s.untag(s.create("net"), "a"),
    "tagged": lambda s: [
        (s.tag(m, {"a": "2", "b": "3"}), s.untag(m, "b"), s.get(m)) for m in [s.create("n", {"a": "1"})]
    ],
    "params added": lambda s: [(s.param(m, {"b": "3"}), s.get(m)) for m in [s.create("n", (), {"a": "1"})]],
    "deleted": lambda s: [(s.delete(m), s.get(m)) for m in [s.create("n")]],
    "deleted, asked for": lambda s: [(s.delete(m), s.get(m, True)) for m in [s.create("n")]],
    "deleted twice": lambda s: [(s.delete(m), s.delete(m)) for m in [s.create("n")]],
    "deleted, changed": lambda s: [
        (s.delete(m), s.tag(m, {"a": "1"}), s.finalize(m, "READY")) for m in [s.create("n")]
    ],
    "name with a slash": lambda s: s.create("a/b"),
    "name with a colon": lambda s: s.create("a:b"),
    "empty name": lambda s: s.create(""),
    "deleted experiment": lambda s: s.create("n", at=s.delete_experiment()),
    "no such experiment": lambda s: s.create("n", at="12345"),
    "metrics": lambda s: [
        (s.metric(m, 0.5, 1), s.metric(m, 0.75, 2, "iris", "1"), s.metric(m, 0.75, 2, "iris", "1"), s.get(m))
        for m in [s.create("n")]
    ],
    "metric of no model": lambda s: (s.metric(None, 0.5, 1, "iris", "1"), s.links()),
    "inputs": lambda s: (
        s.inputs([("iris", "1", "train", "a"), ("iris", "1", "eval", "b"), ("iris", "2", None, "a")], ["m-1"]),
        s.inputs([("iris", "1", "test", "c"), ("wine", "1", None, "a")], ["m-2"]),
        s.links(),
    ),
    "outputs": lambda s: (s.outputs([("m-1", 3), ("m-2", 0)]), s.links()),
    "long digest": lambda s: (s.inputs([("iris", "1", None, "a"), ("iris", "d" * 37, None, "a")], []), s.links()),
    "long name": lambda s: s.inputs([("n" * 501, "1", None, "a")], []),
    "no digest": lambda s: s.inputs([("iris", None, None, "a")], []),
    "no source": lambda s: s.inputs([("iris", "1", None, None)], []),
    "same param again": lambda s: [(s.param(m, {"a": "1"}), s.get(m)) for m in [s.create("n", (), {"a": "1"})]],
    "param changed": lambda s: [s.param(m, {"a": "2"}) for m in [s.create("n", (), {"a": "1"})]],
    "same model out twice": lambda s: (s.outputs([("m-1", 3)]), s.outputs([("m-1", 4)]), s.links()),
    "two values at one step": lambda s: [(s.metric(m, 0.5, 1), s.metric(m, 0.6, 1), s.get(m)) for m in [s.create("n")]],
    "inputs of a deleted run": lambda s: (s.delete_run(), s.inputs([("iris", "1", None, "a")], [])),
}

DIFFERENCES: dict[str, tuple[Any, Any, str]] = {
    "no model id": (
        "error RESOURCE_DOES_NOT_EXIST",
        "error INVALID_PARAMETER_VALUE",
        "an empty text is no id, and so said; there it is one that is not found",
    ),
    "same param again": ("error BAD_REQUEST", None, "the same value again changes nothing, as for params of runs"),
    "param changed": ("error BAD_REQUEST", "error INVALID_PARAMETER_VALUE", "as for params of runs"),
    "same model out twice": ("error BAD_REQUEST", None, "a run may name a model at several steps"),
    "two values at one step": ("error BAD_REQUEST", None, "there the point of the run is logged already by then"),
    "inputs of a deleted run": (
        "error INVALID_PARAMETER_VALUE",
        "error INVALID_STATE",
        "as for all that is logged to a deleted run",
    ),
}
"""What comes there, what here (None: no error), and why."""


@pytest.mark.parametrize("name", CASES)
def test_answers_and_errors_are_mlflows(both: tuple[Theirs, Ours], name: str) -> None:
    theirs, ours = (outcome(partial(CASES[name], side)) for side in both)
    if name not in DIFFERENCES:
        assert ours == theirs
        return
    wanted, here, _ = DIFFERENCES[name]
    assert theirs == wanted
    assert ours == here if here is not None else not isinstance(ours, str)


def test_texts_that_clients_look_for(both: tuple[Theirs, Ours]) -> None:
    for call in (lambda s: s.get("m-1"), lambda s: s.create("a/b"), lambda s: s.untag(s.create("n"), "a")):
        texts = []
        for side in both:
            with pytest.raises((MlflowException, LocaltrackError)) as caught:
                call(side)
            text = caught.value.message
            texts.append(text.partition(" found for model")[0])  # ids differ
        assert texts[0] == texts[1]


Random = Callable[[Side, str, str, int], Any]
"""A call on a model, with a text and a number."""

RANDOM: list[Random] = [
    lambda s, m, text, number: s.tag(m, {f"k{text}": str(number)}),
    lambda s, m, text, number: s.untag(m, f"k{text}"),
    lambda s, m, text, number: s.param(m, {f"q{number}": text}),
    lambda s, m, text, number: s.finalize(m, ["READY", "FAILED", "PENDING"][number % 3]),
    lambda s, m, text, number: s.delete(m),
    lambda s, m, text, number: s.metric(m, number / 7, number, "iris", text),
    lambda s, m, text, number: s.metric(m, number / 7, number),
    lambda s, m, text, number: s.get(m),
    lambda s, m, text, number: s.get(m, True),
    lambda s, m, text, number: s.inputs([("random", text, "train", str(number))], []),
]


def test_random_calls_leave_the_same(both: tuple[Theirs, Ours], rounds: Callable[[int, int], int]) -> None:
    dice = random.Random(3)
    theirs, ours = both
    models: list[tuple[str, str]] = []
    for number in range(rounds(120, 3_000)):
        if not models or dice.random() < 0.1:
            made = (dice.choice(["n", "o"]), {"t": str(number)}, {"p": str(number)}, dice.choice([None, "x"]))
            models.append((theirs.create(*made), ours.create(*made)))
        call, pair, text = dice.choice(RANDOM), dice.choice(models), str(dice.randrange(3))
        there = outcome(partial(call, theirs, pair[0], text, number))
        here = outcome(partial(call, ours, pair[1], text, number))
        assert here == there
    for model, same in models:
        assert ours.get(same, True) == theirs.get(model, True)
    assert ours.links() == theirs.links()
