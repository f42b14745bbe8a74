"""Cases for `test_mlflow_calls`: logged models, and what runs read and make."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelParameter,
    LoggedModelStatus,
    LoggedModelTag,
    Metric,
    RunStatus,
)
from mlflow.exceptions import MlflowException
from tests.conformance.mlflow_pair import Case, World

MODEL_FILTERS = [
    None, "", "name = 'model 1'", "name != 'model 1'", "name LIKE 'model%'", "name ILIKE 'MODEL%'",
    "name IN ('model 1')", "name IN ('model 1', 'model 2')",
    "name NOT IN ('model 1', 'model 2')", "model_type = 'tree'",
    "model_type != 'tree'",
    "attributes.model_type = 'tree'", "creation_timestamp > 0", "creation_time <= 0", "last_updated_timestamp > 0",
    "params.lr = '0.1'", "params.lr != '0.1'", "params.lr LIKE '0%'", "params.none = 'x'", "params.`k e y` = 'x'",
    "tags.team = 'red'", "tags.team != 'red'", "tags.team ilike 'R%'", "tags.none != 'x'", "metrics.loss < 0.5",
    "metrics.loss >= 0.5", "metrics.loss = 0.25", "metrics.loss != 0.25", "metrics.none > 0",
    "metrics.loss < 0.5 AND params.lr = '0.1'", "metrics.loss < 0.9 and tags.team = 'red' AND name LIKE 'm%'",
    "metrics.loss > 0.1 AND metrics.loss < 0.2", "name = ", "nothing.x = 'y'", "metrics.loss LIKE 'x'", "name > 'a'",
    "metrics.loss = 'x'", "name = 'a' OR name = 'b'", "params.lr", "status_message = 'x'",
]  # fmt: skip
MODEL_ORDERS: list[list[dict[str, Any]]] = [
    [],
    [{"field_name": "name"}],
    [{"field_name": "name", "ascending": False}],
    [{"field_name": "creation_timestamp", "ascending": True}],
    [{"field_name": "model_type"}, {"field_name": "name", "ascending": False}],
    [{"field_name": "metrics.loss"}],
    [{"field_name": "metrics.loss", "ascending": False}],
    [{"field_name": "metrics.loss", "dataset_name": "iris"}],
    [{"field_name": "metrics.loss", "dataset_name": "iris", "dataset_digest": "d1"}],
    [{"field_name": "metrics.none"}],
    [{"field_name": "params.lr"}],
    [{"field_name": "nothing"}],
]
DATASETS: list[list[dict[str, str]]] = [
    [{"dataset_name": "iris"}],
    [{"dataset_name": "iris", "dataset_digest": "d1"}],
    [{"dataset_name": "iris"}, {"dataset_name": "wine"}],
    [{"dataset_name": "nobody"}],
    [{"dataset_digest": "d1"}],
]


def model_cases() -> Iterator[tuple[str, Case]]:
    for n, text in enumerate(MODEL_FILTERS):
        yield f"models-filter-{n}", partial(search, filter_string=text)
    for n, order in enumerate(MODEL_ORDERS):
        yield f"models-order-{n}", partial(search, order_by=order)
    for n, datasets in enumerate(DATASETS):
        yield f"models-datasets-{n}", partial(search, datasets=datasets)
        yield f"models-datasets-{n}-loss", partial(search, datasets=datasets, filter_string="metrics.loss < 0.5")
    for status in LoggedModelStatus:
        yield f"models-finalize-{status.value}", partial(finalize, status=status)
    for n, name in enumerate(["m", "", "a/b", "a:b", "a.b", "a%b", 'a"b', "a'b", "a b", "ä", "x" * 300]):
        yield f"models-name-{n}", partial(model_name, name=name)
    yield from ((case.__name__, case) for case in SINGLE)


def populate(world: World) -> str:
    experiment_id = world.experiment()
    run_id = world.run(experiment_id)
    for n in range(4):
        model_id = world.model(
            experiment_id,
            name=f"model {n}",
            model_type="tree" if n % 2 else None,
            source_run_id=run_id,
            params={"lr": f"0.{n}"} | ({"k e y": "x"} if n == 1 else {}),
            tags={"team": "red" if n < 2 else "Red"} if n != 3 else {},
        )
        if n != 3:
            points = [Metric("loss", n / 4, 10, 1, model_id, "iris", "d1"), Metric("loss", 0.9, 5, 2, model_id)]
            points.append(Metric("acc", 1.0, 10, 1, model_id))
            if n == 2:
                points.append(Metric("loss", 0.05, 20, 3, model_id, "wine", "d2"))
            world.store.log_batch(run_id, points, [], [])
    return experiment_id


_populated: dict[int, str] = {}
"""The experiment with the models that are searched, made once in each store."""


def search(world: World, **arguments: Any) -> None:
    known = _populated.get(id(world.store))
    experiment_id = _populated[id(world.store)] = known or populate(world)

    def names(**more: Any) -> list[Any]:
        page = world.store.search_logged_models([experiment_id], **arguments, **more)
        found = [model.name for model in page]
        # Without an order those of one millisecond come by id, which is random in MLflow.
        return found if arguments.get("order_by") else sorted(found)

    def attempt() -> list[Any]:
        # The texts of refused filters differ: localtrack's shows the place.
        try:
            return names()
        except MlflowException as error:
            return ["refused", error.error_code]

    world.note(attempt)
    if world.notes != [["refused", "INVALID_PARAMETER_VALUE"]]:
        world.note(lambda: len(names(max_results=2)))


def model_pages(world: World) -> None:
    experiment_id = populate(world)
    order = [{"field_name": "name"}]
    token, found = None, []
    for _ in range(5):
        page = world.store.search_logged_models([experiment_id], None, None, 3, order, token)
        found.append([model.name for model in page])
        token = page.token
        if token is None:
            break
    world.notes.append(found)
    token = world.store.search_logged_models([experiment_id], None, None, 3, order).token
    other = [{"field_name": "name", "ascending": False}]
    world.note(lambda: world.store.search_logged_models([experiment_id], None, None, 3, other, token))
    world.note(lambda: world.store.search_logged_models(["nobody"]))
    world.note(lambda: world.store.search_logged_models([]))


def finalize(world: World, *, status: LoggedModelStatus) -> None:
    model_id = world.model()
    world.note(lambda: world.store.get_logged_model(model_id))
    world.note(lambda: world.store.finalize_logged_model(model_id, status))
    world.note(lambda: world.store.get_logged_model(model_id))


def model_name(world: World, *, name: str) -> None:
    experiment_id = world.experiment()
    world.note(lambda: world.store.create_logged_model(experiment_id, name).name)


def model_tags_and_params(world: World) -> None:
    store = world.store
    model_id = world.model(tags={"a": "1"}, params={"p": "1"})
    world.note(lambda: store.set_logged_model_tags(model_id, [LoggedModelTag("a", "2"), LoggedModelTag("b", "3")]))
    world.note(lambda: store.set_logged_model_tags(model_id, [LoggedModelTag("c", "1"), LoggedModelTag("c", "2")]))
    world.note(lambda: store.log_logged_model_params(model_id, [LoggedModelParameter("q", "x" * 7000)]))
    world.note(lambda: store.get_logged_model(model_id))
    world.note(lambda: store.delete_logged_model_tag(model_id, "a"))
    world.note(lambda: store.delete_logged_model_tag(model_id, "a"))
    world.note(lambda: store.get_logged_model(model_id))


def model_deletion(world: World) -> None:
    store = world.store
    model_id = world.model()
    world.note(lambda: store.delete_logged_model(model_id))
    world.note(lambda: store.get_logged_model(model_id))
    world.note(lambda: store.get_logged_model(model_id, allow_deleted=True))
    world.note(lambda: store.set_logged_model_tags(model_id, [LoggedModelTag("a", "2")]))
    world.note(lambda: store.finalize_logged_model(model_id, LoggedModelStatus.READY))
    world.note(lambda: store.get_logged_model(model_id, allow_deleted=True))
    world.note(lambda: store.delete_logged_model(model_id))


def models_that_are_not_there(world: World) -> None:
    store, nobody = world.store, "m-" + "f" * 32
    run_id = world.run()
    world.note(lambda: store.get_logged_model(nobody))
    world.note(lambda: store.finalize_logged_model(nobody, LoggedModelStatus.READY))
    world.note(lambda: store.delete_logged_model(nobody))
    world.note(lambda: store.set_logged_model_tags(nobody, [LoggedModelTag("a", "2")]))
    world.note(lambda: store.delete_logged_model_tag(nobody, "a"))
    world.note(lambda: store.log_logged_model_params(nobody, [LoggedModelParameter("a", "2")]))
    world.note(lambda: store.create_logged_model("99999999", "m"))
    world.note_run(run_id)


def model_of_a_deleted_experiment(world: World) -> None:
    experiment_id = world.experiment()
    model_id = world.model(experiment_id)
    world.store.delete_experiment(experiment_id)
    world.note(lambda: world.store.get_logged_model(model_id))
    world.note(lambda: world.store.create_logged_model(experiment_id, "m"))
    world.note(lambda: list(world.store.search_logged_models([experiment_id])))


def metrics_of_models(world: World) -> None:
    run_id = world.run()
    first, second = world.model(), world.model()
    store = world.store
    point = Metric("m", 1.0, 10, 1, first)
    world.note(lambda: store.log_metric(run_id, point))
    world.note(lambda: store.log_metric(run_id, point))
    world.note(lambda: store.log_metric(run_id, Metric("m", 2.0, 11, 2, second, "iris", "d1")))
    world.note(lambda: store.log_batch(run_id, [Metric("n", 3.0, 12, 3, first), Metric("n", 4.0, 13, 4)], [], []))
    for model_id in (first, second):
        world.note(lambda model_id=model_id: store.get_logged_model(model_id))
    world.note_run(run_id)
    world.note_history(run_id, "m")
    world.note_history(run_id, "n")


def _dataset(name: str, digest: str, *, context: str | None = None, **more: Any) -> DatasetInput:
    tags = [InputTag("mlflow.data.context", context)] if context else []
    return DatasetInput(Dataset(name, digest, "local", f"/{name}", **more), tags)


def inputs(world: World) -> None:
    run_id = world.run()
    store = world.store
    first = _dataset("iris", "d1", context="train", schema="s", profile="p")
    world.note(lambda: store.log_inputs(run_id, [first, _dataset("wine", "d2")]))
    world.note_run(run_id)
    world.note(lambda: store.log_inputs(run_id, [_dataset("iris", "d1", context="eval"), _dataset("iris", "d3")]))
    world.note(lambda: store.log_inputs(run_id, [_dataset("new", "d4"), _dataset("new", "d4", context="second")]))
    world.note_run(run_id)
    for text in (
        "dataset.name = 'iris'",
        "datasets.digest = 'd3' AND dataset.context = 'train'",
        "dataset.name LIKE 'n%'",
    ):
        experiment_id = store.get_run(run_id).info.experiment_id
        world.note(lambda t=text, e=experiment_id: len(store.search_runs([e], t, 1)))
    summaries = store._search_datasets([store.get_run(run_id).info.experiment_id])
    world.notes.append(sorted([s.name, s.digest, s.context or ""] for s in summaries))


def wrong_inputs(world: World) -> None:
    run_id = world.run()
    store = world.store
    for datasets in (
        "iris",
        [_dataset("x" * 501, "d")],
        [_dataset("x", "d" * 37)],
        [_dataset("x", "d", schema="s" * 1_048_576)],
    ):
        world.note(lambda d=datasets: store.log_inputs(run_id, d))
    world.note(lambda: store.log_inputs(run_id, None, None))
    world.note(lambda: store.log_inputs(run_id, []))
    world.note(lambda: store.log_inputs("f" * 32, [_dataset("x", "d")]))
    world.note(lambda: store.log_outputs("f" * 32, []))
    store.delete_run(run_id)
    world.note(lambda: store.log_inputs(run_id, [_dataset("x", "d")]))
    world.note(lambda: store.log_outputs(run_id, [LoggedModelOutput("m-" + "1" * 32, 0)]))
    world.note_run(run_id)


def model_links(world: World) -> None:
    run_id = world.run()
    first, second = world.model(), world.model()
    store = world.store
    world.note(lambda: store.log_inputs(run_id, models=[LoggedModelInput(first)]))
    world.note(lambda: store.log_inputs(run_id, models=[LoggedModelInput(first), LoggedModelInput(second)]))
    world.note(lambda: store.log_outputs(run_id, [LoggedModelOutput(first, 3), LoggedModelOutput(second, 0)]))
    world.note_run(run_id)
    store.update_run_info(run_id, RunStatus.FINISHED, 5000, None)
    world.note_run(run_id)


SINGLE = [
    model_pages, model_tags_and_params, model_deletion, models_that_are_not_there, model_of_a_deleted_experiment,
    metrics_of_models, inputs, wrong_inputs, model_links,
]  # fmt: skip
