"""What can be named as a source."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from localtrack.errors import InvalidInputError, MissingPackageError
from localtrack.importing.database import Database
from localtrack.importing.mlruns import MlrunsFolder
from localtrack.importing.opening import open_source_of_runs

TABLES = "experiments", "runs", "metrics", "params", "tags"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("ml flow.db")) as database, database:
        for table in TABLES:
            database.execute(f"CREATE TABLE {table} (run_uuid, experiment_id)")
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    (tmp_path / "mlruns" / "0" / "meta.yaml").write_text("name: Default")
    return tmp_path


@pytest.mark.parametrize(
    "location",
    [
        "sqlite:///ml flow.db",
        "sqlite:///ml%20flow.db",
        "sqlite:///{}/ml flow.db",
        "ml flow.db",
        "sqlite+pysqlite:///ml flow.db?x=1",
    ],
)
def test_databases(there: Path, location: str) -> None:
    source = open_source_of_runs(location.format(there))
    assert isinstance(source, Database)
    assert source.path == str(there / "ml flow.db")
    source.close()


@pytest.mark.parametrize("location", ["mlruns", "./mlruns/", "{}/mlruns", "file://{}/mlruns"])
def test_folders(there: Path, location: str) -> None:
    source = open_source_of_runs(location.format(there))
    assert isinstance(source, MlrunsFolder)
    assert source.path == str(there / "mlruns")


@pytest.mark.parametrize(
    "location", ["postgresql://host/db", "http://localhost:5000", "databricks://x", "s3://bucket/mlruns"]
)
def test_what_cannot_be_imported_is_said(location: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be imported"):
        open_source_of_runs(location)


def test_without_a_yaml_library_the_extra_is_named(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(MissingPackageError, match=r"localtrack\[mlruns\]") as caught:
        open_source_of_runs("mlruns")
    assert caught.value.code == "missing_extra"
    open_source_of_runs("ml flow.db").close()
