"""A store in a bucket: what is there after failures, how many requests it takes, and how much memory.

Each test against each kind of server, which takes minutes: with --long, or with TEST_OBJECT_STORES=all in the
environment.
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import subprocess
import sys
import tempfile
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import fsspec.config
import pytest
from tests.object_servers import KINDS, ObjectServer, SftpServer, serving, why_not

from localtrack.api.store import Store
from localtrack.errors import StorageError
from localtrack.storage import clients, object_log, syncer
from localtrack.storage.doctor import diagnose
from localtrack.storage.objects import ObjectStorage
from localtrack.store.logparts import read_log
from localtrack.store.spool_waiting import list_waiting
from localtrack.store.spooling import drain

EVERYWHERE: set[str] = set()
"""Tests that are run against each kind of server in the short form, too; the others against S3 only."""


def everywhere(test: Callable[..., None]) -> Callable[..., None]:
    EVERYWHERE.add(test.__name__)
    return test


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "running" in metafunc.fixturenames:
        is_wide = metafunc.config.getoption("long") or os.environ.get("TEST_OBJECT_STORES") == "all"
        is_wide = is_wide or metafunc.function.__name__ in EVERYWHERE
        metafunc.parametrize("running", KINDS if is_wide else KINDS[:1], indirect=True, scope="module")


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[ObjectServer]:
    with serving(request.param) as server:
        yield server


@pytest.fixture
def server(running: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    """The server, and the environment that leads its client there, also in child processes."""
    running.be_well()
    for name, value in running.environ().items():
        monkeypatch.setenv(name, value)
    # fsspec reads its part of the environment once, when it is imported.
    settings: dict[str, dict[str, object]] = {}
    fsspec.config.set_conf_env(settings, running.environ())
    for protocol, options in settings.items():
        monkeypatch.setitem(fsspec.config.conf, protocol, options)
    yield running
    running.be_well()


@pytest.fixture
def url(server: ObjectServer) -> str:
    """A new bucket, and a prefix in it."""
    return server.new_place()


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
    """Few tries, so that a failing store fails soon; an answer may take as long as a busy machine needs for it."""
    for name, value in (("CONNECT_PATIENCE_S", 1), ("READ_PATIENCE_S", 4), ("TRIES", 1)):
        monkeypatch.setattr(clients, name, value)


def points(url: str, run_id: str) -> Counter[tuple[str, int, float]]:
    with Store.open(url, spool="") as store:
        history = store.metric_history(run_id).to_pydict()
        assert store.describe_run(run_id).findings == ()
        return Counter(zip(history["key"], history["step"], history["value"], strict=True))


def test_a_short_run_takes_few_requests(server: ObjectServer, url: str) -> None:
    with Store.open(url) as store:
        with store.start_run("e", context=False):
            pass
        with server.counted() as first, store.start_run("e", context=False) as run:
            run.log_params({"a": 1})
            for step in range(100):
                run.log_metric("loss", float(step), step=step)
        with server.counted() as more:
            for _ in range(10):
                with store.start_run("e", context=False) as run:
                    run.log_metric("loss", 1.0)
    # One object for the run, two for its notices; what else there is are looks at the experiments, once a second.
    assert first["PUT"] <= 3
    assert more["PUT"] <= 30
    if url.startswith("sftp:"):  # to open a file, to send it and to put it in place are requests of their own
        assert sum(more.values()) <= 90
    else:
        assert sum(first.values()) <= 8
        assert sum(more.values()) <= 50


@pytest.mark.long
def test_a_search_lists_once_and_fetches_each_run_once(
    server: ObjectServer, url: str, rounds: Callable[[int, int], int]
) -> None:
    count = rounds(40, 10_000)
    with Store.open(url) as store:
        for number in range(count):
            with store.start_run("e", context=False) as run:
                run.log_metric("loss", float(number))
    with Store.open(url, create=False) as store:
        with server.counted() as first:
            assert len(store.search_runs(filter_string="metrics.loss >= 10", max_results=None)) == count - 10
        with server.counted() as second:
            assert len(store.search_runs(filter_string="metrics.loss >= 10", max_results=None)) == count - 10
        with store.start_run("e", context=False) as run:
            run.log_metric("loss", 99.0)
        with server.counted() as third:
            assert len(store.search_runs(filter_string="metrics.loss >= 10", max_results=None)) == count - 9
    # One for the log of each run, one for its notice.
    assert first["GET"] <= 2 * count + 10
    # One of them is a look for packs, that holds for 30 seconds. A server of files lists folder by folder.
    folders_count = count + 1 if url.startswith("sftp:") else 0
    assert first["LIST"] <= 9 + folders_count
    assert second["GET"] <= 3
    assert second["LIST"] <= 8 + 3 * count // 1_000
    # adlfs asks by itself whether an empty folder is an object.
    assert folders_count or max(second["HEAD"], third["HEAD"]) <= (4 if url.startswith("abfs:") else 0)
    assert third["GET"] <= 5
    with Store.open(url, create=False) as store:
        store.compact()
    with Store.open(url, create=False) as store, server.counted() as indexed:
        assert len(store.search_runs(filter_string="metrics.loss >= 10", max_results=5)) == 5
    assert sum(indexed.values()) <= 16 + 3 * count // 1_000


def test_a_log_is_flushed_by_size(server: ObjectServer, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_log, "PART_BYTES", 20_000)
    with Store.open(url) as store:
        run = store.start_run("e", context=False)
        for step in range(2_000):
            run.log_metric("loss", step / 2, step=step)
        deadline = time.monotonic() + 20
        while parts_count(store, run.run_id) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert parts_count(store, run.run_id) >= 2
        run.end()
    assert points(url, run.run_id) == Counter(("loss", step, step / 2) for step in range(2_000))


def parts_count(store: Store, run_id: str) -> int:
    folder = store._runs.read(run_id).folder if store.storage.inner.find("runs") else ""  # type: ignore[attr-defined]
    return len(store.storage.entries(folder)) if folder else 0


@everywhere
def test_flush_is_an_acknowledgement(server: ObjectServer, url: str) -> None:
    store = Store.open(url)
    run = store.start_run("e", context=False)
    run.log_metric("loss", 1.0)
    store.flush()
    assert sum(points(url, run.run_id).values()) == 1
    run.log_metric("loss", 2.0, step=1)
    run.end()
    assert sum(points(url, run.run_id).values()) == 2
    store.close()


@everywhere
def test_a_failing_store_stops_nothing_and_loses_nothing(
    server: ObjectServer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    random = Random(1)
    with caplog.at_level(logging.WARNING), Store.open(url) as store:
        store.create_experiment("e")
        server.fault = lambda kind, path: "500" if kind == "PUT" and random.random() < 0.6 else None
        runs = []
        for number in range(3):
            with store.start_run("e", context=False) as run:
                runs.append(run.run_id)
                for step in range(50):
                    run.log_metric("loss", number + step / 64, step=step)
                    if step % 20 == 0:
                        store.flush()
        server.be_well()
        store.flush()
    for number, run_id in enumerate(runs):
        assert points(url, run_id) == Counter(("loss", step, number + step / 64) for step in range(50))
    assert sum(waiting.files for _, waiting in list_waiting(str(tempfile.gettempdir()))) == 0


@everywhere
def test_an_answer_that_is_lost_doubles_nothing(server: ObjectServer, url: str) -> None:
    with Store.open(url) as store:
        store.create_experiment("e")
        turns = itertools.count()
        server.fault = lambda kind, path: "lost" if kind == "PUT" and next(turns) % 2 == 0 else None
        with store.start_run("e", context=False) as run:
            for step in range(60):
                run.log_metric("loss", step / 2, step=step)
                if step % 10 == 0:
                    store.flush()
        server.be_well()
        store.flush()
    assert points(url, run.run_id) == Counter(("loss", step, step / 2) for step in range(60))


OUTAGE = """
import os, sys, logging
logging.basicConfig()
from localtrack.api.store import Store
from localtrack.storage import clients
clients.CONNECT_PATIENCE_S = clients.READ_PATIENCE_S = clients.TRIES = 1
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
    server: ObjectServer, url: str, end: str, own_temporary_folder: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", OUTAGE, url, end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    server.fault = lambda kind, path: "503" if kind == "PUT" else None
    _, said = process.communicate("go\n", timeout=120)
    assert process.returncode == (-9 if end == "kill" else 0), said
    assert said.count("cannot be written to") == 1, said
    server.be_well()
    assert points(url, run_id) == Counter([("loss", 0, 0.0)])
    ((spool, waiting),) = list_waiting(str(own_temporary_folder / f"localtrack-spool-{os.getuid()}"))
    assert waiting.files > 0
    report = drain(spool)
    assert (report.findings, report.files_left) == ([], 0)
    assert points(url, run_id) == Counter(("loss", step, step / 2) for step in range(40))
    with Store.open(url) as store:
        assert store.get_run(run_id).info.status == ("RUNNING" if end == "kill" else "FINISHED")


