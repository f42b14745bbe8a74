"""Edits to experiments, life cycles and tombstones: each rule of FORMAT.md sections 12.5 to 12.7 by itself."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from localtrack.format.documents import ExperimentDocument
from localtrack.format.edits import Edit, EditsState, fold_edits, read_edits
from localtrack.format.headers import WriterIdentity, encode_header
from localtrack.format.jsonlines import encode_record
from localtrack.format.lines import EDITS

IDENTITY = WriterIdentity("node", "boot", "pidns", 7, "11", "test")
HEADER = encode_header(EDITS, IDENTITY, writer="w", base_ms=1, stamp=2, flock=True)


def on(experiment_id: str, stamp: int, op: str, **more: Any) -> list[Any]:
    return ["experiment", stamp, {"id": experiment_id, "op": op, "time_ms": stamp * 100, "user": "ada", **more}]


def created(experiment_id: str, stamp: int, name: str) -> list[Any]:
    return on(experiment_id, stamp, "created", name=name, generation=0)


def runs(stamp: int, op: str, *ids: str) -> list[Any]:
    return ["runs", stamp, {"op": op, "runs": list(ids), "time_ms": stamp, "user": ""}]


def tombstone(stamp: int, run: str, **positions: list[int]) -> list[Any]:
    return ["tombstone", stamp, {"run": run, "positions": positions, "time_ms": stamp, "user": ""}]


def fold(*records: list[Any], documents: tuple[ExperimentDocument, ...] = ()) -> EditsState:
    """Fold edits, each written by a writer of its own, in several orders that must not matter."""
    edits = [Edit(record[1], f"w{number}", 0, record[0], record[2]) for number, record in enumerate(records)]
    known = {document.experiment_id: document for document in documents}
    states = [fold_edits(order, known) for order in itertools.islice(itertools.permutations(edits), 24)]
    assert all(state == states[0] for state in states)
    return states[0]


def test_a_file_of_edits_is_read() -> None:
    records = [created("1", 3, "e"), runs(4, "deleted", "r"), tombstone(5, "r", w=[7, 1])]
    edits, lines = read_edits(HEADER + b"".join(map(encode_record, records)), writer="w")
    assert lines.problems == []
    assert [(edit.stamp, edit.writer, edit.kind) for edit in edits] == [
        (3, "w", "experiment"),
        (4, "w", "runs"),
        (5, "w", "tombstone"),
    ]


@pytest.mark.parametrize(
    "record",
    [
        on("1", 3, "created"),
        on("1", 3, "painted"),
        on("1", 3, "renamed", name=None),
        on("1", 3, "tagged", tags={"a": 1}),
        on("1", 3, "tagged"),
        ["experiment", 3, {"id": 1, "op": "deleted", "time_ms": 1}],
        ["experiment", 3, {"id": "1", "op": "deleted"}],
        ["experiment", None, {"id": "1", "op": "deleted", "time_ms": 1}],
        ["runs", 3, {"op": "deleted", "runs": "r", "time_ms": 1}],
        ["runs", 3, {"op": "ended", "runs": ["r"], "time_ms": 1}],
        ["tombstone", 3, {"run": "r", "positions": {"w": [1]}, "time_ms": 1}],
        ["tombstone", 3, {"run": "r", "positions": {"w": [1, "2"]}, "time_ms": 1}],
        ["tombstone", 3, {"run": 7, "positions": {}, "time_ms": 1}],
        ["runs", 3],
    ],
)
def test_a_damaged_edit_is_told_and_skipped(record: list[Any]) -> None:
    sound = runs(4, "deleted", "r")
    edits, lines = read_edits(HEADER + encode_record(record) + encode_record(sound), writer="w")
    assert [edit.payload for edit in edits] == [sound[2]]
    assert len(lines.problems) == 1


def test_an_edit_of_a_later_version_in_upper_case_ends_the_reading() -> None:
    assert not read_edits(HEADER + encode_record(["later", 3, {}]), writer="w")[1].newer
    assert read_edits(HEADER + encode_record(["Later", 3, {}]), writer="w")[1].newer


def test_an_experiment_is_what_was_said_of_it() -> None:
    state = fold(
        created("1", 3, "e"),
        on("1", 4, "tagged", tags={"a": "1", "b": "2"}),
        on("1", 5, "tagged", tags={"a": None}),
        on("1", 6, "renamed", name="f"),
    )
    experiment = state.experiments["1"]
    assert (experiment.name, experiment.original_name, experiment.tags) == ("f", "e", {"b": "2"})
    assert (experiment.created_ms, experiment.updated_ms, experiment.user) == (300, 600, "ada")
    assert state.greatest_stamp == 6


def test_made_twice_it_is_as_old_as_the_lowest_record_and_the_highest_name_counts() -> None:
    state = fold(created("1", 8, "e"), on("1", 5, "renamed", name="f"), created("1", 3, "e"))
    assert (state.experiments["1"].created_ms, state.experiments["1"].name) == (300, "f")


def test_tags_are_no_update() -> None:
    assert fold(created("1", 3, "e"), on("1", 9, "tagged", tags={"a": "1"})).experiments["1"].updated_ms == 300


def test_the_original_name_is_known_from_a_record_that_comes_after_others() -> None:
    """The document was not copied, nor the record that came first."""
    state = fold(on("1", 2, "tagged", tags={"a": "1"}), created("1", 3, "e"))
    assert (state.experiments["1"].name, state.experiments["1"].original_name) == ("e", "e")
    state = fold(on("1", 2, "renamed", name="f"), created("1", 3, "e"))
    assert (state.experiments["1"].name, state.experiments["1"].original_name) == ("f", "e")


def test_of_two_experiments_with_one_name_the_older_keeps_it() -> None:
    documents = (ExperimentDocument("111111111", "e"), ExperimentDocument("222222222", "f"))
    for older, younger in (("111111111", "222222222"), ("222222222", "111111111")):
        state = fold(
            created(older, 3, "x"),
            created(younger, 4, "y"),
            on("111111111", 5, "renamed", name="n"),
            on("222222222", 6, "renamed", name="n"),
            documents=documents,
        )
        assert state.experiments[older].name == "n"
        assert state.experiments[younger].name == f"n~{younger[:6]}"


def test_default_is_as_old_as_its_store_and_so_keeps_its_name() -> None:
    default = ExperimentDocument("0", "Default")
    edits = [
        Edit(n, "w", n, "experiment", on("1", n, op, name=name, generation=0)[2])
        for n, op, name in ((3, "created", "e"), (4, "renamed", "Default"))
    ]
    for created_ms, names in ((300, {"0": "Default", "1": "Default~1"}), (301, {"0": "Default~0", "1": "Default"})):
        state = fold_edits(edits, {"0": default}, store_created_ms=created_ms)
        assert {id_: experiment.name for id_, experiment in state.experiments.items()} == names
        assert state.experiments["0"].created_ms == created_ms


def test_a_name_that_a_third_has_is_not_given_to_the_second() -> None:
    state = fold(
        created("333333333", 1, "n~222222"),
        created("111111111", 2, "n"),
        created("222222222", 3, "n"),
    )
    assert sorted(e.name for e in state.experiments.values()) == ["n", "n~222222", "n~222222222"]


@pytest.mark.parametrize(
    ("records", "is_deleted"),
    [
        ([], False),
        ([runs(3, "deleted", "r", "q")], True),
        ([runs(3, "deleted", "r"), runs(4, "restored", "r")], False),
        ([runs(4, "deleted", "r"), runs(3, "restored", "r")], True),
        ([on("1", 3, "deleted")], True),
        ([on("1", 3, "deleted"), runs(4, "restored", "r")], False),
        ([on("1", 5, "deleted"), runs(4, "restored", "r")], True),
        ([runs(3, "deleted", "r"), on("1", 4, "restored")], False),
        ([runs(5, "deleted", "r"), on("1", 4, "restored")], True),
        ([runs(3, "deleted", "q")], False),
        ([tombstone(3, "r")], True),
        ([tombstone(3, "r"), runs(4, "restored", "r")], False),
        ([tombstone(5, "r"), runs(4, "restored", "r")], True),
    ],
)
def test_a_run_is_deleted_if_the_highest_record_says_so(records: list[list[Any]], is_deleted: bool) -> None:
    assert fold(created("1", 1, "e"), *records).is_run_deleted("r", "1") == is_deleted


def test_tombstones_of_one_run_add_up() -> None:
    state = fold(tombstone(3, "r", w=[10, 5], v=[1, 1]), tombstone(4, "r", w=[7, 9], u=[2, 0]))
    found = state.tombstones["r"]
    assert (found.stamp, found.positions) == (4, {"w": (10, 9), "v": (1, 1), "u": (2, 0)})
    assert found.covers({"w": (10, 9)})
    assert not found.covers({"w": (11, 9)})
    assert not found.covers({"w": (10, 10)})
    assert not found.covers({"w": (1, 1), "new": (1, 0)})
