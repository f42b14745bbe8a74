"""A store that is written to a spool first: what is there, and where."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.independent.reader import read_store

from localtrack.api.store import Store
from localtrack.errors import LockedError, NotFoundError, StorageError
from localtrack.storage import spool as spools
from localtrack.store import spool_thread
from localtrack.store.spool_waiting import list_waiting
from localtrack.store.spooling import drain


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    folder = tmp_path / "drive"
    folder.mkdir()
    return folder / "store"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture(autouse=True)
def at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is moved by itself, so that each test says when."""
    monkeypatch.setattr(spool_thread, "INTERVAL_S", 3_600.0)
    monkeypatch.setattr(spools, "AWAY_S", 0.0)


def take_away(drive: Path) -> Path:
    """Have the drive be there, empty, as where a mount is missing."""
    aside = drive.parent.with_name("unplugged")
    drive.parent.rename(aside)
    drive.parent.mkdir()
    return aside


def bring_back(drive: Path, aside: Path) -> None:
    shutil.rmtree(drive.parent)
    aside.rename(drive.parent)


def points(root: Path, run_id: str) -> Counter[tuple[str, int, float]]:
    run = read_store(root)["runs"][run_id]
    return Counter((key, step, float(value)) for key, _, step, value in run["points"])


def waiting_files(spool: Path) -> int:
    return sum(waiting.files for _, waiting in list_waiting(str(spool)))


def test_everything_is_at_the_store_when_it_is_closed_and_nothing_is_left(drive: Path, spool: Path) -> None:
    with Store.open(drive, spool=spool) as store:
        with store.start_run("e", context=False) as run:
            run.log_params({"a": 1})
            for step in range(50):
                run.log_metric("loss", step / 2, step=step)
            run.log_text("hello", "notes/hello.txt")
        assert not (drive / "runs").exists()
    assert points(drive, run.run_id) == Counter(("loss", step, step / 2) for step in range(50))
    assert read_store(drive)["findings"] == []
    assert [path.read_text() for path in (drive / "runs").rglob("hello.txt")] == ["hello"]
    assert waiting_files(spool) == 0
    with Store.open(drive, spool="") as plain:
        assert plain.get_run(run.run_id).data.params == {"a": "1"}
        assert plain.describe_run(run.run_id).findings == ()
        assert [e.name for e in plain.list_experiments()] == ["Default", "e"] or plain.get_experiment_by_name("e")


def test_a_run_is_read_while_it_is_spooled_and_while_half_of_it_was_moved(drive: Path, spool: Path) -> None:
    with Store.open(drive, spool=spool) as store:
        run = store.start_run("e", context=False)
        run.log_metric("loss", 1.0, step=1)
        assert run.data.metrics == {"loss": 1.0}
        store.drain()
        assert points(drive, run.run_id) == Counter([("loss", 1, 1.0)])
        run.log_metric("loss", 2.0, step=2)
        run.set_tag("late", "yes")
        assert run.data.metrics == {"loss": 2.0}
        assert store.metric_history(run.run_id).num_rows == 2
        (row,) = store.search_runs()
        assert row.tags["late"] == "yes"
        assert store.describe_run(run.run_id).liveness == "alive"
        with Store.open(drive, spool="") as other:
            assert other.describe_run(run.run_id).liveness == "alive"
            assert "late" not in other.get_run(run.run_id).data.tags
        run.end()
    with Store.open(drive, spool="") as other:
        assert other.get_run(run.run_id).data.tags["late"] == "yes"


