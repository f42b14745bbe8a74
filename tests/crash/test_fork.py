"""Forks and threads: each process has files of its own, no lock stays held in a child, and no line is cut by others."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.crash.audit import Deed, audit, read_said
from tests.crash.deeds import make, open_store, plan_call
from tests.crash.forks import Forks

from localtrack.api.store import Store
from localtrack.errors import StorageError
from localtrack.storage.syncer import syncer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PATIENCE_S = 60.0


def in_child(call: Callable[[], object]) -> int:
    """Fork, make a call in the child, and return the child's exit code; its death if it hangs."""
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):  # the exit code tells
            call()
            code = 0
        os._exit(code)
    return wait(pid)


def wait(pid: int) -> int:
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise TimeoutError("the child hangs")


def fork_tree(root: str, said: str, small_bytes: int | None) -> None:
    """Log in a parent, its children and theirs, all to one run object that was made once."""
    store = open_store(root, small_bytes)
    run = store.start_run("e", context=False)

    def log(prefix: str, depth: int) -> None:
        out = os.open(f"{said}.{prefix}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(out, f"s {run.run_id}\n".encode())
        children: list[int] = []
        for number in range(60):
            make(run, plan_call(number, prefix))
            os.write(out, b"c\n")
            if depth and number in (20, 40):
                pid = os.fork()
                if pid == 0:
                    code = 1
                    try:
                        log(f"{prefix}{number}", depth - 1)
                        code = 0
                    finally:
                        os._exit(code)
                children.append(pid)
        assert [wait(pid) for pid in children] == [0] * len(children)

    log("p", 2)
    run.end()


@pytest.mark.parametrize("small_bytes", [None, 1_500])
def test_each_child_has_its_own_log(forks: Forks, fast_folder: Path, small_bytes: int | None) -> None:
    root, said = fast_folder / "store", fast_folder / "said"
    code = forks.run("tests.crash.test_fork:fork_tree", root=str(root), said=str(said), small_bytes=small_bytes)
    assert code == 0
    paths = list(fast_folder.glob("said.*"))
    assert len(paths) == 7
    deeds = [deed for path in paths for deed in read_said(path, path.suffix[1:])]
    assert audit(root, deeds).problems == []
    writers = {path.name.split(".")[0] for path in (root / "runs").rglob("*.jsonl")}
    assert len(writers) == 7


def fork_while_threads_work(root: str, report: str) -> None:
    """Fork again and again while threads hold every lock there is; each child must get through."""
    store = open_store(root, 6_000, on_error="warn")
    run = store.start_run("e", context=False)
    stop = threading.Event()

    def log() -> None:
        number = 0
        while not stop.is_set():
            make(run, plan_call(number, threading.current_thread().name))
            number += 1
            time.sleep(0.001)  # what children read must not grow without end

    def edit() -> None:
        while not stop.is_set():
            store.set_experiment_tags(run.experiment_id, {"a": "b"})
            store.get_run(run.run_id)
            syncer.sync_all(heartbeat=True)

    def use_everything() -> None:
        make(run, plan_call(0, "child"))
        other = store.start_run("e", context=False)
        make(other, plan_call(0, "child"))
        store.set_experiment_tags(run.experiment_id, {"child": str(os.getpid())})
        store.get_run(run.run_id)
        other.end()
        assert syncer.sync_all() == []

    threads = [threading.Thread(target=log, name=f"t{n}") for n in range(2)] + [threading.Thread(target=edit)]
    for thread in threads:
        thread.start()
    try:
        codes = [in_child(use_everything) for _ in range(25)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    run.end()
    Path(report).write_text(json.dumps(codes))


def test_no_lock_stays_held_in_a_child(forks: Forks, fast_folder: Path) -> None:
    root, report = fast_folder / "store", fast_folder / "report"
    code = forks.run("tests.crash.test_fork:fork_while_threads_work", root=str(root), report=str(report))
    assert code == 0
    assert json.loads(report.read_text()) == [0] * 25
    assert audit(root, []).problems == []


def parent_of_a_survivor(root: str, said: str, stop: str, during: str) -> None:
    """Fork a child that lives until a file is there, in the middle of something."""
    store = open_store(root)
    run = store.start_run("e", context=False)
    run.log_metric("m", 1.0)
    Path(said).write_text(run.run_id)

    def live() -> None:
        while not os.path.exists(stop):
            time.sleep(0.01)

    def fork() -> None:
        begun, tell = os.pipe()
        if os.fork() == 0:
            os.write(tell, b"x")  # it has let go of what it had of its parent
            live()
            os._exit(0)
        os.read(begun, 1)

    if during == "sync":
        real, is_syncing, may_end = os.fsync, threading.Event(), threading.Event()

        def fsync(fd: int) -> None:
            is_syncing.set()
            may_end.wait()
            real(fd)

        os.fsync = fsync
        threading.Thread(target=syncer.sync_all, daemon=True).start()
        is_syncing.wait()
        fork()
        may_end.set()
    elif during == "exec":
        subprocess.Popen([sys.executable, "-c", f"import os,time\nwhile not os.path.exists({stop!r}): time.sleep(.01)"])
    else:
        fork()
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("during", ["nothing", "sync", "exec"])
def test_a_dead_parent_is_dead_though_its_child_lives(forks: Forks, fast_folder: Path, during: str) -> None:
    root, said, stop = fast_folder / "store", fast_folder / "said", fast_folder / "stop"
    pid = forks.start(
        "tests.crash.test_fork:parent_of_a_survivor", root=str(root), said=str(said), stop=str(stop), during=during
    )
    assert forks.wait(pid) == -signal.SIGKILL
    try:
        with Store.open(root) as store:
            assert store.describe_run(said.read_text()).liveness == "dead"
    finally:
        stop.touch()


def log_in_spawned(root: str, run_id: str, prefix: str) -> None:
    with Store.open(root).start_run(run_id=run_id) as run:
        for number in range(30):
            make(run, plan_call(number, prefix))


def test_spawned_children_log_to_the_run(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    run = store.start_run("e", context=False)
    spawn = multiprocessing.get_context("spawn")
    children = [spawn.Process(target=log_in_spawned, args=(store.root, run.run_id, f"c{n}")) for n in range(2)]
    for child in children:
        child.start()
    for number in range(30):
        make(run, plan_call(number, "p"))
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    run.end()
    keys = set(store.metric_history(run.run_id).column("key").to_pylist())
    assert {f"{prefix}.loss" for prefix in ("p", "c0", "c1")} <= keys
    assert len(store.metric_history(run.run_id, "c1.loss")) == len(store.metric_history(run.run_id, "p.loss")) > 0


@pytest.mark.parametrize("small_bytes", [None, 3_000])
def test_threads_share_a_run(fast_folder: Path, small_bytes: int | None) -> None:
    store = open_store(str(fast_folder / "store"), small_bytes)
    run = store.start_run("e", context=False)
    failures: list[BaseException] = []
    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def log(name: str) -> None:
        try:
            for number in range(150):
                make(run, plan_call(number, name))
        except BaseException as error:  # shown below
            failures.append(error)

    threads = [threading.Thread(target=log, args=(f"t{n}",)) for n in range(8)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch_s)
    assert failures == []
    run.end()
    deeds = [Deed(f"t{n}", run.run_id, 150) for n in range(8)]
    assert audit(fast_folder / "store", deeds).problems == []


def test_threads_catch_up_once_and_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `warn`, whoever logs first when there is space again makes the calls of all."""
    store = Store.open(tmp_path / "store", on_error="warn")
    run = store.start_run("e", context=False)
    real, is_full = run._writer.log_point, threading.Event()

    def log_point(*arguments: Any) -> None:
        time.sleep(0)  # another thread's turn
        if is_full.is_set():
            raise StorageError("No space left on device")
        real(*arguments)

    monkeypatch.setattr(run._writer, "log_point", log_point)
    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def log(name: str) -> None:
        for number in range(200):
            run.log_metric(name, float(number), number)
            if name == "t0" and number % 40 == 10:
                (is_full.clear if is_full.is_set() else is_full.set)()

    threads = [threading.Thread(target=log, args=(f"t{n}",)) for n in range(6)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch_s)
    is_full.clear()
    run.end()
    for number in range(6):
        steps = store.metric_history(run.run_id, f"t{number}").column("step").to_pylist()
        assert sorted(steps) == list(range(200))
