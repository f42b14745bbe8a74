"""A store in a bucket: what is there after failures, how many requests it takes, and how much memory."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from tests.s3 import S3Server, s3, s3_server, s3_url

from localtrack.api.store import Store
from localtrack.errors import StorageError
from localtrack.storage import object_log, objects, syncer
from localtrack.storage.objects import ObjectStorage
from localtrack.store.logparts import read_log
from localtrack.store.spool_waiting import list_waiting
from localtrack.store.spooling import drain

__all__ = ["s3", "s3_server", "s3_url"]


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache and a spool that no other test has."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few tries, so that a failing store fails soon."""
    patience = {"connect_timeout": 1, "read_timeout": 1, "retries": {"max_attempts": 1}}
    monkeypatch.setattr(objects, "_S3_PATIENCE", patience)
    monkeypatch.setattr(objects, "_S3_TRIES", 1)


def points(url: str, run_id: str) -> Counter[tuple[str, int, float]]:
    with Store.open(url, spool="") as store:
        history = store.metric_history(run_id).to_pydict()
        assert store.describe_run(run_id).findings == ()
        return Counter(zip(history["key"], history["step"], history["value"], strict=True))


def test_a_short_run_takes_few_requests(s3: S3Server, s3_url: str) -> None:
    with Store.open(s3_url) as store:
        with store.start_run("e", context=False):
            pass
        with s3.counted() as first, store.start_run("e", context=False) as run:
            run.log_params({"a": 1})
            for step in range(100):
                run.log_metric("loss", float(step), step=step)
        with s3.counted() as more:
            for _ in range(10):
                with store.start_run("e", context=False) as run:
                    run.log_metric("loss", 1.0)
    # One object for the run, two for its notices; what else there is are looks at the experiments, once a second.
    assert first["PUT"] <= 3
    assert sum(first.values()) <= 8
    assert more["PUT"] <= 30
    assert sum(more.values()) <= 50


@pytest.mark.long
def test_a_search_lists_once_and_fetches_each_run_once(
    s3: S3Server, s3_url: str, rounds: Callable[[int, int], int]
) -> None:
    count = rounds(40, 10_000)
    with Store.open(s3_url) as store:
        for number in range(count):
            with store.start_run("e", context=False) as run:
                run.log_metric("loss", float(number))
    with Store.open(s3_url, create=False) as store:
        with s3.counted() as first:
            assert len(store.search_runs(filter_string="metrics.loss >= 10", max_results=None)) == count - 10
        with s3.counted() as second:
            assert len(store.search_runs(filter_string="metrics.loss >= 10", max_results=None)) == count - 10
        with store.start_run("e", context=False) as run:
            run.log_metric("loss", 99.0)
        with s3.counted() as third:
            assert len(store.search_runs(filter_string="metrics.loss >= 10", max_results=None)) == count - 9
    # One for the log of each run, one for its notice.
    assert first["GET"] <= 2 * count + 10
    assert first["LIST"] <= 9  # one of them is a look for packs, that holds for 30 seconds
    assert second["GET"] <= 3
    assert second["LIST"] <= 8 + 3 * count // 1_000
    assert second["HEAD"] == third["HEAD"] == 0
    assert third["GET"] <= 5
    with Store.open(s3_url, create=False) as store:
        store.compact()
    with Store.open(s3_url, create=False) as store, s3.counted() as indexed:
        assert len(store.search_runs(filter_string="metrics.loss >= 10", max_results=5)) == 5
    assert sum(indexed.values()) <= 16 + 3 * count // 1_000


def test_a_log_is_flushed_by_size(s3: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_log, "PART_BYTES", 20_000)
    with Store.open(s3_url) as store:
        run = store.start_run("e", context=False)
        for step in range(2_000):
            run.log_metric("loss", step / 2, step=step)
        deadline = time.monotonic() + 20
        while s3_parts(store, run.run_id) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert s3_parts(store, run.run_id) >= 2
        run.end()
    assert points(s3_url, run.run_id) == Counter(("loss", step, step / 2) for step in range(2_000))


def s3_parts(store: Store, run_id: str) -> int:
    folder = store._runs.read(run_id).folder if store.storage.inner.find("runs") else ""  # type: ignore[attr-defined]
    return len(store.storage.entries(folder)) if folder else 0


def test_flush_is_an_acknowledgement(s3: S3Server, s3_url: str) -> None:
    store = Store.open(s3_url)
    run = store.start_run("e", context=False)
    run.log_metric("loss", 1.0)
    store.flush()
    assert sum(points(s3_url, run.run_id).values()) == 1
    run.log_metric("loss", 2.0, step=1)
    run.end()
    assert sum(points(s3_url, run.run_id).values()) == 2
    store.close()


