"""Sound stores, damaged at random: the library says what the independent reader says, and falls over nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.conformance.library_reading import assert_agreement, read_with_library
from tests.independent.reader import read_store
from tests.independent.words import Refused

from localtrack.errors import FormatError

GOLDEN = sorted((Path(__file__).parents[1] / "data" / "golden" / "format1").glob("*/store"))


def _targets(pattern: str) -> list[tuple[Path, str]]:
    """Return (store, key) of the golden files that are to be damaged."""
    return [
        (store, path.relative_to(store).as_posix())
        for store in GOLDEN
        for path in sorted(store.glob(pattern))
        if path.is_file() and path.stat().st_size and not path.name.startswith(".tmp-")
    ]


def _lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def _damage(data: bytes, how: str, at: int, byte: int) -> bytes:
    """Damage `data` in one place. `at` may be greater than there are places."""
    if how in ("repeat a line", "drop a line", "swap lines"):
        lines = _lines(data)
        n = at % len(lines)
        middle = {"repeat a line": [lines[n]] * 2, "drop a line": [], "swap lines": lines[n : n + 2][::-1]}[how]
        rest = lines[n + 2 :] if how == "swap lines" else lines[n + 1 :]
        return b"".join([*lines[:n], *middle, *rest])
    n = at % len(data)
    if how == "cut":
        return data[:n]
    if how == "insert":
        return data[:n] + bytes([byte]) + data[n:]
    if how == "delete":
        return data[:n] + data[n + 1 + byte % 4 :]
    return data[:n] + bytes([byte]) + data[n + 1 :]


DAMAGE = st.tuples(
    st.sampled_from(["replace", "cut", "insert", "delete", "repeat a line", "drop a line", "swap lines"]),
    st.integers(0, 5_000),
    st.sampled_from(b'\n"[]{},:.-0159eEnNtT \\\xff\x00'),
)


def _copy(target: tuple[Path, str], damage: tuple[str, int, int], folder: Path) -> Path:
    store, key = target
    root = folder / "store"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(store, root)
    (root / key).write_bytes(_damage((root / key).read_bytes(), *damage))
    return root


REMOVED = GOLDEN[0].parents[1] / "removed_for_good/store"
CHUNK_OF_REMOVED = f"runs/2026-09-21/01a0c4506c007abc8def000000000006/{'a1' * 10}.0.points.jsonl"


# A point above its key set is damaged, in a chunk too: it has no number, and the tombstone covers what is left.
@example(target=(REMOVED, CHUNK_OF_REMOVED), damage=("swap lines", 1, 10))
@given(target=st.sampled_from(_targets("runs/**/*.jsonl*") + _targets("edits/*")), damage=DAMAGE)
def test_a_damaged_log_reads_alike(
    target: tuple[Path, str], damage: tuple[str, int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = _copy(target, damage, tmp_path_factory.getbasetemp())
    try:
        assert_agreement(root)
    except Refused:
        with pytest.raises(FormatError):
            read_with_library(root)


@given(target=st.sampled_from(_targets("runs/*/*/*.parquet")), damage=DAMAGE)
def test_a_damaged_segment_hides_nothing_else(
    target: tuple[Path, str], damage: tuple[str, int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its digest covers more than its checksums: the two may differ on whether it is sound. No point is made up."""
    root = _copy(target, damage, tmp_path_factory.getbasetemp())
    found = read_with_library(root)
    sound = read_store(target[0])
    assert found["runs"].keys() == sound["runs"].keys()
    assert found["experiments"] == sound["experiments"]
    for run, what in found["runs"].items():
        everything = [repr(point) for point in sound["runs"][run]["points"]]
        assert {repr(point) for point in what["points"]} <= set(everything)
