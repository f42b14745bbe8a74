from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localtrack import Store
from localtrack.errors import InvalidInputError, NotFoundError

START_MS = 1_790_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as store:
        yield store


def make_run(store: Store, name: str, *, start_ms: int, steps: range) -> str:
    with store.start_run(run_name=name, start_time=start_ms, context=False) as run:
        for step in steps:
            run.log_metrics({"loss": step / 10, "acc": 1.0}, step=step, timestamp=start_ms + 10 * step)
        return run.run_id


def test_one_metric_of_many_runs_stands_side_by_side(store: Store) -> None:
    first = make_run(store, "x", start_ms=START_MS, steps=range(3))
    second = make_run(store, "y", start_ms=START_MS + 5, steps=range(1, 4))
    frame = store.align_histories([first, second], "loss")
    assert frame.columns == ["step", first, second]
    assert frame.to_arrow().to_pydict() == {
        "step": [0, 1, 2, 3],
        first: [0.0, 0.1, 0.2, None],
        second: [None, 0.1, 0.2, 0.3],
    }
    assert frame.to_pandas().shape == frame.to_polars().shape == (4, 3)
    elapsed = store.align_histories([second], "loss", by="elapsed", interval=1)
    assert elapsed.to_arrow().to_pydict() == {"elapsed_ms": [10, 20, 30], second: [0.1, 0.2, 0.3]}
    time = store.align_histories([first, second], "loss", by="time", interval=10).to_arrow().to_pydict()
    assert time["timestamp_ms"] == [START_MS + n for n in (0, 10, 20, 30)]


def test_columns_can_have_the_names_of_the_runs(store: Store) -> None:
    ids = [make_run(store, name, start_ms=START_MS, steps=range(1)) for name in ("x", "same", "same", "step")]
    columns = store.align_histories(ids, "loss", names="run_name").columns
    assert columns == ["step", "x", f"same ({ids[1][:12]})", f"same ({ids[2][:12]})", f"step ({ids[3][:12]})"]


def test_a_run_without_the_metric_has_an_empty_column_and_one_that_is_not_there_is_an_error(store: Store) -> None:
    run_id = make_run(store, "x", start_ms=START_MS, steps=range(2))
    assert store.align_histories([run_id], "nothing").to_arrow().to_pydict() == {"step": [], run_id: []}
    assert store.align_histories([run_id, run_id], "loss").columns == ["step", run_id]
    with pytest.raises(NotFoundError):
        store.align_histories([run_id, "0" * 32], "loss")
    with pytest.raises(InvalidInputError):
        store.align_histories(run_id, "loss")
    with pytest.raises(InvalidInputError):
        store.align_histories([run_id], "loss", names="colour")  # type: ignore[arg-type]


def test_all_metrics_of_a_run_can_be_thinned_out(store: Store) -> None:
    run_id = make_run(store, "x", start_ms=START_MS, steps=range(500))
    assert store.metric_history(run_id).num_rows == 1_000
    frame = store.metric_history_polars(run_id, max_points=20)
    assert frame.columns == ["key", "step", "timestamp_ms", "value"]
    for key in ("acc", "loss"):
        steps = frame.filter(frame["key"].cast(str) == key)["step"].to_list()
        assert len(steps) <= 20
        assert (steps[0], steps[-1]) == (0, 499)
    assert len(store.metric_history_pandas(run_id, "loss", max_points=20)) <= 20
