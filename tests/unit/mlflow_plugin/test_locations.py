from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from localtrack.mlflow_plugin.locations import LOCATION_TAG, Locations
from localtrack.storage.opening import open_storage

RUN = "01a0c4506c007abc8def000000000001"
KEY = f"runs/2026-09-21/{RUN}/artifacts"


def locations(folder: Path, artifact_uri: str | None = None) -> Locations:
    return Locations(open_storage(folder), f"localtrack://{folder}", artifact_uri)


def test_clients_get_plain_paths(tmp_path: Path) -> None:
    assert locations(tmp_path).of_run(RUN, {}) == f"{tmp_path}/{KEY}"
    assert locations(tmp_path, "./mlruns").of_run(RUN, {}) == f"{tmp_path}/{KEY}"


@pytest.mark.parametrize("name", ["a b", "ä", "100%25", "a#b", "a?b", "a+b", "a;b", "a\\b"])
def test_whatever_the_folder_is_called_mlflow_finds_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    repository = get_artifact_repository(locations(folder).of_run(RUN, {}))
    assert repository.artifact_dir == str(folder / KEY)


@pytest.mark.parametrize("root", ["mlflow-artifacts:/", "mlflow-artifacts://host:5000/x", "http://host/api/x/"])
def test_servers_show_what_they_serve(tmp_path: Path, root: str) -> None:
    assert locations(tmp_path, root).of_run(RUN, {}) == f"{root.rstrip('/')}/{KEY}"


def test_a_place_outside_is_the_experiments(tmp_path: Path) -> None:
    places = locations(tmp_path)
    assert places.choose("5", "s3://bucket/x") == "s3://bucket/x"
    assert places.of_run(RUN, {LOCATION_TAG: "s3://bucket/x?a=b"}) == f"s3://bucket/x/{RUN}/artifacts?a=b"
    assert places.of_experiment({LOCATION_TAG: "s3://bucket/x"}) == "s3://bucket/x"


def test_a_place_inside_is_not_written_down(tmp_path: Path) -> None:
    assert locations(tmp_path).choose("5", None) is None
    assert locations(tmp_path).choose("5", str(tmp_path / "runs")) is None


def test_a_root_given_to_a_server_is_that_of_new_experiments(tmp_path: Path) -> None:
    assert locations(tmp_path, "s3://bucket/root").choose("5", None) == "s3://bucket/root/5"


def test_an_old_place_leads_to_the_new_one(tmp_path: Path) -> None:
    (tmp_path / KEY).mkdir(parents=True)
    places = locations(tmp_path)
    for root in ("/somewhere/else", "mlflow-artifacts:", "file:///old"):
        assert places.rebase(f"{root}/{KEY}/model") == f"{tmp_path}/{KEY}/model"
    foreign = "s3://bucket/runs/2026-09-21/unknown/artifacts/model"
    assert places.rebase(foreign) == foreign
