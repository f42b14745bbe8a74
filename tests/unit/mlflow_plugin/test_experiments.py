from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import ExperimentTag
from mlflow.exceptions import MlflowException

from localtrack import Store
from localtrack.mlflow_plugin.tracking_store import LocaltrackStore


@pytest.fixture
def tracking(tmp_path: Path) -> Iterator[LocaltrackStore]:
    tracking = LocaltrackStore(f"localtrack://{tmp_path}/store")
    yield tracking
    tracking.store.close()


def make_elsewhere(folder: Path, name: str) -> str:
    with Store.open(folder / "store") as elsewhere:
        return elsewhere.create_experiment(name)


def test_who_found_none_and_makes_it_gets_the_one_made_meanwhile(tracking: LocaltrackStore, tmp_path: Path) -> None:
    assert tracking.get_experiment_by_name("x") is None
    made = make_elsewhere(tmp_path, "x")
    assert tracking.create_experiment("x") == made
    with pytest.raises(MlflowException, match="already exists"):
        tracking.create_experiment("x")


def test_who_did_not_look_is_refused(tracking: LocaltrackStore, tmp_path: Path) -> None:
    make_elsewhere(tmp_path, "x")
    with pytest.raises(MlflowException, match="already exists"):
        tracking.create_experiment("x")
    assert tracking.get_experiment_by_name("y") is None
    tracking.create_experiment("y")
    with pytest.raises(MlflowException, match="already exists"):
        tracking.create_experiment("y")


def test_tags_and_places_of_a_refused_experiment_are_not_lost_unsaid(tracking: LocaltrackStore, tmp_path: Path) -> None:
    for name, more in (("x", {"tags": [ExperimentTag("a", "b")]}), ("y", {"artifact_location": "s3://bucket/y"})):
        assert tracking.get_experiment_by_name(name) is None
        make_elsewhere(tmp_path, name)
        with pytest.raises(MlflowException, match="already exists"):
            tracking.create_experiment(name, **more)  # type: ignore[arg-type]


def test_a_place_outside_is_kept_and_shown(tracking: LocaltrackStore, tmp_path: Path) -> None:
    experiment_id = tracking.create_experiment("x", artifact_location="s3://bucket/x")
    shown = tracking.get_experiment(experiment_id)
    assert (shown.artifact_location, dict(shown.tags)) == ("s3://bucket/x", {})
    run = tracking.create_run(experiment_id, "ada", 1, [], "run")
    assert run.info.artifact_uri == f"s3://bucket/x/{run.info.run_id}/artifacts"
