"""Searches through the plugin find what MLflow's SQL store finds, in the same order, page by page.

What the filter language means is compared in `test_search_runs`; here it is the way through the plugin.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from mlflow.entities import ExperimentTag, Metric, RunStatus, RunTag, ViewType
from tests.conformance.mlflow_pair import Pair, World

RUN_FILTERS = [
    "", "metrics.loss < 0.5", "metrics.loss >= 0.5", "metrics.loss = 0.25", "metrics.loss != 0.25", "metric.acc > -1",
    "metrics.`val/loss` > 0", 'metrics."val/loss" <= 0.5', "metrics.none > 0", "metrics.nan != 0", "metrics.nan < 1e9",
    "params.opt = 'adam'", "params.opt != 'adam'", "params.opt LIKE 'a%'", "params.opt ILIKE 'A%'", "param.lr = '0.1'",
    "params.none = 'x'", "params.opt IS NULL", "params.opt IS NOT NULL", "tags.team = 'red'", "tags.team != 'red'",
    "tags.`k:v` = 'x'", "tags.team IS NULL", "tag.team LIKE '%e%'", "tags.mlflow.runName = 'run 3'",
    "status = 'FINISHED'",
    "attributes.status != 'RUNNING'", "attr.status LIKE 'F%'", "run_name = 'run 1'", "run_name LIKE 'run%'",
    "run_name ILIKE 'RUN%'", "`run name` = 'run 2'", "user_id = 'ada'", "start_time > 1003", "start_time <= 1003",
    "end_time > 0", "created > 1001", "run_id != 'x'", "metrics.loss < 0.9 AND params.opt = 'adam'",
    "metrics.loss < 0.9 and tags.team = 'red' and status = 'FINISHED'", "attributes.start_time = 1005",
]  # fmt: skip
WRONG_FILTERS = [
    "metrics.loss", "metrics.loss <", "loss < 1 AND", "metrics.loss < 'x'", "params.opt = adam", "nothing.x = 'y'",
    "tags.a LIKE 5", "status > 'A'", "experiment_idd = '1'", "params.opt IN 'x'", "'a' = 'b'", "metrics.loss ~ 1",
    "datasets.x = 'y'", ";", "params.a = 'x' params.b = 'y'", "metrics.loss IS TRUE",
]  # fmt: skip
ORDERS = [
    [], ["metrics.loss"], ["metrics.loss DESC"], ["metrics.loss ASC", "start_time"], ["params.opt", "metrics.acc DESC"],
    ["tags.team DESC"], ["start_time ASC"], ["attributes.start_time DESC"], ["run_name"], ["`Run name` DESC"],
    ["status", "run_name"], ["end_time"], ["metrics.nan"], ["metrics.nan DESC"], ["metrics.`val/loss`"],
    ["user_id DESC"],
    ["created DESC"], ["metrics.loss", "metrics.loss"], ["metrics.loss UP"], ["nothing"], ["metrics."], ["params.none"],
]  # fmt: skip
EXPERIMENT_FILTERS = [
    "{}", "name = 'search-1'", "name != 'search-1' AND {}", "name ILIKE 'SEARCH-%'", "tags.a = '1' AND {}",
    "tags.a != '1' AND {}", "tags.a IS NULL AND {}", "tags.a IS NOT NULL AND {}", "tag.a LIKE '%' AND {}",
    "creation_time > 0 AND {}", "last_update_time < 0 AND {}", "attribute.name LIKE 'search%'", "name >", "name = 5",
    "nothing = 'x'", "tags.a > '1'", "creation_time = 'x'",
]  # fmt: skip
EXPERIMENT_ORDERS = [["name"], ["name DESC"], ["nothing"], ["tags.a"], ["name", "name"], ["name SIDEWAYS"]]
ACCEPTED = {
    "status > 'A'": "localtrack compares texts too; MLflow's SQL store fails",
    "params.a = 'x' params.b = 'y'": "a missing AND is refused; MLflow reads one of the two conditions",
    "['`Run name` DESC']": "the alias is one of orders too; MLflow refuses it there",
    "['metrics.loss', 'metrics.loss']": "the wrong argument of a caller, not an internal error",
    "['metrics.']": "a metric without a name is refused; MLflow finds none",
    "['tags.a']": "experiments can be ordered by tags; MLflow refuses it",
    "['name', 'name']": "a field that orders already is refused, as MLflow does for runs",
}
"""Searches that differ, with the reason; most of the wider filter language is left out here."""
VIEWS = [ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, World]]:
    pair = Pair(tmp_path_factory.mktemp("pair"))
    worlds = World(pair.sql, "search"), World(pair.localtrack, "search")
    for world in worlds:
        populate(world)
    yield worlds
    pair.close()


def populate(world: World) -> None:
    world.ids = [world.experiment(f"-{n}") for n in range(3)]  # type: ignore[attr-defined]
    for n in range(9):
        metrics: list[tuple[str, float, int, int]] = [("loss", n / 8, 10, 1), ("loss", n / 4, 11, 0)]
        if n % 2:
            metrics.append(("acc", 1.0 - n / 10, 10, 1))
        if n % 3:
            metrics.append(("val/loss", n / 9, 10, 1))
        metrics.append(("nan", float("nan") if n % 4 == 0 else n / 2, 10, 1))
        run_id = world.run(
            world.ids[n % 2],  # type: ignore[attr-defined]
            name=f"run {n}" if n != 5 else "walk",
            start=1000 + n,
            user="ada" if n % 2 else "bob",
            params={"lr": str(n / 10)} | ({"opt": ("adam", "Adam", "sgd")[n % 3]} if n != 4 else {}),
            metrics=metrics,
            tags={"team": ("red", "green")[n % 2]} | ({"k:v": "x"} if n > 6 else {}) if n != 2 else {},
        )
        if n % 3 != 1:
            status = RunStatus.FINISHED if n % 2 else RunStatus.FAILED
            world.store.update_run_info(run_id, status, 2000 + n, None)
        if n == 8:
            world.store.delete_run(run_id)
    world.store.set_experiment_tag(world.ids[1], ExperimentTag("a", "1"))  # type: ignore[attr-defined]
    world.store.delete_experiment(world.ids[2])  # type: ignore[attr-defined]


def names_of(page: Any) -> list[Any]:
    names = [getattr(item, "name", None) or item.info.run_name for item in page]
    return [names, page.token is not None]


def both(worlds: tuple[World, World], call: Any) -> tuple[Any, Any]:
    answers = []
    for world in worlds:
        world.notes.clear()
        world.note(lambda world=world: names_of(call(world)))
        (note,) = world.notes
        # The texts of refused filters differ: localtrack's shows the place.
        answers.append(note[:2] if note[0] == "error" else note)
    return answers[0], answers[1]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("text", RUN_FILTERS)
def test_filters_of_runs(worlds: tuple[World, World], text: str, view: int) -> None:
    sql, localtrack = both(worlds, lambda w: w.store.search_runs(w.ids, text, view))
    assert localtrack == sql
    assert sql[0] != "error"


@pytest.mark.parametrize("text", WRONG_FILTERS)
def test_wrong_filters_of_runs(worlds: tuple[World, World], text: str) -> None:
    sql, localtrack = both(worlds, lambda w: w.store.search_runs(w.ids, text, ViewType.ALL))
    if sql[0] == "raised":  # MLflow's parser runs past the end of some texts
        sql = ["error", "INVALID_PARAMETER_VALUE"]
    assert (localtrack == sql) is (text not in ACCEPTED)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_orders_of_runs(worlds: tuple[World, World], order: list[str]) -> None:
    sql, localtrack = both(worlds, lambda w: w.store.search_runs(w.ids, "", ViewType.ALL, order_by=order))
    assert (localtrack == sql) is (str(order) not in ACCEPTED)


@pytest.mark.parametrize("size", [1, 2, 4, 9, 10])
def test_pages_of_runs(worlds: tuple[World, World], size: int) -> None:
    tokens: list[Any] = [None, None]
    for _ in range(11):
        pages = [
            world.store.search_runs(world.ids, "", ViewType.ALL, size, ["run_name"], token)  # type: ignore[attr-defined]
            for world, token in zip(worlds, tokens, strict=True)
        ]
        assert names_of(pages[1]) == names_of(pages[0])
        tokens = [page.token for page in pages]
        if tokens[0] is None:
            return
    raise AssertionError("the pages have no end")


@pytest.mark.parametrize("size", [0, -1, 50_001])
def test_lengths_that_no_page_has(worlds: tuple[World, World], size: int) -> None:
    sql, localtrack = both(worlds, lambda w: w.store.search_runs(w.ids, "", ViewType.ALL, size))
    assert localtrack == sql
    assert sql[:2] == ["error", "INVALID_PARAMETER_VALUE"]


@pytest.mark.parametrize("ids", [[], ["nobody"], ["999999"]], ids=str)
def test_experiments_that_are_not_there(worlds: tuple[World, World], ids: list[str]) -> None:
    sql, localtrack = both(worlds, lambda w: w.store.search_runs(ids, "", ViewType.ALL))
    assert localtrack == sql


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("text", EXPERIMENT_FILTERS)
def test_filters_of_experiments(worlds: tuple[World, World], text: str, view: int) -> None:
    filled = text.replace("{}", "name LIKE 'search%'")
    sql, localtrack = both(worlds, lambda w: w.store.search_experiments(view, 100, filled, ["name"]))
    assert localtrack == sql


@pytest.mark.parametrize("order", EXPERIMENT_ORDERS, ids=str)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_orders_of_experiments(worlds: tuple[World, World], order: list[str], size: int) -> None:
    call = "name LIKE 'search%'"
    sql, localtrack = both(worlds, lambda w: w.store.search_experiments(ViewType.ALL, size, call, order))
    assert (localtrack == sql) is (str(order) not in ACCEPTED)


def test_runs_are_whole(worlds: tuple[World, World]) -> None:
    for world in worlds:
        world.notes.clear()
        world.note(lambda world=world: world.store.search_runs(world.ids, "", ViewType.ALL, order_by=["run_name"]))
    assert worlds[1].notes == worlds[0].notes


def test_what_was_logged_a_moment_ago_is_found(worlds: tuple[World, World]) -> None:
    for world in worlds:
        run_id = world.run(world.ids[0], name="fresh")  # type: ignore[attr-defined]
        for step in range(3):
            world.store.log_metric(run_id, Metric("fresh", float(step), 1, step))
            world.store.set_tag(run_id, RunTag("fresh", str(step)))
            found = world.store.search_runs(
                world.ids,  # type: ignore[attr-defined]
                f"metrics.fresh = {step} AND tags.fresh = '{step}'",
                ViewType.ACTIVE_ONLY,
            )
            assert [run.info.run_id for run in found] == [run_id]
        world.store.delete_run(run_id)
        assert not world.store.search_runs(world.ids, "run_name = 'fresh'", ViewType.ACTIVE_ONLY)  # type: ignore[attr-defined]