def test_a_run_that_lies_at_the_store_goes_on_in_the_spool(drive: Path, spool: Path) -> None:
    with Store.open(drive, spool="") as plain:
        run = plain.start_run("e", run_name="long", context=False)
        run.log_params({"a": 1})
        run.log_metric("loss", 1.0, step=1)
        run.log_text("first", "note.txt")
        run.end("FAILED")
    with Store.open(drive, spool=spool) as store:
        again = store.start_run(run_id=run.run_id)
        assert again.next_step() == 2
        with pytest.raises(ValueError, match="cannot be changed"):
            again.log_param("a", 2)
        again.log_metric("loss", 2.0, step=2)
        again.log_text("second", "note.txt")
        assert Path(store.download_artifacts(run.run_id, "note.txt")).read_text() == "second"
        again.end()
    assert points(drive, run.run_id) == Counter([("loss", 1, 1.0), ("loss", 2, 2.0)])
    with Store.open(drive, spool="") as plain:
        assert Path(plain.download_artifacts(run.run_id, "note.txt")).read_text() == "second"
        assert plain.get_run(run.run_id).info.status == "FINISHED"
        assert plain.describe_run(run.run_id).findings == ()
    assert waiting_files(spool) == 0


def test_long_runs_leave_segments_and_no_chunks(drive: Path, spool: Path) -> None:
    with Store.open(drive, spool=spool) as store:
        store._site.log_points_bytes = store._site.chunk_bytes = 2_000
        with store.start_run("e", context=False) as run:
            for step in range(600):
                run.log_metric("loss", step / 2, step=step)
                if step % 150 == 0:
                    store.drain()
    assert points(drive, run.run_id) == Counter(("loss", step, step / 2) for step in range(600))
    (folder,) = (drive / "runs").glob("*/*")
    names = [path.name for path in folder.iterdir()]
    assert sum(name.endswith(".parquet") for name in names) == 1
    assert not any(".points.jsonl" in name for name in names)
    assert waiting_files(spool) == 0


def test_deleting_and_experiments_are_moved_too(drive: Path, spool: Path) -> None:
    with Store.open(drive, spool=spool) as store:
        with store.start_run("e", context=False) as run:
            pass
        store.delete_run(run.run_id)
        store.rename_experiment(run.experiment_id, "renamed")
    with Store.open(drive, spool="") as plain:
        assert plain.get_run(run.run_id).info.lifecycle_stage == "deleted"
        assert plain.get_experiment(run.experiment_id).name == "renamed"
        assert waiting_files(spool) == 0


