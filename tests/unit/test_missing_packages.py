"""What needs a package that is not installed says so in one sentence, with the extra that brings it."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import localtrack
from localtrack import Store
from localtrack.errors import MissingPackageError
from localtrack.sync.target import resolve_target


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let an import of a package, and a look whether it is there, fail."""
    real = importlib.util.find_spec

    def remove(package: str) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *rest: None if name == package else real(name, *rest)
        )

    return remove


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "databricks"])
def test_a_server_needs_httpx(uri: str, without: Callable[[str], None]) -> None:
    without("httpx")
    with pytest.raises(MissingPackageError, match=r"needs httpx, .*localtrack\[sync\]"):
        resolve_target(uri)


def test_autologging_needs_mlflow(without: Callable[[str], None]) -> None:
    without("mlflow")
    with pytest.raises(MissingPackageError, match=r"autolog\(\) needs MLflow, .*localtrack\[mlflow\]"):
        localtrack.autolog()


def test_drawing_needs_matplotlib(tmp_path: Path, without: Callable[[str], None]) -> None:
    with Store.open(tmp_path) as store:
        figure = store.runs_per_month()
    without("matplotlib")
    with pytest.raises(MissingPackageError, match=r"needs Matplotlib, .*localtrack\[plot\]"):
        figure.plot()


def test_a_missing_package_is_an_import_error() -> None:
    error = MissingPackageError.of("Something", "Pillow", extra="images", otherwise="do without")
    assert isinstance(error, ImportError)
    assert error.hint == "Install it with `pip install 'localtrack[images]'`, or do without."


def test_every_extra_that_errors_name_is_one() -> None:
    root = Path(__file__).parents[2]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        part.partition('"')[0]
        for path in (root / "src").rglob("*.py")
        for part in path.read_text(encoding="utf-8").split('extra="')[1:]
    }
    assert len(named) >= 7
    assert named <= extras.keys()
