"""Whatever the library writes fits the schemas, and the independent reader reads in it what the library does."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conformance.library_reading import assert_agreement
from tests.independent.reader import read_store
from tests.independent.validate import validate_tree

from localtrack import Store
from localtrack.errors import LocaltrackError
from localtrack.storage.opening import open_storage
from localtrack.store.site import open_site
from localtrack.types import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag

KEYS = st.sampled_from(["loss", "acc", "a/b c.d", "größe"])
VALUES = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, float("nan")]))
STEPS = st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1))
TIMES = st.one_of(st.integers(0, 3), st.integers(0, 2**53))
TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(["a\nb", '"', "\u2028", "\U0001f9a6"])).filter(
    lambda text: not any("\ud800" <= char <= "\udfff" for char in text)
)
POINTS = st.lists(st.tuples(KEYS, VALUES, TIMES, STEPS), min_size=1, max_size=30)
NAMES = st.sampled_from(["/Shared/a", "/Shared/b", "c"])

STEPS_OF_A_STORE = st.lists(
    st.one_of(
        st.tuples(st.just("start"), NAMES, TEXTS),
        st.tuples(st.just("points"), POINTS),
        st.tuples(st.just("points"), POINTS),
        st.tuples(st.just("many"), st.integers(20, 200)),
        st.tuples(st.just("long"), NAMES, st.integers(50, 200), st.booleans()),
        st.tuples(st.just("batch"), POINTS, TEXTS),
        st.tuples(st.just("tag"), st.sampled_from(["t", "u"]), TEXTS),
        st.tuples(st.just("untag"), st.sampled_from(["t", "u"])),
        st.tuples(st.just("param"), st.sampled_from(["p", "q"]), TEXTS),
        st.tuples(st.just("artifact"), st.sampled_from(["a.txt", "d/e/f.txt"]), TEXTS),
        st.tuples(st.just("end"), st.sampled_from(["FINISHED", "FAILED", "KILLED"])),
        st.tuples(st.just("resume")),
        st.tuples(st.just("delete run")),
        st.tuples(st.just("restore run")),
        st.tuples(st.just("rename"), NAMES, NAMES),
        st.tuples(st.just("delete"), NAMES),
        st.tuples(st.just("restore"), NAMES),
        st.tuples(st.just("tag experiment"), NAMES, TEXTS),
        st.tuples(st.just("read and make"), st.sampled_from(["a", "b"]), st.sampled_from(["1", "2"]), TEXTS),
        st.tuples(st.just("model"), NAMES, TEXTS),
        st.tuples(st.just("model tag"), st.sampled_from(["t", "u"]), st.none() | TEXTS),
        st.tuples(st.just("model param"), st.sampled_from(["p", "q"]), TEXTS),
        st.tuples(st.just("model metrics"), POINTS, st.booleans()),
        st.tuples(st.just("finalize"), st.sampled_from(["READY", "FAILED"]), st.none() | TEXTS),
        st.tuples(st.just("delete model"), st.booleans()),
        st.tuples(st.just("seal")),
        st.tuples(st.just("reopen")),
    ),
    max_size=30,
)


class Hand:
    """Does the steps; what the library refuses leaves nothing, so refusals are part of the game."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = self._open()
        self.run: Any = None
        self.started: list[str] = []
        self.models: list[str] = []

    def _open(self) -> Store:
        # Small enough for a few dozen points to fill a log and some chunks.
        return Store(
            open_site(open_storage(self.root), create=True, log_points_bytes=600, chunk_bytes=900), on_error="raise"
        )

    def do(self, step: tuple[Any, ...]) -> None:
        with contextlib.suppress(LocaltrackError):
            getattr(self, "_" + step[0].replace(" ", "_"))(*step[1:])

    def _start(self, name: str, run_name: str) -> None:
        self.run = self.store.start_run(name, run_name=run_name or None, context=False)
        self.started.append(self.run.run_id)

    def _points(self, points: list[Any]) -> None:
        if self.run is not None:
            for key, value, timestamp, step in points:
                self.run.log_metric(key, value, step, timestamp)

    def _many(self, count: int) -> None:
        if self.run is not None:
            for step in range(count):
                self.run.log_metrics({"loss": 1 / (step + 1), "acc": float(step)}, step, 1_790_000_000_000 + step)

    def _long(self, name: str, count: int, is_ended: bool) -> None:
        """A run of several chunks, sealed; at most its last chunk is still open."""
        self._start(name, "long")
        self._many(count)
        if is_ended:
            self._end("FINISHED")
        self._seal()

    def _batch(self, points: list[Any], text: str) -> None:
        if self.run is not None:
            metrics = [Metric(key, value, timestamp, step) for key, value, timestamp, step in points]
            self.run.log_batch(metrics=metrics, params=[Param("of batch", text)], tags=[RunTag("of batch", text)])

    def _tag(self, key: str, value: str) -> None:
        if self.run is not None:
            self.run.set_tag(key, value)

    def _untag(self, key: str) -> None:
        if self.run is not None:
            self.run.delete_tag(key)

    def _param(self, key: str, value: str) -> None:
        if self.run is not None:
            self.run.log_param(key, value)

    def _artifact(self, path: str, text: str) -> None:
        if self.run is not None:
            self.run.log_text(text, path)

    def _end(self, status: str) -> None:
        if self.run is not None:
            self.run.end(status)
            self.run = None

    def _resume(self) -> None:
        if self.started:
            self.run = self.store.start_run(run_id=self.started[-1], context=False)

    def _delete_run(self) -> None:
        if self.started:
            self.store.delete_run(self.started[0])

    def _restore_run(self) -> None:
        if self.started:
            self.store.restore_run(self.started[0])

    def _id(self, name: str) -> str:
        return self.store.ensure_experiment(name).experiment_id

    def _rename(self, name: str, other: str) -> None:
        self.store.rename_experiment(self._id(name), other)

    def _delete(self, name: str) -> None:
        self.store.delete_experiment(self._id(name))

    def _restore(self, name: str) -> None:
        experiment = self.store.get_experiment_by_name(name)
        if experiment is not None:
            self.store.restore_experiment(experiment.experiment_id)

    def _tag_experiment(self, name: str, text: str) -> None:
        self.store.set_experiment_tags(self._id(name), {"note": text})

    def _read_and_make(self, name: str, digest: str, text: str) -> None:
        if self.run is not None:
            dataset = Dataset(name, digest, "local", text, None, text or None)
            self.run.log_inputs([DatasetInput(dataset, (InputTag("mlflow.data.context", text),))], [f"m-{name}"])
            self.run.log_outputs([LoggedModelOutput(f"m-{name}", int(digest)), *self.models[-1:]])

    def _model(self, name: str, text: str) -> None:
        source = None if self.run is None else self.run.run_id
        made = self.store.create_logged_model(
            self._id(name), None, source, {"of creation": text}, {"of creation": text}
        )
        self.models.append(made.model_id)

    def _model_tag(self, key: str, value: str | None) -> None:
        for model in self.models[-1:]:
            if value is None:
                self.store.delete_logged_model_tag(model, key)
            else:
                self.store.set_logged_model_tags(model, {key: value})

    def _model_param(self, key: str, value: str) -> None:
        for model in self.models[-1:]:
            self.store.log_logged_model_params(model, {key: value})

    def _model_metrics(self, points: list[Any], in_run: bool) -> None:
        for model in self.models[-1:]:
            metrics = [Metric(key, value, time, step, model, "iris", "1") for key, value, time, step in points]
            if in_run and self.run is not None:
                self.run.log_batch(metrics=metrics)
            else:
                self.store.log_logged_model_metrics(model, metrics)

    def _finalize(self, status: str, message: str | None) -> None:
        for model in self.models[-1:]:
            self.store.finalize_logged_model(model, status, message)

    def _delete_model(self, is_deleted: bool) -> None:
        for model in self.models[:1]:
            (self.store.delete_logged_model if is_deleted else self.store.restore_logged_model)(model)

    def _seal(self) -> None:
        self.store.seal()

    def _reopen(self) -> None:
        self.store.flush()
        self.store.close()
        self.store, self.run = self._open(), None


