"""A store on an SFTP server: what a search asks of it, and a password in its URL, which is found nowhere."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.object_servers import SftpServer, why_not

import localtrack
from localtrack import Store
from localtrack.cli import app
from localtrack.errors import StorageError
from localtrack.storage.doctor import diagnose
from localtrack.storage.opening import open_storage

PASSWORD = "hunter2-S3CR3T"


@pytest.fixture
def server() -> Iterator[SftpServer]:
    if reason := why_not("sftp"):
        pytest.skip(reason)
    running = SftpServer(PASSWORD)
    yield running
    running.stop()


@pytest.fixture
def url(server: SftpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The place of a store, password included; where else anything may be written is in a folder of the test's."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return server.new_place().replace("user@", f"user:{PASSWORD}@")


def test_no_output_and_no_file_has_it(
    server: SftpServer, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    caplog.set_level(logging.DEBUG, "localtrack")
    with Store.open(url) as store:
        said += [repr(store), store.uri, store.root, store.storage.path("runs")]
        with store.start_run("e") as run:
            run.log_metric("loss", 1.0)
            run.log_text("x", "a.txt")
            joined = subprocess.run(
                [sys.executable, "-c", "import localtrack as l\nwith l.start_run(): l.log_metric('other', 2.0)"],
                env={**os.environ, **run.hand_over()},
                capture_output=True,
                text=True,
                check=False,
            )
            assert joined.returncode == 0, joined.stderr
            pickle.loads(pickle.dumps(run)).log_metric("pickled", 3.0)
            store.flush()
            assert set(store.get_run(run.run_id).data.metrics) == {"loss", "other", "pickled"}
        said += [str(store.describe_run(run.run_id)), str(store.check()), str(store.search_runs())]
        with pytest.raises(localtrack.LocaltrackError) as caught:
            store.get_run("0" * 32)
        said.append(str(caught.value))
        server.fault = lambda kind, path: "500" if kind == "PUT" else None
        with store.start_run("e") as run:
            run.log_metric("loss", 2.0)  # waits in a spool
        server.be_well()
    commands = [
        *(["doctor"], ["runs"], ["show", run.run_id], ["check"], ["experiments"], ["quota"], ["env"], ["pack"]),
        *(
            ["show", "ffff"],
            ["history", "ffff"],
            ["gc"],
            ["drain", "--list"],
            ["drain"],
            ["unlock"],
            ["seal"],
            ["init"],
        ),
    ]
    monkeypatch.setenv("LOCALTRACK_TRACKING_URI", url)
    for number, command in enumerate(commands):
        said.append(CliRunner().invoke(app, [*command, *(["--json"] if number % 2 else [])]).output)
    said.append(CliRunner().invoke(app, ["merge", str(tmp_path / "local"), url, "--create"]).output)
    assert sum(map(bool, said)) > 18
    localtrack.set_tracking_uri(url)
    try:
        said.append(localtrack.get_tracking_uri())
    finally:
        localtrack.set_tracking_uri(None)
    assert [text for text in [*said, caplog.text] if PASSWORD in text] == []
    assert "user@127.0.0.1" in caplog.text
    places = [tmp_path, Path(server.folder)]
    found = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert len(found) > 10
    assert [path for path in found if PASSWORD.encode() in path.read_bytes()] == []
    assert [path for place in places for path in place.rglob("*") if PASSWORD in path.name] == []


def test_a_search_lists_the_folders_of_new_runs_alone(server: SftpServer, url: str) -> None:
    """A server of files lists a folder at a time: runs that have ended and are known take no request."""
    with Store.open(url) as store, Store.open(url, create=False) as searching:
        counts = []
        for more in (12, 0, 3, 0):
            for _ in range(more):
                with store.start_run("e", context=False) as run:
                    run.log_metric("loss", 1.0)
            store.flush()
            with server.counted() as counted:
                searching.search_runs(filter_string="metrics.loss = 1")
            counts.append(counted["LIST"])
        assert len(searching.search_runs()) == 15
    first, second, third, fourth = counts
    assert 12 < first <= 12 + 12
    assert (second, fourth) <= (6, 6)
    assert 3 < third <= 3 + 6


def test_a_store_that_is_away_when_a_process_ends_is_no_traceback(server: SftpServer, url: str) -> None:
    program = (
        "import sys\nfrom localtrack import Store\nstore = Store.open(sys.argv[1])\n"
        "with store.start_run('e', context=False) as run:\n    run.log_metric('loss', 1.0)\n"
        "store.search_runs()\nprint(run.run_id, flush=True)\nsys.stdin.readline()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    server.fault = lambda kind, path: "500"
    _, said = process.communicate("go\n", timeout=120)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    server.be_well()
    with Store.open(url) as store:
        assert store.get_run(run_id).info.status == "FINISHED"


def test_mlflow_shows_it_nowhere(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    from localtrack.mlflow_plugin.opened import open_store
    from localtrack.mlflow_plugin.tracking_store import LocaltrackStore

    tracking = LocaltrackStore(f"localtrack+{url}")
    try:
        experiment = tracking.get_experiment(tracking.create_experiment("e"))
        run = tracking.create_run(experiment.experiment_id, "u", 1, [], "name")
        model = tracking.create_logged_model(experiment.experiment_id, "m", run.info.run_id)
        shown = [repr(tracking), tracking.artifact_root_uri, experiment.artifact_location, run.info.artifact_uri]
        shown += [model.artifact_location, str(run.to_dictionary()), str(experiment.__dict__)]
        assert [text for text in shown if PASSWORD in text] == []
        assert run.info.artifact_uri.startswith("localtrack+sftp://user@127.0.0.1:")
    finally:
        opened = open_store(f"localtrack+{url}")
        opened.writers.close()
        opened.store.close()


def test_a_wrong_one_is_not_shown_either(url: str) -> None:
    wrong = url.replace(PASSWORD, "S3CR3T-wrong")
    with pytest.raises(StorageError, match="Authentication failed") as caught:
        Store.open(wrong)
    assert "S3CR3T" not in str(caught.value)
    assert diagnose(open_storage(url)).is_safe  # and the right one counts from then on
