"""The library reads golden and damaged stores as the independent reader does, and reports what must be reported."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.library_reading import LEFT_TO_CHECK, assert_same, read_with_library, scope

from localtrack import Store
from localtrack.errors import FormatError, LocaltrackError, NotFoundError

DATA = Path(__file__).parents[1] / "data"
CASES = sorted(path.parent for path in [*DATA.glob("golden/*/*/store"), *DATA.glob("damaged/*/store")])
CACHES = {"index", "locks", "registry.db", "sync"}


def _digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and path.relative_to(root).parts[0] not in CACHES
    }


def _is_refused(case: Path) -> bool:
    return "refused" in json.loads((case / "expected.json").read_text(encoding="utf-8"))


def _load(case: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return a copy of a store, and what is to be read in it."""
    shutil.copytree(case / "store", folder / "store")
    return folder / "store", json.loads((case / "expected.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_library_reads_what_was_expected(case: Path, tmp_path: Path) -> None:
    root, expected = _load(case, tmp_path)
    before = _digests(root)
    if "refused" in expected:
        kind = NotFoundError if expected["refused"][1] == "missing" else FormatError
        with pytest.raises(kind):
            read_with_library(root)
    else:
        assert_same(read_with_library(root), expected)
    assert _digests(root) == before, "reading changed the store"


@pytest.mark.parametrize("case", [case for case in CASES if not _is_refused(case)], ids=lambda case: case.name)
def test_the_library_reports_what_must_be_reported(case: Path, tmp_path: Path) -> None:
    root, expected = _load(case, tmp_path)
    must = {scope(key) for key, kind in expected["findings"] if kind not in LEFT_TO_CHECK}
    may = {scope(key) for key, _ in expected["findings"]}
    found = {scope(key) for key in read_with_library(root)["findings"]}
    assert must <= found
    assert found <= may


def test_diverged_stores_are_not_merged(tmp_path: Path) -> None:
    """Of two copies of a log neither is the start of the other: both stay as they are, and the key is reported (14)."""
    (key,) = json.loads((DATA / "diverged" / "expected.json").read_text(encoding="utf-8"))["diverged"]
    for name in ("left", "right"):
        shutil.copytree(DATA / "diverged" / name, tmp_path / name)
    before = {name: _digests(tmp_path / name) for name in ("left", "right")}
    with Store.open(str(tmp_path / "left"), create=False) as store:
        try:
            report = repr(store.merge(str(tmp_path / "right")))
        except LocaltrackError as error:
            report = str(error)
    assert key in report
    assert {name: _digests(tmp_path / name) for name in before} == before
