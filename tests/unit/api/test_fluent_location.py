"""Which store a path, a URI, the environment or the current folder means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localtrack.api import location
from localtrack.errors import InvalidInputError


def make_store(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "localtrack.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ("runs", "{here}/runs"),
        ("./a/../runs/", "{here}/runs"),
        ("/data/a b%20c", "/data/a b%20c"),
        ("file:///data/a%20b", "/data/a b"),
        ("file:/data", "/data"),
        ("localtrack:///data/100%25", "/data/100%"),
        ("localtrack://localhost/data", "/data"),
        ("localtrack:runs", "{here}/runs"),
        ("./databricks", "{here}/databricks"),
        ("/data/a:b", "/data/a:b"),
    ],
)
def test_what_a_user_writes(folder: Path, named: str, meant: str) -> None:
    assert location.resolve_store_path(named) == meant.format(here=folder)


def test_a_path_object_and_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder / "home"))
    assert location.resolve_store_path(Path("runs")) == str(folder / "runs")
    assert location.resolve_store_path("~/runs") == str(folder / "home" / "runs")


@pytest.mark.parametrize(
    "named",
    ["http://host:5000", "https://host", "sqlite:///x.db", "databricks", "databricks://profile", "uc", "file://host/x"],
)
def test_servers_and_databases_are_refused(folder: Path, named: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        location.resolve_store_path(named)
    assert named in caught.value.message
    assert caught.value.hint
    assert list(folder.iterdir()) == []


def test_bytes_are_no_uri() -> None:
    with pytest.raises(InvalidInputError, match="text"):
        location.parse_store_uri(b"runs")  # type: ignore[arg-type]


def test_the_nearest_store_upward(folder: Path) -> None:
    deep = folder / "a" / "b" / "c"
    deep.mkdir(parents=True)
    assert location.find_store_upward(deep) is None
    top = make_store(folder / "ltruns")
    assert location.find_store_upward(deep) == str(top)
    nearer = make_store(folder / "a")
    assert location.find_store_upward(deep) == str(nearer)
    # The folder itself comes before the one inside it.
    make_store(folder / "a" / "ltruns")
    assert location.find_store_upward(deep) == str(nearer)
    assert location.find_store_upward(top) == str(top)


def test_a_store_in_a_folder_for_everybody_takes_in_nothing_below(folder: Path) -> None:
    shared = folder / "tmp"
    make_store(shared / "ltruns")
    (shared / "work").mkdir()
    shared.chmod(0o777)
    assert location.find_store_upward(shared / "work") == str(shared / "ltruns")
    shared.chmod(0o1777)
    assert location.find_store_upward(shared / "work") is None
    assert location.find_store_upward(shared) == str(shared / "ltruns")
    nearer = make_store(shared / "work" / "ltruns")
    assert location.find_store_upward(shared / "work") == str(nearer)
    above = make_store(folder / "ltruns")
    (shared / "other").mkdir()
    assert location.find_store_upward(shared / "other") == str(above)


def test_a_folder_without_its_marker_is_no_store(folder: Path) -> None:
    (folder / "ltruns" / "localtrack.json").mkdir(parents=True)
    assert location.find_store_upward(folder) is None


def test_explicit_then_environment_then_upward_then_new(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "work").mkdir()
    monkeypatch.chdir(folder / "work")
    assert location.resolve_store_path() == str(folder / "work" / "ltruns")
    make_store(folder / "ltruns")
    assert location.resolve_store_path() == str(folder / "ltruns")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert location.resolve_store_path() == str(folder / "ltruns")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(make_store(folder / "by_mlflow")))
    assert location.resolve_store_path() == str(folder / "by_mlflow")
    monkeypatch.setenv("LOCALTRACK_TRACKING_URI", "file:///by/us")
    assert location.resolve_store_path() == "/by/us"
    assert location.resolve_store_path("/explicit") == "/explicit"


@pytest.mark.parametrize("path", ["/data/a b", "/data/100%", "/data/é?#"])
def test_a_formatted_uri_means_the_same_path(path: str) -> None:
    uri = location.format_store_uri(path)
    assert uri.startswith("file:///")
    assert location.parse_store_uri(uri) == path
    assert not os.path.exists(path)
