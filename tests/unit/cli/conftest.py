"""A store with runs of every kind, and a way to call the command line on it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result

from localtrack.api.store import Store
from localtrack.cli import app

NASTY_NAME = "red\x1b[31m\nname 漢字"

DIES = """
import os, sys
from localtrack.api.store import Store
run = Store.open(sys.argv[1]).start_run("team/a", run_name="dies", context=False)
run.log_metric("loss", 3.0, step=7)
print(run.run_id, flush=True)
os._exit(9)
"""


class Ids(NamedTuple):
    """The runs of the store, oldest first."""

    good: str
    """Finished, with params, metrics, tags, artifacts."""
    better: str
    """Finished, a lower loss, a NaN and an infinity."""
    nasty: str
    """Its name would change the colour of the terminal; in another experiment."""
    deleted: str
    dead: str
    silent: str


class Place(NamedTuple):
    """A store on disk, and the runs in it."""

    path: Path
    ids: Ids

    def open(self) -> Store:
        return Store.open(self.path, create=False)


class Answer(NamedTuple):
    """What a command left."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        return json.loads(self.stdout)

    @property
    def documents(self) -> list[Any]:
        return [json.loads(line) for line in self.stdout.splitlines()]


Invoke = Callable[..., Answer]


@pytest.fixture(scope="session")
def first_place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    path = tmp_path_factory.mktemp("cli") / "store"
    with Store.open(path) as store:
        ids = [
            _make_run(store, "good", lr="0.1", losses=[3.0, 0.5, 1.0]),
            _make_run(store, "better", lr="0.01", losses=[2.0, 0.25], extra={"odd": float("nan"), "far": float("inf")}),
        ]
        with store.start_run("other", run_name=NASTY_NAME, context=False) as run:
            ids.append(run.run_id)
        ids.append(_make_run(store, "gone", lr="0.1", losses=[0.0]))
        store.delete_run(ids[-1])
    ids += [_make_dead_run(path), _make_dead_run(path)]
    _move_to_another_host(path, ids[-1])
    return Place(path, Ids(*ids))


@pytest.fixture
def place(first_place: Place, tmp_path: Path) -> Place:
    """Return a copy of the store that the test may change."""
    shutil.copytree(first_place.path, tmp_path / "store")
    return Place(tmp_path / "store", first_place.ids)


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Invoke:
    """Return a function that calls the command line, in a folder where no store is found upward."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    def call(*arguments: object, env: dict[str, str] | None = None) -> Answer:
        result: Result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=env)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return Answer(result.exit_code, result.stdout, result.stderr)

    return call


def _make_run(store: Store, name: str, *, lr: str, losses: list[float], extra: dict[str, float] | None = None) -> str:
    with store.start_run("team/a", run_name=name, context=False, tags={"team": "a", "note": "first\nsecond"}) as run:
        run.log_params({"lr": lr, "optimizer": "adam"})
        for step, loss in enumerate(losses):
            run.log_metric("loss", loss, step=step, timestamp=1_700_000_000_000 + step)
        run.log_metrics(extra or {})
        run.log_text("hello", "notes/hello.txt")
        return str(run.run_id)


def _make_dead_run(path: Path) -> str:
    done = subprocess.run([sys.executable, "-c", DIES, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr
    return done.stdout.strip()


def _move_to_another_host(path: Path, run_id: str) -> None:
    """Make the log of a run one that another host wrote, so that nobody here can tell whether its process is alive."""
    (log,) = path.glob(f"runs/*/{run_id}/*.jsonl")
    text = log.read_text("utf-8")
    for name in ("boot", "host", "pidns"):
        text, count = re.subn(rf'"{name}":"[^"]*"', f'"{name}":"elsewhere"', text)
        assert count == 1, name
    log.write_text(text, "utf-8")
