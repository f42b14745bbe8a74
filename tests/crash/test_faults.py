"""One fault at each operation on files, found by counting: the store is sound then, nothing acknowledged missing."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.crash.faults import EXIT_CODE, READS
from tests.crash.forks import Forks

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PROGRAM = "tests.crash.program:"
ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES)
DEEP = "write", "fsync", "replace", "link", "unlink", "mkdir", "flock", "dup"
"""Operations about which the order of things turns: each is tried, also in the short form; of others each fourth."""
PARTS_COUNT = 4
"""The faults are tried in so many tests, so that processes can share them."""


@pytest.fixture(scope="module")
def other(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store to merge, whose acknowledgements lie beside it."""
    folder = tmp_path_factory.mktemp("other")
    code = forks.run(f"{PROGRAM}make_other", root=str(folder / "store"), said=str(folder / "said"))
    assert code == 0
    return folder


class Trial:
    """Runs the program in a store of its own, and judges what is left."""

    def __init__(self, forks: Forks, folder: Path, other: Path, durability: str) -> None:
        self._forks = forks
        self._folder = folder
        self._other = other
        self.durability = durability
        self.root = folder / "store"

    def run(self, fault: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Run the program in an empty folder, and return its exit code and report."""
        shutil.rmtree(self._folder)
        self._folder.mkdir()
        report = self._folder / "report"
        code = self._forks.run(
            f"{PROGRAM}run_program",
            root=str(self.root),
            other=str(self._other / "store"),
            said=str(self._folder / "said"),
            report=str(report),
            fault=fault,
            durability=self.durability,
        )
        return code, json.loads(report.read_text()) if report.exists() else {}

    def judge(self) -> list[str]:
        """Return what is wrong with what the program left."""
        report = self._folder / "verdict"
        code = self._forks.run(
            f"{PROGRAM}judge",
            root=str(self.root),
            other_said=str(self._other / "said"),
            said=str(self._folder / "said"),
            report=str(report),
        )
        return json.loads(report.read_text()) if code == 0 else [f"the judge ended with {code}"]

    def try_fault(self, fault: dict[str, Any]) -> list[str]:
        """Return what a fault led to that may not be."""
        code, report = self.run(fault)
        problems = [report["problem"]] if report.get("problem") else []
        if code != (EXIT_CODE if fault["kind"].startswith("exit") else 0):
            problems.append(f"the program ended with {code}")
        return problems + self.judge()


@pytest.fixture(params=["process", "call"])
def trial(request: pytest.FixtureRequest, forks: Forks, fast_folder: Path, other: Path) -> Trial:
    return Trial(forks, fast_folder / "trial", other, request.param)


def test_without_a_fault_everything_is_there(trial: Trial) -> None:
    (trial.root.parent).mkdir()
    code, report = trial.run()
    assert (code, report["problem"]) == (0, "")
    assert trial.judge() == []


def plan_faults(operations: list[tuple[str, str]], *, stride: int | None) -> list[dict[str, Any]]:
    """Return the faults to try.

    Args:
        operations: What the program does to files.
        stride: None for every fault at every operation. Else each operation that is tried has the fault whose turn it
            is; of those that count in `DEEP` each stride-th is tried, of the others each fourth of these.
    """
    faults: list[dict[str, Any]] = []
    turn: Counter[str] = Counter()
    for number, (name, _) in enumerate(operations):
        here = [{"at": number, "kind": "fail", "errno": error} for error in ERRORS]
        if name == "write":
            here += [{"at": number, "kind": "partial", "errno": error} for error in ERRORS[:2]]
        if name not in READS:
            here += [{"at": number, "kind": "exit before"}, {"at": number, "kind": "exit after"}]
            here += [
                {"at": number, "kind": "fail", "errno": errno.ENOSPC, "until": number + length} for length in (7, 40)
            ]
        if stride is not None:
            round_, is_left_out = divmod(turn[name], stride if name in DEEP else 4 * stride)
            here = [] if is_left_out else [here[round_ % len(here)]]
        turn[name] += 1
        faults += here
    return faults


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS_COUNT))
def test_a_fault_anywhere(trial: Trial, part: int, long_form: bool) -> None:
    trial.root.parent.mkdir()
    _, report = trial.run()
    stride = None if long_form else 3 if trial.durability == "call" else 1
    wrong: dict[str, list[str]] = {}
    for fault in plan_faults(report["operations"], stride=stride)[part::PARTS_COUNT]:
        problems = trial.try_fault(fault)
        if problems:
            wrong[f"{fault} {report['operations'][fault['at']]}"] = problems
    assert wrong == {}
