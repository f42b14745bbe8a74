"""What people do with MLflow, done on a localtrack store: autologging, models, registry, threads, the command line."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from click.testing import CliRunner
from mlflow.entities import Metric
from mlflow.tracking import fluent

import localtrack
from localtrack import Store
from localtrack.mlflow_plugin.opened import open_store

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries that are driven here

FAR_S = 60


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that MLflow's tracking URI names as a store, and nothing of an earlier test."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "store"
    forget()
    mlflow.set_tracking_uri(f"localtrack://{folder}")
    yield folder
    while mlflow.active_run() is not None:
        mlflow.end_run()
    mlflow.autolog(disable=True, silent=True)
    opened = open_store(str(folder))
    opened.writers.close()
    opened.store.close()
    forget()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(("mlruns", "mlflow.db"))) == []


def forget() -> None:
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
    fluent._active_experiment_id = None
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)  # set_experiment leaves it to child processes


def flowers() -> tuple[Any, Any]:
    from sklearn.datasets import load_iris

    features, kinds = load_iris(return_X_y=True)
    return features, kinds


def names(folder: Path, text: str = "") -> list[str]:
    with Store.open(folder, create=False) as store:
        return sorted(row.info.run_name for row in store.search_runs(filter_string=text))


def test_autologging_of_scikit_learn(folder: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, kinds = flowers()
    mlflow.set_experiment("sklearn")
    mlflow.sklearn.autolog(log_models=False, silent=True)
    for estimator in (
        LinearRegression(),
        LogisticRegression(max_iter=300),
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
    ):
        estimator.fit(features, kinds)
    with mlflow.start_run(run_name="search"):
        GridSearchCV(RandomForestClassifier(n_estimators=3), {"max_depth": [1, 2, 3]}, cv=2).fit(features, kinds)
    runs = mlflow.search_runs(experiment_names=["sklearn"], output_format="list")
    parents = [run for run in runs if run.info.run_name == "search"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert (len(runs), len(parents), len(children)) == (7, 1, 3)
    assert {run.data.params["max_depth"] for run in children} == {"1", "2", "3"}
    assert parents[0].data.metrics["best_cv_score"] > 0.5
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all(run.inputs.dataset_inputs for run in runs if run not in children)
    with Store.open(folder, create=False) as store:
        reports = [store.describe_run(run.info.run_id) for run in runs]
    assert [report.findings for report in reports] == [()] * 7
    assert {report.liveness for report in reports} == {"ended"}


def test_autologging_of_xgboost(folder: Path) -> None:
    import xgboost

    features, kinds = flowers()
    mlflow.set_experiment("xgboost")
    mlflow.xgboost.autolog(log_models=False, silent=True)
    table = xgboost.DMatrix(features, label=kinds)
    xgboost.train(
        {"objective": "multi:softprob", "num_class": 3, "nthread": 1},
        table,
        num_boost_round=7,
        evals=[(table, "train")],
        verbose_eval=False,
    )
    (run,) = mlflow.search_runs(experiment_names=["xgboost"], output_format="list")
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "train-mlogloss")
    assert [point.step for point in history] == list(range(7))
    assert run.data.params["num_boost_round"] == "7"
    assert {info.path for info in mlflow.MlflowClient().list_artifacts(run.info.run_id)} >= {
        "feature_importance_weight.json"
    }


def test_models_are_logged_loaded_registered_and_moved(folder: Path, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    features, kinds = flowers()
    mlflow.set_experiment("models")
    with mlflow.start_run() as run:
        mlflow.log_metric("accuracy", 0.9, step=3)
        info = mlflow.sklearn.log_model(LogisticRegression(max_iter=300).fit(features, kinds), name="model")
        mlflow.log_metric("accuracy", 0.95, step=4, model_id=info.model_id)
        mlflow.log_text("kept", "notes/a.txt")
    assert info.model_uri == f"models:/{info.model_id}"
    assert not (folder / "registry.db").exists()
    version = mlflow.register_model(info.model_uri, "iris")
    assert version.version in (1, "1")
    run_id = run.info.run_id

    def load_all() -> None:
        for uri in (info.model_uri, f"runs:/{run_id}/model", "models:/iris/1"):
            assert list(mlflow.pyfunc.load_model(uri).predict(features[:3])) == list(kinds[:3])
        assert mlflow.artifacts.load_text(f"runs:/{run_id}/notes/a.txt") == "kept"
        model = mlflow.get_logged_model(info.model_id)
        assert (model.status.value, model.source_run_id) == ("READY", run_id)
        assert {(m.key, m.value, m.step) for m in model.metrics} >= {("accuracy", 0.95, 4)}
        assert [output.model_id for output in mlflow.get_run(run_id).outputs.model_outputs] == [info.model_id]
        assert [
            found.model_id
            for found in mlflow.search_logged_models(output_format="list", filter_string="name = 'model'")
        ]

    load_all()
    opened = open_store(str(folder))
    opened.writers.close()
    opened.store.flush()
    moved = tmp_path / "elsewhere" / "a b#c"
    moved.parent.mkdir()
    shutil.copytree(folder, moved)
    shutil.rmtree(folder)
    mlflow.set_tracking_uri(f"localtrack://{moved.parent}/a%20b%23c")
    load_all()
    assert [path for path in moved.glob("runs/**/*.jsonl") if str(tmp_path) in path.read_text()] == []
    open_store(str(moved)).store.close()
    shutil.copytree(moved, folder)


def test_nested_runs_tags_and_inputs(folder: Path) -> None:
    mlflow.set_experiment("nested")
    with mlflow.start_run(run_name="outer") as outer:
        data = mlflow.data.from_numpy(np.arange(6).reshape(3, 2), name="numbers")
        mlflow.log_input(data, context="training", tags={"part": "first"})
        with mlflow.start_run(run_name="inner", nested=True, description="the inner one"):
            mlflow.set_tags({"a": 1, "b": "x"})
            mlflow.delete_tag("a")
    runs = mlflow.search_runs(experiment_names=["nested"], output_format="list", order_by=["run_name"])
    assert [run.info.run_name for run in runs] == ["inner", "outer"]
    assert runs[0].data.tags["mlflow.parentRunId"] == outer.info.run_id
    assert runs[0].data.tags["mlflow.note.content"] == "the inner one"
    assert "a" not in runs[0].data.tags
    (read,) = runs[1].inputs.dataset_inputs
    assert read.dataset.name == "numbers"
    assert {tag.key: tag.value for tag in read.tags} == {"mlflow.data.context": "training", "part": "first"}
    with pytest.raises(mlflow.MlflowException, match="abc"):
        mlflow.get_run("abc")


def test_asynchronous_logging_and_threads_lose_nothing(folder: Path) -> None:
    mlflow.set_experiment("threads")
    with mlflow.start_run() as run:
        run_id = run.info.run_id
        for step in range(200):
            mlflow.log_metric("later", step, step=step, synchronous=False)
        mlflow.log_params({f"p{n}": n for n in range(50)}, synchronous=False)
        client = mlflow.MlflowClient()

        def log(thread: int) -> None:
            for step in range(100):
                client.log_metric(run_id, f"thread {thread}", step, step=step)
                client.set_tag(run_id, f"t{thread}", str(step))

        threads = [threading.Thread(target=log, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        mlflow.flush_async_logging()
    again = mlflow.get_run(run_id)
    assert len(again.data.params) == 50
    assert [again.data.tags[f"t{n}"] for n in range(4)] == ["99"] * 4
    assert len(client.get_metric_history(run_id, "later")) == 200
    assert [len(client.get_metric_history(run_id, f"thread {n}")) for n in range(4)] == [100] * 4
    with Store.open(folder, create=False) as store:
        logs = list(Path(store.artifact_uri(run_id)).parent.glob("*.jsonl"))
    assert len(logs) == 1, "all threads of a process write one file"


def test_system_metrics(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow.set_experiment("system")
    mlflow.set_system_metrics_sampling_interval(0.1)
    mlflow.set_system_metrics_samples_before_logging(1)
    deadline = time.monotonic() + FAR_S
    with mlflow.start_run(log_system_metrics=True) as run:
        while time.monotonic() < deadline:
            if "system/cpu_utilization_percentage" in mlflow.get_run(run.info.run_id).data.metrics:
                break
            time.sleep(0.05)
    mlflow.set_system_metrics_sampling_interval(None)
    mlflow.set_system_metrics_samples_before_logging(None)
    metrics = mlflow.get_run(run.info.run_id).data.metrics
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_percentage"} <= set(metrics)


def test_a_big_batch_and_a_long_history(folder: Path) -> None:
    client = mlflow.MlflowClient()
    run_id = client.create_run("0").info.run_id
    client.log_batch(run_id, [Metric("m", float(n), n, n) for n in range(30_000)])
    history = client.get_metric_history(run_id, "m")  # in pages of 25,000
    assert [point.step for point in history] == list(range(30_000))
    client.set_terminated(run_id)
    assert len(client.get_metric_history(run_id, "m")) == 30_000


def test_a_store_on_an_object_store(folder: Path) -> None:
    mlflow.set_tracking_uri("localtrack+memory://bucket/runs")
    with mlflow.start_run() as run:
        mlflow.log_metric("m", 1.0, step=1)
        assert mlflow.get_run(run.info.run_id).data.metrics == {"m": 1.0}
        mlflow.log_metric("m", 2.0, step=2)
        mlflow.log_text("hello", "d/a.txt")
    run_id = run.info.run_id
    assert [info.path for info in mlflow.artifacts.list_artifacts(run_id=run_id, artifact_path="d")] == ["d/a.txt"]
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/d/a.txt") == "hello"
    assert [point.value for point in mlflow.MlflowClient().get_metric_history(run_id, "m")] == [1.0, 2.0]
    assert len(mlflow.search_runs(["0"], "metrics.m = 2 AND status = 'FINISHED'")) == 1
    client = mlflow.MlflowClient()
    model = client.create_logged_model("0", name="net", source_run_id=run_id)
    client.log_model_params(model.model_id, {"depth": "3"})
    client.finalize_logged_model(model.model_id, "READY")
    (found,) = client.search_logged_models(["0"])
    assert (found.model_id, found.status.value, found.params) == (model.model_id, "READY", {"depth": "3"})
    client.delete_logged_model(model.model_id)
    store = client._tracking_client.store
    assert store._get_deleted_logged_models() == [model.model_id]
    store._hard_delete_logged_model(model.model_id)
    assert list(client.search_logged_models(["0"])) == store._get_deleted_logged_models() == []
    assert list(mlflow.MlflowClient().search_registered_models()) == []
    with pytest.raises(mlflow.MlflowException, match="no place for"):
        mlflow.MlflowClient().create_registered_model("x")


def test_localtrack_autolog(folder: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    features, kinds = flowers()
    localtrack.set_tracking_uri(folder)
    try:
        localtrack.set_experiment("ours")
        localtrack.autolog(log_models=False, silent=True)
        with localtrack.start_run(run_name="mine") as run:
            LogisticRegression(max_iter=300).fit(features, kinds)
            localtrack.log_metric("own", 1.0)
        assert mlflow.active_run() is None
        LogisticRegression(max_iter=299).fit(features, kinds)
        assert names(folder, "params.max_iter = '300' AND metrics.own = 1") == ["mine"]
        assert len(names(folder, "params.max_iter = '299'")) == 1
        with Store.open(folder, create=False) as store:
            report = store.describe_run(run.run_id)
        assert (report.liveness, report.findings) == ("ended", ())
    finally:
        localtrack.set_tracking_uri(None)
        localtrack.api.fluent_experiments._active_experiment_id = None
        for name in [name for name in os.environ if name.startswith(("LOCALTRACK_", "MLFLOW_"))]:
            del os.environ[name]


def test_the_command_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.cli import cli

    uri = f"localtrack://{folder}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    made = run("experiments", "create", "-n", "shell")
    experiment_id = made.split()[-1]
    assert experiment_id in run("experiments", "search")
    run("experiments", "rename", "-x", experiment_id, "--new-name", "shell 2")
    with mlflow.start_run(experiment_id=experiment_id, run_name="from python") as active:
        mlflow.log_metric("m", 1.0)
    run_id = active.info.run_id
    assert run_id in run("runs", "list", "--experiment-id", experiment_id)
    assert '"m": 1.0' in run("runs", "describe", "--run-id", run_id)
    (tmp_path / "a.txt").write_text("by hand")
    run(
        "artifacts", "log-artifact", "--local-file", str(tmp_path / "a.txt"), "--run-id", run_id, "--artifact-path", "x"
    )
    assert "x/a.txt" in run("artifacts", "list", "--run-id", run_id, "--artifact-path", "x")
    (tmp_path / "down").mkdir()
    run("artifacts", "download", "--run-id", run_id, "--artifact-path", "x", "--dst-path", str(tmp_path / "down"))
    assert (tmp_path / "down" / "x" / "a.txt").read_text() == "by hand"
    run("runs", "delete", "--run-id", run_id)
    run("runs", "restore", "--run-id", run_id)
    run("experiments", "delete", "-x", experiment_id)
    run("experiments", "restore", "-x", experiment_id)
    with mlflow.start_run(experiment_id=experiment_id, run_name="stays"):
        mlflow.log_metric("m", 2.0)
    run("runs", "delete", "--run-id", run_id)
    assert f"Run with ID {run_id} has been permanently deleted." in run("gc", "--backend-store-uri", uri)
    assert names(folder) == ["stays"]
    with pytest.raises(mlflow.MlflowException, match="not found"):
        mlflow.get_run(run_id)
    assert not list(folder.glob(f"runs/*/{run_id}"))
