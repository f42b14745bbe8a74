"""`mlflow gc` removes the same from a localtrack store as from MLflow's SQL store, and says the same."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.entities import Metric, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from localtrack import Store
from localtrack.mlflow_plugin.opened import open_store

GC_TAKES_MODELS = hasattr(SqlAlchemyStore, "_get_deleted_logged_models")
"""Not in MLflow 3.6, but in 3.11: before, `mlflow gc` lets logged models be, and no store is asked for deleted ones."""

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow's


class Place:
    """One store, filled in the same way as the other, and what `mlflow gc` makes of it, without ids."""

    def __init__(self, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.uri = uri
        self.monkeypatch = monkeypatch
        self.client = MlflowClient(uri)
        self.ids: dict[str, str] = {}
        for name in ("lab", "old", "empty"):
            self.ids[f"experiment {name}"] = self.client.create_experiment(name)
        for experiment, name in (("lab", "kept"), ("lab", "gone"), ("old", "inside"), ("old", "gone inside")):
            run = self.client.create_run(self.ids[f"experiment {experiment}"], run_name=name)
            self.client.log_batch(run.info.run_id, [Metric("m", 1.0, 1, 1)])
            self.client.log_text(run.info.run_id, name, "a.txt")
            self.client.set_terminated(run.info.run_id)
            self.ids[f"run {name}"] = run.info.run_id
        for experiment, name in (("lab", "kept"), ("lab", "gone"), ("old", "inside"), ("empty", "gone too")):
            made = self.client.create_logged_model(self.ids[f"experiment {experiment}"], name=name.replace(" ", "-"))
            self.client.finalize_logged_model(made.model_id, "READY")
            self.ids[f"model {name}"] = made.model_id
        for name in ("gone", "gone inside"):
            self.client.delete_run(self.ids[f"run {name}"])
        for name in ("gone", "gone too"):
            self.client.delete_logged_model(self.ids[f"model {name}"])
        self.client.delete_experiment(self.ids["experiment old"])

    def gc(self, *arguments: str) -> Any:
        """Run `mlflow gc`; `<name>` in an argument stands for an id."""
        from mlflow.cli import cli

        self.monkeypatch.setenv("MLFLOW_TRACKING_URI", self.uri)
        given = [re.sub("<(.*?)>", lambda match: self.ids[match[1]], argument) for argument in arguments]
        done = CliRunner().invoke(cli, ["gc", "--backend-store-uri", self.uri, *given])
        failed = done.exception if isinstance(done.exception, MlflowException) else None
        assert done.exit_code == 0 or failed is not None, done.output
        said = sorted(self.without_ids(line) for line in done.output.splitlines() if line.strip())
        return said, failed and self.without_ids(str(failed))

    def without_ids(self, text: str) -> str:
        for name, one in self.ids.items():
            text = re.sub(rf"\b{re.escape(one)}\b", f"<{name}>", text)
        return text

    def left(self) -> dict[str, str]:
        """Return the life cycle of what is there."""
        found = {}
        for name, one in self.ids.items():
            kind = name.partition(" ")[0]
            if kind == "model" and not GC_TAKES_MODELS:
                continue
            try:
                if kind == "run":
                    found[name] = self.client.get_run(one).info.lifecycle_stage
                elif kind == "experiment":
                    found[name] = self.client.get_experiment(one).lifecycle_stage
                else:
                    store = self.client._tracking_client.store
                    store.get_logged_model(one, allow_deleted=True)
                    is_deleted = one in store._get_deleted_logged_models()
                    found[name] = "deleted" if is_deleted else "active"
            except MlflowException as error:
                found[name] = error.error_code
        listed = self.client.search_experiments(view_type=ViewType.ALL)
        found["all experiments"] = str(sorted(experiment.name for experiment in listed))
        return found


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, since MLflow takes seconds to make one."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def both(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Place, Place]]:
    monkeypatch.chdir(tmp_path)
    shutil.copy(database, tmp_path)
    ours, theirs = f"localtrack://{tmp_path}/store", f"sqlite:///{tmp_path}/mlflow.db"
    yield Place(theirs, monkeypatch), Place(ours, monkeypatch)
    mlflow.set_tracking_uri(None)
    opened = open_store(str(tmp_path / "store"))
    opened.writers.close()
    opened.store.close()


PROGRAMS: dict[str, list[list[str]]] = {
    "some": [
        [
            "--run-ids",
            "<run gone inside>",
            "--experiment-ids",
            "<experiment old>",
            "--logged-model-ids",
            "<model gone>",
        ],
        ["--run-ids", "<run gone>"],
        [],
    ],
    # What is refused may have removed something before: MLflow takes the runs of one command in no order.
    "refused": [
        ["--older-than", "1d"],
        ["--older-than", "1d", "--run-ids", "<run gone>"],
        ["--older-than", "1d", "--experiment-ids", "<experiment old>"],
        ["--older-than", "1d", "--logged-model-ids", "<model gone>"],
        ["--experiment-ids", "<experiment lab>"],
        ["--experiment-ids", "123456789"],
        ["--older-than", "1d", "--logged-model-ids", "<model kept>"],
        ["--older-than", "1d", "--logged-model-ids", "m-00000000000000000000000000000000"],
        ["--older-than", "1d", "--run-ids", "<run kept>"],
        ["--older-than", "1d", "--run-ids", "00000000000000000000000000000000"],
    ],
    "all": [[], []],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_goes_and_the_same_stays(both: tuple[Place, Place], name: str, tmp_path: Path) -> None:
    theirs, ours = both
    before = ours.left()
    assert before == theirs.left()
    for arguments in PROGRAMS[name]:
        if not GC_TAKES_MODELS and "--logged-model-ids" in arguments:
            del arguments[arguments.index("--logged-model-ids") :]
        assert ours.gc(*arguments) == theirs.gc(*arguments), arguments
        assert ours.left() == theirs.left(), arguments
    if name == "refused":
        assert ours.left() == before
        return
    kept = {"experiment lab", "experiment empty", "run kept", *(["model kept"] if GC_TAKES_MODELS else [])}
    assert {one for one, stage in ours.left().items() if stage == "active"} == kept
    assert "deleted" not in ours.left().values()
    # The name is free again, and what is new has nothing to do with what was.
    made = [place.client.create_experiment("old") for place in (theirs, ours)]
    assert [place.client.search_runs([one]) for place, one in zip((theirs, ours), made, strict=True)] == [[], []]
    assert made[1] != ours.ids["experiment old"]
    assert not list((tmp_path / "store").glob(f"models/*/{ours.ids['model inside']}"))
    with Store.open(tmp_path / "store", create=False) as store:
        assert store.check().findings == []


def test_default_is_emptied_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    place = Place(f"localtrack://{tmp_path}/store", monkeypatch)
    run = place.client.create_run("0")
    place.client.set_terminated(run.info.run_id)
    place.client.delete_experiment("0")
    place.ids = {"default": "0", "run": run.info.run_id}
    said, failed = place.gc()
    assert failed is None
    assert "Run with ID <run> has been permanently deleted." in said
    assert "experiments/0.json stays: every store has it" in caplog.text
    assert place.client.get_experiment("0").lifecycle_stage == "deleted"
