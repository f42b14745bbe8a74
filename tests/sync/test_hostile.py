"""What people and machines do to a push, and what must not come of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from localtrack import Store
from localtrack.errors import SyncError
from localtrack.sync.http import map_httpx_error
from localtrack.sync.options import PushOptions
from tests.sync.comparison import compare_store
from tests.sync.front import Answer, Front, Request
from tests.sync.link import Link
from tests.sync.pushing import LINKED, LinkedPush, push, push_over
from tests.sync.stand_in import StandIn
from tests.sync.stores import START_MS, make_store

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "store", points=300)


def experiment_of(stand_in: StandIn, name: str) -> dict[str, object]:
    return next(experiment for experiment in stand_in.experiments.values() if experiment["name"] == name)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_is_completed_by_the_next(tmp_path: Path, store: Store, how: signal.Signals) -> None:
    stand_in = StandIn(appends_duplicates=True)
    with Front(stand_in) as front:
        pids: list[int] = []

        def stop(number: int, moment: str) -> None:
            if number == 12 and moment == "before":
                os.kill(pids[0], how)
                time.sleep(0.3)

        front.on_request = stop
        command = [
            sys.executable,
            "-m",
            "localtrack",
            "sync",
            "--to",
            front.url,
            "--store",
            store.uri,
            "--workers",
            "1",
        ]
        with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
            pids.append(process.pid)
            _, errors = process.communicate(timeout=120)
        assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGTERM)
        assert "Traceback" not in errors
        front.on_request = lambda *_: None
        assert push(store, front.url).is_complete
        assert compare_store(stand_in, store) == []
        if how == signal.SIGINT:
            logs = sorted((tmp_path / "store" / "sync").glob("*/push-*.json"))
            assert [json.loads(log.read_text("utf-8"))["complete"] for log in logs] == [False, True]


def test_an_experiment_that_is_deleted_there_keeps_nothing_else_away(store: Store) -> None:
    stand_in = StandIn()
    link = Link(stand_in)
    assert push_over(link, store).is_complete
    experiment_of(stand_in, "elsewhere")["lifecycle_stage"] = "deleted"
    for name in ("team/ä", "elsewhere"):
        with store.start_run(name, run_name="more", context=False):
            pass
    report = push_over(link, store)
    (failed,) = (run for run in report.runs if run.outcome == "failed")
    assert "'elsewhere' is deleted on the target" in failed.reason
    assert "--rename" in failed.reason
    assert report.count("sent") == 1


def test_an_experiment_that_was_renamed_there_stays_the_one(store: Store) -> None:
    stand_in = StandIn()
    link = Link(stand_in)
    push_over(link, store)
    experiment_of(stand_in, "team/ä")["name"] = "their name"
    for number in range(6):
        with store.start_run("team/ä", run_name=f"more {number}", context=False) as run:
            run.log_metric("loss", number, step=1, timestamp=START_MS)
    report = push_over(link, store)
    assert report.is_complete, report
    assert sorted(experiment["name"] for experiment in stand_in.experiments.values()) == [
        "Default",
        "elsewhere",
        "their name",
    ]
    experiment_of(stand_in, "their name")["name"] = "team/ä"
    assert compare_store(stand_in, store) == []


def test_runs_that_are_gone_there_are_told_of_and_sent_anew_when_asked(tmp_path: Path, store: Store) -> None:
    stand_in = StandIn()
    link = Link(stand_in)
    push_over(link, store)
    row = next(row for row in store.search_runs() if row.info.run_name == "child 1")
    (gone,) = (key for key, run in stand_in.runs.items() if run["tags"]["localtrack.run_id"] == row.info.run_id)
    del stand_in.runs[gone]
    assert push_over(link, store).unchanged_count == 4  # nobody asks for what has not changed
    store.set_run_tags(row.info.run_id, {"x": "y"})
    report = push_over(link, store)
    (failed,) = (run for run in report.runs if run.outcome == "failed")
    assert "--forget" in failed.reason
    assert push_over(link, store, forgotten=(row.info.run_id,)).is_complete
    assert compare_store(stand_in, store) == []
    # All of them, and the ledger with them.
    stand_in.runs.clear()
    shutil.rmtree(tmp_path / "store" / "sync")
    assert push_over(link, store).count("sent") == 4
    assert compare_store(stand_in, store) == []


def test_an_artifact_that_the_server_does_not_give_back_is_sent_over_it(tmp_path: Path) -> None:
    """MLflow 3.6 and 3.11 do so where the name is not ASCII."""
    stand_in = StandIn()

    def back(request: Request) -> Answer:
        is_read = request.method == "GET" and "/mlflow-artifacts/" in request.path
        return Answer(500, b"Internal Server Error") if is_read else stand_in(request)

    with Store.open(tmp_path / "store") as store:
        with store.start_run("e", context=False) as run:
            run.log_text("Grüße", "näme.txt")
        assert push_over(Link(back), store).artifacts_sent == 1
        shutil.rmtree(tmp_path / "store" / "sync")
        stand_in.artifacts.update(dict.fromkeys(stand_in.artifacts, "Grüsze".encode()))
        report = push_over(Link(back), store)
        assert (report.is_complete, report.artifacts_sent) == (True, 1)
        assert list(stand_in.artifacts.values()) == ["Grüße".encode()]


def test_a_page_that_is_no_server_of_mlflow_ends_a_push_in_a_sentence(store: Store) -> None:
    for answer, words in (
        (Answer(200, b"<html>Sign in</html>", (("Content-Type", "text/html"),)), "is no JSON"),
        (Answer(302, b"", (("Location", "https://login.example.com/?token=s-secret"),)), "redirection"),
        (Answer(200, b"[]"), "is no JSON"),
        (Answer(200, b"{}"), "lacks 'experiment'"),
        (Answer(404, b"Not Found"), "HTTP 404"),
        (Answer(403, b"Forbidden"), "HTTP 403"),
    ):
        link = Link(lambda request, answer=answer: answer)
        try:
            report = push_over(link, store)
        except SyncError as error:
            said = str(error)
        else:
            assert not report.is_complete
            said = " ".join(run.reason for run in report.runs)
        assert words in said
        assert "secret" not in said


def test_secrets_of_every_kind_stay_where_they_are(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the output with --debug, the ledger, the log of the push, nor in the list of processes."""
    secret = f"sesame-{uuid.uuid4().hex}"  # other processes of this machine may speak of secrets
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", secret)
    monkeypatch.setenv("HTTP_PROXY", f"http://u:{secret}@127.0.0.1:9")
    seen: list[bytes] = []
    stand_in = StandIn()

    def back(request: Request) -> Answer:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it has ended
                seen.append(path.read_bytes())
        return stand_in(request)

    with Front(back) as front:
        for number, fault in ((None, ""), (4, "refuse"), (2, "cut_answer"), (None, "down")):
            front.reset()
            if number is not None:
                front.faults = dict.fromkeys(range(number, 1000), fault)
            url = "http://127.0.0.1:9" if fault == "down" else front.url
            with store.start_run("e", context=False) as run:
                run.log_metric("loss", 0.5)
            script = (
                "import sys\n"
                "from localtrack.sync import http\n"
                "http.Patience.__init__.__defaults__ = (2, 0.01, 0.01, 5.0, 1.0, 5.0)\n"
                "from localtrack.cli import main\n"
                "sys.argv[0] = 'localtrack'\n"
                "sys.exit(main())\n"
            )
            command = [sys.executable, "-c", script, "--debug", "sync", "--to", url, "--store", store.uri]
            done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False, timeout=120)
            assert secret.encode() not in done.stdout + done.stderr
            assert (done.returncode == 0) == (fault == ""), done.stderr
    written = b"".join(path.read_bytes() for path in (tmp_path / "store" / "sync").rglob("*") if path.is_file())
    assert written
    assert secret.encode() not in written
    assert any(b"sync" in line for line in seen)
    assert not [line for line in seen if secret.encode() in line]


