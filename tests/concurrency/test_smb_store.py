"""A store on an SMB share that is not mounted, against Samba: every way through it, two processes, cuts and silence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import fsspec.config
import pytest
from click.testing import CliRunner
from tests.smb import PASSWORD, SmbServer, why_not_smb

from localtrack import Store
from localtrack.cli import app
from localtrack.errors import StorageError
from localtrack.storage import smb
from localtrack.storage.objects import ObjectStorage

# A file of smbprotocol whose connection is gone cannot be closed, and says so when it goes.
unclosed = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def running() -> Iterator[SmbServer]:
    if reason := why_not_smb():
        pytest.skip(reason)
    server = SmbServer()
    yield server
    server.stop()


@pytest.fixture
def server(running: SmbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmbServer]:
    running.be_well()
    for name, value in {**running.environ(), "TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setitem(fsspec.config.conf, "smb", {"password": PASSWORD})
    yield running
    running.be_well()


@pytest.fixture
def url(server: SmbServer) -> str:
    return server.new_place()


def test_a_store_on_a_share(server: SmbServer, url: str) -> None:
    store = Store.open(url)
    store._site.log_points_bytes = store._site.chunk_bytes = 4_000
    with store.start_run("e", context=False) as run:
        for step in range(800):
            run.log_metric("loss", step / 2, step=step)
        run.log_text("hello", "a/b.txt")
        run.set_tag("colour", "grün")
    folder = server.share / url.rpartition("share/")[2] / "runs"
    names = [path.name for path in folder.rglob("*") if path.is_file()]
    assert sum(name.endswith(".parquet") for name in names) == 1  # sealed
    assert not any(".points." in name or name.startswith(".tmp-") for name in names)
    store.delete_run(run.run_id)
    store.restore_run(run.run_id)
    store.compact()
    assert [row.metrics["loss"].value for row in store.search_runs(filter_string="tags.colour = 'grün'")] == [399.5]
    store.close()
    with Store.open(url) as again:
        history = again.metric_history(run.run_id).to_pydict()
        assert Counter(zip(history["step"], history["value"], strict=True)) == Counter((n, n / 2) for n in range(800))
        assert again.check().findings == []
    assert CliRunner().invoke(app, ["artifacts", run.run_id, "--store", url]).output.count("a/b.txt") == 1


def test_doctor(url: str) -> None:
    answer = CliRunner().invoke(app, ["doctor", url, "--json"])
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.output)
    figures = {check["name"]: check["figures"] for check in document["checks"]}
    # As declared: of two that put one name one succeeds, listings lack nothing, a replaced file is seen whole.
    assert (document["medium"], document["is_safe"]) == ("smb server", True)
    assert document["capabilities"]["conditional_put"]
    assert figures["conditional put"] == {"names": 40, "won_by_both": 0, "won_by_none": 0}
    assert figures["list after write"]["missed"] == 0
    assert (figures["whole objects"]["torn"], figures["whole objects"]["missing"]) == (0, 0)


PROGRAM = """
import os, sys
from localtrack import Store
sys.stdin.readline()
store = Store.open(sys.argv[1])
with store.start_run("e", context=False) as run:
    run.log_metric("mine", os.getpid())
    pid = os.fork()
    if pid == 0:  # has connections of its own
        run.log_metric("child", 1.0)
        store.flush()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    run.log_metric("after", 2.0)