def test_memory_is_bounded_while_the_store_takes_nothing(
    server: ObjectServer, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(object_log, "PART_BYTES", 10_000)
    monkeypatch.setattr(object_log, "WAITING_BYTES", 40_000)
    monkeypatch.setattr(syncer.syncer, "hurry", lambda: None)
    with caplog.at_level(logging.WARNING), Store.open(url) as store:
        run = store.start_run("e", context=False)
        store.flush()
        server.fault = lambda kind, path: "500" if kind == "PUT" else None
        log = run._writer._log.file  # type: ignore[union-attr]
        assert isinstance(log, object_log.ObjectLog)
        most = 0
        for number in range(400):
            run.set_tag(f"t{number}", "x" * 1_000)
            most = max(most, len(log.take_unsynced()))
        assert most <= 51_000
        server.be_well()
        run.end()
    with Store.open(url) as store:
        assert len(store.get_run(run.run_id).data.tags) == 401


def test_a_full_disk_beside_a_failing_store_refuses_and_keeps_what_is_there(
    server: ObjectServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_log, "WAITING_BYTES", 5_000)
    with Store.open(url) as store:
        run = store.start_run("e", context=False)
        store.flush()
        server.fault = lambda kind, path: "500" if kind == "PUT" else None

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
        server.be_well()
        run.set_tag("late", "1")
        run.end()
    with Store.open(url) as store:
        tags = store.get_run(run.run_id).data.tags
        assert {"t0", "t1", "t2", "t3", "late"} <= set(tags)
        assert "refused" not in tags


def test_a_store_that_hangs_ends_no_training(server: ObjectServer, url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), Store.open(url) as store:
        run = store.start_run("e", context=False)
        store.flush()
        server.fault = lambda kind, path: "hang" if kind == "PUT" else None
        began = time.monotonic()
        for step in range(100):
            run.log_metric("loss", step / 2, step=step)
        assert time.monotonic() - began < 1.5  # a call waits for no request
        run.end()
        server.be_well()
        store.flush()
    assert points(url, run.run_id) == Counter(("loss", step, step / 2) for step in range(100))


def test_slow_listings_are_waited_for(server: ObjectServer, url: str) -> None:
    with Store.open(url) as store:
        with store.start_run("e", context=False) as run:
            run.log_metric("loss", 1.0)
        server.delays_s = {"LIST": 0.3}
        assert [row.info.run_id for row in store.search_runs()] == [run.run_id]


def test_a_listing_that_lags_behind_hides_new_parts_and_nothing_else(server: ObjectServer, url: str) -> None:
    storage = ObjectStorage.at(url)
    for number in (0, 1, 3):
        storage.write(f"a.jsonl.part{number:08d}", b"[%d]\n" % number)
    assert read_log(storage, "a.jsonl", parts_count=4) == b"[0]\n[1]\n"
    assert read_log(storage, "a.jsonl", parts_count=1) == b"[0]\n"
    assert read_log(storage, "a.jsonl") == b"[0]\n[1]\n"


@everywhere
def test_sealing_in_a_bucket(server: ObjectServer, url: str) -> None:
    store = Store.open(url)
    store._site.log_points_bytes = store._site.chunk_bytes = 4_000
    with store.start_run("e", context=False) as run:
        for step in range(800):
            run.log_metric("loss", step / 2, step=step)
    folder = store._runs.read(run.run_id).folder
    names = [entry.name for entry in store.storage.entries(folder)]
    store.close()
    assert sum(name.endswith(".parquet") for name in names) == 1
    assert not any(".points." in name for name in names)
    assert points(url, run.run_id) == Counter(("loss", step, step / 2) for step in range(800))


@everywhere
def test_stores_are_merged_into_and_out_of_a_bucket(server: ObjectServer, url: str, tmp_path: Path) -> None:
    with Store.open(tmp_path / "laptop") as laptop, laptop.start_run("e", context=False) as run:
        run.log_metric("loss", 1.0)
        run.log_text("hello", "a/b.txt")
    with Store.open(url) as bucket:
        assert bucket.merge(tmp_path / "laptop").runs_added == 1
        assert bucket.merge(tmp_path / "laptop").files_copied == 0
        with bucket.start_run(run_id=run.run_id) as again:
            again.log_metric("loss", 2.0, step=1)
    with Store.open(tmp_path / "laptop") as laptop:
        assert laptop.merge(url).runs_extended == 1
        assert laptop.metric_history(run.run_id).to_pydict()["value"] == [1.0, 2.0]
        assert laptop.describe_run(run.run_id).findings == ()


def test_many_processes_make_one_experiment_in_a_new_bucket(
    server: ObjectServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "READ_PATIENCE_S", 60)  # nothing fails here, but a busy machine is slow
    program = (
        "import sys\nfrom localtrack.api.store import Store\n"
        "sys.stdin.readline()\n"
        "with Store.open(sys.argv[1]) as s, s.start_run('e', context=False) as r:\n"
        "    r.log_metric('loss', 1.0)\n"
        "print(r.run_id, r.experiment_id)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = [process.communicate("go\n", timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert len({experiment for _, experiment in answers}) == 1
    with Store.open(url) as store:
        assert {row.info.run_id for row in store.search_runs()} == {run_id for run_id, _ in answers}


def test_children_of_a_fork_log_to_a_bucket(server: ObjectServer, url: str) -> None:
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
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run_id, codes = done.stdout.strip().split(" ", 1)
    assert codes == "[0, 0]"
    assert {key for key, _, _ in points(url, run_id)} == {"parent", "child0", "child1"}


@everywhere
def test_doctor_tests_a_store_with_two_processes(server: ObjectServer, url: str) -> None:
    diagnosis = diagnose(ObjectStorage.at(url))
    assert {check.name: check.text for check in diagnosis.checks if check.verdict == "bad"} == {}
    figures = {check.name: check.figures for check in diagnosis.checks}
    # What is declared of each of these media is so: a put under a condition, and listings that lack nothing.
    assert diagnosis.capabilities.can_put_if_absent
    assert figures["conditional put"] == {"names": 40, "won_by_both": 0, "won_by_none": 0}
    assert figures["list after write"]["missed"] == 0
    assert figures["whole objects"]["torn"] == 0


@everywhere
def test_a_server_that_is_gone_is_given_up_soon_and_is_no_empty_store(
    server: ObjectServer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    storage = ObjectStorage.at(url)
    storage.write("runs/a/b", b"1")
    server.fault = lambda kind, path: "503"
    calls: list[Callable[[], object]] = [
        lambda: storage.write("runs/c", b"1"),
        lambda: storage.write_new("runs/c", b"1"),
        lambda: storage.read("runs/a/b"),
        lambda: storage.read_many(["runs/a/b"]),
        lambda: storage.read_from("runs/a/b", 0),
        lambda: storage.exists("runs/a/b"),
        lambda: storage.stat("runs/a/b"),
        lambda: storage.entries("runs"),
        lambda: storage.find("runs"),
        lambda: storage.open("runs/a/b").read(),
        lambda: storage.remove("runs/a/b"),
    ]
    began = time.monotonic()
    for call in calls:
        with pytest.raises(StorageError):
            call()
    assert time.monotonic() - began < 60
    server.be_well()
    assert storage.read("runs/a/b") == b"1"
    assert caplog.records == []  # each is raised, and said by whoever handles it


def test_the_answer_that_there_is_nothing_keeps_nobody_alive(server: ObjectServer, url: str) -> None:
    storage = ObjectStorage.at(url)

    class Holder:
        pass

    def ask() -> weakref.ref[Holder]:
        holder = Holder()
        with pytest.raises(FileNotFoundError):
            storage.read("nothing")
        return weakref.ref(holder)

    gc.collect()
    gc.disable()  # what asked is let go of at once, with the files that it has open
    try:
        assert ask()() is None
    finally:
        gc.enable()


def test_a_connection_that_ended_is_made_anew() -> None:
    if reason := why_not("sftp"):
        pytest.skip(reason)
    server = SftpServer()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(fsspec.config.conf, "sftp", {"password": "secret"})
            storage = ObjectStorage.at(server.new_place())
            storage.write("a/b", b"1")
            server.cut()
            assert storage.read("a/b") == b"1"
            server.cut()
            storage.write("a/b", b"2")
            storage.remove_folder("a")  # is not empty: stays
            storage.remove("a/b")
            storage.remove_folder("a")
            storage.write("a/b", b"3")  # the folder is known, and gone
            assert storage.read("a/b") == b"3"
            assert server.connections_count == 3
    finally:
        server.stop()


def test_a_damaged_cache_is_fetched_again(server: ObjectServer, url: str, own_temporary_folder: Path) -> None:
    with Store.open(url) as store, store.start_run("e", context=False) as run:
        run.log_metric("loss", 1.0)
    before = points(url, run.run_id)
    kept = [path for path in own_temporary_folder.rglob("*") if path.is_file() and "cache" in str(path)]
    assert kept
    for path in kept:
        path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    assert points(url, run.run_id) == before
