"""The files of logged models."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from localtrack import Store
from localtrack.errors import ErrorCode, InvalidInputError, NotFoundError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_files_of_a_model_lie_in_its_folder_with_their_records(store: Store, tmp_path: Path) -> None:
    made = tmp_path / "made"
    (made / "data").mkdir(parents=True)
    (made / "MLmodel").write_text("flavors: {}")
    (made / "data" / "weights.bin").write_bytes(b"\0" * 100)
    model = store.create_logged_model(name="net")
    store.log_model_artifacts(model.model_id, made)
    store.log_model_artifact(model.model_id, made / "MLmodel", "copy")
    assert [(file.path, file.is_dir) for file in store.list_logged_model_artifacts(model.model_id)] == [
        ("MLmodel", False),
        ("copy", True),
        ("data", True),
    ]
    (weights,) = store.list_logged_model_artifacts(model.model_id, "data")
    assert (weights.path, weights.file_size) == ("data/weights.bin", 100)
    assert Path(store.download_logged_model_artifacts(model.model_id, "data/weights.bin")).read_bytes() == b"\0" * 100
    (tmp_path / "out").mkdir()
    copied = Path(store.download_logged_model_artifacts(model.model_id, dst=tmp_path / "out"))
    assert sorted(path.name for path in copied.rglob("*") if path.is_file()) == ["MLmodel", "MLmodel", "weights.bin"]
    assert Path(model.artifact_location, "MLmodel").read_text() == "flavors: {}"
    store.close()
    (log,) = (tmp_path / "store" / "models").glob("*/*/*.jsonl")
    records = [json.loads(line) for line in log.read_bytes().splitlines()]
    described = {record[2]["path"]: record[2] for record in records if record[0] == "artifact"}
    assert set(described) == {"MLmodel", "copy/MLmodel", "data/weights.bin"}
    assert described["data/weights.bin"]["sha256"] == hashlib.sha256(b"\0" * 100).hexdigest()
    with Store.open(tmp_path / "store") as again:
        assert again.check().findings == []


def test_names_that_artifacts_of_runs_cannot_have_are_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    model = store.create_logged_model().model_id
    for path in ("../up", "/absolute", "nul", ".tmp-x", "a\\b"):
        with pytest.raises(InvalidInputError):
            store.log_model_artifact(model, tmp_path / "file", path)
    assert store.list_logged_model_artifacts(model) == []
    with pytest.raises(InvalidInputError):
        store.download_logged_model_artifacts(model, "../../../localtrack.json")


def test_what_is_not_there(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    model = store.create_logged_model().model_id
    with pytest.raises(NotFoundError) as caught:
        store.download_logged_model_artifacts(model, "none")
    assert caught.value.code == ErrorCode.ARTIFACT_NOT_FOUND
    with pytest.raises(NotFoundError) as caught:
        store.log_model_artifact("m-none", tmp_path / "file")
    assert caught.value.code == ErrorCode.MODEL_NOT_FOUND


def test_files_of_a_model_are_merged(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("first")
    model = store.create_logged_model().model_id
    store.log_model_artifact(model, tmp_path / "file")
    with Store.open(tmp_path / "copy") as copy:
        copy.merge(store.uri)
        (tmp_path / "file").write_text("second")
        store.log_model_artifact(model, tmp_path / "file")
        report = copy.merge(store.uri)
        assert (report.models_extended, report.findings) == (1, [])
        assert Path(copy.download_logged_model_artifacts(model, "file")).read_text() == "second"
        assert copy.merge(store.uri).files_copied == 0