def test_a_password_on_the_command_line_is_taken_out_of_the_list_of_processes(store: Store) -> None:
    """From then on: while requests are sent it is no longer there."""
    secret = f"sesame-{uuid.uuid4().hex}"
    lines: list[bytes] = []
    stand_in = StandIn()

    def back(request: Request) -> Answer:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it has ended
                lines.append(path.read_bytes())
        return stand_in(request)

    with Front(back) as front:
        uri = front.url.replace("http://", f"http://ada:{secret}@")
        for arguments in (["sync", "--to", uri], ["pull", "--from", uri], ["quota", "--target", uri]):
            command = [sys.executable, "-m", "localtrack", *arguments, "--store", store.uri]
            done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)
            assert done.returncode == 0, done.stderr
            assert "could see the password in the list of processes until now" in done.stderr
            assert secret not in done.stdout + done.stderr
    mine = [line for line in lines if f"http://ada:{'x' * len(secret)}@".encode() in line]
    assert {line.split(b"\0")[3] for line in mine} >= {b"sync", b"pull"}
    assert not [line for line in lines if secret.encode() in line]


def test_errors_of_the_connection_show_no_address_with_a_password() -> None:
    import httpx

    request = httpx.Request("GET", "http://ada:s-secret@server.example/api?token=s-secret")
    for kind in (httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.ProxyError, httpx.InvalidURL):
        text = f"failed: {request.url}"
        error = kind(text) if kind is httpx.InvalidURL else kind(text, request=request)  # type: ignore[call-arg]
        mapped = map_httpx_error(error, "runs/get")
        assert "secret" not in f"{mapped}{mapped.hint}{mapped!r}"


def test_a_network_that_goes_away_for_long_in_the_middle(store: Store) -> None:
    """A push gives up in its time, and the next one, however much later, sends the rest."""
    stand_in = StandIn(appends_duplicates=True)
    for number in range(2, 30, 3):
        link = Link(stand_in)
        link.faults = dict.fromkeys(range(number, 10_000), "cut_before")
        began_s = link.now_s
        is_complete = False
        with contextlib.suppress(SyncError):
            is_complete = push_over(link, store).is_complete
        assert is_complete == (len(link.requests) <= number)
        assert link.now_s - began_s < 3600
    assert push_over(Link(stand_in), store).is_complete
    assert compare_store(stand_in, store) == []


def test_a_push_that_is_told_to_stop_stops(store: Store) -> None:
    stand_in = StandIn(appends_duplicates=True)
    link = Link(stand_in)
    pushing = LinkedPush(store, "http://server.example", link, PushOptions(patience=LINKED, workers_count=3), "here")

    def stop(number: int, moment: str) -> None:
        if number == 14:
            pushing.stop.set()

    link.on_request = stop
    assert pushing.run().is_interrupted
    assert push_over(Link(stand_in), store).is_complete
    assert compare_store(stand_in, store) == []
