"""One fault at each operation on files while a store is looked after: every answer stays, and the next go finishes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.crash.cleanup_program import copy_store, fingerprint
from tests.crash.faults import EXIT_CODE
from tests.crash.forks import Forks
from tests.crash.test_faults import plan_faults

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PROGRAM = "tests.crash.cleanup_program:"
DEEDS = ["gc loose", "gc packed", "pack loose", "pack packed", "unpack packed"]


@pytest.fixture(scope="module")
def made(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stores to look after, and what they answer."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("loose", "packed"):
        (folder / name).mkdir()
        arguments = {"root": str(folder / name / "store"), "report": str(folder / name / "made")}
        assert forks.run(f"{PROGRAM}make_store", is_packed=name == "packed", **arguments) == 0
    return folder


class Trial:
    """Looks after a copy of the store, and judges what is left."""

    def __init__(self, forks: Forks, folder: Path, made: Path, deed: str) -> None:
        self._forks = forks
        self._folder = folder
        self._made = made
        self._deed = deed
        self.root = folder / "store"
        self.verdicts: dict[str, list[str]] = {}
        """By the fingerprint of what was judged: most faults leave what another one left."""

    def run(self, fault: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        copy_store(str(self._made / "store"), str(self.root))
        report = self._folder / "report"
        report.unlink(missing_ok=True)
        code = self._forks.run(
            f"{PROGRAM}look_after", root=str(self.root), deed=self._deed, report=str(report), fault=fault
        )
        return code, json.loads(report.read_text()) if report.exists() else {}

    def try_fault(self, fault: dict[str, Any]) -> list[str]:
        """Return what a fault led to that may not be."""
        code, left = self.run(fault)
        problems = [left["problem"]] if left.get("problem") else []
        if code != (EXIT_CODE if fault["kind"].startswith("exit") else 0):
            problems.append(f"the program ended with {code}")
        state = fingerprint(str(self.root))
        if state not in self.verdicts:
            self.verdicts[state] = self.judge()
        return problems + self.verdicts[state]

    def judge(self) -> list[str]:
        report = self._folder / "verdict"
        made = str(self._made / "made")
        code = self._forks.run(f"{PROGRAM}judge", root=str(self.root), deed=self._deed, made=made, report=str(report))
        verdict: list[str] = json.loads(report.read_text()) if code == 0 else [f"the judge ended with {code}"]
        return verdict


@pytest.mark.long
@pytest.mark.parametrize("deed", DEEDS)
def test_a_fault_anywhere_changes_no_answer(
    deed: str, forks: Forks, fast_folder: Path, made: Path, long_form: bool
) -> None:
    deed, _, state = deed.partition(" ")
    trial = Trial(forks, fast_folder, made / state, deed)
    code, report = trial.run()
    assert (code, report["problem"], report["past"]) == (0, "", [])
    assert trial.judge() == []
    faults = plan_faults(report["operations"], stride=None if long_form else 8)
    wrong: dict[str, list[str]] = {}
    for fault in faults:
        problems = trial.try_fault(fault)
        if problems:
            wrong[f"{fault} {report['operations'][fault['at']]}"] = problems
    assert wrong == {}
