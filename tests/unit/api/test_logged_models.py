"""Logged models through the `Store`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from localtrack import Store
from localtrack.errors import ErrorCode, InvalidInputError, NotFoundError
from localtrack.types import LoggedModelStatus, Metric, ViewType


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_a_model_is_pending_until_it_is_finalized(store: Store) -> None:
    made = store.create_logged_model(name="net", source_run_id="r", tags={"a": 1}, params={"lr": 0.1}, model_type="t")
    assert made.model_id.startswith("m-")
    assert len(made.model_id) == 34
    assert (made.name, made.source_run_id, made.model_type, made.status) == ("net", "r", "t", LoggedModelStatus.PENDING)
    assert (made.tags, made.params, made.metrics, made.experiment_id) == ({"a": "1"}, {"lr": "0.1"}, (), "0")
    assert made.last_updated_timestamp == made.creation_timestamp
    assert store.get_logged_model(made.model_id) == made
    done = store.finalize_logged_model(made.model_id, "READY")
    assert (done.status, done.status.to_int()) == ("READY", 2)
    assert done.last_updated_timestamp >= made.last_updated_timestamp
    failed = store.finalize_logged_model(made.model_id, "UPLOAD_FAILED", "no space")
    assert (failed.status, failed.status_message) == ("FAILED", "no space")


def test_a_model_without_a_name_gets_a_readable_one(store: Store) -> None:
    names = {store.create_logged_model().name for _ in range(3)}
    assert len(names) == 3
    assert all(name.count("-") == 2 for name in names)


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a.b", "a%b", 'a"b', "a'b"])
def test_a_name_may_not_look_like_a_uri(store: Store, name: str) -> None:
    with pytest.raises(InvalidInputError, match="Invalid model name"):
        store.create_logged_model(name=name)
    assert store.list_logged_models() == []


def test_params_keep_their_values_and_tags_change_theirs(store: Store) -> None:
    model = store.create_logged_model(params={"lr": 1}).model_id
    store.log_logged_model_params(model, {"lr": 1, "depth": 3})
    with pytest.raises(InvalidInputError) as caught:
        store.log_logged_model_params(model, {"new": 1, "lr": 2})
    assert caught.value.code == ErrorCode.PARAM_CHANGED
    store.set_logged_model_tags(model, {"a": 1, "b": 2})
    store.set_logged_model_tags(model, {"a": 3})
    store.delete_logged_model_tag(model, "b")
    with pytest.raises(NotFoundError, match="No tag with key 'b' found"):
        store.delete_logged_model_tag(model, "b")
    found = store.get_logged_model(model)
    assert (found.params, found.tags) == ({"lr": "1", "depth": "3"}, {"a": "3"})


def test_a_param_that_another_process_has_set_is_known(store: Store) -> None:
    model = store.create_logged_model().model_id
    with Store.open(store.uri) as other:
        other.log_logged_model_params(model, {"lr": 1})
    with pytest.raises(InvalidInputError):
        store.log_logged_model_params(model, {"lr": 2})
    assert store.get_logged_model(model).params == {"lr": "1"}


def test_metrics_of_a_batch_are_points_of_the_run_and_metrics_of_the_model(store: Store) -> None:
    model = store.create_logged_model().model_id
    run = store.start_run(context=False)
    linked = Metric("acc", 0.5, 7, 2, model, "iris", "9a")
    run.log_batch([linked, Metric("plain", 1.0, 7, 2)])
    run.log_batch([linked, linked])
    run.end()
    (metric,) = store.get_logged_model(model).metrics
    assert metric == linked._replace(run_id=run.run_id)
    assert store.metric_history(run.run_id).num_rows == 2


def test_a_metric_of_a_model_that_is_not_there_leaves_nothing(store: Store) -> None:
    run = store.start_run(context=False)
    with pytest.raises(NotFoundError) as caught:
        run.log_batch([Metric("plain", 1.0, 7, 2), Metric("acc", 0.5, 7, 2, "m-none")])
    assert caught.value.code == ErrorCode.MODEL_NOT_FOUND
    assert run.data.metrics == {}


def test_a_data_set_has_name_and_digest(store: Store) -> None:
    model = store.create_logged_model().model_id
    run = store.start_run(context=False)
    with pytest.raises(InvalidInputError, match="Both dataset_name and dataset_digest"):
        run.log_batch([Metric("acc", 0.5, 7, 2, model, "iris")])
    assert run.data.metrics == {}


def test_equal_metrics_are_one_and_nan_equals_nan(store: Store) -> None:
    model = store.create_logged_model().model_id
    metrics = [Metric("a", value, 1, 1) for value in (math.nan, math.nan, 0.0, -0.0, 0.0, math.inf)]
    store.log_logged_model_metrics(model, metrics)
    store.log_logged_model_metrics(
        model, [metrics[0], Metric("a", math.nan, 1, 1, dataset_name="d", dataset_digest="1")]
    )
    values = [str(metric.value) for metric in store.get_logged_model(model).metrics]
    assert sorted(values) == ["-0.0", "0.0", "inf", "nan", "nan"]


def test_a_deleted_model_is_found_when_asked_for(store: Store) -> None:
    model = store.create_logged_model().model_id
    store.delete_logged_model(model)
    with pytest.raises(NotFoundError, match=f"Logged model with ID '{model}' not found"):
        store.get_logged_model(model)
    assert store.get_logged_model(model, allow_deleted=True).lifecycle_stage == "deleted"
    assert store.list_logged_models() == []
    assert [m.model_id for m in store.list_logged_models(view_type=ViewType.DELETED_ONLY)] == [model]
    assert store.finalize_logged_model(model, "READY").status == "READY"  # as in MLflow
    store.restore_logged_model(model)
    store.restore_logged_model(model)
    assert store.get_logged_model(model).lifecycle_stage == "active"


def test_unknown_models_are_not_found(store: Store) -> None:
    calls = (
        lambda: store.get_logged_model("m-1"),
        lambda: store.finalize_logged_model("m-1", "READY"),
        lambda: store.set_logged_model_tags("m-1", {"a": 1}),
        lambda: store.delete_logged_model_tag("m-1", "a"),
        lambda: store.log_logged_model_params("m-1", {"a": 1}),
        lambda: store.log_logged_model_metrics("m-1", []),
        lambda: store.delete_logged_model("m-1"),
        lambda: store.restore_logged_model("m-1"),
    )
    for call in calls:
        with pytest.raises(NotFoundError) as caught:
            call()
        assert caught.value.code == ErrorCode.MODEL_NOT_FOUND
    assert not (Path(store.uri) / "models").exists()


def test_a_model_from_elsewhere_keeps_id_and_time(store: Store) -> None:
    foreign = "m-3f2504e04f8941d39a0c0305e82c3301"
    made = store.create_logged_model(name="net", model_id=foreign, creation_timestamp=5)
    assert (made.model_id, made.creation_timestamp, made.last_updated_timestamp) == (foreign, 5, 5)
    with pytest.raises(InvalidInputError, match="already"):
        store.create_logged_model(model_id=foreign)


def test_a_model_in_a_deleted_experiment_is_refused(store: Store) -> None:
    lab = store.create_experiment("lab")
    kept = store.create_logged_model(lab).model_id
    store.delete_experiment(lab)
    with pytest.raises(InvalidInputError) as caught:
        store.create_logged_model(lab)
    assert caught.value.code == ErrorCode.EXPERIMENT_DELETED
    assert store.get_logged_model(kept).lifecycle_stage == "active"  # as in MLflow


def test_many_models_need_no_more_open_files_than_some(store: Store) -> None:
    models = [store.create_logged_model(name=f"n{number}").model_id for number in range(40)]
    for model in models:
        store.set_logged_model_tags(model, {"late": 1})
    logs = list((Path(store.uri) / "models").glob("*/*/*.jsonl"))
    assert 40 < len(logs) <= 80
    assert all(model.tags == {"late": "1"} for model in store.list_logged_models())


def test_a_process_writes_one_log_of_a_model(store: Store) -> None:
    model = store.create_logged_model().model_id
    for number in range(5):
        store.set_logged_model_tags(model, {"n": number})
        store.log_logged_model_metrics(model, [Metric("a", 1.0, number, number)])
    store.finalize_logged_model(model, "READY")
    store.close()
    (log,) = (Path(store.uri) / "models").glob("*/*/*.jsonl")
    assert log.read_bytes().splitlines()[-1].startswith(b'["Closed"')


def test_a_damaged_model_does_not_hide_the_others(store: Store) -> None:
    good, bad = store.create_logged_model(name="good"), store.create_logged_model(name="bad")
    store.close()
    (log,) = (Path(store.uri) / "models").glob(f"*/{bad.model_id}/*.jsonl")
    log.write_bytes(b"}" + log.read_bytes()[1:])
    with Store.open(store.uri) as again:
        findings = []
        assert [model.name for model in again.list_logged_models(findings=findings)] == ["good"]
        assert again.get_logged_model(good.model_id).name == "good"
        assert findings
        assert all(finding.key.startswith(log.parent.relative_to(store.uri).as_posix()) for finding in findings)


def test_on_an_object_store_a_model_is_found_at_once_and_removed_for_good() -> None:
    with Store.open("memory://logged-models/store") as store:
        experiment_id = store.create_experiment("x")
        made = store.create_logged_model(experiment_id, "net", params={"depth": "3"})
        store.set_logged_model_tags(made.model_id, {"a": "1"})
        assert store.finalize_logged_model(made.model_id, "READY").tags == {"a": "1"}
        assert [model.status.value for model in store.search_logged_models([experiment_id])] == ["READY"]
        store.delete_experiment(experiment_id)
        assert store.remove_experiments([experiment_id]).count("model") == 1
        assert store.list_logged_models(view_type=ViewType.ALL) == []
        assert [experiment.name for experiment in store.list_experiments(ViewType.ALL)] == ["Default"]
        assert store.check().findings == []