def _snapshot(root: Path, to: Path) -> None:
    """Copy a store, to be looked at more than once: in the store itself files may be sealed and go at any time."""
    for _ in range(20):
        shutil.rmtree(to, ignore_errors=True)
        try:
            shutil.copytree(root, to)
        except (shutil.Error, FileNotFoundError):
            continue
        return
    raise AssertionError("the store does not hold still")


@given(steps=STEPS_OF_A_STORE)
@settings(max_examples=40)
def test_what_the_library_writes_is_read_alike(
    steps: list[tuple[Any, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("agreement")
    hand = Hand(folder / "store")
    for step in steps:
        hand.do(step)
    # As a death at this moment would leave it: nothing is closed.
    _snapshot(folder / "store", folder / "going on")
    hand.store.flush()  # else a sync that is still owed looks for files that are gone by then
    hand.store.close()
    _snapshot(folder / "store", folder / "closed")
    for root in (folder / "going on", folder / "closed"):
        assert validate_tree(root) == []
        assert_agreement(root)
    shutil.rmtree(folder, ignore_errors=True)


@given(before=STEPS_OF_A_STORE, here=STEPS_OF_A_STORE, there=STEPS_OF_A_STORE)
@settings(max_examples=30)
def test_what_a_merge_leaves_is_read_alike(
    before: list[tuple[Any, ...]],
    here: list[tuple[Any, ...]],
    there: list[tuple[Any, ...]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A store is copied, both copies are written to, and each is merged into the other."""
    folder = tmp_path_factory.mktemp("merged")
    first = Hand(folder / "first")
    for step in before:
        first.do(step)
    _snapshot(folder / "first", folder / "second")
    second = Hand(folder / "second")
    second.started, second.models = list(first.started), list(first.models)
    for hand, steps in ((first, here), (second, there)):
        for step in steps:
            hand.do(step)
        hand.store.flush()
        hand.store.close()
    for target, source in (("first", "second"), ("second", "first")):
        with Store.open(str(folder / target), create=False) as store:
            assert store.merge(str(folder / source)).findings == []
            store.flush()
        _snapshot(folder / target, folder / f"merged {target}")
        assert validate_tree(folder / f"merged {target}") == []
        assert_agreement(folder / f"merged {target}")
    left, right = (read_store(folder / f"merged {name}") for name in ("first", "second"))
    assert left | {"store": ""} == right | {"store": ""}
    shutil.rmtree(folder, ignore_errors=True)
