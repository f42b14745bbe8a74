"""Stores made by hand from FORMAT.md are read as FORMAT.md says, by a reader that shares no code with the library."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.independent.expected import Json
from tests.independent.hand import HandStore
from tests.independent.make_golden import DAMAGED, GOLDEN
from tests.independent.reader import read_store
from tests.independent.words import Refused

DATA = Path(__file__).parents[1] / "data"
CASES = sorted(path.parent for path in [*DATA.glob("golden/*/*/store"), *DATA.glob("damaged/*/store")])


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_the_independent_reader_finds_what_was_expected(case: Path) -> None:
    expected = json.loads((case / "expected.json").read_text(encoding="utf-8"))
    try:
        found = json.loads(json.dumps(read_store(case / "store"), allow_nan=False))
    except Refused as refused:
        found = {"refused": [refused.finding.key, refused.finding.kind]}
    assert found == expected
    assert json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)  # the signs of zeros, too


def test_every_case_is_on_disk_and_none_besides() -> None:
    assert [case.name for case in CASES] == sorted([make.__name__ for make in DAMAGED], key=str) + sorted(
        make.__name__ for make in GOLDEN
    )


@pytest.mark.parametrize("make", [*GOLDEN, *DAMAGED], ids=lambda make: make.__name__)
def test_what_is_on_disk_is_what_the_generator_says(make: Callable[[], tuple[HandStore, Json]]) -> None:
    """Segments are left out: their bytes are those of the PyArrow that wrote them."""
    (case,) = (case for case in CASES if case.name == make.__name__)
    store, expected = make()
    made = {key: data for key, data in store.files.items() if not key.endswith(".parquet")}
    paths = [path for path in (case / "store").rglob("*") if path.is_file() and path.suffix != ".parquet"]
    assert {path.relative_to(case / "store").as_posix(): path.read_bytes() for path in paths} == made
    if not any(key.endswith(".parquet") for key in store.files):
        assert json.loads((case / "expected.json").read_text(encoding="utf-8")) == json.loads(json.dumps(expected))
