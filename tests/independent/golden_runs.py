"""Golden stores about one run and its state records."""

from __future__ import annotations

import hashlib

from tests.independent.expected import Json, a_run, a_store, an_experiment
from tests.independent.hand import DAY, NOON_MS, A, B, C, HandLog, HandStore, created, experiment_id, run_id, run_log

T = NOON_MS


def _began(log: HandLog, stamp: int = T) -> HandLog:
    return log.add(["run", stamp, {"start_ms": T, "status": "RUNNING", "user": "ada"}])


def short_run() -> tuple[HandStore, Json]:
    """A run of one writer, finished and closed: one of everything."""
    store = HandStore()
    churn = store.experiment("/Shared/churn")
    store.edits(created(T - 10, "/Shared/churn"))
    run = run_id(1)
    folder = f"runs/{DAY}/{run}"
    csv = b"a,b\n1,2\n"
    log = _began(run_log(run, experiment=(churn, "/Shared/churn")))
    log.add(
        ["tag", T + 1, {"mlflow.runName": "quiet-otter-417", "mlflow.user": "ada", "gone": "x", "kept": "old"}],
        ["param", T + 2, {"lr": "0.01", "ключ/naïve": 'смысл\n"quoted" \U0001f9a6'}],
        ["k", 0, ["loss"]],
        [0, 15, 1, 0.6931471805599453],
        [0, 15, 1, 0.6931471805599453],
        [0, 10, -3, 7],
        ["k", 3, ["loss", "acc"]],
        [3, 31, 2, 0.5, "NaN"],
        ["p", [[3, 40, 2, 0.25, "Infinity"], [0, -5, 2, "-Infinity"]]],
        ["batch", T + 3, {"params": {"depth": "3"}, "tags": {"gone": None}, "points": [[3, 31, 1, 1e-300, 0]]}],
        ["tag", T + 4, {"kept": "new"}],
        ["artifact", T + 5, {"path": "tables/a.csv", "bytes": len(csv), "sha256": hashlib.sha256(csv).hexdigest()}],
        ["info", T + 99, {"end_ms": T + 99, "status": "FINISHED"}],
    ).check()
    fold = {
        "acc": [3, "Infinity", 2, T + 40, 0.0, "Infinity"],
        "loss": [7, 0.25, 2, T + 40, "-Infinity", 7.0],
    }
    log.close(T + 100, points=10, points_all=10, chunks=0, fold=fold)
    store.log(folder, log)
    store.put(f"{folder}/artifacts/tables/a.csv", csv)
    store.put(f"{folder}/artifacts/put there by hand.txt", b"hello")
    inbox = HandLog("Inbox", C)
    inbox.add(["open", run, churn], ["close", run, A, len(log.data), None], ["bye", 0])
    store.put(f"inbox/{C}.jsonl", inbox.data)
    store.put("index/anything.parquet", b"a cache")
    store.put(f"{folder}/.tmp-a1a1-unfinished", b"half")
    expected = a_run(
        experiment_id=churn,
        name="quiet-otter-417",
        status="FINISHED",
        end_ms=T + 99,
        params={"depth": "3", "lr": "0.01", "ключ/naïve": 'смысл\n"quoted" \U0001f9a6'},
        tags={"kept": "new", "mlflow.runName": "quiet-otter-417", "mlflow.user": "ada"},
        artifacts={"put there by hand.txt": 5, "tables/a.csv": 8},
        points=[
            ["acc", T + 31, 1, 0.0],
            ["acc", T + 31, 2, "NaN"],
            ["acc", T + 40, 2, "Infinity"],
            ["loss", T - 5, 2, "-Infinity"],
            ["loss", T + 10, -3, 7.0],
            ["loss", T + 15, 1, 0.6931471805599453],
            ["loss", T + 31, 1, 1e-300],
            ["loss", T + 31, 2, 0.5],
            ["loss", T + 40, 2, 0.25],
        ],
        last={"acc": ["Infinity", 2, T + 40], "loss": [0.25, 2, T + 40]},
    )
    return store, a_store({run: expected}, {churn: an_experiment("/Shared/churn", T - 10)})