def test_a_failing_store_stops_nothing_and_loses_nothing(
    s3: S3Server, s3_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    random = Random(1)
    with caplog.at_level(logging.WARNING), Store.open(s3_url) as store:
        store.create_experiment("e")
        s3.fault = lambda kind, path: "500" if kind == "PUT" and random.random() < 0.6 else None
        runs = []
        for number in range(3):
            with store.start_run("e", context=False) as run:
                runs.append(run.run_id)
                for step in range(50):
                    run.log_metric("loss", number + step / 64, step=step)
                    if step % 20 == 0:
                        store.flush()
        s3.be_well()
        store.flush()
    for number, run_id in enumerate(runs):
        assert points(s3_url, run_id) == Counter(("loss", step, number + step / 64) for step in range(50))
    assert sum(waiting.files for _, waiting in list_waiting(str(tempfile.gettempdir()))) == 0


def test_an_answer_that_is_lost_doubles_nothing(s3: S3Server, s3_url: str) -> None:
    with Store.open(s3_url) as store:
        store.create_experiment("e")
        turns = itertools.count()
        s3.fault = lambda kind, path: "lost" if kind == "PUT" and next(turns) % 2 == 0 else None
        with store.start_run("e", context=False) as run:
            for step in range(60):
                run.log_metric("loss", step / 2, step=step)
                if step % 10 == 0:
                    store.flush()
        s3.be_well()
        store.flush()
    assert points(s3_url, run.run_id) == Counter(("loss", step, step / 2) for step in range(60))


OUTAGE = """
import os, sys, logging
logging.basicConfig()
from localtrack.api.store import Store
from localtrack.storage import objects
objects._S3_PATIENCE = {"connect_timeout": 1, "read_timeout": 1, "retries": {"max_attempts": 1}}
objects._S3_TRIES = 1
store = Store.open(sys.argv[1], on_error="warn")
run = store.start_run("e", context=False)
run.log_metric("loss", 0.0, step=0)
store.flush()
print(run.run_id, flush=True)
sys.stdin.readline()
for step in range(1, 40):
    run.log_metric("loss", step / 2, step=step)
    if step % 10 == 0:
        store.flush()
store.flush()
if sys.argv[2] == "kill":
    os.kill(os.getpid(), 9)
run.end()
"""


@pytest.mark.parametrize("end", ["kill", "end"])
def test_what_was_flushed_during_an_outage_is_found_in_the_spool_afterwards(
    s3: S3Server, s3_url: str, end: str, own_temporary_folder: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", OUTAGE, s3_url, end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    s3.fault = lambda kind, path: "503" if kind == "PUT" else None
    _, said = process.communicate("go\n", timeout=120)
    assert process.returncode == (-9 if end == "kill" else 0), said
    assert said.count("cannot be written to") == 1, said
    s3.be_well()
    assert points(s3_url, run_id) == Counter([("loss", 0, 0.0)])
    ((spool, waiting),) = list_waiting(str(own_temporary_folder / f"localtrack-spool-{os.getuid()}"))
    assert waiting.files > 0
    report = drain(spool)
    assert (report.findings, report.files_left) == ([], 0)
    assert points(s3_url, run_id) == Counter(("loss", step, step / 2) for step in range(40))
    with Store.open(s3_url) as store:
        assert store.get_run(run_id).info.status == ("RUNNING" if end == "kill" else "FINISHED")


def test_memory_is_bounded_while_the_store_takes_nothing(
    s3: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(object_log, "PART_BYTES", 10_000)
    monkeypatch.setattr(object_log, "WAITING_BYTES", 40_000)
    monkeypatch.setattr(syncer.syncer, "hurry", lambda: None)
    with caplog.at_level(logging.WARNING), Store.open(s3_url) as store:
        run = store.start_run("e", context=False)
        store.flush()
        s3.fault = lambda kind, path: "500" if kind == "PUT" else None
        log = run._writer._log.file  # type: ignore[union-attr]
        assert isinstance(log, object_log.ObjectLog)
        most = 0
        for number in range(400):
            run.set_tag(f"t{number}", "x" * 1_000)
            most = max(most, len(log.take_unsynced()))
        assert most <= 51_000
        s3.be_well()
        run.end()
    with Store.open(s3_url) as store:
        assert len(store.get_run(run.run_id).data.tags) == 401


def test_a_full_disk_beside_a_failing_store_refuses_and_keeps_what_is_there(
    s3: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_log, "WAITING_BYTES", 5_000)
    with Store.open(s3_url) as store:
        run = store.start_run("e", context=False)
        store.flush()
        s3.fault = lambda kind, path: "500" if kind == "PUT" else None

        def full(self: ObjectStorage) -> object:
            raise StorageError("No space left.")

        with monkeypatch.context() as broken:
            broken.setattr(ObjectStorage, "spool", full)
            for number in range(4):
                run.set_tag(f"t{number}", "x" * 1_000)
            run.set_tags({f"more{number}": "x" * 1_000 for number in range(5)})
            with pytest.raises(StorageError, match="neither does the spool"):
                run.set_tag("refused", "x" * 1_000)
            with pytest.raises(StorageError):
                store.flush()
        s3.be_well()
        run.set_tag("late", "1")
        run.end()
    with Store.open(s3_url) as store:
        tags = store.get_run(run.run_id).data.tags
        assert {"t0", "t1", "t2", "t3", "late"} <= set(tags)
        assert "refused" not in tags


def test_a_store_that_hangs_ends_no_training(s3: S3Server, s3_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), Store.open(s3_url) as store:
        run = store.start_run("e", context=False)
        store.flush()
        s3.fault = lambda kind, path: "hang" if kind == "PUT" else None
        began = time.monotonic()
        for step in range(100):
            run.log_metric("loss", step / 2, step=step)
        assert time.monotonic() - began < 1.5  # a call waits for no request
        run.end()
        s3.be_well()
        store.flush()
    assert points(s3_url, run.run_id) == Counter(("loss", step, step / 2) for step in range(100))


def test_slow_listings_are_waited_for(s3: S3Server, s3_url: str) -> None:
    with Store.open(s3_url) as store:
        with store.start_run("e", context=False) as run:
            run.log_metric("loss", 1.0)
        s3.delays_s = {"LIST": 0.3}
        assert [row.info.run_id for row in store.search_runs()] == [run.run_id]


def test_a_listing_that_lags_behind_hides_new_parts_and_nothing_else(s3: S3Server, s3_url: str) -> None:
    storage = ObjectStorage.at(s3_url)
    for number in (0, 1, 3):
        storage.write(f"a.jsonl.part{number:08d}", b"[%d]\n" % number)
    assert read_log(storage, "a.jsonl", parts_count=4) == b"[0]\n[1]\n"
    assert read_log(storage, "a.jsonl", parts_count=1) == b"[0]\n"
    assert read_log(storage, "a.jsonl") == b"[0]\n[1]\n"


def test_sealing_in_a_bucket(s3: S3Server, s3_url: str) -> None:
    store = Store.open(s3_url)
    store._site.log_points_bytes = store._site.chunk_bytes = 4_000
    with store.start_run("e", context=False) as run:
        for step in range(800):
            run.log_metric("loss", step / 2, step=step)
    folder = store._runs.read(run.run_id).folder
    names = [entry.name for entry in store.storage.entries(folder)]
    store.close()
    assert sum(name.endswith(".parquet") for name in names) == 1
    assert not any(".points." in name for name in names)
    assert points(s3_url, run.run_id) == Counter(("loss", step, step / 2) for step in range(800))


def test_stores_are_merged_into_and_out_of_a_bucket(s3: S3Server, s3_url: str, tmp_path: Path) -> None:
    with Store.open(tmp_path / "laptop") as laptop, laptop.start_run("e", context=False) as run:
        run.log_metric("loss", 1.0)
        run.log_text("hello", "a/b.txt")
    with Store.open(s3_url) as bucket:
        assert bucket.merge(tmp_path / "laptop").runs_added == 1
        assert bucket.merge(tmp_path / "laptop").files_copied == 0
        with bucket.start_run(run_id=run.run_id) as again:
            again.log_metric("loss", 2.0, step=1)
    with Store.open(tmp_path / "laptop") as laptop:
        assert laptop.merge(s3_url).runs_extended == 1
        assert laptop.metric_history(run.run_id).to_pydict()["value"] == [1.0, 2.0]
        assert laptop.describe_run(run.run_id).findings == ()


def test_many_processes_make_one_experiment_in_a_new_bucket(s3: S3Server, s3_url: str) -> None:
    program = (
        "import sys\nfrom localtrack.api.store import Store\n"
        "sys.stdin.readline()\n"
        "with Store.open(sys.argv[1]) as s, s.start_run('e', context=False) as r:\n"
        "    r.log_metric('loss', 1.0)\n"
        "print(r.run_id, r.experiment_id)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, s3_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    answers = [process.communicate("go\n", timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert len({experiment for _, experiment in answers}) == 1
    with Store.open(s3_url) as store:
        assert {row.info.run_id for row in store.search_runs()} == {run_id for run_id, _ in answers}


def test_children_of_a_fork_log_to_a_bucket(s3: S3Server, s3_url: str) -> None:
    program = (
        "import os, sys\nfrom localtrack.api.store import Store\n"
        "store = Store.open(sys.argv[1])\nrun = store.start_run('e', context=False)\n"
        "run.log_metric('parent', 1.0)\nstore.flush()\npids = []\n"
        "for n in range(2):\n    pid = os.fork()\n    if pid == 0:\n        run.log_metric(f'child{n}', 1.0)\n"
        "        store.flush()\n        os._exit(0)\n    pids.append(pid)\n"
        "codes = [os.waitpid(pid, 0)[1] for pid in pids]\nrun.end()\nstore.close()\n"
        "print(run.run_id, codes)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, s3_url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run_id, codes = done.stdout.strip().split(" ", 1)
    assert codes == "[0, 0]"
    assert {key for key, _, _ in points(s3_url, run_id)} == {"parent", "child0", "child1"}


def test_a_damaged_cache_is_fetched_again(s3: S3Server, s3_url: str, own_temporary_folder: Path) -> None:
    with Store.open(s3_url) as store, store.start_run("e", context=False) as run:
        run.log_metric("loss", 1.0)
    before = points(s3_url, run.run_id)
    kept = [path for path in own_temporary_folder.rglob("*") if path.is_file() and "cache" in str(path)]
    assert kept
    for path in kept:
        path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    assert points(s3_url, run.run_id) == before
