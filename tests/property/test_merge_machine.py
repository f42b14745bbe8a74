"""Copies of a store part and become one again: the same in any order, with all that was acknowledged anywhere."""

from __future__ import annotations

import hashlib
import itertools
import random
import shutil
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.conformance.counts import assert_counts
from tests.conformance.library_reading import assert_agreement
from tests.independent.packs import unpacked
from tests.property.merge_world import (
    Clock,
    Place,
    World,
    artifact_contents,
    artifact_records,
    difference,
    dump,
    open_store,
    quiet_machine,
    said_in,
)

from localtrack.api.run import ActiveRun
from localtrack.errors import InvalidInputError
from localtrack.types import Dataset, DatasetInput, LoggedModelOutput, Metric, Param, RunTag, ViewType

MAX_PLACES_COUNT = 4
NAMES = ["a", "b", "/Shared/c"]
KEYS = ["lr", "epochs"]
PATHS = ["model.txt", "plots/loss.txt"]

index = st.integers(0, 11)
cuts = st.integers(0, 999).map(random.Random)
offset_ms = st.one_of(st.integers(-500, 500), st.sampled_from([-3_600_000, -70_000, 70_000, 3_600_000]))


def pick(items: list[Any], number: int) -> Any:
    return items[number % len(items)]


class Copies(RuleBasedStateMachine):
    """What people do to a store and its copies."""

    def __init__(self) -> None:
        super().__init__()
        self.exits = ExitStack()
        self.exits.enter_context(quiet_machine())
        self.root = Path(tempfile.mkdtemp(prefix="merge-"))
        self.exits.callback(shutil.rmtree, self.root, ignore_errors=True)
        self.world = World(self.root)
        self.is_checked = False

    @initialize(offset=offset_ms, state=st.sampled_from(["short", "long", "ended"]), cut=st.none() | cuts)
    def begin(self, offset: int, state: str, cut: random.Random | None) -> None:
        first = self.world.add_place()
        self.start(0, "a")
        if state != "short":
            self.log_points(0, 0, 60, False)
            self.log_artifact(0, 0, PATHS[0])
        if state == "ended":
            self.end(0, 0, "FINISHED")
        self.world.copy_place(first, offset_ms=offset, cut=cut)

    def place(self, number: int) -> Place:
        place: Place = pick(self.world.places, number)
        place.clock.now_ms += 7
        return place

    def run(self, at: Place, which: int) -> ActiveRun | None:
        """Return a run that somebody writes to at a place: if nobody does, one that is resumed."""
        if not at.runs:
            ids = at.run_ids(is_deleted=False)
            if not ids:
                return None
            at.runs.append(at.store.start_run(run_id=pick(ids, which)))
        run: ActiveRun = pick(at.runs, which)
        return run

    # -- experiments

    @rule(place=index, name=st.sampled_from(NAMES), which=index, is_new=st.booleans())
    def name_experiment(self, place: int, name: str, which: int, is_new: bool) -> None:
        at = self.place(place)
        ids = at.experiment_ids(is_deleted=False)
        if at.store.get_experiment_by_name(name) is not None:
            return
        if is_new:
            tag = f"made {self.world.number()}"
            made = at.store.create_experiment(name, tags={"made": tag})
            self.world.said |= {(made, "created", "", name), (made, "tagged", "made", tag)}
        elif ids:
            at.store.rename_experiment(pick(ids, which), name)
            self.world.said.add((pick(ids, which), "renamed", "", name))

    @rule(place=index, which=index, is_set=st.booleans())
    def tag_experiment(self, place: int, which: int, is_set: bool) -> None:
        at = self.place(place)
        ids = at.experiment_ids(is_deleted=False)
        if not ids:
            return
        experiment_id = pick(ids, which)
        if is_set:
            value = f"tag {self.world.number()}"
            at.store.set_experiment_tags(experiment_id, {"team": value})
            self.world.said.add((experiment_id, "tagged", "team", value))
        elif "team" in at.store.get_experiment(experiment_id).tags:
            at.store.delete_experiment_tag(experiment_id, "team")
            self.world.said.add((experiment_id, "tagged", "team", None))

    @rule(place=index, which=index, is_deleted=st.booleans())
    def delete_or_restore_experiment(self, place: int, which: int, is_deleted: bool) -> None:
        at = self.place(place)
        ids = at.experiment_ids(is_deleted=not is_deleted)
        if ids and is_deleted:
            at.store.delete_experiment(pick(ids, which))
            self.world.said.add((pick(ids, which), "deleted", "", ""))
        elif ids:
            at.store.restore_experiment(pick(ids, which))
            self.world.said.add((pick(ids, which), "restored", "", ""))

    # -- runs

    @rule(place=index, name=st.sampled_from(NAMES))
    def start(self, place: int, name: str) -> None:
        at = self.place(place)
        known = at.store.get_experiment_by_name(name)
        if known is not None and known.lifecycle_stage == "deleted":
            return
        run_name = f"run {self.world.number()}"
        run = at.store.start_run(name, run_name=run_name, context=False)
        at.runs.append(run)
        self.world.said.add((run.run_id, "tag", "mlflow.runName", run_name))
        _ = self.world.points[run.run_id]

    @rule(place=index, which=index)
    def resume(self, place: int, which: int) -> None:
        at = self.place(place)
        ids = at.run_ids(is_deleted=False)
        if ids:
            run = at.store.start_run(run_id=pick(ids, which))
            at.runs.append(run)
            self.world.said.add((run.run_id, "info", "status", "RUNNING"))

    @rule(place=index, which=index, count=st.integers(1, 50), is_one_record=st.booleans())
    def log_points(self, place: int, which: int, count: int, is_one_record: bool) -> None:
        at = self.place(place)
        run = self.run(at, which)
        for step in range(count if run is not None else 0):
            assert run is not None
            value = float(self.world.number())
            if is_one_record:
                run.log_metrics({"loss": value, "acc": -value}, step)
                points = {("loss", step, at.clock(), value), ("acc", step, at.clock(), -value)}
            else:
                run.log_metric("loss", value, step)
                points = {("loss", step, at.clock(), value)}
            self.world.points[run.run_id] |= points

    @rule(place=index, which=index, key=st.sampled_from(KEYS), value=st.sampled_from("xy"), is_batch=st.booleans())
    def log_param(self, place: int, which: int, key: str, value: str, is_batch: bool) -> None:
        at = self.place(place)
        run = self.run(at, which)
        if run is None:
            return
        known = run._writer.params.get(key)
        number = float(self.world.number())
        tag = f"batch {number}"

        def log() -> None:
            if is_batch:
                run.log_batch([Metric("loss", number, 5, 1)], [Param(key, value)], [RunTag("batch", tag)])
            else:
                run.log_param(key, value)

        if known not in (None, value):
            with pytest.raises(InvalidInputError):
                log()
            return
        log()
        if known is None:
            self.world.said.add((run.run_id, "param", key, value))
        if is_batch:
            self.world.points[run.run_id].add(("loss", 1, 5, number))
            self.world.said.add((run.run_id, "tag", "batch", tag))

    @rule(place=index, which=index, is_set=st.booleans(), is_renamed=st.booleans())
    def tag_run(self, place: int, which: int, is_set: bool, is_renamed: bool) -> None:
        at = self.place(place)
        run = self.run(at, which)
        if run is None:
            return
        value = f"tag {self.world.number()}"
        if is_renamed and run.run_id in at.run_ids(is_deleted=False):
            at.store.rename_run(run.run_id, value)
            self.world.said.add((run.run_id, "tag", "mlflow.runName", value))
        if is_set:
            run.set_tag("state", value)
            self.world.said.add((run.run_id, "tag", "state", value))
        elif "state" in run._writer.tags:
            run.delete_tag("state")
            self.world.said.add((run.run_id, "tag", "state", None))

    @rule(place=index, which=index, path=st.sampled_from(PATHS))
    def log_artifact(self, place: int, which: int, path: str) -> None:
        run = self.run(self.place(place), which)
        if run is not None:
            text = f"artifact {self.world.number()}"
            run.log_text(text, path)
            self.world.artifacts[run.run_id, path].add(text.encode())

    @rule(place=index, which=index, status=st.sampled_from(["FINISHED", "FAILED"]))
    def end(self, place: int, which: int, status: str) -> None:
        at = self.place(place)
        if at.runs:
            run = at.runs.pop(which % len(at.runs))
            run.end(status)
            self.world.said.add((run.run_id, "info", "status", status))

    @rule(place=index, which=index, op=st.sampled_from(["delete", "delete", "restore", "remove"]))
    def end_life_of_run(self, place: int, which: int, op: str) -> None:
        at = self.place(place)
        ids = at.run_ids(is_deleted=op != "delete")
        if op == "remove":
            ids = sorted(set(ids) - {run.run_id for run in at.runs})
        if not ids:
            return
        run_id = pick(ids, which)
        if op == "remove":
            self.world.remove_run(at, run_id)
        elif op == "delete":
            at.store.delete_run(run_id)
            self.world.said.add((run_id, "runs", "deleted", ""))
        else:
            at.store.restore_run(run_id)
            self.world.said.add((run_id, "runs", "restored", ""))

    @rule(place=index, which=index)
    def remove_empty_experiment(self, place: int, which: int) -> None:
        """One that is empty here; elsewhere it may be full, and alive."""
        at = self.place(place)
        ids = [
            one
            for one in at.experiment_ids(is_deleted=True)
            if one != "0" and not at.store.search_runs([one], run_view_type=ViewType.ALL)
        ]
        if ids:
            report = at.store.remove_experiments([pick(ids, which)])
            assert report.count("experiment") == 1

    # -- data sets and logged models

    @rule(place=index, which=index, name=st.sampled_from("ab"), is_made=st.booleans())
    def link(self, place: int, which: int, name: str, is_made: bool) -> None:
        at = self.place(place)
        run = self.run(at, which)
        if run is None:
            return
        number = self.world.number()
        dataset = Dataset(name, str(number % 3), "local", str(number))
        run.log_inputs([DatasetInput(dataset)], [f"m-{number}"])
        self.world.said |= {(run.run_id, "dataset", name, dataset.digest), (run.run_id, "input", f"m-{number}", None)}
        if is_made:
            run.log_outputs([LoggedModelOutput(f"m-{number}", number)])
            self.world.said.add((run.run_id, "output", f"m-{number}", number))

    @rule(place=index, which=index, name=st.sampled_from(["net", "tree"]))
    def make_model(self, place: int, which: int, name: str) -> None:
        at = self.place(place)
        run = self.run(at, which)
        # A run may be in a deleted experiment; Default never is, but its file may be missing in a copy.
        if run is None or "0" not in at.store._catalog.read().experiments:
            return
        number = str(self.world.number())
        tags, params = {"made": number}, {"of": number}
        made = at.store.create_logged_model("0", name, run.run_id, tags, params).model_id
        self.world.models.add(made)
        self.world.said |= {
            (made, "model", name, run.run_id),
            (made, "tag", "made", number),
            (made, "param", "of", number),
        }

    @rule(place=index, which=index, what=st.sampled_from(["tag", "untag", "param", "metric", "status", "life"]))
    def change_model(self, place: int, which: int, what: str) -> None:
        at = self.place(place)
        ids = at.model_ids()
        if not ids:
            return
        model, number, store = pick(ids, which), self.world.number(), at.store
        known = store.get_logged_model(model, allow_deleted=True)
        if what == "tag":
            store.set_logged_model_tags(model, {"state": number})
            self.world.said.add((model, "tag", "state", str(number)))
        elif what == "untag" and "state" in known.tags:
            store.delete_logged_model_tag(model, "state")
            self.world.said.add((model, "tag", "state", None))
        elif what == "param" and "late" not in known.params:
            store.log_logged_model_params(model, {"late": number})
            self.world.said.add((model, "param", "late", str(number)))
        elif what == "metric":
            store.log_logged_model_metrics(model, [Metric("acc", float(number), 1, 1)])
            self.world.said.add((model, "metric", "acc", float(number)))
        elif what == "status":
            store.finalize_logged_model(model, "READY" if number % 2 else "FAILED")
            self.world.said.add((model, "info", "status", "READY" if number % 2 else "FAILED"))
        elif what == "life" and known.lifecycle_stage == "active":
            store.delete_logged_model(model)
            self.world.said.add((model, "models", "deleted", ""))
        elif what == "life":
            store.restore_logged_model(model)
            self.world.said.add((model, "models", "restored", ""))

    @rule(place=index, which=index)
    def remove_model(self, place: int, which: int) -> None:
        at = self.place(place)
        ids = [
            m for m in at.model_ids() if at.store.get_logged_model(m, allow_deleted=True).lifecycle_stage != "active"
        ]
        if ids:
            model = pick(ids, which)
            (folder,) = at.root.glob(f"models/*/{model}")
            said = said_in(folder)
            if at.store.remove_logged_models([model]).garbage:
                self.world.removed_models.add(model)
                self.world.removed_said |= said

    # -- machines

    @rule(place=index, offset=offset_ms, is_dead=st.booleans())
    def pass_time(self, place: int, offset: int, is_dead: bool) -> None:
        at = self.place(place)
        at.clock.now_ms += offset
        if is_dead:
            at.die()

    @rule(place=index)
    def seal(self, place: int) -> None:
        self.place(place).store.seal()

    @rule(place=index, which=index, is_packed=st.booleans())
    def pack(self, place: int, which: int, is_packed: bool) -> None:
        at = self.place(place)
        if is_packed:
            at.store.pack(older_than="0s")
        elif which % 2:
            at.store.unpack()
        elif ids := at.run_ids():
            at.store.unpack(pick(ids, which))

    @precondition(lambda self: len(self.world.places) < MAX_PLACES_COUNT)
    @rule(place=index, offset=offset_ms, cut=st.none() | cuts)
    def copy(self, place: int, offset: int, cut: random.Random | None) -> None:
        self.world.copy_place(self.place(place), offset_ms=offset, cut=cut)

    @rule(place=index, other=index)
    def merge(self, place: int, other: int) -> None:
        target, source = self.place(place), self.place(other)
        if target is not source:
            target.store.merge(source.root)

    # -- what must hold

    def teardown(self) -> None:
        try:
            if self.world.places:
                self.check()
        finally:
            for place in self.world.places:
                place.die()
                place.store.close()
            self.exits.close()

    def check(self) -> None:
        orders = list(itertools.permutations(self.world.places))
        orders = [orders[0], orders[len(orders) // 2], orders[-1]]
        once: list[dict[str, Any]] = []
        twice: list[dict[str, Any]] = []
        for number, order in enumerate(orders):
            root = self.root / f"union{number}"
            with open_store(root, Clock()) as union:
                for place in order:
                    union.merge(place.root)
                once.append(dump(union))
                for place in order:
                    report = union.merge(place.root)
                    assert self.world.is_cut or report.files_copied == 0, "a second merge finds nothing to do"
                twice.append(dump(union))
        if self.world.is_cut:  # a file may come before the record that describes it
            for answers in once:
                for run in answers["runs"].values():
                    del run["artifacts"]
        for said in (once, twice):
            for other in said[1:]:
                assert difference(said[0], other) == [], "the order matters"
        self.check_nothing_is_gone(self.root / "union0", twice[0])
        assert_agreement(self.root / "union0")
        if self.world.number() % 8 == 0:  # SQL takes its time
            assert_counts(self.root / "union0")

    def check_nothing_is_gone(self, root: Path, answers: dict[str, Any]) -> None:
        world = self.world
        with unpacked(root, []) as loose:
            assert world.said - said_in(loose) <= world.removed_said, "an acknowledged record is gone"
            records = artifact_records(loose)
        for run_id, points in world.points.items():
            removed = world.removed_points[run_id]
            run = answers["runs"].get(run_id)
            found = {(*point[:3], float(point[3])) for point in run["points"]} if run else set()
            assert points - found <= removed, "an acknowledged point is gone"
            assert found <= points, "a point that nobody logged"
            assert run is None or len(found) == len(run["points"]), "a point is there twice"
            assert run is not None or run_id in world.removed_runs, "a run is gone"
        assert answers["runs"].keys() <= world.points.keys(), "a run that nobody started"
        assert answers["models"].keys() <= world.models, "a model that nobody made"
        assert world.models - answers["models"].keys() <= world.removed_models, "a model is gone"
        self.check_artifacts(records, answers)

    def check_artifacts(self, records: dict[tuple[str, str], list[str]], answers: dict[str, Any]) -> None:
        world = self.world
        held: dict[tuple[str, str], dict[str, bytes]] = defaultdict(dict)
        for place in world.places:
            for run_id, path, content in artifact_contents(place):
                held[run_id, path][hashlib.sha256(content).hexdigest()] = content
        for (run_id, path), written in world.artifacts.items():
            found = answers["runs"].get(run_id, {}).get("artifacts", {}).get(path)
            if run_id in world.removed_runs and found not in written:
                continue  # only a part of it may be left in a copy that was cut short
            assert found in written, "an artifact is gone, or is not what anybody wrote"
            *_, highest = (sha256 for sha256 in records[run_id, path] if sha256 in held[run_id, path])
            assert found == held[run_id, path][highest], "another artifact than the highest record describes"


TestCopies = Copies.TestCase
TestCopies.settings = settings(settings.default, print_blob=True)
