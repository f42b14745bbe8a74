"""Golden stores about logged models and experiments that were removed for good (12.7)."""

from __future__ import annotations

from typing import Any

from tests.independent.expected import Json, a_model, a_run, a_store, an_experiment
from tests.independent.golden_models import begun
from tests.independent.hand import (
    DAY,
    NOON_MS,
    A,
    B,
    C,
    HandStore,
    created,
    edit,
    edit_runs,
    experiment_id,
    model_id,
    model_log,
    run_id,
    run_log,
)

T = NOON_MS


def tombstone(stamp: int, **of: Any) -> list[Any]:
    """Tombstone of a `run` or `model` with `positions`, or of an `experiment`."""
    return ["tombstone", stamp, {"time_ms": stamp, "user": "ada"} | of]


def edit_models(stamp: int, op: str, *models: str) -> list[Any]:
    return ["models", stamp, {"op": op, "models": list(models), "time_ms": stamp, "user": "ada"}]


def removed_models() -> tuple[HandStore, Json]:
    """What tombstones of models hide: exactly what they cover."""
    store = HandStore()
    gone, copied_back, grown, restored, other_writer = (model_id(number) for number in range(1, 6))
    sizes = {}
    for model in (copied_back, grown, restored, other_writer):
        log = begun(model_log(model))
        sizes[model] = len(log.data)
        store.log(f"models/{DAY}/{model}", log)
    store.log(f"models/{DAY}/{other_writer}", model_log(other_writer, B, stamp=T + 2).add(["tag", T + 2, {"b": "2"}]))
    store.edits(
        edit_models(T + 10, "deleted", gone, copied_back, grown, restored, other_writer),
        tombstone(T + 20, model=gone, positions={A: [1_000, 0]}),
        tombstone(T + 21, model=copied_back, positions={A: [sizes[copied_back], 0]}),
        tombstone(T + 22, model=grown, positions={A: [sizes[grown] - 1, 0]}),
        tombstone(T + 23, model=restored, positions={A: [sizes[restored], 0]}),
        tombstone(T + 24, model=other_writer, positions={A: [sizes[other_writer], 0], C: [1, 0]}),
        edit_models(T + 30, "restored", restored),
    )
    store.edits(edit_models(T + 15, "restored", copied_back), writer=B)
    models = {
        grown: a_model(lifecycle="deleted", updated_ms=T + 22),
        restored: a_model(updated_ms=T + 30),
        other_writer: a_model(lifecycle="deleted", updated_ms=T + 24, tags={"b": "2"}),
    }
    return store, a_store(models=models)


def removed_experiments() -> tuple[HandStore, Json]:
    """An experiment with a tombstone is there again, deleted, where a run or a model of it is; its name may be taken.

    `gone` has left nothing but edits, `document` its document too, and a run that a tombstone covers. `stray` has runs,
    and `modelled` a model that a merge brought. `back` was restored since. A later experiment has the name of `stray`.
    """
    store = HandStore()
    gone, document, stray, modelled, back = map(experiment_id, ("gone", "document", "stray", "modelled", "back"))
    for name in ("document", "stray", "back"):
        store.experiment(name)
    later = store.experiment("stray", generation=1)
    covered = run_log(run_id(1), experiment=(document, "document")).add(["tag", T + 1, {"n": "1"}])
    store.log(f"runs/{DAY}/{run_id(1)}", covered)
    first = ["run", T, {"start_ms": T, "status": "RUNNING", "user": "ada"}]
    store.log(f"runs/{DAY}/{run_id(2)}", run_log(run_id(2), experiment=(stray, "stray")).add(first))
    store.log(f"runs/{DAY}/{run_id(3)}", run_log(run_id(3), experiment=(back, "back")).add(first))
    store.log(f"runs/{DAY}/{run_id(4)}", run_log(run_id(4), experiment=(stray, "stray")).add(first))
    store.log(f"models/{DAY}/{model_id(5)}", begun(model_log(model_id(5), experiment=(modelled, "modelled"))))
    store.edits(
        created(T + 1, "gone"),
        created(T + 2, "stray"),
        created(T + 3, "back"),
        edit(T + 4, gone, "tagged", tags={"a": "1"}),
        *(edit(T + 10, id_, "deleted") for id_ in (gone, document, stray, back)),
        tombstone(T + 20, run=run_id(1), positions={A: [len(covered.data), 0]}),
        *(tombstone(T + 21, experiment=id_) for id_ in (gone, document, stray, modelled, back, "0")),
        created(T + 30, "stray", generation=1),
        edit(T + 40, back, "restored"),
        edit_runs(T + 41, "restored", run_id(4)),
    )
    store.edits(edit(T + 15, gone, "restored"), edit(T + 19, document, "restored"), writer=B)
    experiments = {
        stray: an_experiment(f"stray~{stray[:6]}", T + 2, T + 21, lifecycle="deleted"),
        modelled: an_experiment("modelled", None, T + 21, lifecycle="deleted"),
        back: an_experiment("back", T + 3, T + 40),
        later: an_experiment("stray", T + 30),
        "0": an_experiment("Default", T, T + 21, lifecycle="deleted"),
    }
    runs = {
        run_id(2): a_run(experiment_id=stray, lifecycle="deleted"),
        run_id(3): a_run(experiment_id=back),
        run_id(4): a_run(experiment_id=stray),
    }
    models = {model_id(5): a_model(experiment_id=modelled)}
    return store, a_store(runs, experiments, [(f"experiments/{stray}.json", "same_name")], models)
