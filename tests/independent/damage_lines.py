"""Damaged stores whose damage is in the lines of a log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.independent.expected import Json, a_run, a_store
from tests.independent.hand import DAY, NOON_MS, A, B, HandLog, HandStore, run_id, run_log

T = NOON_MS
RUN = run_id(2)
FOLDER = f"runs/{DAY}/{RUN}"
LOG = f"{FOLDER}/{A}.jsonl"


def bystander(store: HandStore) -> Json:
    """Add a sound run, which every damage must leave alone, and return how it reads."""
    log = run_log(run_id(1), B).add(["run", T, {"start_ms": T, "status": "RUNNING", "user": "ada"}])
    store.log(f"runs/{DAY}/{run_id(1)}", log.add(["tag", T + 1, {"sound": "yes"}]))
    return {run_id(1): a_run(tags={"sound": "yes"})}


def begun() -> HandLog:
    """The log of the run that gets damaged, up to its second point."""
    log = run_log(RUN).add(["run", T, {"start_ms": T, "status": "RUNNING", "user": "ada"}])
    return log.add(["tag", T + 1, {"a": "1"}], ["k", 0, ["loss"]], [0, 1, 1, 0.5], [0, 2, 2, 0.25])


def the_run(*, values: tuple[float | None, ...] = (0.5, 0.25), **other: Any) -> Json:
    """How it reads: `values` by step, from step 1 on; None is a point that was lost."""
    points = [["loss", T + i, i, value] for i, value in enumerate(values, 1) if value is not None]
    _, at_ms, step, value = points[-1]
    return a_run(tags={"a": "1"}, points=points, last={"loss": [value, step, at_ms]}) | other


def ended(log: HandLog, *, fold: Json | None = None) -> HandLog:
    log.add(["info", T + 9, {"end_ms": T + 9, "status": "FINISHED"}])
    return log.close(T + 10, points=2, points_all=2, chunks=0, fold=fold)


FINISHED = {"status": "FINISHED", "end_ms": T + 9}


def _case(data: bytes, read: Json | None, kind: str | None) -> tuple[HandStore, Json]:
    """A store whose second run has this log, reads so, and is reported so."""
    store = HandStore()
    runs = bystander(store)
    store.put(LOG, data)
    if read is not None:
        runs[RUN] = read
    return store, a_store(runs, findings=[(LOG, kind)] if kind else [])


def _with_line(line: bytes) -> tuple[HandStore, Json]:
    """One damaged line between sound ones."""
    log = begun().raw(line + b"\n").add([0, 3, 3, 0.125])
    return _case(log.data, the_run(values=(0.5, 0.25, 0.125)), "damaged")


def digit_in_closed_log() -> tuple[HandStore, Json]:
    data = ended(begun()).data.replace(b"[0,2,2,0.25]", b"[0,2,2,0.65]")
    return _case(data, the_run(values=(0.5, 0.65), **FINISHED), "crc")


def digit_under_check() -> tuple[HandStore, Json]:
    data = begun().check(10).add([0, 3, 3, 0.125]).data.replace(b"[0,2,2,0.25]", b"[0,2,2,0.65]")
    return _case(data, the_run(values=(0.5, 0.65, 0.125)), "crc")


def check_beyond_itself() -> tuple[HandStore, Json]:
    log = begun()
    log.add(["c", 0, len(log.data) + 1, 0])
    return _case(log.data, the_run(), "crc")


def syntax_in_open_log() -> tuple[HandStore, Json]:
    data = begun().add([0, 3, 3, 0.125]).data.replace(b"[0,2,2,0.25]", b"[0,2,2;0.25]")
    return _case(data, the_run(values=(0.5, None, 0.125)), "damaged")


def syntax_in_closed_log() -> tuple[HandStore, Json]:
    data = ended(begun()).data.replace(b"[0,2,2,0.25]", b"[0,2,2;0.25]")
    store, expected = _case(data, the_run(values=(0.5,), **FINISHED), "damaged")
    expected["findings"] += [[LOG, "crc"], [LOG, "count"]]
    expected["findings"].sort()
    return store, expected


def bytes_behind_closed() -> tuple[HandStore, Json]:
    return _case(ended(begun()).raw(b'["tag",17').data, the_run(**FINISHED), "damaged")


def wrong_count_in_closed() -> tuple[HandStore, Json]:
    log = begun()
    return _case(log.close(T + 10, points=3, points_all=2, chunks=0).data, the_run(), "count")


def cut_within_closed_record() -> tuple[HandStore, Json]:
    """What is left is a sound log that was never closed: no reader can tell."""
    return _case(ended(begun()).data[:-20], the_run(**FINISHED), None)


def header() -> tuple[HandStore, Json]:
    return _case(b"[" + begun().data[2:], None, "damaged")


def header_of_second_writer() -> tuple[HandStore, Json]:
    store, expected = _case(begun().data, the_run(), None)
    log = run_log(RUN, B, stamp=T + 5).add(["tag", T + 5, {"a": "2"}])
    key = store.put(f"{FOLDER}/{B}.jsonl", log.data.replace(b'"base_ms":1790000000000', b'"base_ms":"1790000000000'))
    expected["findings"] = [[key, "damaged"]]
    return store, expected


def newer_format() -> tuple[HandStore, Json]:
    log = run_log(RUN, format=2).raw(b"\xb5 something else altogether\n")
    return _case(log.data, None, "newer")


def unknown_upper_case_type() -> tuple[HandStore, Json]:
    return _case(begun().add(["Encrypted", {"with": "something"}]).data, None, "unknown_type")


def second_header() -> tuple[HandStore, Json]:
    """The header again: a type that is known, where it cannot stand."""
    return _with_line(begun().data.splitlines()[0])


def type_that_begins_with_no_letter() -> tuple[HandStore, Json]:
    """Neither may it be skipped nor is it of a later version."""
    return _with_line(b'["[ag",1790000000003,{"a":"2"}]')


def experiment_of_second_writer() -> tuple[HandStore, Json]:
    """A run is of the experiment that the header beside its `run` record names. No reader can tell who is wrong."""
    store, expected = _case(begun().data, the_run(tags={"a": "1", "b": "2"}), None)
    log = run_log(RUN, B, experiment=("1", "Another"), base_ms=T - 9, stamp=T + 5).add(["tag", T + 5, {"b": "2"}])
    store.log(FOLDER, log)
    return store, expected


def edit_in_run_log() -> tuple[HandStore, Json]:
    """A type of edits, where it cannot stand."""
    return _with_line(f'["runs",1790000000003,{{"op":"deleted","runs":["{RUN}"],"time_ms":1}}]'.encode())


def damage_before_the_header() -> tuple[HandStore, Json]:
    """The header is the first line that can be read."""
    return _case(b'["Log",{"base_ms":17\n' + begun().data, the_run(), "damaged")


def fold_damaged() -> tuple[HandStore, Json]:
    """One number is missing. It is a cache: what the points add up to is known without it."""
    data = ended(begun(), fold={"loss": [2, 0.25, 2, T + 2, 0.25]}).data
    return _case(data, the_run(**FINISHED), "damaged")


def unknown_status_of_run() -> tuple[HandStore, Json]:
    """The record that makes the run cannot be read: it is as if there was none."""
    data = begun().data.replace(b'"status":"RUNNING"', b'"status":"BEGUN"')
    store, expected = _case(data, the_run(user=""), "damaged")
    expected["findings"] = sorted([*expected["findings"], [FOLDER, "no_run"]])
    return store, expected


def point_of_unknown_keys() -> tuple[HandStore, Json]:
    return _with_line(b"[1,3,3,0.5]")


def point_with_a_value_too_many() -> tuple[HandStore, Json]:
    return _with_line(b"[0,3,3,0.5,0.5]")


def keys_given_twice() -> tuple[HandStore, Json]:
    return _with_line(b'["k",0,["acc"]]')


def not_a_number() -> tuple[HandStore, Json]:
    return _with_line(b"[0,3,3,NaN]")


def number_not_finite() -> tuple[HandStore, Json]:
    return _with_line(b"[0,3,3,1e999]")


def wide_integer() -> tuple[HandStore, Json]:
    return _with_line(b"[0,3,9223372036854775808,0.5]")


def fraction_as_step() -> tuple[HandStore, Json]:
    return _with_line(b"[0,3,3.5,0.5]")


def not_utf8() -> tuple[HandStore, Json]:
    return _with_line(b'["tag",1790000000003,{"a":"\xff"}]')


def empty_line() -> tuple[HandStore, Json]:
    return _with_line(b"")


def no_array() -> tuple[HandStore, Json]:
    return _with_line(b'{"tag":1790000000003}')


def empty_array() -> tuple[HandStore, Json]:
    return _with_line(b"[]")


def tag_without_stamp() -> tuple[HandStore, Json]:
    return _with_line(b'["tag",{"a":"2"}]')


def number_as_param() -> tuple[HandStore, Json]:
    return _with_line(b'["param",1790000000003,{"lr":0.5}]')


def unknown_status() -> tuple[HandStore, Json]:
    return _with_line(b'["info",1790000000003,{"status":"DONE"}]')


def batch_of_unknown_keys() -> tuple[HandStore, Json]:
    """The point is damaged; what else the batch says counts."""
    store, expected = _with_line(
        b'["batch",1790000000003,{"params":{"p":"1"},"points":[[0,4,4,0.5],[7,3,3,0.5]],"tags":{"a":"2"}}]'
    )
    run = expected["runs"][RUN]
    run["params"], run["tags"] = {"p": "1"}, {"a": "2"}
    run["points"].append(["loss", T + 4, 4, 0.5])
    run["last"] = {"loss": [0.5, 4, T + 4]}
    return store, expected


def torn_of_another_length() -> tuple[HandStore, Json]:
    """The line before it is sound, and longer than `torn` says."""
    return _with_line(b'["torn",3]')


LINE_DAMAGES: tuple[Callable[[], tuple[HandStore, Json]], ...] = (
    digit_in_closed_log,
    digit_under_check,
    check_beyond_itself,
    syntax_in_open_log,
    syntax_in_closed_log,
    bytes_behind_closed,
    wrong_count_in_closed,
    cut_within_closed_record,
    header,
    header_of_second_writer,
    newer_format,
    unknown_upper_case_type,
    second_header,
    type_that_begins_with_no_letter,
    experiment_of_second_writer,
    edit_in_run_log,
    damage_before_the_header,
    fold_damaged,
    unknown_status_of_run,
    point_of_unknown_keys,
    point_with_a_value_too_many,
    keys_given_twice,
    not_a_number,
    number_not_finite,
    wide_integer,
    fraction_as_step,
    not_utf8,
    empty_line,
    no_array,
    empty_array,
    tag_without_stamp,
    number_as_param,
    unknown_status,
    batch_of_unknown_keys,
    torn_of_another_length,
)
