"""What importing costs, and a process that imports, starts a run, logs a point and ends it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tools.bench import mlflow_peer
from tools.bench.harness import Setting, Side, run_in_turns, time_once
from tools.bench.processes import make_environment
from tools.bench.results import Bound, Result

NAME = "import"
SUMMARY = "import and cold start over bare Python, wall time of processes"
BOUNDS = {
    "import localtrack": Bound(0.030),
    "import and first name": None,
    "cold start": Bound(0.120),
    "cold start in git": Bound(0.120),
    "import mlflow": None,
    "cold start of mlflow": None,
}
"""Side → how many seconds it may take over bare Python."""
REPOSITORY_FILE_COUNT = 200

COLD_SCRIPT = """\
import sys
import {module} as mlflow
mlflow.set_tracking_uri(sys.argv[1])
with mlflow.start_run():
    mlflow.log_metric("loss", 0.5, step=1)
"""


def run(setting: Setting) -> Result:
    """Measure start-up."""
    result = Result(NAME, SUMMARY)
    outside = _make_project(setting.folder / "outside")
    store_uri = str(setting.folder / "store")
    sides = [
        Side("bare python", _process(outside, "-c", "pass")),
        Side("import localtrack", _process(outside, "-c", "import localtrack")),
        # Names are loaded when they are first used: the import alone does not tell what a caller pays.
        Side("import and first name", _process(outside, "-c", "from localtrack import log_metric")),
        Side("cold start", _process(outside, "train_localtrack.py", store_uri)),
    ]
    if (git := shutil.which("git")) is None:
        result.notes.append("git is not installed: the start in a repository is left out")
    else:
        inside = _make_repository(setting.folder / "inside", git)
        sides.append(Side("cold start in git", _process(inside, "train_localtrack.py", store_uri)))
    if any((folder / ".git").exists() for folder in setting.folder.resolve().parents):
        result.notes.append("the folder lies in a git repository, so both starts are in one; choose another --dir")
    if mlflow_peer.use_mlflow(setting, result):
        database = f"sqlite:///{setting.folder / 'mlflow.db'}"
        sides += [
            Side("import mlflow", _process(outside, "-c", "import mlflow"), every=10),
            Side("cold start of mlflow", _process(outside, "train_mlflow.py", database), every=10),
        ]
    for side in sides:
        side.turn()  # the first process compiles modules and makes the store
    turns = run_in_turns(sides, setting.round_count(21))
    result.add_turns("wall time", "s", turns)
    for name, bound in BOUNDS.items():
        result.add_difference("wall time", turns, name, "bare python", bound)
    result.add_ratio("wall time", turns, "import localtrack", "bare python")
    result.add_ratio("wall time", turns, "cold start", "cold start of mlflow")
    return result


def _make_project(folder: Path) -> Path:
    folder.mkdir()
    for module in ("localtrack", "mlflow"):
        (folder / f"train_{module}.py").write_text(COLD_SCRIPT.format(module=module))
    return folder


def _make_repository(folder: Path, git: str) -> Path:
    """Make a repository of some size, since asking whether it has changes looks at every file."""
    _make_project(folder)
    for number in range(REPOSITORY_FILE_COUNT):
        place = folder / f"package{number % 10}"
        place.mkdir(exist_ok=True)
        (place / f"module{number}.py").write_text(f"NUMBER = {number}\n")
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "."), (*identity, "commit", "-q", "-m", "bench")):
        subprocess.run([git, *command], cwd=folder, check=True, capture_output=True)
    return folder


def _process(folder: Path, *arguments: str) -> Callable[[], float]:
    """Return a turn: the seconds from starting a Python process to its end."""
    environment = make_environment()  # the same for every side, bare Python included

    def start() -> None:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"python {' '.join(arguments)} failed:\n{done.stderr}")

    return lambda: time_once(start)
