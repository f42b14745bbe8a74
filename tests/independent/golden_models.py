"""Golden stores about logged models, and about what runs read and make."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.independent.expected import Json, a_model, a_run, a_store, an_experiment
from tests.independent.hand import DAY, NOON_MS, A, B, C, HandLog, HandStore, model_id, model_log, run_id, run_log

T = NOON_MS
IRIS: Json = {
    "name": "iris",
    "digest": "9a1c4ef0",
    "source_type": "local",
    "source": '{"uri": "iris.csv"}',
    "schema": None,
    "profile": '{"num_rows": 150}',
    "tags": {"mlflow.data.context": "training"},
}


def begun(log: HandLog, stamp: int = T, **creation: Any) -> HandLog:
    """Add the record of creation of a model."""
    fields = {"name": "net", "source_run": None, "model_type": None, "status": "PENDING", "created_ms": T}
    return log.add(["model", stamp, fields | creation])


def metric(stamp: int, value: Any, *, key: str = "acc", step: int = 0, **more: Any) -> list[Any]:
    fields = {"key": key, "value": value, "step": step, "timestamp_ms": T, "run": None, "dataset": None}
    return ["metric", stamp, fields | more]


def logged_model() -> tuple[HandStore, Json]:
    """A model of one writer, closed, and the run that made it."""
    store = HandStore()
    model, run = model_id(1), run_id(1)
    folder = f"models/{DAY}/{model}"
    report = store.put(f"{folder}/artifacts/model/MLmodel", b"flavors: {}\n")
    described = {"path": "model/MLmodel", "bytes": 12, "sha256": hashlib.sha256(store.files[report]).hexdigest()}
    log = begun(model_log(model), name="forest", source_run=run, model_type="sklearn")
    log.add(
        ["param", T + 1, {"depth": "3", "größe": "\U0001f332"}],
        ["tag", T + 1, {"a": "1", "b": "2"}],
        ["artifact", T + 2, described],
        metric(T + 3, 0.5, run=run, dataset=["iris", "9a1c4ef0"]),
        metric(T + 4, "NaN", run=run),
        ["info", T + 5, {"status": "READY", "updated_ms": T + 5}],
        ["tag", T + 6, {"a": None}],
    )
    log.check().close(T + 7, points=0, chunks=0, points_all=0)
    store.log(folder, log)
    made = run_log(run, B)
    made.add(
        ["run", T, {"start_ms": T, "status": "RUNNING", "user": "ada"}],
        ["dataset", T + 1, IRIS],
        ["output", T + 2, {"model": model, "step": 7}],
    )
    store.log(f"runs/{DAY}/{run}", made)
    expected = a_model(
        name="forest",
        source_run=run,
        model_type="sklearn",
        status="READY",
        updated_ms=T + 5,
        params={"depth": "3", "größe": "\U0001f332"},
        tags={"b": "2"},
        artifacts={"model/MLmodel": 12},
        metrics=[["acc", T, 0, "NaN", run, None], ["acc", T, 0, 0.5, run, ["iris", "9a1c4ef0"]]],
    )
    reads = a_run(datasets=[IRIS], model_outputs=[[model, 7]])
    return store, a_store({run: reads}, models={model: expected})


def model_of_two_writers() -> tuple[HandStore, Json]:
    """The lowest creation and param, the highest tag and status, and each metric once."""
    store = HandStore()
    model = model_id(2)
    folder = f"models/{DAY}/{model}"
    lab, other = store.experiment("lab"), store.experiment("other")
    first = model_log(model, B, base_ms=T + 9, experiment=(lab, "lab"))
    begun(first, T, name="first").add(
        ["param", T + 3, {"p": "late"}],
        ["tag", T + 5, {"t": "B"}],
        metric(T + 6, 1),
        metric(T + 6, 0.0),
        ["info", T + 8, {"status": "FAILED", "status_message": "no space", "updated_ms": T + 8}],
    )
    second = model_log(model, A, base_ms=T, experiment=(other, "other"))
    begun(second, T + 1, name="second", status="READY").add(
        ["param", T + 2, {"p": "early"}],
        ["tag", T + 5, {"t": "A"}],
        metric(T + 6, 1.0),
        metric(T + 7, -0.0),
        metric(T + 7, 1.0, step=-(2**63)),
        ["info", T + 9, {"updated_ms": T + 2}],
    )
    store.log(folder, first)
    store.log(folder, second)
    expected = a_model(
        experiment_id=lab,
        name="first",
        status="FAILED",
        status_message="no space",
        updated_ms=T + 2,
        params={"p": "early"},
        tags={"t": "B"},
        metrics=[
            ["acc", T, -(2**63), 1.0, None, None],
            ["acc", T, 0, -0.0, None, None],
            ["acc", T, 0, 0.0, None, None],
            ["acc", T, 0, 1.0, None, None],
        ],
    )
    experiments = {lab: an_experiment("lab", None), other: an_experiment("other", None)}
    return store, a_store(experiments=experiments, models={model: expected}, findings=[(folder, "param")])


def names_of_models() -> tuple[HandStore, Json]:
    """Ids from elsewhere, among them those that MLflow makes; one without a record of its creation."""
    store = HandStore()
    folders = {
        model_id(3): f"{DAY}/{{2}}",
        "m-3f2504e04f8941d39a0c0305e82c3301": "x{0}/{2}",  # random, as MLflow's ids are
        "01a0c4506c007abc8def000000000004": "x{0}/{2}",  # a UUIDv7, but without m-
        "M-1": "x{0}/~{1}",
        "../up": "x{0}/~{1}",
    }
    models = {}
    for number, (model, folder) in enumerate(folders.items()):
        digest = hashlib.sha256(model.encode()).hexdigest()
        log = begun(model_log(model, f"{number:020x}", experiment=("42", "elsewhere")))
        store.log("models/" + folder.format(digest[:2], digest[:40], model), log)
        models[model] = a_model(experiment_id="42")
    bare = model_id(5)
    store.log(f"models/{DAY}/{bare}", model_log(bare, A, base_ms=T + 70).add(["tag", T + 70, {"a": "1"}]))
    models[bare] = a_model(name="", created_ms=T + 70, updated_ms=T + 70, tags={"a": "1"})
    experiments = {"42": an_experiment("elsewhere", None)}
    return store, a_store(experiments=experiments, models=models, findings=[(f"models/{DAY}/{bare}", "no_model")])


def deleted_models() -> tuple[HandStore, Json]:
    """The highest of what was said of a model counts; what is said of its experiment does not."""
    store = HandStore()
    lab = store.experiment("lab")
    gone, back, kept = (model_id(number) for number in (6, 7, 8))
    for model in (gone, back, kept):
        store.log(f"models/{DAY}/{model}", begun(model_log(model, experiment=(lab, "lab"))))

    def edit(stamp: int, op: str, *models: str) -> list[Any]:
        return ["models", stamp, {"op": op, "models": list(models), "time_ms": stamp, "user": "ada"}]

    store.edits(edit(T + 3, "restored", back, gone), edit(T + 5, "deleted", gone), writer=B)
    store.edits(
        edit(T + 2, "deleted", gone, back),
        ["experiment", T + 9, {"id": lab, "op": "deleted", "time_ms": T + 9, "user": "ada"}],
        writer=C,
    )
    models = {
        gone: a_model(experiment_id=lab, lifecycle="deleted", updated_ms=T + 5),
        back: a_model(experiment_id=lab, updated_ms=T + 3),
        kept: a_model(experiment_id=lab),
    }
    experiments = {lab: an_experiment("lab", None, T + 9, lifecycle="deleted")}
    return store, a_store(experiments=experiments, models=models)


def inputs_and_outputs() -> tuple[HandStore, Json]:
    """Of a data set the lowest record counts; models are a set, and need not be there."""
    store = HandStore()
    run = run_id(9)
    again = IRIS | {"tags": {"mlflow.data.context": "eval"}, "source": "elsewhere"}
    other = IRIS | {"digest": "b", "tags": {}, "schema": "{}", "profile": None}
    first = run_log(run, A)
    first.add(
        ["run", T, {"start_ms": T, "status": "RUNNING", "user": "ada"}],
        ["dataset", T + 3, again],
        ["dataset", T + 3, other],
        ["input", T + 4, {"model": "m-2"}],
        ["output", T + 5, {"model": "m-2", "step": 2}],
        ["output", T + 5, {"model": "m-2", "step": 1}],
    )
    second = run_log(run, B, base_ms=T + 1, stamp=T + 1)
    second.add(
        ["dataset", T + 2, IRIS],
        ["input", T + 3, {"model": "m-1"}],
        ["input", T + 4, {"model": "m-2"}],
        ["output", T + 6, {"model": "m-2", "step": 2}],
    )
    store.log(f"runs/{DAY}/{run}", first)
    store.log(f"runs/{DAY}/{run}", second)
    expected = a_run(datasets=[IRIS, other], model_inputs=["m-1", "m-2"], model_outputs=[["m-2", 2], ["m-2", 1]])
    return store, a_store({run: expected})
