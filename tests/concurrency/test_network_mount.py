"""One folder mounted twice over a network protocol: two hosts, as far as the file system goes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.concurrency.sshfs import Mounted, needs_sshfs
from tests.crash.audit import audit, read_said
from tests.crash.forks import Forks

from localtrack.api.store import Store
from localtrack.storage.doctor import diagnose
from localtrack.storage.local import LocalStorage

pytestmark = [needs_sshfs, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as server:
        yield server


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Mounted]]:
    """Two mounts of one folder."""
    folder = tmp_path / "server"
    folder.mkdir()
    mounts: list[Mounted] = []
    try:
        for number in range(2):
            mounts.append(Mounted(folder, tmp_path / f"host{number}"))
        yield mounts
    finally:
        for mount in mounts:
            mount.unmount()


def start(forks: Forks, mount: Mounted, tmp_path: Path, name: str, calls_count: int = 120, **more: str) -> int:
    return forks.start(
        "tests.concurrency.programs:log_on_host",
        root=str(mount.path / "store"),
        said=str(tmp_path / f"said.{name}"),
        prefix=name,
        calls_count=calls_count,
        host=more.get("host", name),
        durability=more.get("durability", "process"),
    )


def wait_for(condition: object, patience_s: float = 30.0) -> bool:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.1)
    return False


def test_the_kind_of_the_mount_is_seen_and_tested(hosts: list[Mounted]) -> None:
    diagnosis = diagnose(LocalStorage(str(hosts[0].path / "store")))
    assert diagnosis.mount is not None
    assert (diagnosis.mount.fs_type, diagnosis.capabilities.medium) == ("fuse.sshfs", "fuse")
    assert diagnosis.capabilities.locks == "this mount"
    bad = {check.name: check.text for check in diagnosis.checks if check.verdict == "bad"}
    assert bad == {}
    assert {check.name: check.verdict for check in diagnosis.checks}["locks"] == "note"


def test_writers_on_each_host_and_readers_on_the_others(forks: Forks, hosts: list[Mounted], tmp_path: Path) -> None:
    for mount in hosts:
        mount.line.delay_s = 0.001
    names = [f"h{host}p{process}" for host in range(2) for process in range(2)]
    pids = [start(forks, hosts[int(name[1])], tmp_path, name) for name in names]
    assert [forks.wait(pid) for pid in pids] == [0] * 4
    deeds = [deed for name in names for deed in read_said(tmp_path / f"said.{name}", name)]
    result = audit(tmp_path / "server" / "store", deeds)
    assert result.problems == []
    # What a host has cached of a folder lasts some seconds, and no longer.
    for mount in hosts:
        with Store.open(mount.path / "store", create=False) as store:
            assert wait_for(lambda store=store: len(store.search_runs(max_results=None)) == 4)
            assert {e.name for e in store.list_experiments()} == {"Default", "of all hosts"}


def test_a_writer_on_another_host_is_not_taken_for_dead(hosts: list[Mounted], tmp_path: Path) -> None:
    here = Store.open(hosts[0].path / "store")
    run = here.start_run("e", context=False)
    run.log_metric("loss", 1.0)
    here.flush()
    with Store.open(hosts[1].path / "store", create=False) as there:
        assert wait_for(lambda: there.search_runs())
        # The same machine, seen through another mount: its lock is not seen there, its process is.
        assert there.describe_run(run.run_id).liveness == "alive"
    run.end()
    here.flush()  # what is owed to a mount that is gone would be owed in the tests that follow
    here.close()
    here.flush()


def test_a_line_that_is_cut_for_a_while_loses_nothing(forks: Forks, hosts: list[Mounted], tmp_path: Path) -> None:
    pids = [start(forks, hosts[0], tmp_path, f"p{number}", calls_count=200) for number in range(2)]
    for _ in range(3):
        time.sleep(0.2)
        hosts[0].line.cut()
        time.sleep(0.5)
        hosts[0].line.mend()
    assert [forks.wait(pid) for pid in pids] == [0, 0]
    deeds = [deed for number in range(2) for deed in read_said(tmp_path / f"said.p{number}", f"p{number}")]
    assert audit(tmp_path / "server" / "store", deeds).problems == []


def test_a_server_that_goes_away_for_good_leaves_what_was_flushed(hosts: list[Mounted], tmp_path: Path) -> None:
    program = (
        "import sys, os\nfrom localtrack.api.store import Store\n"
        "store = Store.open(sys.argv[1], on_error='warn')\nrun = store.start_run('e', context=False)\n"
        "for step in range(50):\n    run.log_metric('loss', step / 2, step=step)\nstore.flush()\n"
        "print(run.run_id, flush=True)\nsys.stdin.readline()\n"
        "for step in range(50, 80):\n    run.log_metric('loss', step / 2, step=step)\nprint('went on', flush=True)\n"
        "os._exit(0)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(hosts[0].path / "store")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    hosts[0].disconnect()
    out, said = process.communicate("go\n", timeout=60)
    assert out == "went on\n", said
    with Store.open(tmp_path / "server" / "store", create=False) as store:
        values = store.metric_history(run_id).to_pydict()["value"]
    assert values[:50] == [step / 2 for step in range(50)]


def test_a_spool_takes_over_while_the_line_is_cut(hosts: list[Mounted], tmp_path: Path) -> None:
    from localtrack.storage import spool as spools
    from localtrack.store import spool_thread

    before = spools.PATIENCE_S, spool_thread.PATIENCE_S
    spools.PATIENCE_S = spool_thread.PATIENCE_S = 1.0  # type: ignore[misc]
    try:
        store = Store.open(hosts[0].path / "store", spool=tmp_path / "spool")
        run = store.start_run("e", context=False)
        hosts[0].line.cut()
        mender = threading.Timer(3.0, hosts[0].line.mend)
        mender.start()
        began = time.monotonic()
        for step in range(300):
            run.log_metric("loss", step / 2, step=step)
        assert time.monotonic() - began < 2.5  # a call waits for no drive
        run.end()
        store.close()
        mender.join()
    finally:
        spools.PATIENCE_S, spool_thread.PATIENCE_S = before  # type: ignore[misc]
    with Store.open(tmp_path / "server" / "store", create=False) as plain:
        assert plain.metric_history(run.run_id).num_rows == 300


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="namespaces need root")
def test_hosts_with_names_and_processes_of_their_own(hosts: list[Mounted], tmp_path: Path) -> None:
    """Each writer in namespaces of its own for host name, network and processes, with its own mount."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    tried = subprocess.run(
        ["unshare", "--uts", "--net", "--pid", "--fork", "--mount-proc", "hostname"], capture_output=True, text=True
    )
    if tried.returncode:
        pytest.skip(f"no namespaces here: {tried.stderr.strip()}")
    program = (
        "import os, sys\nfrom localtrack.api.store import Store\n"
        "store = Store.open(sys.argv[1])\nrun = store.start_run('e', context=False)\n"
        "run.log_metric('loss', 1.0)\nstore.flush()\nprint(run.run_id, os.uname().nodename, os.getpid(), flush=True)\n"
        "sys.stdin.readline()\nrun.end()\nstore.close()\n"
    )
    processes = []
    for number, mount in enumerate(hosts):
        inner = f'hostname node{number} && exec {sys.executable} -c "$0" {mount.path / "store"}'
        command = ["unshare", "--uts", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c", inner, program]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    said = [process.stdout.readline().split() for process in processes if process.stdout is not None]
    assert [name for _, name, _ in said] == ["node0", "node1"]
    assert len({pid for _, _, pid in said}) == 1  # the same pid in both, which is nobody's here
    with Store.open(tmp_path / "server" / "store", create=False) as store:
        reports = [store.describe_run(run_id) for run_id, _, _ in said]
        assert [report.liveness for report in reports] == ["silent", "silent"]
    for process in processes:
        process.communicate("end\n", timeout=60)
        assert process.returncode == 0
    with Store.open(tmp_path / "server" / "store", create=False) as store:
        assert [row.info.status for row in store.search_runs()] == ["FINISHED", "FINISHED"]
