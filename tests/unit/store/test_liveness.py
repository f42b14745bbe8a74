"""Who is alive, dead or silent: each rule of FORMAT.md section 15, with headers as other machines write them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from localtrack.api.store import Store
from localtrack.storage.opening import open_storage
from localtrack.storage.process import boot_id, pid_namespace, process_start, this_process
from localtrack.store.liveness import REBOOT_QUIET_MS, judge_process

pytestmark = pytest.mark.skipif(not boot_id(), reason="needs a kernel that names its boot")

QUIET = REBOOT_QUIET_MS
HERE: dict[str, Any] = {
    "host": this_process().host,
    "boot": boot_id(),
    "pidns": pid_namespace(),
    "pid": os.getpid(),
    "start": process_start(os.getpid()),
    "flock": False,
}
CASES: dict[str, tuple[Mapping[str, Any], int, str]] = {
    "this process": ({}, 0, "alive"),
    "it stays alive however still it is": ({}, 100 * QUIET, "alive"),
    "its number belongs to another process since": ({"start": "1"}, 0, "dead"),
    "there is no such process": ({"pid": 2**22 + 1}, 0, "dead"),
    "a container whose numbers mean nothing here": ({"pidns": "4026539999"}, 100 * QUIET, "silent"),
    "a system that says neither": ({"pidns": "", "start": ""}, 0, "silent"),
    "the boot before, and still since": ({"boot": "another"}, QUIET, "dead"),
    "the boot before, but a file has just changed": ({"boot": "another"}, QUIET - 1, "silent"),
    "another host": ({"boot": "another", "host": "elsewhere"}, 100 * QUIET, "silent"),
    "a host that does not know its boot": ({"boot": ""}, 100 * QUIET, "silent"),
    "a log that says nothing": (dict.fromkeys(("host", "boot", "pidns", "start"), ""), 100 * QUIET, "silent"),
}


@pytest.mark.parametrize(("change", "quiet_ms", "verdict"), CASES.values(), ids=CASES)
def test_of_a_process_without_a_lock(tmp_path: Path, change: Mapping[str, Any], quiet_ms: int, verdict: str) -> None:
    storage = open_storage(tmp_path)
    assert judge_process(storage, "log.jsonl", {**HERE, **change}, quiet_ms=quiet_ms) == verdict


def test_a_lock_decides_where_there_is_one(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    storage, path = open_storage(tmp_path), tmp_path / "log.jsonl"
    path.touch()
    header = {**HERE, "flock": True}
    if storage.is_log_locked("log.jsonl") is None:
        pytest.skip("the locks of this file system say nothing")
    # Of a process that lives, but has let go of the log; and of one that is not to be found, but holds it.
    assert judge_process(storage, "log.jsonl", header, quiet_ms=0) == "dead"
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert judge_process(storage, "log.jsonl", {**header, "pid": 2**22 + 1}, quiet_ms=0) == "alive"


def rewrite_header(root: Path, **change: Any) -> Path:
    """Let the only run log of a store be one that another machine wrote."""
    (path,) = (root / "runs").rglob("*.jsonl")
    first, rest = path.read_bytes().split(b"\n", 1)
    kind, header = json.loads(first)
    path.write_bytes(json.dumps([kind, {**header, **change}]).encode() + b"\n" + rest)
    return path


def test_a_run_of_another_host_is_silent_since_its_last_change_and_can_be_gone_on_with(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        run = store.start_run("e", context=False)
        for step in range(5):
            run.log_metric("loss", step / 2, step)
        store.flush()
        path = rewrite_header(tmp_path, host="elsewhere", boot="another", flock=False)
        an_hour_ago_s = int(time.time()) - 3600
        os.utime(path, (an_hour_ago_s, an_hour_ago_s))
        report = store.describe_run(run.run_id)
        assert (report.liveness, report.silent_since_ms) == ("silent", an_hour_ago_s * 1000)
        assert store.get_run(run.run_id).info.status == "RUNNING"  # silence is shown, and never recorded
    with Store.open(tmp_path) as store, store.start_run(run_id=run.run_id) as again:
        assert store.describe_run(run.run_id).liveness == "alive"
        for step in range(again.next_step(), 8):
            again.log_metric("loss", step / 2, step)
    with Store.open(tmp_path) as store:
        assert store.describe_run(run.run_id).liveness == "ended"
        assert store.metric_history(run.run_id, "loss").column("step").to_pylist() == list(range(8))
