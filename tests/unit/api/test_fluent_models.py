"""The fluent calls for logged models, and for what runs read and make."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import localtrack as mlflow
from localtrack.api import active_model
from localtrack.entities import Dataset, LoggedModelInput, LoggedModelOutput, LoggedModelStatus
from localtrack.errors import InvalidInputError, NotFoundError

IRIS = Dataset("iris", "9a1c", "local", "{}")


def test_a_model_belongs_to_the_active_run(folder: Path) -> None:
    mlflow.set_experiment("lab")
    with mlflow.start_run() as run:
        model = mlflow.initialize_logged_model("net", params={"lr": "1"}, tags={"a": "b"}, model_type="torch")
        mlflow.log_outputs([LoggedModelOutput(model.model_id, 3)])
    assert (model.source_run_id, model.experiment_id) == (run.run_id, run.experiment_id)
    assert model.status == "PENDING"
    assert {"a", "mlflow.user"} <= model.tags.keys()
    assert mlflow.finalize_logged_model(model.model_id, "READY").status is LoggedModelStatus.READY
    assert mlflow.last_logged_model() == mlflow.get_logged_model(model.model_id)
    assert [output.model_id for output in mlflow.get_run(run.run_id).outputs.model_outputs] == [model.model_id]


def test_an_external_model_is_ready_at_once(folder: Path) -> None:
    model = mlflow.create_external_model("agent")
    assert (model.status, model.source_run_id) == (LoggedModelStatus.READY, None)
    assert model.tags["mlflow.model.isExternal"] == "true"
    mlflow.log_model_params({"k": "v"}, model.model_id)
    mlflow.set_logged_model_tags(model.model_id, {"t": 1})
    mlflow.delete_logged_model_tag(model.model_id, "mlflow.model.isExternal")
    found = mlflow.get_logged_model(model.model_id)
    assert found.params == {"k": "v"}
    assert found.tags["t"] == "1"
    assert "mlflow.model.isExternal" not in found.tags
    with pytest.raises(InvalidInputError):
        mlflow.log_model_params({"k": "w"})


def test_metrics_name_model_and_data_set(folder: Path) -> None:
    model = mlflow.create_external_model("net")
    with mlflow.start_run() as run:
        mlflow.log_metric("acc", 0.5, step=1, timestamp=7, model_id=model.model_id, dataset=IRIS)
        mlflow.log_metrics({"acc": 0.6, "f1": 0.7}, step=2, timestamp=8, model_id=model.model_id)
    metrics = mlflow.get_logged_model(model.model_id).metrics
    assert [(m.key, m.value, m.step, m.dataset_name, m.dataset_digest) for m in metrics] == [
        ("acc", 0.5, 1, "iris", "9a1c"),
        ("acc", 0.6, 2, None, None),
        ("f1", 0.7, 2, None, None),
    ]
    assert {m.run_id for m in metrics} == {run.run_id}
    found = mlflow.get_run(run.run_id)
    assert found.data.metrics == {"acc": 0.6, "f1": 0.7}
    assert [i.dataset for i in found.inputs.dataset_inputs] == [IRIS]
    assert [i.model_id for i in found.inputs.model_inputs] == [model.model_id]


def test_a_metric_belongs_to_what_the_run_made_at_its_step(folder: Path) -> None:
    first, second = mlflow.create_external_model("a"), mlflow.create_external_model("b")
    with mlflow.start_run() as run:
        mlflow.log_outputs([LoggedModelOutput(first.model_id, 1), LoggedModelOutput(second.model_id, 2)])
        mlflow.log_metric("acc", 0.5, step=1)
        mlflow.log_metric("acc", 0.6, step=3)
    assert [m.value for m in mlflow.get_logged_model(first.model_id).metrics] == [0.5]
    assert mlflow.get_logged_model(second.model_id).metrics == ()
    assert mlflow.get_run(run.run_id).inputs.model_inputs == ()


def test_data_sets_of_any_kind_that_has_name_digest_and_source(folder: Path) -> None:
    alike = SimpleNamespace(name="wine", digest="1", source="wine.csv", schema={"a": "double"}, profile=None)
    with mlflow.start_run() as run:
        mlflow.log_input(IRIS, "training", {"k": "v"})
        mlflow.log_input(model=LoggedModelInput("m-1"))
        mlflow.log_inputs([alike, None], ["eval", None], [None, None], models=[LoggedModelInput("m-2"), None])
    inputs = mlflow.get_run(run.run_id).inputs
    assert [(i.dataset.name, i.context, dict(i.tags).get("k")) for i in inputs.dataset_inputs] == [
        ("iris", "training", "v"),
        ("wine", "eval", None),
    ]
    assert inputs.dataset_inputs[1].dataset == Dataset("wine", "1", "local", "wine.csv", '{"a": "double"}')
    assert [i.model_id for i in inputs.model_inputs] == ["m-1", "m-2"]
    assert len(mlflow.search_runs(filter_string="dataset.name = 'wine'", output_format="list")) == 1


def test_a_data_set_of_mlflow_is_described_as_there(folder: Path) -> None:
    data = pytest.importorskip("mlflow.data")
    numpy = pytest.importorskip("numpy")
    dataset = data.from_numpy(numpy.arange(6).reshape(2, 3), source="data.csv", name="numbers")
    with mlflow.start_run() as run:
        mlflow.log_input(dataset, "training")
    (found,) = mlflow.get_run(run.run_id).inputs.dataset_inputs
    theirs = dataset._to_mlflow_entity()
    assert found.dataset.to_dictionary() == theirs.to_dictionary()


@pytest.mark.parametrize(
    "arguments", [{"dataset": object()}, {"context": "training"}, {"tags": {"a": "b"}}, {"dataset": "iris.csv"}]
)
def test_what_is_no_data_set_is_refused(folder: Path, arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        mlflow.log_input(**arguments)  # type: ignore[arg-type]


def test_lists_of_inputs_are_of_one_length(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="same length"):
        mlflow.log_inputs([IRIS], ["training"])


def test_the_active_model_is_that_of_the_thread(folder: Path) -> None:
    seen: list[str | None] = []
    with mlflow.set_active_model(name="net") as model:
        assert mlflow.get_active_model_id() == model.model_id
        thread = threading.Thread(target=lambda: seen.append(mlflow.get_active_model_id()))
        thread.start()
        thread.join()
        with mlflow.start_run():
            mlflow.log_metric("acc", 0.5)
        with mlflow.set_active_model(name="other"):
            assert mlflow.get_active_model_id() != model.model_id
        mlflow.log_model_params({"k": "v"})
    assert seen == [None]
    assert mlflow.get_active_model_id() is None
    found = mlflow.get_logged_model(model.model_id)
    assert [m.value for m in found.metrics] == [0.5]
    assert found.params == {"k": "v"}
    assert mlflow.set_active_model(name="net").model_id == model.model_id, "the model of that name, not another one"
    mlflow.clear_active_model()
    assert mlflow.get_active_model_id() is None
    with pytest.raises(InvalidInputError, match="does not match"):
        mlflow.set_active_model(name="else", model_id=model.model_id)
    with pytest.raises(InvalidInputError, match="Either name or model_id"):
        mlflow.set_active_model()


@pytest.mark.parametrize("name", ["LOCALTRACK_ACTIVE_MODEL_ID", "MLFLOW_ACTIVE_MODEL_ID"])
def test_the_environment_can_name_the_active_model(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    model = mlflow.create_external_model("net")
    monkeypatch.setenv(name, model.model_id)
    monkeypatch.setattr(active_model, "_thread", active_model._ThreadModel())
    with mlflow.start_run():
        mlflow.log_metric("acc", 0.5)
    assert [m.value for m in mlflow.get_logged_model(model.model_id).metrics] == [0.5]


def test_search_gives_all_pages_as_mlflows_frame_or_as_a_list(folder: Path) -> None:
    pytest.importorskip("pandas")
    mlflow.set_experiment("lab")
    for number in range(5):
        mlflow.create_external_model(f"n{number}", params={"n": str(number)})
    mlflow.set_experiment("elsewhere")
    mlflow.create_external_model("other")
    mlflow.set_experiment("lab")
    models = mlflow.search_logged_models(output_format="list", order_by=[{"field_name": "name"}])
    assert [model.name for model in models] == ["n0", "n1", "n2", "n3", "n4"]
    frame = mlflow.search_logged_models(filter_string="params.n IN ('1', '3')", max_results=1)
    assert list(frame.columns) == [
        *("artifact_location", "creation_timestamp", "experiment_id", "last_updated_timestamp", "metrics", "model_id"),
        *("model_type", "name", "params", "source_run_id", "status", "status_message", "tags"),
    ]
    assert len(frame) == 1
    with pytest.raises(InvalidInputError, match="Unsupported output format"):
        mlflow.search_logged_models(output_format="arrow")  # type: ignore[call-overload]


def test_models_that_are_not_there(folder: Path) -> None:
    assert mlflow.last_logged_model() is None
    with pytest.raises(NotFoundError):
        mlflow.get_logged_model("m-1")
    with pytest.raises(NotFoundError):
        mlflow.finalize_logged_model("m-1", "READY")


@pytest.mark.parametrize("key", [["loss"], 5, "", None])
def test_a_metric_of_a_model_without_a_proper_key_is_refused(folder: Path, key: Any) -> None:
    with mlflow.start_run():
        model = mlflow.initialize_logged_model("net")
        with pytest.raises(InvalidInputError):
            mlflow.log_metric(key, 1.0, model_id=model.model_id)
