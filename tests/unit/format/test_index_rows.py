"""A row of the index says of a run what its logs said, whatever the run has, and damage is told."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.format.index_rows import decode_index_row, encode_index_row, pack_row, unpack_row
from localtrack.format.metric_fold import fold_points
from localtrack.format.run_fold import RunState
from localtrack.format.segment_info import MetricFold
from localtrack.store.index.segment_write import choose_dictionary, compressor

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
TIMES = st.integers(0, 2**53)
DATASETS = st.fixed_dictionaries(
    {"name": TEXTS, "digest": TEXTS, "source": TEXTS, "tags": st.dictionaries(TEXTS, TEXTS, max_size=2)}
)
STATES = st.builds(
    RunState,
    run_id=TEXTS,
    experiment_id=TEXTS,
    experiment_name=TEXTS,
    generation=st.integers(0, 9),
    name=TEXTS,
    user=TEXTS,
    status=st.sampled_from(["RUNNING", "FINISHED"]),
    start_ms=TIMES,
    end_ms=st.none() | TIMES,
    params=st.dictionaries(TEXTS, TEXTS, max_size=4),
    tags=st.dictionaries(TEXTS, TEXTS, max_size=4),
    datasets=st.lists(DATASETS, max_size=2).map(lambda found: {(it["name"], it["digest"]): it for it in found}),
    model_inputs=st.lists(TEXTS, max_size=2).map(dict.fromkeys),
    model_outputs=st.lists(st.tuples(TEXTS, INTEGERS), max_size=2).map(dict.fromkeys),
)
FOLDS = st.lists(st.tuples(st.sampled_from("abc"), INTEGERS, TIMES, st.floats()), max_size=8).map(fold_points)


@given(STATES, FOLDS)
def test_a_row_is_read_back(state: RunState, folds: Any) -> None:
    row = encode_index_row(state, folds)
    packed = pack_row(row, compressor(choose_dictionary([row])).copy())
    assert unpack_row(packed, choose_dictionary([row])) == row
    found_state, found_folds = decode_index_row(state.run_id, row)
    assert found_state == state
    assert repr(found_folds) == repr(folds), "0.0 and -0.0 told apart"


@given(STATES, FOLDS, st.data())
def test_a_changed_byte_of_a_packed_row_is_told(state: RunState, folds: Any, data: st.DataObject) -> None:
    row = encode_index_row(state, folds)
    packed = bytearray(pack_row(row, compressor(b"")))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match="checksum"):
        unpack_row(bytes(packed), b"")


@pytest.mark.parametrize("body", [b"", b"\xff\xff", b"\x00"])
def test_what_is_not_deflated_is_told(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_index_row("id", unpack_row(body + zlib.crc32(body).to_bytes(4, "little"), b""))


def test_a_dictionary_holds_whole_lines_where_there_is_room() -> None:
    rows = [b"%d begins and ends\nnumbers" % number for number in range(1000)]
    dictionary = choose_dictionary(rows)
    assert dictionary.startswith(b"0 begins and ends")
    assert b"numbers" not in dictionary
    assert 0 < len(choose_dictionary([b"x" * 100_000 + b"\n"] * 50)) <= 8 * 1024
    assert choose_dictionary([]) == b""


DATASET = {
    "digest": "9a1c",
    "name": "iris",
    "profile": None,
    "schema": "{}",
    "source": "x",
    "source_type": "local",
    "tags": {"k": "v"},
}


def run(**more: object) -> RunState:
    return RunState(run_id="0" * 32, experiment_id="1", experiment_name="e", generation=0, start_ms=5, end_ms=7, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "state",
    [
        run(),
        run(params={"lr": "0.1"}, tags={"mlflow.runName": "n"}, name="n", user="ada", status="FINISHED"),
        run(datasets={("iris", "9a1c"): DATASET}),
        run(model_inputs={"m-1": None, "m-0": None}),
        run(model_outputs={("m-1", 2): None, ("m-1", 1): None}),
        run(datasets={("iris", "9a1c"): DATASET}, model_inputs={"m-1": None}, model_outputs={("m-2", 0): None}),
    ],
)
def test_a_row_is_the_run(state: RunState) -> None:
    folds = {"one": MetricFold(1, 0.5, 2, 3, 0.5, 0.5), "more": MetricFold(9, float("inf"), -1, 4, -0.5, float("inf"))}
    assert decode_index_row(state.run_id, encode_index_row(state, folds)) == (state, folds)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'["a"]', b"[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]", b"\xff"])
def test_what_is_no_row_is_damaged(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the decoder of JSON words it, or we do
        decode_index_row("id", data)
