"""What runs read and make: data sets and logged models."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from localtrack import Store
from localtrack.errors import InvalidInputError
from localtrack.types import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    RunInputs,
    RunOutputs,
)

IRIS = Dataset("iris", "9a1c", "local", '{"uri": "iris.csv"}', "{}", None)


def read(context: str, dataset: Dataset = IRIS) -> DatasetInput:
    return DatasetInput(dataset, (InputTag("mlflow.data.context", context),))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_inputs_and_outputs_are_those_of_the_run(store: Store) -> None:
    run = store.start_run(context=False)
    run.log_inputs([read("train")], [LoggedModelInput("m-1"), "m-2"])
    run.log_outputs([LoggedModelOutput("m-3", 7), "m-4"])
    found = store.get_run(run.run_id)
    assert found.inputs == RunInputs((read("train"),), (LoggedModelInput("m-1"), LoggedModelInput("m-2")))
    assert found.outputs == RunOutputs((LoggedModelOutput("m-3", 7), LoggedModelOutput("m-4", 0)))
    assert found.inputs.dataset_inputs[0].context == "train"
    assert found.to_dictionary()["inputs"]["dataset_inputs"][0]["tags"] == {"mlflow.data.context": "train"}


def test_logging_them_again_changes_nothing(store: Store) -> None:
    run = store.start_run(context=False)
    run.log_inputs([read("train"), read("eval")], ["m-1", "m-1"])
    run.log_outputs(["m-2"])
    log = next((Path(store.uri) / "runs").glob("*/*/*.jsonl"))
    size = log.stat().st_size
    run.log_inputs([read("eval")], ["m-1"])
    run.log_outputs(["m-2"])
    assert log.stat().st_size == size
    run.end()
    store.log_run_inputs(run.run_id, [read("other"), read("x", Dataset("iris", "other", "local", ""))], ["m-9"])
    store.log_run_outputs(run.run_id, [LoggedModelOutput("m-2", 1)])
    found = store.get_run(run.run_id)
    assert [(i.dataset.digest, i.context) for i in found.inputs.dataset_inputs] == [("9a1c", "train"), ("other", "x")]
    assert [model.model_id for model in found.inputs.model_inputs] == ["m-1", "m-9"]
    assert [(model.model_id, model.step) for model in found.outputs.model_outputs] == [("m-2", 0), ("m-2", 1)]


def test_runs_are_found_by_their_data_sets(store: Store) -> None:
    run = store.start_run(context=False)
    run.log_inputs([read("train")])
    store.start_run(context=False)
    for condition in ("dataset.name = 'iris'", "dataset.digest LIKE '9a%'", "datasets.context = 'train'"):
        assert [row.info.run_id for row in store.search_runs(filter_string=condition)] == [run.run_id]
    assert store.search_runs(filter_string="dataset.context = 'eval'") == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": None}, "name cannot be None"),
        ({"digest": None}, "digest cannot be None"),
        ({"source_type": None}, "source_type cannot be None"),
        ({"source": None}, "source cannot be None"),
        ({"name": "n" * 501}, "maximum length of 500"),
        ({"digest": "d" * 37}, "maximum length of 36"),
        ({"source": "s" * 65536}, "maximum length of 65535"),
        ({"schema": "s" * 1048576}, "maximum length of 1048575"),
        ({"name": 3}, "must be a text"),
        ({"source": "\ud800"}, "lone surrogate"),
    ],
)
def test_a_data_set_that_breaks_a_rule_leaves_nothing(store: Store, change: dict[str, Any], says: str) -> None:
    run = store.start_run(context=False)
    dataset = SimpleNamespace(**(IRIS.to_dictionary() | change))
    with pytest.raises(InvalidInputError, match=says):
        run.log_inputs([read("train"), SimpleNamespace(dataset=dataset, tags=[])], ["m-1"])
    assert store.get_run(run.run_id).inputs == RunInputs()


@pytest.mark.parametrize("tag", [InputTag("k" * 256, "v"), InputTag("k", "v" * 501), InputTag("k", 3)])  # type: ignore[arg-type]
def test_an_input_tag_that_breaks_a_rule_is_refused(store: Store, tag: InputTag) -> None:
    run = store.start_run(context=False)
    with pytest.raises(InvalidInputError):
        run.log_inputs([DatasetInput(IRIS, (tag,))])


@pytest.mark.parametrize("model", [None, "", 3, SimpleNamespace()])
def test_a_model_has_an_id(store: Store, model: Any) -> None:
    run = store.start_run(context=False)
    with pytest.raises(InvalidInputError):
        run.log_inputs(models=[model])
    with pytest.raises(InvalidInputError):
        run.log_outputs([model])
