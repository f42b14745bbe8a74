"""Columns of the overlay in which only what changed was made anew equal columns that are made whole."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from localtrack.format.edits import EditsState
from localtrack.format.metric_fold import Folds, fold_points
from localtrack.format.run_fold import RunState
from localtrack.storage.local import LocalStorage
from localtrack.store.index.live_run import LiveRun
from localtrack.store.index.overlay import LiveRows, Overlay, live_values, to_live_column
from localtrack.store.index.part import DEAD
from localtrack.store.run_reading import RunReading

COLUMNS = [
    ("runs", "", "run_id"),
    ("runs", "", "status"),
    ("runs", "", "end_time"),
    ("metrics", "loss", "value"),
    ("metrics", "loss", "min"),
    ("metrics", "loss", "count"),
    ("params", "lr", "value"),
    ("tags", "note", "value"),
]


class Anything(RunReading):
    """A reading of which nothing is asked."""

    def __init__(self) -> None:
        pass


def make_state(name: str, number: int) -> RunState:
    state = RunState(run_id=name, experiment_id=str(number % 2), experiment_name="e", generation=0, start_ms=number)
    state.end_ms = None if number % 3 else number
    state.status = "FINISHED" if number % 2 else "RUNNING"
    state.params = {"lr": str(number)} if number % 3 else {}
    state.tags = {"note": "same"} if number % 5 else {}
    return state


def make_folds(number: int) -> Folds:
    value = math.nan if number % 4 == 0 else number / 7
    return fold_points([("loss", step, step, value + step) for step in range(number % 3)])


def shown(column: Any) -> tuple[str, str]:
    return str(column.type), repr(column.to_pylist())


def assert_whole(rows: LiveRows, column: tuple[str, str, str]) -> None:
    assert shown(rows.column(*column)) == shown(to_live_column(column, live_values(column, rows.rows)))


class Runs:
    """Runs of an overlay that are changed as `LiveRun.look` changes them: other objects, never other content."""

    def __init__(self) -> None:
        self.live: dict[str, LiveRun] = {}
        self.count = 0

    def do(self, deed: str, place: int) -> None:
        self.count += 1
        if deed == "add" or not self.live:
            name = f"run{self.count % 7}"
            run = self.live[name] = LiveRun(LocalStorage("/nowhere"), name, is_noticed=True)
            run.reading = Anything()
            run.state, run.folds = make_state(name, self.count), make_folds(self.count)
            return
        name = sorted(self.live)[place % len(self.live)]
        run = self.live[name]
        if deed == "remove":
            del self.live[name]
        elif deed == "break":
            run.state, run.folds = None, {}
        elif deed == "log":
            run.folds = make_folds(self.count)
        else:
            run.state = make_state(name, self.count)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "add", "remove", "break", "log", "log", "change", "look", "look"]),
            st.integers(0, 6),
            st.sets(st.sampled_from(COLUMNS), max_size=4),
        ),
        max_size=40,
    )
)
def test_patched_columns_equal_whole_ones(deeds: list[tuple[str, int, set[tuple[str, str, str]]]]) -> None:
    overlay, runs = Overlay(), Runs()
    older: list[tuple[LiveRows, str]] = []
    for deed, place, columns in deeds:
        if deed != "look":
            runs.do(deed, place)
            continue
        rows = overlay.follow(runs.live)
        there = {run.folder: (run.state, run.folds) for run in runs.live.values() if run.state is not None}
        assert {run.folder: row for run, row in zip(overlay.runs, rows.rows, strict=True)} == there
        for column in columns:
            assert_whole(rows, column)
        for wanted in (None, frozenset("0")):
            stages = overlay.stages(EditsState(), wanted)
            assert [stage == DEAD for stage in stages] == [
                wanted is not None and state.experiment_id not in wanted for state, _ in rows.rows
            ]
        older.append((rows, repr(rows.rows)))
    for rows, as_it_was in older:
        assert repr(rows.rows) == as_it_was, "a view never changes"
        for column in COLUMNS:
            assert_whole(rows, column)


def test_what_did_not_change_is_not_made_anew() -> None:
    overlay, runs = Overlay(), Runs()
    for _ in range(5):
        runs.do("add", 0)
    before = overlay.follow(runs.live)
    columns = {column: before.column(*column) for column in COLUMNS}

    assert overlay.follow(runs.live) is before
    runs.do("log", 1)
    after = overlay.follow(runs.live)

    assert after.column("params", "lr", "value") is columns["params", "lr", "value"]
    assert after.column("metrics", "loss", "count") is not columns["metrics", "loss", "count"]
    assert shown(before.column("metrics", "loss", "count")) == shown(columns["metrics", "loss", "count"])