def last_values() -> tuple[HandStore, Json]:
    """The last value is that of the greatest (step, timestamp, value).

    NaN counts as 0 and loses to a number, -0.0 loses to 0.0.
    """
    store = HandStore()
    run = run_id(1)
    log = _began(run_log(run))
    log.add(
        ["k", 0, ["by_step", "by_time", "by_value", "nan_over_minus", "nan_under_plus", "nan_and_zero", "nan"]],
        [0, 9, 1, 1.0, 1.0, 1.0, -1.0, 1.0, "NaN", "NaN"],
        [0, 9, 1, 1.0, 1.0, 2.0, "NaN", "NaN", 0.0, "NaN"],
        [0, 10, 1, 1.0, 3.0, 1.0, -1.0, 1.0, "NaN", "NaN"],
        [0, 10, 1, 1.0, 2.0, 2.0, "NaN", "NaN", 0.0, "NaN"],
        ["k", 2, ["nan_and_minus_zero", "zeros", "zeros_turned"]],
        [2, 5, 1, -0.0, 0.0, -0.0],
        [2, 5, 1, "NaN", -0.0, 0.0],
        ["k", 1, ["by_step"]],
        [1, 3, 2, -5.0],
    )
    store.log(f"runs/{DAY}/{run}", log)
    points = [["by_step", T + 3, 2, -5.0], ["by_step", T + 9, 1, 1.0], ["by_step", T + 10, 1, 1.0]]
    points += [["by_time", T + 9, 1, 1.0], ["by_time", T + 10, 1, 2.0], ["by_time", T + 10, 1, 3.0]]
    points += [["by_value", T + ms, 1, value] for ms in (9, 10) for value in (1.0, 2.0)]
    points += [["nan", T + ms, 1, "NaN"] for ms in (9, 10)]
    points += [["nan_and_minus_zero", T + 5, 1, value] for value in (-0.0, "NaN")]
    points += [["nan_and_zero", T + ms, 1, value] for ms in (9, 10) for value in (0.0, "NaN")]
    points += [["nan_over_minus", T + ms, 1, value] for ms in (9, 10) for value in (-1.0, "NaN")]
    points += [["nan_under_plus", T + ms, 1, value] for ms in (9, 10) for value in (1.0, "NaN")]
    points += [[key, T + 5, 1, value] for key in ("zeros", "zeros_turned") for value in (-0.0, 0.0)]
    last = {
        "by_step": [-5.0, 2, T + 3],
        "by_time": [3.0, 1, T + 10],
        "by_value": [2.0, 1, T + 10],
        "nan": ["NaN", 1, T + 10],
        "nan_and_minus_zero": [-0.0, 1, T + 5],
        "nan_and_zero": [0.0, 1, T + 10],
        "nan_over_minus": ["NaN", 1, T + 10],
        "nan_under_plus": [1.0, 1, T + 10],
        "zeros": [0.0, 1, T + 5],
        "zeros_turned": [0.0, 1, T + 5],
    }
    return store, a_store({run: a_run(points=points, last=last)})


def extremes() -> tuple[HandStore, Json]:
    """The widest integers, the smallest and greatest doubles, both zeros, and keys that are no identifiers."""
    store = HandStore()
    run = run_id(8)
    key = "/".join(["длинный ключ"] * 19)
    log = _began(run_log(run))
    log.add(
        ["k", 4_000_000_000, ["a.b-c d:e", key]],
        [4_000_000_000, 0, -(2**63), 5e-324, -1.7976931348623157e308],
        [4_000_000_000, 0, 2**63 - 1, 2.2250738585072014e-308, 0.1],
        [4_000_000_000, -NOON_MS, 0, 9007199254740993, 1],
        ["k", 1, ["zero"]],
        [1, 5, 0, 0.0],
        [1, 5, 0, -0.0],
        [1, 5, 0, 0],
        ["param", T + 1, {"": "", "long": "x" * 6_000}],
    )
    store.log(f"runs/{DAY}/{run}", log)
    expected = a_run(
        params={"": "", "long": "x" * 6_000},
        points=[
            ["a.b-c d:e", 0, 0, 9007199254740992.0],
            ["a.b-c d:e", T, -(2**63), 5e-324],
            ["a.b-c d:e", T, 2**63 - 1, 2.2250738585072014e-308],
            ["zero", T + 5, 0, -0.0],
            ["zero", T + 5, 0, 0.0],
            [key, 0, 0, 1.0],
            [key, T, -(2**63), -1.7976931348623157e308],
            [key, T, 2**63 - 1, 0.1],
        ],
        last={
            "a.b-c d:e": [2.2250738585072014e-308, 2**63 - 1, T],
            "zero": [0.0, 0, T + 5],
            key: [0.1, 2**63 - 1, T],
        },
    )
    return store, a_store({run: expected})