def test_a_drive_that_goes_away_stops_nothing(
    drive: Path, spool: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(drive, spool=spool)
    first = store.start_run("e", context=False)
    first.log_metric("loss", 1.0, step=1)
    store.drain()
    aside = take_away(drive)
    with pytest.raises(StorageError, match="not mounted"):
        store.drain()
    first.log_metric("loss", 2.0, step=2)
    with store.start_run("other", context=False) as second:
        second.log_text("x", "x.txt")
    first.end()
    assert store.get_run(first.run_id).data.metrics == {"loss": 2.0}
    with caplog.at_level(logging.WARNING):
        store.close()
    assert sum("wait in the spool" in record.message for record in caplog.records) == 1
    assert list(drive.parent.iterdir()) == []  # nothing was written to the empty mount point
    bring_back(drive, aside)
    for waiting, _ in list_waiting(str(spool)):
        report = drain(waiting)
        assert report.findings == []
        assert report.files_left == 0
    assert points(drive, first.run_id) == Counter([("loss", 1, 1.0), ("loss", 2, 2.0)])
    assert second.run_id in read_store(drive)["runs"]


def test_a_store_opens_while_its_drive_is_away(drive: Path, spool: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Store.open(drive, spool=spool) as store, store.start_run("e", context=False) as before:
        before.log_metric("loss", 1.0, step=1)
    aside = take_away(drive)
    with caplog.at_level(logging.WARNING), Store.open(drive, spool=spool) as store:
        with store.start_run("e", context=False) as run:
            run.log_metric("loss", 3.0, step=1)
        with pytest.raises(NotFoundError):
            store.start_run(run_id=before.run_id)
    assert "is away" in caplog.text
    bring_back(drive, aside)
    with Store.open(drive, spool=spool) as store:
        assert store.store_id == read_document(drive)
    assert points(drive, run.run_id) == Counter([("loss", 1, 3.0)])
    assert run.experiment_id == before.experiment_id


def read_document(root: Path) -> str:
    import json

    return str(json.loads((root / "localtrack.json").read_text())["store"])


def test_without_a_store_and_without_leave_to_make_one_nothing_is_spooled(drive: Path, spool: Path) -> None:
    with pytest.raises(NotFoundError):
        Store.open(drive, spool=spool, create=False)


KILLED = """
import os, sys
from localtrack.api.store import Store
from localtrack.store import spool_thread
spool_thread.INTERVAL_S = 3600
store = Store.open(sys.argv[1], spool=sys.argv[2])
store._site.log_points_bytes = store._site.chunk_bytes = 1500
run = store.start_run("e", context=False)
for step in range(200):
    run.log_metric("loss", step / 4, step=step)
    if step == 90:
        store.drain()
run.log_text("late", "late.txt")
print(run.run_id, flush=True)
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_leaves_is_found_and_moved_later(drive: Path, spool: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(drive), str(spool)], capture_output=True, text=True, check=False
    )
    run_id = done.stdout.strip()
    assert done.returncode == -9, done.stderr
    assert len(points(drive, run_id)) < 200
    ((found, waiting),) = list_waiting(str(spool))
    assert waiting.runs == 1
    report = drain(found)
    assert (report.files_left, report.findings) == (0, [])
    assert points(drive, run_id) == Counter(("loss", step, step / 4) for step in range(200))
    assert drain(found).files_moved == 0
    with Store.open(drive, spool="") as plain:
        assert plain.describe_run(run_id).liveness == "dead"
        assert Path(plain.download_artifacts(run_id, "late.txt")).read_text() == "late"


def test_the_next_process_moves_what_a_killed_one_left(drive: Path, spool: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(drive), str(spool)]
    run_id = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    with Store.open(drive, spool=spool) as store, store.start_run(run_id=run_id) as run:
        assert run.next_step() == 200
    assert points(drive, run_id) == Counter(("loss", step, step / 4) for step in range(200))
    assert waiting_files(spool) == 0


def test_a_log_whose_writer_lives_stays_in_the_spool(drive: Path, spool: Path) -> None:
    store = Store.open(drive, spool=spool)
    run = store.start_run("e", context=False)
    run.log_metric("loss", 1.0)
    ((found, _),) = list_waiting(str(spool))
    report = drain(found)  # as `localtrack drain` beside a training
    assert report.files_left == 2  # its log, and the edit that made the experiment
    run.log_metric("loss", 2.0, step=1)
    run.end()
    store.close()
    assert sum(points(drive, run.run_id).values()) == 2


def unpacked(store: Store) -> Any:
    """Return the storage below that of packs."""
    return store.storage.inner  # type: ignore[attr-defined]


def test_an_artifact_that_is_replaced_while_it_is_moved_is_not_lost(drive: Path, spool: Path) -> None:
    with Store.open(drive, spool=spool) as store:
        run = store.start_run("e", context=False)
        run.log_text("first", "a.txt")
        run.end()
        storage = unpacked(store).front
        (path,) = Path(storage.root).rglob("a.txt")
        key = path.relative_to(storage.root).as_posix()
        mark = storage.mark(key)
        again = store.start_run(run_id=run.run_id)
        again.log_text("second", "a.txt")
        assert not storage.remove_if_same(key, mark)
        assert path.read_text() == "second"
        assert storage.remove_if_same(key, storage.mark(key))
        again.log_text("third", "a.txt")
        again.end()
    (path,) = drive.rglob("a.txt")
    assert path.read_text() == "third"


def test_two_that_move_one_spool_take_turns(drive: Path, spool: Path) -> None:
    import filelock

    with Store.open(drive, spool=spool) as store, store.start_run("e", context=False):
        ((found, _),) = list_waiting(str(spool))
        with filelock.FileLock(found.lock_path), pytest.raises(LockedError):
            drain(found, patience_s=0.1)


def test_a_log_at_the_store_that_is_another_one_stays_and_is_reported(drive: Path, spool: Path) -> None:
    store = Store.open(drive, spool=spool)
    run = store.start_run("e", context=False)
    store.drain()
    (log,) = (drive / "runs").rglob("*.jsonl")
    log.write_bytes(b"something else\n")
    run.log_metric("loss", 1.0)
    run.end()
    ((found, _),) = list_waiting(str(spool))
    report = drain(found)
    assert [finding.code for finding in report.findings] == ["diverged"]
    assert log.read_bytes() == b"something else\n"
    assert report.files_left > 0
    store.close()


def test_an_object_store_can_be_spooled_for_as_well(spool: Path) -> None:
    url = f"memory://spooled-{os.urandom(4).hex()}"
    with Store.open(url, spool=spool) as store:
        run = store.start_run("e", context=False)
        run.log_metric("loss", 1.0)
        store.drain()
        run.log_metric("loss", 2.0, step=1)
        run.log_text("hello", "a.txt")
        assert run.data.metrics == {"loss": 2.0}
        run.end()
        again = store.start_run(run_id=run.run_id)
        again.log_metric("loss", 3.0, step=2)
        again.end()
    with Store.open(url, spool="") as plain:
        assert plain.metric_history(run.run_id).to_pydict()["value"] == [1.0, 2.0, 3.0]
        assert plain.describe_run(run.run_id).findings == ()
    assert waiting_files(spool) == 0


def test_children_of_a_fork_spool_and_their_parent_moves(drive: Path, spool: Path) -> None:
    store = Store.open(drive, spool=spool)
    run = store.start_run("e", context=False)
    run.log_metric("parent", 1.0)
    pids = []
    for number in range(3):
        pid = os.fork()
        if pid == 0:
            run.log_metric(f"child{number}", float(number))
            os._exit(0)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    run.end()
    store.close()
    assert {key for key, _, _ in points(drive, run.run_id)} == {"parent", "child0", "child1", "child2"}
    assert waiting_files(spool) == 0


def test_the_environment_names_a_spool(drive: Path, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALTRACK_SPOOL", str(spool))
    with Store.open(drive) as store:
        assert isinstance(unpacked(store), spools.SpooledStorage)
        assert store.uri == str(drive)
    with Store.open(drive, spool="") as store:
        assert not isinstance(unpacked(store), spools.SpooledStorage)


def test_a_link_out_of_the_store_is_not_followed(drive: Path, spool: Path, tmp_path: Path) -> None:
    with Store.open(drive, spool=spool) as store:
        with store.start_run("e", context=False) as run:
            run.log_text("x", "x.txt")
        store.drain()
        (tmp_path / "secret").write_text("secret")
        (folder,) = drive.rglob("artifacts")
        (folder / "link").symlink_to(tmp_path / "secret")
        assert [info.path for info in store.list_artifacts(run.run_id)] == ["x.txt"]
        with pytest.raises(LookupError):
            store.download_artifacts(run.run_id, "link")


def test_logged_models_are_moved_too(drive: Path, spool: Path) -> None:
    with Store.open(drive, spool=spool) as store:
        experiment_id = store.create_experiment("e")
        model = store.create_logged_model(experiment_id, name="forest")
        store.drain()
        store.finalize_logged_model(model.model_id, "READY")
    assert waiting_files(spool) == 0
    with Store.open(drive, spool="") as plain:
        found = plain.get_logged_model(model.model_id)
        assert (found.name, found.status) == ("forest", "READY")


def test_a_closed_log_that_was_moved_before_it_was_synced_is_not_written_again(
    drive: Path, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Store.open(drive, spool=spool) as store:
        run = store.start_run("e", context=False)
        file = run._writer._log.file  # type: ignore[union-attr]
        run.end()
        folder = Path(file.path).parent  # type: ignore[attr-defined]
        real, removed = os.fsync, []

        def fsync(fd: int) -> None:
            real(fd)
            if not removed:
                removed.append(shutil.rmtree(folder))

        os.fsync = fsync
        try:
            with pytest.raises(FileNotFoundError):
                file.sync()
        finally:
            os.fsync = real
        assert removed
    assert "written again" not in caplog.text
