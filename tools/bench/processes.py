"""The environment of Python processes that a workload starts."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LEFT_OUT = ("PYTHONDONTWRITEBYTECODE", "PYTHONPROFILEIMPORTTIME", "MLFLOW_", "LOCALTRACK_", "COV_")
"""Beginnings of variables that would change what is measured."""


def ensure_localtrack() -> None:
    """Make this repository's library importable where none is installed."""
    if importlib.util.find_spec("localtrack") is None:
        sys.path.insert(0, str(REPOSITORY / "src"))


def find_localtrack() -> Path:
    """Return the folder that must be on the path of a process that is to import localtrack."""
    spec = importlib.util.find_spec("localtrack")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("localtrack is not importable; run this from its repository", name="localtrack")
    return Path(next(iter(spec.submodule_search_locations))).parent


def make_environment(*path: Path) -> dict[str, str]:
    """Return the environment of a process: this one's without settings, with localtrack and `path` on its path."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(LEFT_OUT)}
    folders = os.pathsep.join(str(folder) for folder in (find_localtrack(), *path))
    return kept | {"PYTHONPATH": folders, "MLFLOW_DISABLE_TELEMETRY": "true"}
