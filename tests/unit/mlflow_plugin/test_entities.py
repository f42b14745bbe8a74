"""Runs of a long list, which are made of columns, are those that are made of whole rows; and look like MLflow's."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run, RunData

from localtrack import Store
from localtrack.errors import DamagedIndexError
from localtrack.mlflow_plugin.opened import open_store
from localtrack.mlflow_plugin.tracking_store import LocaltrackStore
from localtrack.query import run_values
from localtrack.query.index_snapshot import IndexSnapshot
from localtrack.types import Dataset, DatasetInput, InputTag, LoggedModelOutput, ViewType


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocaltrackStore]:
    """Runs in a segment of the index and behind it, of two experiments, with keys that not all have."""
    root = tmp_path / "store"
    with Store.open(root) as made:
        for number in range(12):
            if number == 7:
                made.compact()
            run = made.start_run("e" if number % 3 else "f", run_name=f"r{number}", context=False)
            run.log_metrics({"loss": number / 10, "odd": float("nan")} if number % 2 else {"loss": -0.0})
            run.log_metrics({f"only {number}": float("inf")}, step=3, timestamp=5)
            run.log_params({"lr": str(number % 2), **({"late": "ä"} if number > 8 else {})})
            run.log_inputs([DatasetInput(Dataset("iris", str(number), "local", "x"), (InputTag("k", "v"),))], ["m-1"])
            run.log_outputs([LoggedModelOutput("m-2", number)])
            if number != 5:
                run.end()
            if number == 4:
                made.delete_run(run.run_id)
        made.start_run("e", context=False).detach()  # with nothing
    opened = open_store(str(root))
    yield LocaltrackStore(f"localtrack://{root}", None)
    opened.writers.close()
    opened.store.close()


def search(store: LocaltrackStore, **more: Any) -> list[Run]:
    ids = [e.experiment_id for e in store.search_experiments()]
    runs, _ = store._search_runs(ids, more.get("text", ""), ViewType.ALL, 50_000, more.get("order"), None)
    return list(runs)


def described(runs: list[Run]) -> list[str]:
    return [repr(run.to_dictionary()) + repr([dict(metric) for metric in run.data._metric_objs]) for run in runs]


@pytest.fixture
def from_columns(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs were made of columns, in each search."""
    counts: list[int] = []
    plain = run_values.view_to_values

    def spy(view: Any, numbers: Any) -> Any:
        found = plain(view, numbers)
        counts.append(len(found))
        return found

    monkeypatch.setattr(run_values, "view_to_values", spy)
    monkeypatch.setattr("localtrack.api.store_search.READ_AT_ONCE", 0)
    return counts


@pytest.mark.parametrize(
    ("text", "order", "count"),
    [("", None, 13), ("metrics.loss >= 0.1", ["metrics.loss DESC"], 6), ("params.late = 'ä'", None, 3)],
)
def test_they_are_the_same(
    store: LocaltrackStore,
    from_columns: list[int],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    order: list[str] | None,
    count: int,
) -> None:
    by_columns = described(search(store, text=text, order=order))
    assert from_columns == [count]
    monkeypatch.setattr(run_values, "FEW_KEYS", 3)
    by_rows = described(search(store, text=text, order=order))
    assert from_columns == [count]
    assert by_columns == by_rows
    assert len(by_rows) == count


def test_the_rest_of_a_run_is_read_once_and_only_if_it_is_asked_for(
    store: LocaltrackStore, from_columns: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    plain = IndexSnapshot.rows

    def spy(self: IndexSnapshot, numbers: Any) -> Any:
        read.extend(numbers)
        return plain(self, numbers)

    monkeypatch.setattr(IndexSnapshot, "rows", spy)
    runs = search(store)
    assert {run.data.params.get("lr") for run in runs} == {"0", "1", None}
    assert {run.info.status for run in runs} == {"FINISHED", "RUNNING"}
    assert read == []
    for run in runs:
        run.to_proto()
    assert len(read) == len(set(read)) == 13


def test_they_show_copy_and_pickle_themselves_as_mlflows(store: LocaltrackStore, from_columns: list[int]) -> None:
    run = search(store, order=["metrics.loss DESC"])[0]
    assert from_columns
    theirs = Run(run.info, RunData(run.data._metric_objs, *_pairs(run)), run.inputs, run.outputs)
    assert repr(run) == repr(theirs)
    assert run.to_proto() == theirs.to_proto()
    assert list(dict(run)) == list(dict(theirs))
    assert repr(dict(run.data)) == repr(dict(theirs.data))
    for again in (pickle.loads(pickle.dumps(run)), copy.deepcopy(run)):
        assert type(again) is Run
        assert type(again.data) is RunData
        assert repr(again.to_dictionary()) == repr(run.to_dictionary())


def _pairs(run: Run) -> tuple[list[Any], list[Any]]:
    from mlflow.entities import Param, RunTag

    return [Param(*it) for it in run.data.params.items()], [RunTag(*it) for it in run.data.tags.items()]


def test_what_a_damaged_index_cannot_say_later_comes_from_the_runs(
    store: LocaltrackStore, from_columns: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = search(store, order=["attributes.start_time", "attributes.run_id"])
    wanted = [list(run.to_dictionary()["inputs"]["dataset_inputs"]) for run in search(store)]

    def refuse(self: IndexSnapshot, numbers: Any) -> Any:
        raise DamagedIndexError("It is damaged.")

    monkeypatch.setattr(IndexSnapshot, "rows", refuse)
    found = [list(run.to_dictionary()["inputs"]["dataset_inputs"]) for run in runs]
    assert sorted(map(repr, found)) == sorted(map(repr, wanted))
    assert sorted(len(run.outputs.model_outputs) for run in runs) == [0] + [1] * 12
