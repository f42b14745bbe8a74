"""Golden stores about the life of runs and experiments: what `edits/` settles."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.independent.expected import Json, a_run, a_store, an_experiment
from tests.independent.hand import (
    DAY,
    EDITOR,
    NOON_MS,
    A,
    B,
    C,
    HandLog,
    HandStore,
    chunk,
    created,
    edit,
    edit_runs,
    experiment_id,
    run_id,
    run_log,
)

T = NOON_MS


def _run(store: HandStore, number: int, experiment: tuple[str, str] = ("0", "Default"), writer: str = A) -> HandLog:
    """Add a run with one tag, and return its log."""
    log = run_log(run_id(number), writer, experiment=experiment)
    log.add(["run", T, {"start_ms": T, "status": "RUNNING", "user": "ada"}], ["tag", T + 1, {"n": str(number)}])
    store.log(f"runs/{DAY}/{run_id(number)}", log)
    return log


def deleted_and_restored() -> tuple[HandStore, Json]:
    """The highest of what was said of the run and of its experiment counts, whichever writer said it."""
    store = HandStore()
    names = ("kept", "gone", "back")
    kept, gone, back = (store.experiment(name) for name in names)
    for first, id_, name in ((1, kept, "kept"), (11, gone, "gone"), (21, back, "back")):
        for number in range(first, first + 4):
            _run(store, number, (id_, name))
    store.edits(
        created(T - 3, "kept"),
        created(T - 2, "gone"),
        created(T - 1, "back"),
        edit_runs(T + 10, "deleted", run_id(1), run_id(2), run_id(3), run_id(21)),
        edit_runs(T + 20, "restored", run_id(2)),
        edit(T + 30, gone, "deleted"),
        edit(T + 31, back, "deleted"),
        edit_runs(T + 40, "restored", run_id(12)),
        edit(T + 50, back, "restored"),
        edit_runs(T + 60, "deleted", run_id(22)),
        writer=EDITOR,
    )
    store.edits(
        edit_runs(T + 15, "restored", run_id(3)),
        edit_runs(T + 20, "deleted", run_id(4)),
        edit_runs(T + 20, "restored", run_id(4)),
        edit_runs(T + 45, "deleted", run_id(23)),
        writer=B,
    )
    # This one ties with EDITOR's T + 20, and comes later in the order: its name is greater.
    store.edits(edit_runs(T + 20, "deleted", run_id(2)), writer="ff" * 10)
    deleted = {1, 2, 11, 13, 14, 22}
    runs = {
        run_id(number): a_run(
            experiment_id=id_,
            tags={"n": str(number)},
            lifecycle="deleted" if number in deleted else "active",
        )
        for first, id_ in ((1, kept), (11, gone), (21, back))
        for number in range(first, first + 4)
    }
    experiments = {
        kept: an_experiment("kept", T - 3),
        gone: an_experiment("gone", T - 2, T + 30, lifecycle="deleted"),
        back: an_experiment("back", T - 1, T + 50),
    }
    return store, a_store(runs, experiments)


def renamed() -> tuple[HandStore, Json]:
    """An experiment was renamed, its old name was taken by a new one, and runs know only the names of old."""
    store = HandStore()
    first = store.experiment("/Shared/churn")
    second = store.experiment("/Shared/churn", generation=1)
    _run(store, 1, (first, "/Shared/churn"))
    log = run_log(run_id(2), experiment=(second, "/Shared/churn"), generation=1)
    log.add(["run", T, {"start_ms": T, "status": "RUNNING", "user": "ada"}])
    store.log(f"runs/{DAY}/{run_id(2)}", log)
    store.edits(
        created(T, "/Shared/churn"),
        edit(T + 1, first, "tagged", tags={"team": "growth", "temporary": "yes"}),
        edit(T + 2, first, "renamed", name="/Shared/churn \u2013 2025"),
        created(T + 3, "/Shared/churn", generation=1),
        edit(T + 9, first, "tagged", tags={"temporary": None, "note": "old"}),
    )
    # Another host saw less: its rename is lower, its creation higher.
    store.edits(
        edit(T + 1, first, "renamed", name="never seen"), created(T + 5, "/Shared/churn", time_ms=T + 500), writer=B
    )
    experiments = {
        first: an_experiment("/Shared/churn \u2013 2025", T, T + 500, tags={"note": "old", "team": "growth"}),
        second: an_experiment("/Shared/churn", T + 3),
    }
    runs = {run_id(1): a_run(experiment_id=first, tags={"n": "1"}), run_id(2): a_run(experiment_id=second)}
    return store, a_store(runs, experiments)


def same_name() -> tuple[HandStore, Json]:
    """Two experiments came to one name on two hosts: the one created first keeps it."""
    store = HandStore()
    old = store.experiment("alpha")
    new = store.experiment("beta")
    store.edits(created(T, "alpha"), edit(T + 50, old, "renamed", name="beta"))
    store.edits(created(T + 10, "beta"), writer=B)
    _run(store, 1, (old, "alpha"))
    _run(store, 2, (new, "beta"), writer=B)
    experiments = {
        old: an_experiment("beta", T, T + 50),
        new: an_experiment(f"beta~{new[:6]}", T + 10),
    }
    runs = {run_id(1): a_run(experiment_id=old, tags={"n": "1"}), run_id(2): a_run(experiment_id=new, tags={"n": "2"})}
    return store, a_store(runs, experiments, [(f"experiments/{new}.json", "same_name")])


def same_name_as_default() -> tuple[HandStore, Json]:
    """Default is as old as its store: it keeps its name. Where the short suffix is taken the whole id tells apart."""
    store = HandStore()
    lab = store.experiment("lab")
    posing = store.experiment(f"Default~{lab[:6]}")
    store.edits(
        created(T + 10, f"Default~{lab[:6]}"), created(T + 20, "lab"), edit(T + 30, lab, "renamed", name="Default")
    )
    experiments = {
        lab: an_experiment(f"Default~{lab}", T + 20, T + 30),
        posing: an_experiment(f"Default~{lab[:6]}", T + 10),
    }
    return store, a_store({}, experiments, [(f"experiments/{lab}.json", "same_name")])


def known_from_edits_alone() -> tuple[HandStore, Json]:
    """The files of experiments were not copied, of one the edit that made it neither: it is shown under its id."""
    store = HandStore()
    made, changed = experiment_id("made"), experiment_id("changed")
    store.edits(
        created(T + 1, "made"),
        edit(T + 2, changed, "tagged", tags={"a": "1"}),
        edit(T + 3, changed, "deleted"),
    )
    experiments = {
        made: an_experiment("made", T + 1),
        changed: an_experiment(changed, None, T + 3, tags={"a": "1"}, lifecycle="deleted"),
    }
    return store, a_store({}, experiments)


def removed_for_good() -> tuple[HandStore, Json]:
    """What tombstones hide: exactly what they cover."""
    store = HandStore()
    removed, copied_back, grown, grown_and_restored, other_writer, more_points = range(1, 7)
    sizes = {n: len(_run(store, n).data) for n in range(2, 7)}
    for number in (other_writer,):
        log = run_log(run_id(number), B, stamp=T + 2).add(["tag", T + 2, {"from": "b2"}])
        store.log(f"runs/{DAY}/{run_id(number)}", log)
    store.put(f"runs/{DAY}/{run_id(copied_back)}/{C}.jsonl", b'["Log",{"torn":')  # holds nothing: hidden as well
    points = chunk(run_id(more_points), 0, 0).add(["k", 0, ["loss"]], [0, 1, 1, 0.5], [0, 2, 2, 0.25])
    store.chunk(f"runs/{DAY}/{run_id(more_points)}", 0, points)

    def tombstone(stamp: int, number: int, positions: dict[str, list[int]]) -> list[object]:
        return ["tombstone", stamp, {"run": run_id(number), "positions": positions, "time_ms": stamp, "user": "ada"}]

    store.edits(
        edit_runs(T + 10, "deleted", *(run_id(n) for n in range(1, 7))),
        tombstone(T + 20, removed, {A: [1_000, 0]}),
        tombstone(T + 21, copied_back, {A: [sizes[copied_back] - 40, 0]}),
        tombstone(T + 22, grown, {A: [sizes[grown] - 1, 0]}),
        tombstone(T + 23, grown_and_restored, {A: [sizes[grown_and_restored] - 1, 0]}),
        tombstone(T + 24, other_writer, {A: [sizes[other_writer], 0], C: [1, 1]}),
        tombstone(T + 25, more_points, {A: [sizes[more_points], 1]}),
        edit_runs(T + 30, "restored", run_id(grown_and_restored)),
    )
    # A second tombstone, of another host, covers the rest; and a restored record that is lower than a tombstone.
    store.edits(
        edit_runs(T + 15, "restored", run_id(grown)),
        tombstone(T + 19, copied_back, {A: [sizes[copied_back], 0]}),
        writer=B,
    )
    runs = {
        run_id(grown): a_run(tags={"n": "3"}, lifecycle="deleted"),
        run_id(grown_and_restored): a_run(tags={"n": "4"}),
        run_id(other_writer): a_run(tags={"n": "5", "from": "b2"}, lifecycle="deleted"),
        run_id(more_points): a_run(
            tags={"n": "6"},
            lifecycle="deleted",
            points=[["loss", T + 1, 1, 0.5], ["loss", T + 2, 2, 0.25]],
            last={"loss": [0.25, 2, T + 2]},
        ),
    }
    return store, a_store(runs)


def imported() -> tuple[HandStore, Json]:
    """What an import brought counts like everything else, and what was changed here afterwards counts more."""
    store = HandStore()
    old, run = store.experiment("old"), "0123456789abcdef0123456789abcdef"
    folder = f"runs/x{hashlib.sha256(run.encode()).hexdigest()[:2]}/{run}"
    mark = {"imported": "mlflow"}
    store.edits(
        _marked(created(T, "old", time_ms=T - 9_000)),
        edit(T + 1, old, "deleted", **mark),
        edit(T + 2, old, "tagged", tags={"team": "a"}, **mark),
        _marked(edit_runs(T + 3, "deleted", run)),
        edit(T + 40, old, "restored"),
    )
    first = run_log(run, experiment=(old, "old"))
    first.add(
        ["run", T + 4, {"start_ms": T - 8_000, "status": "RUNNING", "user": "bob"}],
        ["imported", T + 5, {"from": "mlflow"}],
        ["tag", T + 6, {"mlflow.runName": "there", "note": "there"}],
        ["k", 0, ["loss"]],
        [0, -8_000, 1, 0.5],
        ["info", T + 7, {"end_ms": T - 7_000, "start_ms": T - 8_000, "status": "FINISHED"}],
    ).close(T + 8, points=1, chunks=0, points_all=1)
    store.log(folder, first)
    here = run_log(run, B, experiment=(old, "old")).add(["tag", T + 50, {"note": "here"}])
    store.log(folder, here)
    the_run = a_run(
        experiment_id=old,
        name="there",
        user="bob",
        status="FINISHED",
        start_ms=T - 8_000,
        end_ms=T - 7_000,
        tags={"mlflow.runName": "there", "note": "here"},
        points=[["loss", T - 8_000, 1, 0.5]],
        last={"loss": [0.5, 1, T - 8_000]},
    )
    return store, a_store({run: the_run}, {old: an_experiment("old", T - 9_000, T + 40, tags={"team": "a"})})


def _marked(record: list[Any]) -> list[Any]:
    return [*record[:-1], record[-1] | {"imported": "mlflow"}]
