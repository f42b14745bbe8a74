"""The layer contracts of pyproject.toml can fail: each kind of wrong import, made in a small tree, is found."""

from __future__ import annotations

import re
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

LAYERS = "Arrows point down, and every module lies in a layer"
DUCKDB = "Only query imports duckdb"
MLFLOW = "Only the plugin imports mlflow"
PURE = "The format layer does no I/O and asks neither clock, environment nor chance"

WRONG = {
    "a module in no layer": (LAYERS, "helpers.py", ""),
    "a package in no layer": (LAYERS, "common/__init__.py", ""),
    "an arrow up": (LAYERS, "format/record.py", "from localtrack import storage"),
    "an arrow up inside a function": (LAYERS, "store/log.py", "def f():\n    from localtrack import api"),
    "an arrow up for types only": (
        LAYERS,
        "storage/files.py",
        "import typing\nif typing.TYPE_CHECKING:\n    import localtrack.store",
    ),
    "an arrow up from the lowest layer": (LAYERS, "errors.py", "from localtrack import format"),
    "an arrow between siblings": (LAYERS, "query/search.py", "from localtrack import sync"),
    "an arrow between faces": (LAYERS, "cli/show.py", "from localtrack import ui"),
    "duckdb outside query": (DUCKDB, "store/log.py", "import duckdb"),
    "duckdb outside query, inside a function": (DUCKDB, "api/search.py", "def f():\n    from duckdb import connect"),
    "mlflow outside the plugin": (MLFLOW, "sync/push.py", "import mlflow.tracking"),
    "a file system in format": (PURE, "format/record.py", "import os.path"),
    "a clock in format": (PURE, "format/stamp.py", "from time import time_ns"),
}


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    # The small tree has to come before the installed package on the path.
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


@pytest.mark.parametrize(("contract", "name", "text"), WRONG.values(), ids=WRONG)
def test_a_wrong_import_is_found(tree: Path, contract: str, name: str, text: str) -> None:
    path = tree / "src" / "localtrack" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    done = lint(tree)
    assert done.returncode != 0
    broken = re.findall(r"^(.+) BROKEN\b", done.stdout, flags=re.MULTILINE)
    assert broken == [contract], done.stdout + done.stderr
