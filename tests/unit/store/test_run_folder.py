"""How many files a run is: inodes are a quota on shared drives."""

from __future__ import annotations

from pathlib import Path

import pytest

from localtrack.api.store import Store
from localtrack.errors import InvalidInputError
from localtrack.format.layout import parse_run_file, run_folder
from localtrack.storage.syncer import syncer
from localtrack.store.site import CHUNK_BYTES, LOG_POINTS_BYTES


def kinds(store: Store, run_id: str) -> list[str]:
    """Return what a run's folder holds, by kind of file."""
    names = sorted(path.name for path in (Path(store.root) / run_folder(run_id)).iterdir())
    files = {name: parse_run_file(name) for name in names}
    return sorted(name if file is None else file.kind for name, file in files.items())


def test_a_short_finished_run_is_one_file(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        with store.start_run("e") as run:
            run.log_params({f"p{number}": number for number in range(10)})
            for step in range(LOG_POINTS_BYTES // 100):
                run.log_metric("loss", step / 7, step)
        store.flush()
        assert kinds(store, run.run_id) == ["log"]


@pytest.mark.parametrize("chunk_bytes", [CHUNK_BYTES, 20_000], ids=["one chunk", "sealed many times on the way"])
def test_a_long_finished_run_is_a_log_and_a_segment(tmp_path: Path, chunk_bytes: int) -> None:
    with Store.open(tmp_path) as store:
        store._site.chunk_bytes = chunk_bytes
        with store.start_run("e") as run:
            for step in range(12_000):
                run.log_metric("loss", step / 7, step)
                if step % 1_000 == 0:
                    syncer.sync_all()
        store.flush()
        assert kinds(store, run.run_id) == ["log", "segment"]
        assert len(store.metric_history(run.run_id, "loss")) == 12_000


def test_a_chunk_whose_only_point_was_refused_leaves_a_sound_run(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        with store.start_run("e") as run:
            run.log_metric("loss", 0.5)
            store._site.log_points_bytes = run._writer._limit_bytes = 0
            run._writer._look_at_size()  # the log is full: the next point begins a chunk
            with pytest.raises(InvalidInputError):
                run.log_metrics({"not/../a key": 1.0})
        assert kinds(store, run.run_id) == ["log", "segment"]
        assert len(store.metric_history(run.run_id)) == 1
        reading = store.runs.read(run.run_id)
        reading.look_closely()
        assert reading.findings == []
        assert store.check().findings == []


def test_artifacts_are_the_only_thing_beside(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        with store.start_run("e") as run:
            run.log_text("x", "notes/today.txt")
        assert kinds(store, run.run_id) == ["artifacts", "log"]
