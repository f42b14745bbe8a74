"""What earlier sealings left half done, and what must not be believed of it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.crash.deeds import open_store
from tests.crash.forks import Forks

from localtrack.api.store import Store
from localtrack.errors import StorageError
from localtrack.storage.base import Entry
from localtrack.storage.local import LocalStorage
from localtrack.store.background import sealer

SMALL_BYTES = 1_000


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store whose runs have chunks, and where nothing is sealed in the background."""
    monkeypatch.setattr(sealer, "ask", lambda *_: None)
    return open_store(str(tmp_path / "store"), SMALL_BYTES)


def log_run(store: Store, points_count: int = 200) -> tuple[str, Path]:
    """Log points whose value is their step, and leave the run as a crash would: return its id and folder."""
    run = store.start_run("e", context=False)
    for step in range(points_count):
        run.log_metric("m", float(step), step)
    return run.run_id, Path(store.storage.path(run._writer.folder))


def steps(store: Store, run_id: str) -> list[int]:
    return sorted(store.metric_history(run_id).column("step").to_pylist())


def names(folder: Path, ending: str) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(ending))


def copy_points(folder: Path, to: Path) -> None:
    """Keep the files with points, to put them back as if their removal had not happened."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*[0-9a-f].jsonl"))


def put_back(kept: Path, folder: Path) -> None:
    shutil.copytree(kept, folder, dirs_exist_ok=True)


def test_what_a_segment_covers_goes_even_if_whoever_sealed_died_before(store: Store, tmp_path: Path) -> None:
    run_id, folder = log_run(store)
    store.seal(run_id)
    copy_points(folder, tmp_path / "first")
    with store.start_run(run_id=run_id, context=False):
        pass
    copy_points(folder, tmp_path / "second")
    put_back(tmp_path / "first", folder)
    put_back(tmp_path / "second", folder)
    store.seal(run_id)
    before = names(folder, ".parquet")
    put_back(tmp_path / "first", folder)
    assert steps(store, run_id) == list(range(200))
    store.seal(run_id)
    assert names(folder, ".parquet") == before
    assert steps(store, run_id) == list(range(200))


def test_a_damaged_segment_takes_no_chunk_along(store: Store, tmp_path: Path) -> None:
    run_id, folder = log_run(store)
    copy_points(folder, tmp_path / "kept")
    store.seal(run_id)
    (segment,) = names(folder, ".parquet")
    data = (folder / segment).read_bytes()
    (folder / segment).write_bytes(data[: len(data) // 2])
    put_back(tmp_path / "kept", folder)  # as of a copy that was cut short
    store.seal(run_id)
    assert steps(store, run_id) == list(range(200))
    assert len(names(folder, ".parquet")) == 1
    assert len(names(folder, ".points.jsonl")) == 1, "the open one alone is left"


def test_a_segment_is_durable_before_its_chunks_go(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one who renamed the segment was told by the disk that its name may be lost."""
    run_id, folder = log_run(store)
    monkeypatch.setattr("localtrack.storage.local.sync_folder", _fail)
    with pytest.raises(StorageError):
        store.seal(run_id)
    monkeypatch.undo()
    happened: list[str] = []
    real_fsync, real_unlink = os.fsync, os.unlink

    def fsync(fd: int) -> None:
        happened.append("sync " + os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        real_fsync(fd)

    def unlink(path: str) -> None:
        happened.append("unlink " + os.path.basename(path))
        real_unlink(path)

    (segment,) = [name for name in names(folder, ".parquet") if ".0-0." in name]
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "unlink", unlink)
    store.seal(run_id)
    removal = next(n for n, what in enumerate(happened) if what.startswith("unlink") and ".0.points" in what)
    assert f"sync {segment}" in happened[:removal]
    assert f"sync {folder.name}" in happened[:removal]


def _fail(*_: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EIO, "Bad disk")])
def test_an_end_that_cannot_seal_is_an_end(store: Store, error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    run = store.start_run("e", context=False)
    for step in range(200):
        run.log_metric("m", float(step), step)

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)  # of all that an end does, the segment alone is renamed
        run.end()
    folder = Path(store.storage.path(run._writer.folder))
    assert store.get_run(run.run_id).info.status == "FINISHED"
    assert names(folder, ".parquet") == []
    assert store.get_run(run.run_id).data.metrics == {"m": 199.0}
    assert steps(store, run.run_id) == list(range(200))
    assert store.seal(run.run_id) > 0
    assert names(folder, ".points.jsonl") == []
    assert steps(store, run.run_id) == list(range(200))


def seal_again_and_again(root: str, run_id: str, until: str) -> None:
    """Seal until a file is there."""
    store = Store.open(root)
    while not os.path.exists(until):
        store.seal(run_id)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_many_may_seal_at_once_while_the_run_goes_on(forks: Forks, fast_folder: Path) -> None:
    store = open_store(str(fast_folder / "store"), SMALL_BYTES)
    run = store.start_run("e", context=False)
    arguments = {"root": store.root, "run_id": run.run_id, "until": str(fast_folder / "stop")}
    pids = [forks.start("tests.crash.test_sealing:seal_again_and_again", **arguments) for _ in range(2)]
    for step in range(3_000):
        run.log_metric("m", float(step), step)
        if step % 100 == 0:  # what was acknowledged is seen, whoever moves it about
            assert steps(store, run.run_id) == list(range(step + 1))
    run.end()
    (fast_folder / "stop").touch()
    assert [forks.wait(pid) for pid in pids] == [0, 0]
    assert steps(store, run.run_id) == list(range(3_000))
    assert store.describe_run(run.run_id).findings == ()
    assert store.describe_run(run.run_id).row.metrics["m"].count == 3_000


def test_a_listing_that_shows_neither_a_chunk_nor_its_segment_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path / "store"), SMALL_BYTES)
    with store.start_run("e", context=False) as run:
        for step in range(300):
            run.log_metric("m", float(step), step)
    store.flush()
    folder = Path(store.storage.path(run._writer.folder))
    (segment,) = names(folder, ".parquet")
    real, left = LocalStorage.entries, [0]

    def entries(self: LocalStorage, key: str) -> list[Entry]:
        found = real(self, key)
        if not key.endswith(run.run_id) or left[0] == 0:
            return found
        left[0] -= 1
        return [entry for entry in found if entry.name != segment]

    monkeypatch.setattr(LocalStorage, "entries", entries)
    for blind_listings_count in (0, 1):
        left[0] = blind_listings_count
        with Store.open(store.root) as reading:
            assert steps(reading, run.run_id) == list(range(300))
            assert reading.describe_run(run.run_id).findings == ()


def test_a_file_that_goes_while_its_folder_is_listed_has_it_listed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old").write_text("content")
    (tmp_path / "nowhere").symlink_to(tmp_path / "nothing")
    real, listings = os.scandir, []

    class Listing(list[Any]):
        def __enter__(self) -> Listing:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    def scandir(path: str) -> Listing:
        with real(path) as found:
            listings.append(Listing(found))
        if (tmp_path / "old").exists():
            (tmp_path / "new").write_text("content")
            (tmp_path / "old").unlink()
        return listings[-1]

    monkeypatch.setattr(os, "scandir", scandir)
    assert [entry.name for entry in LocalStorage(str(tmp_path)).entries("")] == ["new"]
    assert len(listings) == 2
