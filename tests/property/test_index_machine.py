"""Whatever happens to a store, searches answer as if every run were read anew each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.property.index_world import IndexWorld

from localtrack.store.index import live_run, run_index, run_watch, search_index


@pytest.mark.long
def test_searches_answer_as_a_full_read_does(
    tmp_path: Path, rounds: Callable[[int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small limits, so that a few runs are many.
    monkeypatch.setattr(run_index, "_FLUSH_COUNT", 5)
    monkeypatch.setattr(search_index, "WORTH_RUNS", 4)
    monkeypatch.setattr(search_index, "WORTH_FILES", 3)
    for seed in range(rounds(6, 400)):
        # Every other world takes runs that were copied in for whole at once.
        monkeypatch.setattr(live_run, "_COPYING_MS", 60_000 if seed % 2 else 0)
        # And two of three have the kernel tell what changed, however little there is to look at.
        monkeypatch.setattr(run_watch, "WORTH_COUNT", 64 if seed % 3 == 1 else 0)
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            IndexWorld(folder, seed).run(rounds(40, 60))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