def rebased() -> tuple[HandStore, Json]:
    """Key sets with a base time and step of their own, and one key in several sets."""
    store = HandStore()
    run = run_id(9)
    log = _began(run_log(run))
    log.add(
        ["k", 0, ["loss"]],
        [0, 7, 1, 0.5],
        ["k", 1, ["loss", "acc"], T + 1_000_000, 50_000],
        [1, 0, 0, 0.25, 0.75],
        [1, -1_000_000, -50_000, 0.125, 1],
        [0, 8, 2, 0.5],
        ["k", 2, ["acc"], 0, -1],
        ["p", [[2, 3, 1, 0.5], [1, 1, 1, 0.0625, "NaN"]]],
    )
    store.log(f"runs/{DAY}/{run}", log)
    expected = a_run(
        points=[
            ["acc", 3, 0, 0.5],
            ["acc", T, 0, 1.0],
            ["acc", T + 1_000_000, 50_000, 0.75],
            ["acc", T + 1_000_001, 50_001, "NaN"],
            ["loss", T, 0, 0.125],
            ["loss", T + 7, 1, 0.5],
            ["loss", T + 8, 2, 0.5],
            ["loss", T + 1_000_000, 50_000, 0.25],
            ["loss", T + 1_000_001, 50_001, 0.0625],
        ],
        last={"acc": ["NaN", 50_001, T + 1_000_001], "loss": [0.0625, 50_001, T + 1_000_001]},
    )
    return store, a_store({run: expected})


def names_of_runs() -> tuple[HandStore, Json]:
    """A run's name is its tag: given twice, given by another writer, deleted (it keeps its name), given as ""."""
    store = HandStore()
    for number, tags in enumerate([["first", "second"], ["first", None], [""]], 1):
        log = _began(run_log(run_id(number)))
        for stamp, name in enumerate(tags, T + 1):
            log.add(["tag", stamp, {"mlflow.runName": name}])
        store.log(f"runs/{DAY}/{run_id(number)}", log)
    other = run_log(run_id(1), B, stamp=T + 9).add(["tag", T + 9, {"mlflow.runName": "third"}])
    store.log(f"runs/{DAY}/{run_id(1)}", other)
    runs = {
        run_id(1): a_run(name="third", tags={"mlflow.runName": "third"}),
        run_id(2): a_run(name="first"),
        run_id(3): a_run(tags={"mlflow.runName": ""}),
    }
    return store, a_store(runs)


def two_writers() -> tuple[HandStore, Json]:
    """Two processes log to one run at once; their clocks differ."""
    store = HandStore()
    run = run_id(2)
    folder = f"runs/{DAY}/{run}"
    first = _began(run_log(run, A))
    first.add(
        ["tag", T + 1, {"stage": "warm-up", "tie": "from a1", "only a1": "1"}],
        ["param", T + 2, {"lr": "0.01"}],
        ["k", 0, ["loss"]],
        [0, 100, 1, 0.5],
        [0, 200, 2, 0.4],
        ["tag", T + 50, {"stage": "late by its stamp"}],
    )
    second = run_log(run, B, base_ms=T + 100, stamp=T + 1)
    second.add(
        ["tag", T + 1, {"tie": "from b2"}],
        ["param", T + 3, {"lr": "0.01", "seed": "7"}],
        ["tag", T + 49, {"stage": "early by its stamp", "only a1": None}],
        ["k", 0, ["grad", "loss"]],
        [0, 0, 1, 3.0, 0.5],
        [0, 150, 3, 2.0, 0.3],
    )
    store.log(folder, first)
    store.log(folder, second)
    expected = a_run(
        params={"lr": "0.01", "seed": "7"},
        tags={"stage": "late by its stamp", "tie": "from b2"},
        points=[
            ["grad", T + 100, 1, 3.0],
            ["grad", T + 250, 3, 2.0],
            ["loss", T + 100, 1, 0.5],
            ["loss", T + 200, 2, 0.4],
            ["loss", T + 250, 3, 0.3],
        ],
        last={"grad": [2.0, 3, T + 250], "loss": [0.3, 3, T + 250]},
    )
    return store, a_store({run: expected})


def resumed() -> tuple[HandStore, Json]:
    """A run that had finished is resumed by another process, whose clock is behind, and fails."""
    store = HandStore()
    run = run_id(3)
    folder = f"runs/{DAY}/{run}"
    first = _began(run_log(run, B))
    first.add(["k", 0, ["loss"]], [0, 1, 0, 1.0], ["info", T + 10, {"end_ms": T + 10, "status": "FINISHED"}])
    fold = {"loss": [1, 1.0, 0, T + 1, 1.0, 1.0]}
    store.log(folder, first.close(T + 11, points=1, points_all=1, chunks=0, fold=fold))
    second = run_log(run, A, base_ms=T - 5_000, stamp=T + 12)
    second.add(
        ["info", T + 12, {"end_ms": None, "status": "RUNNING"}],
        ["k", 0, ["loss"]],
        [0, 6_000, 1, 2.0],
        ["info", T + 13, {"end_ms": T - 3_000, "status": "FAILED"}],
    )
    fold = {"loss": [1, 2.0, 1, T + 1_000, 2.0, 2.0]}
    store.log(folder, second.close(T + 14, points=1, points_all=1, chunks=0, fold=fold))
    expected = a_run(
        status="FAILED",
        end_ms=T - 3_000,
        points=[["loss", T + 1, 0, 1.0], ["loss", T + 1_000, 1, 2.0]],
        last={"loss": [2.0, 1, T + 1_000]},
    )
    return store, a_store({run: expected})


