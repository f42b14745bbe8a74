"""Several logs to one run: each rule of FORMAT.md section 12.3 by itself."""

from __future__ import annotations

from typing import Any

from localtrack.format.headers import WriterIdentity, encode_header
from localtrack.format.jsonlines import encode_record
from localtrack.format.lines import LOG
from localtrack.format.run_fold import fold_run
from localtrack.format.runlog import RunLog, read_run_log

IDENTITY = WriterIdentity("node", "boot", "pidns", 7, "11", "test")
CREATED = ["run", 10, {"start_ms": 5, "status": "RUNNING", "user": "ada"}]


def log(writer: str, *records: list[Any], base_ms: int = 1, experiment: str = "1") -> RunLog:
    more = {"run": "r", "experiment_id": experiment, "experiment_name": f"e{experiment}", "generation": 0}
    header = encode_header(LOG, IDENTITY, writer=writer, base_ms=base_ms, stamp=9, flock=True, more=more)
    found = read_run_log(header + b"".join(map(encode_record, records)), writer=writer)
    assert isinstance(found, RunLog)
    assert found.problems == []
    return found


def test_one_log_is_a_run() -> None:
    tags = ["tag", 11, {"mlflow.runName": "n", "a": "1"}]
    state = fold_run([log("w", CREATED, tags, ["info", 12, {"status": "FINISHED", "end_ms": 7}])])
    assert (state.run_id, state.experiment_id, state.experiment_name) == ("r", "1", "e1")
    assert (state.status, state.start_ms, state.end_ms, state.user) == ("FINISHED", 5, 7, "ada")
    assert (state.name, state.tags, state.problems) == ("n", {"mlflow.runName": "n", "a": "1"}, [])
    assert state.greatest_stamp == 12


def test_of_a_param_the_lowest_counts_and_the_conflict_is_told() -> None:
    state = fold_run([log("w", CREATED, ["param", 20, {"lr": "late"}]), log("v", ["param", 15, {"lr": "early"}])])
    assert state.params == {"lr": "early"}
    assert state.problems == ["param 'lr' was set to 'early' and to 'late'; the first counts"]


def test_equal_params_of_two_writers_are_no_conflict() -> None:
    state = fold_run([log("w", CREATED, ["param", 20, {"lr": "1"}]), log("v", ["param", 15, {"lr": "1"}])])
    assert (state.params, state.problems) == ({"lr": "1"}, [])


def test_of_a_tag_the_highest_counts_also_if_it_deletes() -> None:
    state = fold_run(
        [log("w", CREATED, ["tag", 20, {"a": None, "b": "new"}]), log("v", ["tag", 15, {"a": "1", "b": "old"}])]
    )
    assert state.tags == {"b": "new"}


def test_of_equal_stamps_the_writer_decides_then_the_place_in_the_file() -> None:
    first, second = ["param", 20, {"p": "first"}], ["param", 20, {"p": "second"}]
    tags = [["tag", 20, {"t": "first"}], ["tag", 20, {"t": "second"}]]
    state = fold_run([log("b", first, tags[0]), log("a", CREATED, second, tags[1])])
    assert (state.params["p"], state.tags["t"]) == ("second", "first")
    state = fold_run([log("a", CREATED, first, second, *tags)])
    assert (state.params["p"], state.tags["t"]) == ("first", "second")


def test_stamps_count_and_not_the_place_in_the_file() -> None:
    state = fold_run([log("w", CREATED, ["tag", 20, {"t": "high"}], ["tag", 15, {"t": "low"}])])
    assert state.tags == {"t": "high"}


def test_the_fields_of_info_fold_one_by_one() -> None:
    ended = ["info", 20, {"status": "FAILED", "end_ms": 30}]
    state = fold_run([log("w", CREATED, ended), log("v", ["info", 25, {"status": "RUNNING"}])])
    assert (state.status, state.end_ms) == ("RUNNING", 30)
    state = fold_run([log("w", CREATED, ended), log("v", ["info", 25, {"end_ms": None}])])
    assert (state.status, state.end_ms) == ("FAILED", None)


def test_of_an_artifact_the_highest_record_counts() -> None:
    records = [["artifact", stamp, {"path": "a", "bytes": stamp, "sha256": "0"}] for stamp in (20, 15)]
    state = fold_run([log("w", CREATED, records[0]), log("v", records[1])])
    assert state.artifacts["a"]["bytes"] == 20


def test_the_experiment_is_that_of_the_log_that_made_the_run() -> None:
    made, earlier = log("w", CREATED, base_ms=50, experiment="2"), log("v", base_ms=1, experiment="3")
    assert fold_run([made, earlier]).experiment_id == "2"
    assert fold_run([earlier]).experiment_id == "3"


def test_a_run_without_its_beginning_is_shown_and_told() -> None:
    state = fold_run([log("w", ["tag", 11, {"a": "1"}], base_ms=70), log("v", base_ms=60)])
    assert (state.start_ms, state.status, state.tags) == (60, "RUNNING", {"a": "1"})
    assert state.problems == ["the record of its creation is missing"]
