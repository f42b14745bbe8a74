"""A row of the index says of a run what its logs said, whatever the run has."""

from __future__ import annotations

import pytest

from localtrack.format.index_rows import decode_index_row, encode_index_row
from localtrack.format.run_fold import RunState
from localtrack.format.segment_info import MetricFold

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
    assert decode_index_row(encode_index_row(state, folds)) == (state, folds)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'["a"]', b"[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]", b"\xff"])
def test_what_is_no_row_is_damaged(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the decoder of JSON words it, or we do
        decode_index_row(data)
