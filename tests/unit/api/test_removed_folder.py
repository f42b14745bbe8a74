"""The current folder has been removed: whoever names nothing else is told so, and all else works."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import localtrack
from localtrack.api.store import Store
from localtrack.errors import StorageError


@pytest.fixture
def removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "removed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    return folder


@pytest.mark.parametrize(
    "ask",
    [
        localtrack.get_tracking_uri,
        lambda: localtrack.start_run(),
        lambda: Store.open("runs"),
        lambda: Store.open("memory://removed-folder", spool="spool"),
    ],
)
def test_a_path_from_there_is_told_in_one_sentence(removed: Path, ask: Callable[[], object]) -> None:
    with pytest.raises(StorageError, match=r"^The current folder has been removed"):
        ask()


def test_absolute_paths_work(removed: Path, tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store, store.start_run("e") as run:
        run.log_metric("m", 1.0)
    with Store.open(tmp_path / "store") as store:
        assert store.get_run(run.run_id).data.metrics == {"m": 1.0}


def test_the_command_line_says_so_too(removed: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "localtrack", "runs"], capture_output=True, text=True, check=False)
    assert (done.returncode == 0, "This is a bug" in done.stderr) == (False, False)
    assert done.stderr.startswith("Error: The current folder has been removed")
