"""The logs of a logged model, read and folded."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from localtrack.format.headers import WriterIdentity, encode_header
from localtrack.format.jsonlines import encode_record
from localtrack.format.lines import LOG, MODEL, Lines
from localtrack.format.modellog import ModelMetric, encode_metric, fold_model, read_model_log
from localtrack.format.state_records import StateLog

IDENTITY = WriterIdentity("host", "boot", "ns", 7, "1", "test")
CREATED = ["model", 10, {"name": "net", "source_run": "r", "model_type": None, "status": "PENDING", "created_ms": 5}]


def data(writer: str, *records: list[Any], base_ms: int = 50, kind: str = MODEL, **fields: Any) -> bytes:
    more = {"model": "m-1", "experiment_id": "0", "experiment_name": "Default", "generation": 0} | fields
    header = encode_header(kind, IDENTITY, writer=writer, base_ms=base_ms, stamp=1, flock=False, more=more)
    return header + b"".join(map(encode_record, records))


def log(writer: str, *records: list[Any], **header: Any) -> StateLog:
    found = read_model_log(data(writer, *records, **header), writer=writer)
    assert isinstance(found, StateLog)
    return found


def metric(stamp: int, value: Any, **more: Any) -> list[Any]:
    fields = {"key": "acc", "value": value, "step": 0, "timestamp_ms": 1, "run": None, "dataset": None}
    return ["metric", stamp, fields | more]


def test_the_fold_does_not_depend_on_the_order_of_logs_nor_on_repetition() -> None:
    logs = [
        log("a", CREATED, ["param", 12, {"p": "late"}], ["tag", 15, {"t": "a"}], metric(16, 1)),
        log("b", ["param", 11, {"p": "early"}], ["tag", 15, {"t": "b"}], metric(17, 1.0), base_ms=40),
        log("c", ["info", 20, {"status": "READY", "updated_ms": 9}], ["info", 19, {"status": "FAILED"}], base_ms=60),
    ]
    states = [fold_model(order) for order in itertools.permutations(logs)]
    assert all(state == states[0] for state in states)
    state = states[0]
    assert (state.name, state.status, state.created_ms, state.updated_ms) == ("net", "READY", 5, 9)
    assert (state.params, state.tags) == ({"p": "early"}, {"t": "b"})
    assert state.metrics == [ModelMetric("acc", 1.0, 1, 0, None, None)]
    assert state.problems == ["param 'p' was set to 'early' and to 'late'; the first counts"]


def test_the_experiment_is_that_of_the_creation() -> None:
    made, earlier = log("b", CREATED, experiment_id="2"), log("a", base_ms=1, experiment_id="3")
    assert fold_model([earlier, made]).experiment_id == "2"
    bare = fold_model([earlier])
    assert (bare.experiment_id, bare.name, bare.status, bare.created_ms) == ("3", "", "PENDING", 1)
    assert bare.problems == ["the record of its creation is missing"]


def test_a_null_deletes_a_tag_and_a_message() -> None:
    changes = [["info", 12, {"status_message": "why"}], ["tag", 12, {"t": "1"}]]
    state = fold_model([log("a", CREATED, *changes, ["info", 13, {"status_message": None}], ["tag", 13, {"t": None}])])
    assert (state.status_message, state.tags) == (None, {})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.0, 0.1])
def test_a_metric_comes_back_as_it_was(value: float) -> None:
    wanted = ModelMetric("acc", value, 7, -3, "r", ("iris", "1"))
    (found,) = fold_model([log("a", CREATED, ["metric", 11, encode_metric(wanted)])]).metrics
    assert found.identity() == wanted.identity()
    assert (found.timestamp_ms, found.step, found.run_id, found.dataset) == (7, -3, "r", ("iris", "1"))


@pytest.mark.parametrize(
    "record",
    [
        ["model", 11, {"name": "x"}],
        ["model", 11, CREATED[2] | {"status": "RUNNING"}],
        ["model", 11, CREATED[2] | {"source_run": 3}],
        ["info", 11, {"status": []}],
        ["info", 11, {"updated_ms": "1"}],
        ["info", 11, {"status_message": 1}],
        metric(11, "nan"),
        metric(11, None),
        metric(11, 1, dataset=["a"]),
        metric(11, 1, dataset=[1, "a"]),
        metric(11, 1, step=0.5),
        metric(11, 1, key=None),
        ["metric", 11, []],
        ["tag", "11", {}],
        ["dataset", 11, {}],
        ["k", 0, ["a"]],
        [0, 0, 0, 1.5],
        ["batch", 11, {}],
    ],
    ids=repr,
)
def test_a_damaged_record_is_told_and_takes_nothing_along(record: list[Any]) -> None:
    found = log("a", CREATED, record, ["tag", 12, {"t": "1"}])
    assert len(found.problems) == 1
    state = fold_model([found])
    assert (state.name, state.tags, state.metrics) == ("net", {"t": "1"}, [])


def test_a_header_of_something_else_is_no_models() -> None:
    for wrong in (data("a", kind=LOG), data("a", model=7), data("a", generation="0"), b"", b"[]\n"):
        found = read_model_log(wrong, writer="a")
        assert isinstance(found, Lines)
        assert found.header is None
    renamed = read_model_log(data("a", CREATED), writer="b")
    assert isinstance(renamed, StateLog)
    assert renamed.problems == ["its header names another writer, 'a'"]
