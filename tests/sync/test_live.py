"""A run that logs is on the remote while it goes on, and equal when it has ended: three processes and a server.

With --long the run logs for a minute, to a real server.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from localtrack import Store
from tests.sync.comparison import compare_store, remote_history, remote_runs
from tests.sync.front import Front
from tests.sync.mlflow_server import serve_mlflow
from tests.sync.stand_in import StandIn

_LOG = """
import os, sys, time
from localtrack import Store
with Store.open(sys.argv[1]) as store, store.start_run("live", context=False) as run:
    step = 0
    while not os.path.exists(sys.argv[2]):
        run.log_metric("loss", 1 / (step + 1), step=step)
        step += 1
        time.sleep(0.02)
"""
_FAR_S = 60.0
"""A bound that catches what hangs; how late points were is printed."""


@pytest.fixture
def server(tmp_path: Path, long_form: bool) -> Iterator[str]:
    if not long_form:
        with Front(StandIn(appends_duplicates=True)) as front:
            yield front.url
        return
    (tmp_path / "server").mkdir()
    with serve_mlflow(tmp_path / "server") as url:
        yield url


@pytest.mark.long
def test_a_run_is_there_while_it_goes_on(tmp_path: Path, server: str, long_form: bool) -> None:
    place = tmp_path / "store"
    Store.open(place).close()
    command = [sys.executable, "-m", "localtrack", "sync", "--to", server, "--store", str(place), "--json"]
    watching = subprocess.Popen([*command, "--watch", "--interval", "0.3"], stdout=subprocess.PIPE, text=True)
    logging = subprocess.Popen([sys.executable, "-c", _LOG, str(place), str(tmp_path / "end")])
    late_s: list[float] = []
    began_s = time.monotonic()
    try:
        while len(late_s) < 10 or (long_form and time.monotonic() - began_s < 60):
            assert logging.poll() is None
            assert time.monotonic() - began_s < 2 * _FAR_S
            with contextlib.suppress(urllib.error.HTTPError, ValueError):  # it is not there yet
                (run,) = remote_runs(server, "live")
                points = remote_history(server, run["info"]["run_id"], "loss")
                if points and run["info"]["status"] == "RUNNING":
                    late_s.append(time.time() - max(timestamp for timestamp, _, _ in points) / 1000)
            time.sleep(0.1)
        (tmp_path / "end").touch()
        assert logging.wait(_FAR_S) == 0
        ended_s = time.monotonic()
        while [run["info"]["status"] for run in remote_runs(server, "live")] != ["FINISHED"]:
            assert time.monotonic() - ended_s < _FAR_S
            time.sleep(0.05)
        print(f"ended there {time.monotonic() - ended_s:.2f} s after it ended here; ", end="")
        print(f"{len(late_s)} looks, the last point there {sum(late_s) / len(late_s):.2f} s old on average, ", end="")
        print(f"{max(late_s):.2f} s at most")
        assert max(late_s) < _FAR_S
    finally:
        watching.terminate()
        logging.kill()
        logging.wait()
        printed, _ = watching.communicate()
    with Store.open(place, create=False) as store:
        assert compare_store(server, store) == []
    reports = [json.loads(line) for line in printed.splitlines()]
    assert len(reports) > 1, "it was pushed while it went on"
