"""One run log: records to changes and points."""

from __future__ import annotations

from typing import Any

import pytest

from localtrack.format.headers import WriterIdentity, encode_header
from localtrack.format.jsonlines import encode_record
from localtrack.format.lines import LOG, Lines
from localtrack.format.runlog import RunLog, read_run_log

IDENTITY = WriterIdentity("node", "boot", "pidns", 7, "11", "test")
RUN = {"run": "r", "experiment_id": "1", "experiment_name": "e", "generation": 0}


def read(*records: list[Any], stamp: int = 10, more: dict[str, Any] = RUN) -> RunLog:
    header = encode_header(LOG, IDENTITY, writer="w", base_ms=1, stamp=stamp, flock=True, more=more)
    log = read_run_log(header + b"".join(map(encode_record, records)), writer="w")
    assert isinstance(log, RunLog)
    return log


def test_state_records_are_changes_in_their_order() -> None:
    log = read(["run", 11, {"start_ms": 1, "status": "RUNNING"}], ["tag", 12, {"a": None}], ["param", 13, {"b": "c"}])
    assert [(c.stamp, c.writer, c.kind) for c in log.changes] == [
        (11, "w", "run"),
        (12, "w", "tag"),
        (13, "w", "param"),
    ]
    assert [c.order for c in log.changes] == sorted(c.order for c in log.changes)
    assert log.greatest_stamp == 13


def test_the_header_has_a_stamp_too() -> None:
    assert read(stamp=99).greatest_stamp == 99


def test_a_batch_is_its_parts() -> None:
    batch = {"points": [[0, 0, 1, 0.5]], "params": {"lr": "1"}, "tags": {"t": "x"}}
    log = read(["k", 0, ["loss"]], ["batch", 11, batch], [0, 0, 2, 0.25])
    assert list(log.points) == [("loss", 1, 1, 0.5), ("loss", 2, 1, 0.25)]
    assert [(c.stamp, c.kind, c.payload) for c in log.changes] == [(11, "param", {"lr": "1"}), (11, "tag", {"t": "x"})]
    assert log.problems == []


@pytest.mark.parametrize(
    "record",
    [
        ["param", 11, {"a": 1}],
        ["param", 11, {"a": None}],
        ["param", "11", {"a": "1"}],
        ["param", 11],
        ["param", 11, ["a"]],
        ["tag", 11, {"a": 1.5}],
        ["tag", 11, {"a": "1"}, "more"],
        ["run", 11, {"start_ms": "1", "status": "RUNNING"}],
        ["run", 11, {"start_ms": 1, "status": "LOST"}],
        ["info", 11, {"status": None}],
        ["info", 11, {"end_ms": "now"}],
        ["artifact", 11, {"path": "a", "bytes": 1}],
        ["batch", 11],
        ["batch", 11, {"points": 7}],
        ["batch", 11, {"points": [7]}],
        ["batch", 11, {"params": {"a": 1}}],
    ],
)
def test_a_damaged_record_is_told_and_skipped(record: list[Any]) -> None:
    log = read(record, ["tag", 12, {"sound": "1"}])
    assert [change.payload for change in log.changes] == [{"sound": "1"}]
    assert len(log.problems) == 1
    assert not log.lines.newer


def test_an_unknown_type_in_lower_case_is_skipped_and_one_in_upper_case_ends_the_reading() -> None:
    assert read(["later", 11, {}]).problems == []
    log = read(["Later", 11, {}])
    assert log.lines.newer
    assert len(log.problems) == 1


def test_a_log_of_another_run_is_none_of_this() -> None:
    header = encode_header(LOG, IDENTITY, writer="w", base_ms=1, stamp=1, flock=True, more=RUN)
    assert isinstance(read_run_log(header, writer="w", run_id="r"), RunLog)
    for data in (header, encode_header(LOG, IDENTITY, writer="w", base_ms=1, stamp=1, flock=True)):
        other = read_run_log(data, writer="w", run_id="other")
        assert isinstance(other, Lines)
        assert other.problems == ["its header does not fit the run"]


def test_a_log_under_another_writers_name_is_told() -> None:
    header = encode_header(LOG, IDENTITY, writer="w", base_ms=1, stamp=1, flock=True, more=RUN)
    log = read_run_log(header, writer="other")
    problems = log.problems
    assert problems == ["its header names another writer, 'w'"]
