"""The same fluent programs under MLflow and under localtrack show the same and leave the same runs.

What differs on purpose is the table `DIFFERENCES`, each with its reason; a test holds both sides of each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.fluent_programs import PROGRAMS

import localtrack
from localtrack.api.location import find_store_upward

DRIVER = Path(__file__).with_name("fluent_driver.py")
LIBRARIES = ("mlflow", "localtrack")

# MLflow's calls for a wrong state are plain exceptions, internal errors or wrong parameters, as it happens.
PLAIN_TO_STATE = ("error NONE", "error INVALID_STATE")
INTERNAL_TO_STATE = ("error INTERNAL_ERROR", "error INVALID_STATE")
PARAMETER_TO_STATE = ("error INVALID_PARAMETER_VALUE", "error INVALID_STATE")
# Nor do these say that an argument was wrong.
PLAIN_TO_PARAMETER = ("error NONE", "error INVALID_PARAMETER_VALUE")
INTERNAL_TO_PARAMETER = ("error INTERNAL_ERROR", "error INVALID_PARAMETER_VALUE")
# Runs of other tools come with ids of any form, so an odd one is merely not there.
ODD_ID = ("error INVALID_PARAMETER_VALUE", "error RESOURCE_DOES_NOT_EXIST")

# program -> place among what it shows -> (MLflow, localtrack).
DIFFERENCES: dict[str, dict[int, tuple[str, str]]] = {
    "nesting": {0: PLAIN_TO_STATE},
    "parent_by_id": {0: INTERNAL_TO_STATE, 2: ODD_ID, 3: INTERNAL_TO_STATE},
    "resume": {5: INTERNAL_TO_STATE},
    "experiments": {12: PARAMETER_TO_STATE},
    "runs_of_a_deleted_experiment": {0: PARAMETER_TO_STATE},
    "delete_and_restore_runs": {4: PARAMETER_TO_STATE},
    "search": {12: PLAIN_TO_PARAMETER},
    "artifacts": {0: INTERNAL_TO_PARAMETER, 1: PLAIN_TO_PARAMETER},
}


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each program showed and left, by library and program."""
    found: dict[str, dict[str, Any]] = {}
    source = Path(localtrack.__file__).parents[1]
    for library in LIBRARIES:
        folder = tmp_path_factory.mktemp(library)
        assert find_store_upward(folder) is None, "that store would take in what the programs log"
        (folder / "programs.json").write_text(json.dumps(PROGRAMS))
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("LOCALTRACK_", "MLFLOW_"))}
        environment |= {"PYTHONPATH": str(source), "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        done = subprocess.run(
            [sys.executable, str(DRIVER), library, str(folder)],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found[library] = {name: json.loads((folder / f"{name}.json").read_text()) for name in PROGRAMS}
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_show_and_leave_the_same(left: dict[str, dict[str, Any]], name: str) -> None:
    theirs, ours = (left[library][name] for library in LIBRARIES)
    for place, (mlflow_shows, we_show) in DIFFERENCES.get(name, {}).items():
        assert (theirs["shown"][place], ours["shown"][place]) == (mlflow_shows, we_show)
        theirs["shown"][place] = we_show
    assert ours["shown"] == theirs["shown"]
    assert ours["shown"] or ours["runs"]
    assert ours["experiments"] == theirs["experiments"]
    assert ours["runs"] == theirs["runs"]