def param_conflict() -> tuple[HandStore, Json]:
    """Two writers that did not see each other set a param to two values: the lowest stays, and it is reported."""
    store = HandStore()
    run = run_id(4)
    folder = f"runs/{DAY}/{run}"
    store.log(folder, _began(run_log(run, A)).add(["param", T + 9, {"lr": "0.9", "same": "1"}]))
    second = run_log(run, B, stamp=T + 1)
    store.log(folder, second.add(["batch", T + 8, {"params": {"lr": "0.8"}}], ["param", T + 10, {"same": "1"}]))
    return store, a_store({run: a_run(params={"lr": "0.8", "same": "1"})}, findings=[(folder, "param")])


def without_run_record() -> tuple[HandStore, Json]:
    """The log of the first writer was not copied: the run is shown with what the other headers say, and reported."""
    store = HandStore()
    run = run_id(5)
    folder = f"runs/{DAY}/{run}"
    store.log(folder, run_log(run, B, base_ms=T + 70, stamp=T + 5).add(["tag", T + 5, {"a": "1"}]))
    store.log(folder, run_log(run, A, base_ms=T + 80, stamp=T + 6))
    return store, a_store({run: a_run(start_ms=T + 70, user="", tags={"a": "1"})}, findings=[(folder, "no_run")])


def foreign_ids() -> tuple[HandStore, Json]:
    """Run ids that are no UUIDv7 of our time, and experiment ids that nobody computed (4.2, rules 2 and 3; 9.1)."""
    store = HandStore()
    store.experiment("/Users/ada/imported", id_="team_a-1")
    store.experiment("imported, too", id_="00042")
    folders = {
        "3f2504e04f8911d39a0c0305e82c3301": "x{}/3f2504e04f8911d39a0c0305e82c3301",  # another version of UUID
        "00000000000070008000000000000001": "x{}/00000000000070008000000000000001",  # a UUIDv7 of 1970
        "my_run-7": "x{}/my_run-7",
        "con": "x{}/~{}",  # a device of Windows
        "MyRun": "x{}/~{}",  # would be one with myrun where case does not count
        "../up/Käse \U0001f9c0": "x{}/~{}",
        "a" * 65: "x{}/~{}",
    }
    runs = {}
    for number, (run, folder) in enumerate(folders.items()):
        digest = hashlib.sha256(run.encode()).hexdigest()
        experiment = ("team_a-1", "/Users/ada/imported") if number % 2 else ("00042", "imported, too")
        log = _began(run_log(run, f"{number:020x}", experiment=experiment))
        store.log("runs/" + folder.format(digest[:2], digest[:40]), log)
        runs[run] = a_run(experiment_id=experiment[0])
    experiments = {
        "00042": an_experiment("imported, too", None),
        "team_a-1": an_experiment("/Users/ada/imported", None),
    }
    return store, a_store(runs, experiments)


def later_features() -> tuple[HandStore, Json]:
    """Record types in lower case and fields that format 1 does not know: skipped without a report."""
    store = HandStore()
    run = run_id(6)
    log = _began(run_log(run, A, gpu="yes"))
    log.add(
        ["weather", T + 1, {"name": "iris"}],
        ["x-span", "any", "shape", 1.5, None],
        ["tag", T + 2, {"a": "1"}],
        ["info", T + 3, {"status": "SCHEDULED", "queue": "night"}],
        ["z", None],
    )
    store.log(f"runs/{DAY}/{run}", log)
    lab = store.experiment("lab")
    store.edits(
        created(T - 5, "lab"),
        ["archive", T, {"id": lab}],
        ["runs", T + 1, {"op": "deleted", "runs": [], "time_ms": T, "user": "ada", "why": "?"}],
    )
    expected = a_run(status="SCHEDULED", tags={"a": "1"})
    return store, a_store({run: expected}, {lab: an_experiment("lab", T - 5)})


def dropped_folder() -> tuple[HandStore, Json]:
    """A run folder was copied in from another store: its header brings the experiment."""
    store = HandStore()
    elsewhere = experiment_id("elsewhere")
    run = run_id(7)
    store.log(f"runs/{DAY}/{run}", _began(run_log(run, experiment=(elsewhere, "elsewhere"))))
    return store, a_store({run: a_run(experiment_id=elsewhere)}, {elsewhere: an_experiment("elsewhere", None)})
