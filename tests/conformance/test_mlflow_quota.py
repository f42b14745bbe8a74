"""What MLflow's own functions log counts towards limits, by whatever way the files of it come into the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import mlflow
import mlflow.pyfunc
import pytest
from mlflow.exceptions import MlflowException

from localtrack import Store
from localtrack.mlflow_plugin.artifact_repository import LocaltrackArtifactRepository

LIMITS = [f"{level}.{measure}" for level in ("experiment", "store") for measure in ("artifact_bytes", "files", "bytes")]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "store"
    with Store.open(root) as store:
        store.set_quota(dict.fromkeys([*LIMITS, "run.artifact_bytes", "run.files"], 10**9))
    mlflow.set_tracking_uri(f"localtrack:{root}")
    mlflow.set_experiment("e")
    yield root
    mlflow.set_tracking_uri(None)


def used(root: Path) -> dict[str, int]:
    """What counts of the one run, its experiment, and the store."""
    with Store.open(root, create=False) as store:
        default = store.get_experiment("0")
        return {use.limit_name: use.used for use in store.quota().uses if use.id != default.experiment_id}


def sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.rglob("*") if path.is_file()]


def assert_right(root: Path, *, has_model: bool = False) -> None:
    """Hold what the library says against what lies in the folders."""
    found = used(root)
    of_runs = sizes(next(root.glob("runs/*/*/artifacts")))
    of_models = sizes(next(root.glob("models/*/*/artifacts"))) if has_model else []
    logs = [path.stat().st_size for path in [*root.glob("runs/*/*/*.jsonl"), *root.glob("models/*/*/*.jsonl")]]
    assert found["run.artifact_bytes"] == sum(of_runs) > 0
    assert found["experiment.artifact_bytes"] == sum(of_runs) + sum(of_models)
    assert found["store.artifact_bytes"] == sum(of_runs) + sum(of_models)
    assert found["run.files"] == len(of_runs) + 1
    assert found["experiment.files"] == len(of_runs) + len(of_models) + len(logs)
    assert found["experiment.bytes"] == sum(of_runs) + sum(of_models) + sum(logs)


class Echo(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow has no types
    def predict(self, context: Any, model_input: list[str]) -> list[str]:
        return model_input


@pytest.mark.filterwarnings("ignore")  # what MLflow says of models that are classes
def test_artifacts_of_mlflows_functions_count(root: Path, tmp_path: Path) -> None:
    mpl.use("agg")
    from matplotlib.figure import Figure

    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a.bin").write_bytes(b"a" * 1000)
    with mlflow.start_run():
        mlflow.log_artifact(str(tmp_path / "folder/a.bin"))
        assert_right(root)
        mlflow.log_artifacts(str(tmp_path / "folder"), "below")
        assert_right(root)
        mlflow.log_text("text", "text.txt")
        assert_right(root)
        mlflow.log_figure(Figure(), "figure.png")
        assert_right(root)
        mlflow.pyfunc.log_model(name="echo", python_model=Echo(), pip_requirements=[])
        assert_right(root, has_model=True)
    assert_right(root, has_model=True)


def test_files_of_a_model_that_come_through_the_store_are_noted_and_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_bytes(b"n" * 1000)
    with Store.open(root) as store:
        experiment_id = store.ensure_experiment("e").experiment_id
        store.start_run("e", context=False).end()
        model = store.create_logged_model(experiment_id, "net")
        store.set_quota({"experiment.artifact_bytes": 2_500}, action="refuse")
    key = Path(model.artifact_location).relative_to(root).as_posix()
    repository = LocaltrackArtifactRepository(f"localtrack:{root}/{key}")
    repository.log_artifact(str(tmp_path / "net.bin"))
    repository.log_artifact(str(tmp_path / "net.bin"), "again")
    with pytest.raises(MlflowException, match=r"has 2000 of the 2500 that its limit experiment\.artifact_bytes allows"):
        repository.log_artifact(str(tmp_path / "net.bin"), "too much")
    repository.log_artifact(str(tmp_path / "net.bin"))  # in place of itself
    assert not (root / key / "too much").exists()
    logs = [path.read_text() for path in Path(model.artifact_location).parent.glob("*.jsonl")]
    assert sum(log.count('["artifact",') for log in logs) == 3
    with Store.open(root) as store:
        assert store.check(sizes_only=False).findings == []
        store.set_quota({"experiment.artifact_bytes": None})
        store.log_model_artifact(model.model_id, tmp_path / "net.bin", "more")
