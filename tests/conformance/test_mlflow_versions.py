"""The plugin in the MLflow that is installed, whichever that is: what the versions named in README.md were tried with.

`python -m pytest tests/conformance/test_mlflow_versions.py tests/unit/mlflow_plugin` in an environment with another
version of MLflow is how one is added to that list.
"""

from __future__ import annotations

import re
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Metric, Param, RunTag

from localtrack import Store
from localtrack.mlflow_plugin.opened import open_store

README = Path(__file__).parents[2] / "README.md"

pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_installed_version_is_one_that_the_readme_names_or_newer() -> None:
    named = re.search(r"Tested with MLflow ([\d., and]+)\.", README.read_text(encoding="utf-8"))
    assert named is not None
    versions = re.findall(r"(\d+)\.(\d+)", named[1])
    installed = tuple(map(int, mlflow.__version__.split(".")[:2]))
    known = sorted(tuple(map(int, version)) for version in versions)
    assert installed in known or installed > known[-1]


def test_a_program_leaves_what_it_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "store"
    mlflow.set_tracking_uri(f"localtrack://{folder}")
    try:
        mlflow.set_experiment("versions")
        with mlflow.start_run(run_name="outer") as run:
            mlflow.log_params({"a": 1, "b": "x"})
            mlflow.log_metrics({"m": 1.0, "n": 2.0}, step=1)
            mlflow.log_metric("m", 3.0, step=2)
            mlflow.set_tag("t", "y")
            mlflow.log_text("kept", "notes/a.txt")
            mlflow.log_dict({"a": 1}, "a.json")
            with mlflow.start_run(run_name="inner", nested=True):
                mlflow.log_metric("m", 0.5)
        client = mlflow.MlflowClient()
        client.log_batch(run.info.run_id, [Metric("late", 1.0, 10, 1)], [Param("c", "2")], [RunTag("u", "z")])
        again = client.get_run(run.info.run_id)
        assert again.data.params == {"a": "1", "b": "x", "c": "2"}
        assert again.data.metrics == {"m": 3.0, "n": 2.0, "late": 1.0}
        assert again.info.status == "FINISHED"
        assert [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, "m")] == [(1, 1.0), (2, 3.0)]
        assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/a.txt") == "kept"
        frame = mlflow.search_runs(experiment_names=["versions"], filter_string="metrics.m > 1", order_by=["metrics.m"])
        assert list(frame["tags.mlflow.runName"]) == ["outer"]
        model = mlflow.initialize_logged_model("model", source_run_id=run.info.run_id, params={"p": "1"})
        mlflow.finalize_logged_model(model.model_id, "READY")
        (found,) = mlflow.search_logged_models(output_format="list")
        assert (found.model_id, found.status.value, dict(found.params)) == (model.model_id, "READY", {"p": "1"})
        client.create_registered_model("registered")
        assert [item.name for item in client.search_registered_models()] == ["registered"]
        client.delete_run(run.info.run_id)
        assert len(mlflow.search_runs(experiment_names=["versions"])) == 1
        opened = open_store(str(folder))
        opened.writers.close()
        opened.store.close()
    finally:
        mlflow.set_tracking_uri(None)
        mlflow.tracking.fluent._active_experiment_id = None
    with Store.open(folder, create=False) as store:
        assert store.check().findings == []