store.close()
print(run.run_id, run.experiment_id)
"""


def test_processes_and_their_forks_log_at_once(url: str) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM, url]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate("go\n", timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    runs = [answer.split() for answer, _ in answers]
    assert len({experiment for _, experiment in runs}) == 1
    with Store.open(url) as store:
        assert {row.info.run_id for row in store.search_runs()} == {run_id for run_id, _ in runs}
        for run_id, _ in runs:
            assert set(store.get_run(run_id).data.metrics) == {"mine", "child", "after"}


@unclosed
def test_a_connection_that_ended_is_made_anew(server: SmbServer, url: str) -> None:
    storage = ObjectStorage.at(url)
    before = server.connections_count
    storage.write("a/b", b"1")
    server.cut()
    assert storage.read("a/b") == b"1"
    server.cut()
    storage.write("a/b", b"2")
    server.cut()
    assert not storage.write_new("a/b", b"3")
    storage.remove_folder("a")  # is not empty: stays
    storage.remove("a/b")
    assert storage.remove_folder("a")
    storage.write("a/b", b"3")  # the folder is known, and gone
    assert storage.read("a/b") == b"3"
    assert server.connections_count == before + 3


@unclosed
def test_a_connection_may_end_during_any_call(server: SmbServer, url: str) -> None:
    storage = ObjectStorage.at(url)
    ends_count = 0

    def cut() -> None:
        nonlocal ends_count
        while ends_count < 5:
            time.sleep(0.4)
            server.cut()
            ends_count += 1

    cutting = Thread(target=cut)
    cutting.start()
    number = 0
    while cutting.is_alive():
        number += 1
        assert storage.write_new(f"a/{number}", b"%d" % number)
        assert not storage.write_new(f"a/{number}", b"other")
        assert storage.read(f"a/{number}") == b"%d" % number
    cutting.join()
    assert sorted(storage.names("a"), key=int) == [str(one) for one in range(1, number + 1)]


@unclosed
def test_a_silent_server_is_given_up_and_is_no_empty_store(
    server: SmbServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smb, "PATIENCE_S", 0.3)
    monkeypatch.setattr(smb, "CONNECT_PATIENCE_S", 1)
    storage = ObjectStorage.at(url)
    storage.write("runs/a/b", b"1")
    calls: list[Callable[[], object]] = [
        lambda: storage.write("runs/c", b"1"),
        lambda: storage.read("runs/a/b"),
        lambda: storage.entries("runs"),
        lambda: storage.stat("runs/a/b"),
    ]
    for call in calls:
        server.is_silent = True
        began = time.monotonic()
        with pytest.raises(StorageError):
            call()
        assert time.monotonic() - began < 30
        server.be_well()
        assert storage.read("runs/a/b") == b"1"


def test_what_smb_answers_is_told_in_words_of_files(
    server: SmbServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = ObjectStorage.at(url)
    assert storage.entries("nothing") == []
    assert storage.stat("nothing") is None
    with pytest.raises(FileNotFoundError):
        storage.read("nothing/here")
    storage.write("file", b"12345")
    assert storage.read_from("file", 2) == b"345"
    assert [(entry.name, entry.size) for entry in storage.entries("")] == [("file", 5)]
    assert storage.entries("file") == []
    with pytest.raises(StorageError, match="no such names"):
        storage.write("a:b", b"1")  # Windows would put it into a stream of `a`, which no listing shows
    with pytest.raises(StorageError, match="no such share"):
        ObjectStorage.at(f"{url.partition('/share/')[0]}/elsewhere/x").read("file")
    with pytest.raises(StorageError, match="it names no share"):
        ObjectStorage.at(url.partition("/share/")[0])
    # Whoever reads a file keeps it from being replaced, for that moment.
    file = smb.SmbFiles._open_file(storage._fs, storage._full("file"), "rb")
    closing = Thread(target=lambda: (time.sleep(0.2), file.close()))
    closing.start()
    storage.write("file", b"6")
    closing.join()
    assert storage.read("file") == b"6"

    def no_links(*_: object, **__: object) -> None:
        raise smb.SMBOSError(smb.NtStatus.STATUS_NOT_SUPPORTED, "x")

    monkeypatch.setattr(smb.smbclient, "link", no_links)
    assert storage.write_new("new", b"1")
    monkeypatch.setattr(ObjectStorage, "exists", lambda *_: False)
    assert not storage.write_new("new", b"2")
    assert storage.read("new") == b"1"
    assert {entry.name for entry in storage.entries("")} == {"file", "new"}


def test_a_wrong_password_is_refused_without_showing_it(server: SmbServer, url: str) -> None:
    monkey = url.replace("root@", "root:S3CR3T-wrong@")
    with pytest.raises(StorageError, match="Connecting to smb://root@") as caught:
        Store.open(monkey)
    assert "S3CR3T" not in str(caught.value)
    assert os.environ["FSSPEC_SMB_PASSWORD"] == PASSWORD
