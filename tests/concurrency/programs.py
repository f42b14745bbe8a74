"""What the processes of the concurrency tests do. They say what has returned as `tests.crash.deeds` does."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.crash.deeds import log_and_end, make, open_store, plan_call
from tests.crash.faults import Fault, Operations

from localtrack.api.store import Store
from localtrack.errors import LocaltrackError
from localtrack.storage.locks import maintenance_lock
from localtrack.store import spool_thread
from localtrack.store.cleaning.report import GcReport


def start_together(root: str, ready: str, go: str, said: str, prefix: str, calls_count: int) -> None:
    """Wait for the others, then open a store that nobody has made, and log a run to an experiment that all name."""
    out = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    Path(ready).touch()
    while not os.path.exists(go):
        time.sleep(0.002)
    store = open_store(root, spool="")
    log_and_end(store.start_run("the same", context=False), prefix, out, calls_count)
    store.close()


class _Counting(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def log_through_outage(root: str, said: str, prefix: str, calls_count: int, report: str, fault: dict[str, Any]) -> None:
    """Log with `on_error="warn"` while the drive refuses; leave what was said and what was raised."""
    heard = _Counting()
    logging.getLogger("localtrack").addHandler(heard)
    out = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    store = open_store(root, 3_000, on_error="warn", spool="")
    run = store.start_run("e", context=False)
    os.write(out, f"s {run.run_id}\n".encode())
    for number in range(20):
        make(run, plan_call(number, prefix))
        os.write(out, b"c\n")
    operations = Operations(root, None)
    operations._fds = _open_files(root)
    operations.install()
    operations._fault = Fault(at=len(operations.seen), kind="fail", **fault)
    began = time.monotonic()
    longest_s = 0.0
    for number in range(20, calls_count):
        start = time.monotonic()
        make(run, plan_call(number, prefix))  # never raises: training goes on
        longest_s = max(longest_s, time.monotonic() - start)
        os.write(out, b"c\n")
        time.sleep(0.001)
    operations._fault = None
    run.end()
    os.write(out, b"e\n")
    store.close()
    result = {"messages": heard.messages, "longest_s": longest_s, "took_s": time.monotonic() - began}
    Path(report).write_text(json.dumps(result))


def _open_files(root: str) -> dict[int, str]:
    """Return the descriptors of this process that are of the store."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if path.startswith(root):
            found[int(name)] = path
    return found


def log_on_host(root: str, said: str, prefix: str, calls_count: int, host: str, durability: str) -> None:
    """Log a run as a process on another host: its name, and a pid that nobody here can look for."""
    from localtrack.storage import process

    os.environ["LOCALTRACK_TEST_HOST"] = host
    real = process._identity.__wrapped__
    process._identity = lambda pid: process.ProcessIdentity(host, f"boot of {host}", host, pid, real(pid).start)  # type: ignore[assignment]
    process.this_process = lambda: process._identity(os.getpid())
    out = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    store = open_store(root, 4_000, durability=durability, spool="")
    log_and_end(store.start_run("of all hosts", context=False), prefix, out, calls_count)
    store.flush()
    store.close()


def do_maintenance(root: str, stop: str, report: str, seed: int, other: str, server: str = "") -> None:
    """Maintain a store in all ways there are; leave what was done and refused, and which runs were deleted.

    Args:
        root: The store.
        stop: It goes on until there is this file.
        report: Where to say so; it is there whole at any time.
        seed: What is done in which order.
        other: Another store, that the store is merged into and pushed to.
        server: URL of an MLflow server that gets the runs of the experiment `pushed`.
    """
    random = Random(seed)
    refused: dict[str, int] = {}
    done: dict[str, int] = {}
    deleted: list[str] = []
    store = open_store(root, spool="")

    def delete() -> None:
        with store.start_run("rubbish", context=False) as run:
            make(run, plan_call(0, "rubbish"))
        deleted.append(run.run_id)
        store.delete_run(run.run_id)

    def read() -> None:
        if rows := store.search_runs(max_results=20):
            store.metric_history(random.choice(rows).info.run_id)

    def lock() -> None:
        with maintenance_lock(store.storage, "soak", timeout_s=0.1):
            time.sleep(0.01)

    def merge() -> None:
        with Store.open(other) as copy:
            copy.merge(root)

    ways: dict[str, Callable[[], object]] = {
        "search": lambda: store.search_runs(filter_string="attributes.status != 'FAILED'", max_results=None),
        "read": read,
        "seal": store.seal,
        "compact": store.compact,
        "check": store.check,
        "delete": delete,
        "gc": lambda: store.gc(dry_run=False, older_than="0s"),
        "pack": lambda: store.pack(older_than="1s"),
        "merge": merge,
        "sync": lambda: store.sync(other),
        "lock": lock,
    }
    if server:
        ways["push"] = lambda: store.sync(server, experiment_names=["pushed"])
    turn: list[str] = []
    while not os.path.exists(stop):
        turn = turn or random.sample(list(ways), len(ways))
        name = turn.pop()
        try:
            found = ways[name]()
            done[name] = done.get(name, 0) + 1
            if isinstance(found, GcReport) and found.runs_count:
                done["removed"] = done.get("removed", 0) + found.runs_count
        except LocaltrackError as error:
            code = f"{name}: {error.code}: {error.message[:200]}"
            refused[code] = refused.get(code, 0) + 1
        time.sleep(random.random() * 0.3)
        Path(f"{report}.new").write_text(json.dumps({"done": done, "refused": refused, "deleted": deleted}))
        os.replace(f"{report}.new", report)


def spool_and_log(root: str, spool: str, said: str, prefix: str) -> None:
    """Log runs by way of a spool that is moved all the time."""
    spool_thread.INTERVAL_S = spool_thread.RETRY_S = 0.1  # type: ignore[misc]
    out = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    store = open_store(root, 3_000, spool=spool)
    while True:
        run = store.start_run("spooled", context=False)
        os.write(out, f"s {run.run_id}\n".encode())
        for number in range(60):
            make(run, plan_call(number, prefix))
            os.write(out, b"c\n")
            time.sleep(0.002)
        run.end()
        os.write(out, b"e\n")


def log_slowly(root: str, said: str, prefix: str, run_id: str | None, experiment: str = "soak") -> None:
    """Log without end, and not as fast as possible: to one run of many processes, or to short runs of its own."""
    out = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    store = open_store(root, 3_000, spool="")
    while True:
        run = store.start_run(experiment, context=False) if run_id is None else store.attach_run(run_id)
        os.write(out, f"s {run.run_id}\n".encode())
        number = 0
        while run_id is not None or number < 40:
            make(run, plan_call(number, prefix))
            os.write(out, b"c\n")
            number += 1
            time.sleep(0.004)
        run.end()
        os.write(out, b"e\n")
