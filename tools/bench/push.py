"""Runs pushed to an MLflow server, beside ready-made requests to the same server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from tools.bench import mlflow_peer, push_sizes
from tools.bench.harness import Setting, Side, run_in_turns, time_once
from tools.bench.processes import make_environment
from tools.bench.results import Bound, Result

NAME = "push"
SUMMARY = "runs pushed to an MLflow server, and pushed again with nothing new"
RATE_BOUND = Bound(0.9, at_least=True)
WORKERS_COUNT = 4
LONG_TURNS_COUNT = 10
SHORT_TURNS_COUNT = 1
"""How often the sides take turns: what a push does besides is little beside 1,000 small runs, but not beside 100."""


def run(setting: Setting) -> Result:
    """Measure long runs, many short ones, a second push, and what memory a long run takes."""
    from localtrack import Store

    result = Result(NAME, SUMMARY)
    push_sizes.measure(result, setting)
    if not mlflow_peer.use_mlflow(setting, result):
        return result
    random = Random(setting.seed)
    with _serve(setting.folder) as url:
        with Store.open(str(setting.folder / "long"), create=True) as store:
            count = setting.choose(100_000, 1_500)
            for _ in range(LONG_TURNS_COUNT):
                push_sizes.log_points(store, count, random)
            store.flush()
            _compare(result, setting, url, store, f"{LONG_TURNS_COUNT} runs of {count:,} points", LONG_TURNS_COUNT)
        with Store.open(str(setting.folder / "short"), create=True) as store:
            count = setting.choose(1_000, 20)
            for number in range(count):
                with store.start_run("bench", run_name=f"run {number}", context=False) as one:
                    one.log_params({f"p{n}": random.random() for n in range(5)})
                    for step in range(10):
                        one.log_metrics({"loss": random.random(), "acc": random.random()}, step=step)
            store.flush()
            _compare(result, setting, url, store, f"{count:,} runs of 20 points", SHORT_TURNS_COUNT)
    return result


def _compare(result: Result, setting: Setting, url: str, store: Any, what: str, turns_count: int) -> None:
    """Push all runs of a store, some of them each turn, beside ready-made requests for the same runs."""
    run_ids = sorted(row.info.run_id for row in store.search_runs(max_results=None))
    turns_count = setting.round_count(turns_count)
    parts = [run_ids[number::turns_count] for number in range(turns_count)]
    floors, ours = iter(parts), iter(parts)
    experiment_id = _call(url, "experiments/create", {"name": f"floor {what}"})["experiment_id"]

    def send_ready_made() -> float:
        runs = _ready_made(store, next(floors))
        return time_once(lambda: _send_all(url, experiment_id, runs))

    def push() -> float:
        part = next(ours)
        start = time.perf_counter()
        report = store.sync(url, run_ids=part, prefix=f"{what} ", workers=WORKERS_COUNT)
        duration_s = time.perf_counter() - start
        assert (report.is_complete, report.count("sent")) == (True, len(part)), report
        return duration_s

    # Both sides load what they need, and get to know the server, before their turns.
    _send_all(url, experiment_id, _ready_made(store, run_ids[:1]))
    assert store.sync(url, run_ids=run_ids[:1], prefix=f"first {what} ", workers=WORKERS_COUNT).is_complete
    turns = run_in_turns([Side("floor", send_ready_made), Side("localtrack", push)], turns_count)
    result.add_turns(f"{what}, a part of them each turn", "s", turns)
    result.add_ratio(f"{what}: rate beside ready-made requests", turns, "floor", "localtrack", RATE_BOUND)
    whole = {side: {0: sum(by_round.values())} for side, by_round in turns.items()}
    result.add_ratio(f"{what}: the same, all of them", whole, "floor", "localtrack", RATE_BOUND)


def _send_all(url: str, experiment_id: str, runs: list[dict[str, Any]]) -> None:
    with ThreadPoolExecutor(WORKERS_COUNT) as pool:
        list(pool.map(lambda run: _send_ready_made(url, experiment_id, run), runs))


def _ready_made(store: Any, run_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the bodies of the least requests that bring each run there."""
    runs: list[dict[str, Any]] = []
    for run_id in run_ids:
        run = store.get_run(run_id)
        info = run.info
        table = store.metric_history(info.run_id)
        points = [
            {"key": key, "value": value, "timestamp": timestamp_ms, "step": step}
            for key, step, timestamp_ms, value in zip(*(c.to_pylist() for c in table.columns), strict=True)
        ]
        batches = [{"metrics": points[first : first + 1_000]} for first in range(0, len(points), 1_000)]
        batches[0]["params"] = [{"key": key, "value": value} for key, value in run.data.params.items()]
        runs.append(
            {
                "create": {
                    "start_time": info.start_time,
                    "run_name": info.run_name,
                    "tags": [{"key": key, "value": value} for key, value in run.data.tags.items()],
                },
                # All but the run's id, which the server chooses.
                "batches": [json.dumps(batch).encode()[1:] for batch in batches],
                "update": {"status": info.status, "end_time": info.end_time},
            }
        )
    return runs


def _send_ready_made(url: str, experiment_id: str, run: dict[str, Any]) -> None:
    created = _call(url, "runs/create", {"experiment_id": experiment_id, **run["create"]})
    run_id = created["run"]["info"]["run_id"]
    for batch in run["batches"]:
        _call(url, "runs/log-batch", b'{"run_id":"' + run_id.encode() + b'",' + batch)
    _call(url, "runs/update", {"run_id": run_id, **run["update"]})


_clients: dict[str, Any] = {}


def _call(url: str, path: str, body: Any) -> dict[str, Any]:
    import httpx

    client = _clients.get(url) or _clients.setdefault(url, httpx.Client(base_url=url, timeout=120.0, verify=False))
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.post(f"/api/2.0/mlflow/{path}", content=data, headers={"Content-Type": "application/json"})
    response.raise_for_status()
    document: dict[str, Any] = response.json()
    return document


@contextmanager
def _serve(folder: Path) -> Iterator[str]:
    """Run an MLflow server with one worker on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--default-artifact-root", str(folder / "artifacts")]
    environment = make_environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(process, f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            for client in _clients.values():
                client.close()
            _clients.clear()
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise RuntimeError("the MLflow server did not start")
