"""One fault at each operation on files while the index is compacted: searches answer as a full read does, at once."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.crash.faults import EXIT_CODE
from tests.crash.forks import Forks
from tests.crash.test_faults import plan_faults

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PROGRAM = "tests.crash.compaction_program:"


@pytest.fixture(scope="module")
def made(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose index has something to do."""
    root = tmp_path_factory.mktemp("made") / "store"
    assert forks.run(f"{PROGRAM}make_store", root=str(root)) == 0
    return root


def run(forks: Forks, made: Path, root: Path, fault: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
    """Compact a copy of the store; return the exit code and what was done to files."""
    shutil.rmtree(root, ignore_errors=True)
    # With the times of change of the folders: a copy that is younger than its index says would be looked at anew.
    shutil.copytree(made, root)
    report = root.parent / "report"
    report.unlink(missing_ok=True)
    code = forks.run(f"{PROGRAM}compact", root=str(root), report=str(report), fault=fault)
    return code, json.loads(report.read_text()) if report.exists() else {}


def judge(forks: Forks, root: Path) -> list[str]:
    report = root.parent / "verdict"
    code = forks.run(f"{PROGRAM}judge", root=str(root), report=str(report))
    verdict: list[str] = json.loads(report.read_text()) if code == 0 else [f"the judge ended with {code}"]
    return verdict


@pytest.mark.long
def test_a_fault_anywhere_changes_no_answer(forks: Forks, fast_folder: Path, made: Path, long_form: bool) -> None:
    root = fast_folder / "store"
    code, report = run(forks, made, root, None)
    assert (code, report["problem"], report["past"]) == (0, "", [])
    assert judge(forks, root) == []
    wrong: dict[str, list[str]] = {}
    for fault in plan_faults(report["operations"], stride=None if long_form else 12):
        code, left = run(forks, made, root, fault)
        problems = [left["problem"]] if left.get("problem") else []
        if code != (EXIT_CODE if fault["kind"].startswith("exit") else 0):
            problems.append(f"the program ended with {code}")
        problems += judge(forks, root)
        if problems:
            wrong[f"{fault} {report['operations'][fault['at']]}"] = problems
    assert wrong == {}
