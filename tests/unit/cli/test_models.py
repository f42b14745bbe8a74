"""`localtrack models`, and what `localtrack show` says of data sets and models."""

from __future__ import annotations

import pytest
from tests.unit.cli.conftest import Invoke, Place

from localtrack import Store
from localtrack.types import Dataset, DatasetInput, InputTag, Metric


@pytest.fixture
def models(place: Place) -> list[str]:
    with Store.open(place.path) as store:
        experiment = store.ensure_experiment("nets").experiment_id
        first = store.create_logged_model(experiment, "small", params={"depth": 2}, model_type="torch").model_id
        second = store.create_logged_model(name="large", source_run_id=place.ids.good).model_id
        store.finalize_logged_model(second, "READY")
        metrics = [Metric("acc", 0.5, 1, 1), Metric("acc", 0.75, 2, 1, dataset_name="iris", dataset_digest="1")]
        store.log_logged_model_metrics(second, metrics)
        return [first, second]


def test_models_are_listed_with_their_latest_metrics(place: Place, invoke: Invoke, models: list[str]) -> None:
    answer = invoke("models", "--store", place.path)
    assert answer.exit_code == 0
    title, *lines = answer.stdout.splitlines()
    assert title.split() == ["MODEL", "ID", "NAME", "STATUS", "TYPE", "CREATED", "METRICS"]
    by_id = {line.split()[0]: line for line in lines}
    assert set(by_id) == set(models)
    assert "small" in by_id[models[0]]
    assert "PENDING  torch" in by_id[models[0]]
    assert "READY" in by_id[models[1]]
    assert "acc 0.75" in by_id[models[1]]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["params.depth = 2"], [0]),
        (["metrics.acc > 0.6"], [1]),
        (["-e", "nets"], [0]),
        (["-e", "nets", "-e", "Default", "-o", "name"], [1, 0]),
        (["-o", "metrics.acc ASC"], [1, 0]),
        (["-o", "name DESC"], [0, 1]),
    ],
)
def test_models_are_chosen_and_ordered(
    place: Place, invoke: Invoke, models: list[str], arguments: list[str], wanted: list[int]
) -> None:
    answer = invoke("models", *arguments, "--store", place.path, "--json")
    assert [document["model_id"] for document in answer.documents] == [models[number] for number in wanted]


def test_a_model_as_a_document(place: Place, invoke: Invoke, models: list[str]) -> None:
    (document,) = invoke("models", "name = 'large'", "--store", place.path, "--json").documents
    assert (document["status"], document["source_run_id"]) == ("READY", place.ids.good)
    assert document["model_metrics"][1] == {
        "key": "acc",
        "value": 0.75,
        "step": 1,
        "timestamp_ms": 2,
        "run_id": None,
        "dataset_name": "iris",
        "dataset_digest": "1",
    }


def test_what_is_not_shown_is_said(place: Place, invoke: Invoke, models: list[str]) -> None:
    answer = invoke("models", "-n", "1", "--store", place.path)
    assert len(answer.stdout.splitlines()) == 2
    assert "Only the first 1 logged models" in answer.stderr
    answer = invoke("models", "name = 'none'", "--store", place.path)
    assert (answer.exit_code, answer.stdout) == (0, "")
    assert "No logged models match" in answer.stderr
    assert invoke("models", "colour = 'red'", "--store", place.path).exit_code == 2
    assert invoke("models", "-e", "nowhere", "--store", place.path).exit_code == 3


def test_a_damaged_model_is_told_and_hides_no_other(place: Place, invoke: Invoke, models: list[str]) -> None:
    (log,) = place.path.glob(f"models/*/{models[0]}/*.jsonl")
    log.write_bytes(b"}" + log.read_bytes()[1:])
    answer = invoke("models", "--store", place.path)
    assert models[1] in answer.stdout
    assert models[0] not in answer.stdout
    assert models[0] in answer.stderr


def test_show_names_data_sets_and_models(place: Place, invoke: Invoke) -> None:
    read = DatasetInput(Dataset("iris", "9a1c", "local", "iris.csv"), (InputTag("mlflow.data.context", "training"),))
    with Store.open(place.path) as store:
        store.log_run_inputs(place.ids.good, [read], ["m-1"])
        store.log_run_outputs(place.ids.good, ["m-2"])
    page = invoke("show", place.ids.good, "--store", place.path).stdout
    assert "Data sets\n" in page
    assert ["iris", "9a1c", "training", "iris.csv"] in [line.split() for line in page.splitlines()]
    assert ["m-1", "read"] in [line.split() for line in page.splitlines()]
    assert ["m-2", "made", "0"] in [line.split() for line in page.splitlines()]
    document = invoke("show", place.ids.good, "--store", place.path, "--json").document
    assert document["model_inputs"] == ["m-1"]
    assert document["model_outputs"] == [{"model_id": "m-2", "step": 0}]
    assert [dataset["name"] for dataset in document["datasets"]] == ["iris"]


def test_a_merge_counts_models(place: Place, invoke: Invoke, models: list[str]) -> None:
    answer = invoke("merge", "copy", place.path, "--create")
    assert "2 logged models added, 0 extended, 0 unchanged" in answer.stdout
    (source,) = invoke("merge", "copy", place.path, "--json").document["sources"]
    assert (source["models_added"], source["models_unchanged"]) == (0, 2)
