"""A program that does everything that a store can do, with one fault somewhere, and what must hold afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.crash.audit import audit, read_said
from tests.crash.deeds import go_on, make, open_store, plan_call
from tests.crash.faults import Fault, Operations

from localtrack.api.store import Store
from localtrack.errors import AlreadyExistsError, LocaltrackError
from localtrack.storage.syncer import syncer
from localtrack.store.background import sealer
from localtrack.types import Dataset, DatasetInput, Metric, ViewType

SMALL_BYTES = 900
AT_MS = 1_790_000_000_000
OTHER_PREFIX = "other"


class Doer:
    """Does one thing after the other, and each once more if it failed: a fault must not stop the second attempt."""

    def __init__(self, said: str, attempts_count: int) -> None:
        self._out = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._attempts_count = attempts_count

    def say(self, text: str) -> None:
        os.write(self._out, f"{text}\n".encode())

    def do(self, call: Callable[[], Any], said: str = "") -> Any:
        for attempt in range(self._attempts_count):
            try:
                result = call()
            except LocaltrackError:
                if attempt == self._attempts_count - 1:
                    raise
                continue
            if said:
                self.say(said)
            return result
        raise AssertionError("no attempt was allowed")


def run_program(
    root: str, other: str, said: str, report: str, fault: dict[str, Any] | None = None, durability: str = "process"
) -> int:
    """Run the program, and leave in `report` what it did to files and what went wrong that may not."""
    operations = Operations(root, Fault(**fault) if fault else None)
    in_turn()
    operations.install()
    # A fault may last for some operations, and each attempt gets over one of them at least.
    doer = Doer(said, 60 if fault and fault.get("until") else 2)
    problem = ""
    try:
        _do_everything(doer, root, other, durability)
    except Exception:  # whatever comes out of the library here is what the test wants to see
        problem = traceback.format_exc()
    result = {
        "operations": operations.seen,
        "past": operations.past,
        "written_bytes_count": operations.written_bytes_count,
        "problem": problem,
    }
    Path(report).write_text(json.dumps(result))
    return 0


def in_turn() -> None:
    """Have done at once what threads do in the background, so that each run of the program does the same."""

    def ask(*job: Any) -> None:
        sealer._seal(job)

    sealer.ask = ask  # type: ignore[method-assign, assignment]
    syncer._thread = object()  # type: ignore[assignment]


def _do_everything(doer: Doer, root: str, other: str, durability: str) -> None:
    store: Store = doer.do(lambda: open_store(root, SMALL_BYTES, durability=durability))
    experiment = doer.do(lambda: _create(store), "x experiment first")
    run = doer.do(lambda: store.start_run("first", context=False))
    doer.say(f"s {run.run_id}")
    for number in range(24):
        doer.do(lambda number=number: make(run, plan_call(number, "a"), at_ms=AT_MS + number), "c")
    text = "artifact " * 20
    doer.do(lambda: run.log_text(text, "folder/text.txt"))
    doer.say(f"x artifact {run.run_id} {hashlib.sha256(text.encode()).hexdigest()}")
    _do_model(doer, store)
    syncer.sync_all()
    for number in range(24, 50):
        doer.do(lambda number=number: make(run, plan_call(number, "a"), at_ms=AT_MS + number), "c")
    doer.do(run.end, "e")
    short = doer.do(lambda: store.start_run("second", context=False))
    doer.say(f"s {short.run_id}")
    for number in range(4):
        doer.do(lambda number=number: make(short, plan_call(number, "a"), at_ms=AT_MS + number), "c")
    doer.do(short.end, "e")
    doer.do(lambda: store.delete_run(short.run_id), f"x deleted {short.run_id}")
    doer.do(lambda: store.rename_experiment(experiment, "renamed"), "x experiment renamed")
    doer.do(lambda: store.merge(other), "x merged")
    doer.do(store.seal)
    doer.do(lambda: store.metric_history(run.run_id))
    doer.do(lambda: store.describe_run(run.run_id))
    doer.do(store.list_experiments)
    syncer.sync_all()
    store.close()


def _do_model(doer: Doer, store: Store) -> None:
    """Make a logged model, change it in every way, and name it and a data set in a run of its own."""
    run = doer.do(lambda: store.start_run("first", context=False))
    made = {"name": "net", "source_run_id": run.run_id, "tags": {"made": "yes"}, "params": {"depth": "3"}}
    model = doer.do(lambda: store.create_logged_model(run.experiment_id, **made)).model_id
    doer.say(f"x model {model}")
    read = DatasetInput(Dataset("iris", "1", "local", "iris.csv"))
    doer.do(lambda: run.log_inputs([read]), f"x read {run.run_id}")
    doer.do(lambda: run.log_outputs([model]), f"x made {run.run_id} {model}")
    doer.do(lambda: store.log_logged_model_params(model, {"late": "1"}), f"x param {model}")
    doer.do(lambda: store.set_logged_model_tags(model, {"late": "2"}), f"x tag {model}")
    metric = Metric("accuracy", 0.75, AT_MS, 3, model, "iris", "1")
    doer.do(lambda: run.log_batch([metric]), f"x metric {model}")
    doer.do(lambda: store.finalize_logged_model(model, "READY"), f"x ready {model}")
    doer.do(lambda: store.delete_logged_model(model), f"x gone {model}")
    doer.do(run.end)


def _judge_model(store: Store, what: str, model_id: str) -> bool:
    """Return whether what was acknowledged of a logged model is there."""
    model = store.get_logged_model(model_id, allow_deleted=True)
    match what:
        case "model":
            return (model.name, model.tags["made"], model.params["depth"]) == ("net", "yes", "3")
        case "param":
            return model.params.get("late") == "1"
        case "tag":
            return model.tags.get("late") == "2"
        case "metric":
            assert model.source_run_id is not None
            points = store.metric_history(model.source_run_id, "accuracy").num_rows
            return [(m.value, m.dataset_name) for m in model.metrics] == [(0.75, "iris")] and points == 1
        case "ready":
            return model.status == "READY"
        case _:
            return model.lifecycle_stage == "deleted"


def _create(store: Store) -> str:
    try:
        return store.create_experiment("first")
    except AlreadyExistsError:  # an attempt that failed may have come far enough
        found = store.get_experiment_by_name("first")
        assert found is not None
        return found.experiment_id


def make_other(root: str, said: str) -> None:
    """Make the store that the program merges."""
    doer = Doer(said, 1)
    store = open_store(root, SMALL_BYTES)
    for name in ("first", "third"):
        run = store.start_run(name, context=False)
        doer.say(f"s {run.run_id}")
        for number in range(30):
            make(run, plan_call(number, OTHER_PREFIX), at_ms=AT_MS + number)
            doer.say("c")
        run.log_text("of the other", "other.txt")
        run.end()
        doer.say("e")
    store.create_experiment("empty")
    store.close()


def judge(root: str, other_said: str, said: str, report: str) -> int:
    """Leave in `report` what is wrong with what the program left, before and after somebody goes on with it."""
    problems: list[str] = []
    try:
        problems += [f"at once: {problem}" for problem in _judge_once(root, other_said, said)]
        deeds = read_said(Path(said), "a")
        run_ids = sorted({deed.run_id for deed in deeds} - _deleted(said))
        after = said + ".after"
        go_on(root, run_ids, "z", after, 12, SMALL_BYTES)
        problems += [f"later: {problem}" for problem in _judge_once(root, other_said, said, after)]
    except Exception:  # whatever comes out of the library here is what the test wants to see
        problems.append(traceback.format_exc())
    Path(report).write_text(json.dumps(problems))
    return 0


def _deleted(said: str) -> set[str]:
    return {line.split()[2] for line in Path(said).read_text().splitlines() if line.startswith("x deleted ")}


def _judge_once(root: str, other_said: str, said: str, after: str | None = None) -> list[str]:
    lines = Path(said).read_text().splitlines() if Path(said).exists() else []
    deeds = read_said(Path(said), "a")
    if "x merged" in lines:
        deeds += read_said(Path(other_said), OTHER_PREFIX)
    if after is not None:
        deeds += read_said(Path(after), "z")
    if not (Path(root) / "localtrack.json").exists():
        problems = ["there is no store, but something was acknowledged"] if lines else []
        Store.open(root).close()
        return problems
    found = audit(Path(root), deeds, with_search=False)
    with Store.open(root, create=False) as store:
        names = {experiment.name for experiment in store.list_experiments(view_type=ViewType.ALL)}
        for line in lines:
            match line.split():
                case ["x", "experiment", "renamed"]:
                    if "renamed" not in names or ("first" in names - {"renamed"} and "x merged" not in lines):
                        found.problems.append(f"experiment renamed: there are {names}")
                case ["x", "experiment", name]:
                    if not names & {name, "renamed"}:
                        found.problems.append(f"experiment {name}: there are {names}")
                case ["x", "model" | "param" | "tag" | "metric" | "ready" | "gone" as what, model_id]:
                    if not _judge_model(store, what, model_id):
                        found.problems.append(f"the {what} of the logged model {model_id} is not there")
                case ["x", "read", run_id]:
                    if [i.dataset.name for i in store.get_run(run_id).inputs.dataset_inputs] != ["iris"]:
                        found.problems.append("the data set of the run is not there, or twice")
                case ["x", "made", run_id, model_id]:
                    if [o.model_id for o in store.get_run(run_id).outputs.model_outputs] != [model_id]:
                        found.problems.append("the model that the run made is not there, or twice")
                case ["x", "deleted", run_id]:
                    if store.get_run(run_id).info.lifecycle_stage != "deleted":
                        found.problems.append(f"run {run_id} is not deleted")
                case ["x", "artifact", run_id, digest]:
                    path = store.download_artifacts(run_id, "folder/text.txt")
                    if hashlib.sha256(Path(path).read_bytes()).hexdigest() != digest:
                        found.problems.append("the artifact has another content")
    return found.problems
