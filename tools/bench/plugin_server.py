"""`mlflow server` on a store and on SQLite: how long until it answers, and until the page has its first runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tools.bench import mlflow_peer
from tools.bench.harness import Setting, Side, map_turns, run_in_turns
from tools.bench.plugin_search import copy_runs
from tools.bench.results import Bound, Result
from tools.make_store.shapes import Shape
from tools.make_store.store_writer import write_store

NAME = "plugin-server"
SUMMARY = "mlflow server: start, and the requests of the first page, on 1,000 runs"
BOUND = Bound(1.5)
FAR_S = 300.0


def run(setting: Setting) -> Result:
    """Measure a start with one worker, and the page's requests."""
    result = Result(NAME, SUMMARY)
    store = setting.folder / "store"
    write_store(store, Shape(setting.choose(1_000, 20)), active_count=0, inbox_files_count=0, progress=lambda _: None)
    uris = {"localtrack": f"localtrack://{store}"}
    if mlflow_peer.use_mlflow(setting, result):
        mlflow_peer.open_client(setting.folder / "mlflow")
        copy_runs(store, setting.folder / "mlflow" / "mlflow.db")
        uris["sqlite"] = f"sqlite:///{setting.folder}/mlflow/mlflow.db"
    sides = [Side(name, _serve(uri, setting.folder)) for name, uri in uris.items()]
    turns = run_in_turns(sides, setting.rounds or setting.choose(3, 1))
    for number, what in enumerate(("start", "first page")):
        times = map_turns(turns, lambda both, number=number: both[number])  # type: ignore[misc]
        result.add_turns(what, "s", times)
        result.add_ratio(what, times, "localtrack", "sqlite" if "sqlite" in uris else "localtrack", BOUND)
    return result


def _serve(uri: str, folder: Path) -> Callable[[], tuple[float, float]]:
    def turn() -> tuple[float, float]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--port", str(port)]
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
        begin = time.perf_counter()
        server = subprocess.Popen(
            [*command, "--workers", "1"],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _wait(f"http://127.0.0.1:{port}/health", begin + FAR_S)
            started = time.perf_counter()
            _first_page(f"http://127.0.0.1:{port}")
            return started - begin, time.perf_counter() - started
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()

    return turn


def _first_page(address: str) -> None:
    """Make the requests with which the page shows its first runs."""
    urllib.request.urlopen(f"{address}/").read()
    api = f"{address}/ajax-api/2.0/mlflow"
    with urllib.request.urlopen(f"{api}/experiments/search?max_results=25") as answer:
        experiments = json.load(answer)["experiments"]
    body = {"experiment_ids": [e["experiment_id"] for e in experiments], "max_results": 100}
    for path in ("runs/search", "experiments/search-datasets"):
        request = urllib.request.Request(
            f"{api}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request).read()


def _wait(address: str, until: float) -> None:
    while time.perf_counter() < until:
        try:
            urllib.request.urlopen(address, timeout=5).read()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError("the server does not answer")
