"""The layer contracts of pyproject.toml can fail: each kind of wrong import, made in a small tree, is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ["cli", "ui", "mlflow_plugin", "spark", "api", "query", "sync", "quota", "store", "storage", "format"]

SOUND = {
    "__main__.py": "from localtrack import cli",
    "errors.py": "",
    "types.py": "",
    "cli/show.py": "from localtrack import api, errors",
    "mlflow_plugin/store.py": "import mlflow\nfrom localtrack import api",
    "api/search.py": "from localtrack import query, store",
    "query/search.py": "import duckdb\nfrom localtrack import store",
    "store/log.py": "import os\nfrom localtrack import storage, format",
    "format/record.py": "import json\nfrom localtrack import errors, types",
}

WRONG = {
    "a module in no layer": ("helpers.py", ""),
    "a package in no layer": ("common/__init__.py", ""),
    "an arrow up": ("format/record.py", "from localtrack import storage"),
    "an arrow up inside a function": ("store/log.py", "def f():\n    from localtrack import api"),
    "an arrow up for types only": (
        "storage/files.py",
        "import typing\nif typing.TYPE_CHECKING:\n    import localtrack.store",
    ),
    "an arrow up from the lowest layer": ("errors.py", "from localtrack import format"),
    "an arrow between siblings": ("query/search.py", "from localtrack import sync"),
    "an arrow between faces": ("cli/show.py", "from localtrack import ui"),
    "duckdb outside query": ("store/log.py", "import duckdb"),
    "duckdb outside query, inside a function": ("api/search.py", "def f():\n    from duckdb import connect"),
    "mlflow outside the plugin": ("sync/push.py", "import mlflow.tracking"),
    "a file system in format": ("format/record.py", "import os.path"),
    "a clock in format": ("format/stamp.py", "from time import time_ns"),
}


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    # -P -c keeps the installed package out of the way: the small tree comes first on the path.
    script = "import sys; sys.path.insert(0, 'src'); from importlinter.cli import lint_imports_command as f; f()"
    return subprocess.run(
        [sys.executable, "-c", script, "--no-cache", "--no-logo"], cwd=tree, capture_output=True, text=True, check=False
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    package = tmp_path / "src" / "localtrack"
    for name in PACKAGES:
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").touch()
    (package / "__init__.py").touch()
    for name, text in SOUND.items():
        (package / name).write_text(text)
    return tmp_path


def test_a_sound_tree_is_accepted(tree: Path) -> None:
    done = lint(tree)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 broken" in done.stdout


@pytest.mark.parametrize(("name", "text"), WRONG.values(), ids=WRONG)
def test_a_wrong_import_is_found(tree: Path, name: str, text: str) -> None:
    path = tree / "src" / "localtrack" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    done = lint(tree)
    assert done.returncode != 0
    assert "broken" in done.stdout or "exhaustive" in done.stdout, done.stdout + done.stderr
    assert "Contracts: 4 kept, 0 broken" not in done.stdout
