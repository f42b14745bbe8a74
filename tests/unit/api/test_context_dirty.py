"""The probe tells what git tells, and neither a hanging nor a missing git does harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localtrack.api.context.child import start_child
from localtrack.api.context.dirty import DirtyProbe

WAIT_S = 30.0


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "train.py").write_text("pass\n")
    git(folder, "add", "train.py")
    git(folder, "commit", "-qm", "first")
    return folder


def ask(folder: Path) -> bool | None:
    probe = DirtyProbe(str(folder))
    probe.start()
    return probe.result(WAIT_S)


def fake_git(folder: Path, script: str) -> Path:
    folder.mkdir()
    program = folder / "git"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return folder


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def read_pid(file: Path) -> int:
    deadline_s = time.monotonic() + WAIT_S
    while not (file.exists() and file.read_text().endswith("\n")):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    return int(file.read_text())


def wait_until_gone(pid: int) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while is_running(pid):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_clean_repository(repository: Path) -> None:
    assert ask(repository) is False


def test_a_changed_file_and_a_staged_one(repository: Path) -> None:
    (repository / "train.py").write_text("changed\n")
    assert ask(repository) is True
    git(repository, "add", "train.py")
    assert ask(repository) is True
    git(repository, "commit", "-qm", "second")
    assert ask(repository) is False
    (repository / "train.py").unlink()
    assert ask(repository) is True


def test_a_touched_file_is_not_changed_and_the_index_is_left_alone(repository: Path) -> None:
    os.utime(repository / "train.py", (1, 1))
    index = (repository / ".git/index").read_bytes()
    assert ask(repository) is False
    assert (repository / ".git/index").read_bytes() == index


def test_untracked_files_do_not_count(repository: Path) -> None:
    (repository / "new.csv").write_text("1\n")
    assert ask(repository) is False


def test_a_repository_in_use_is_asked_all_the_same(repository: Path) -> None:
    (repository / ".git/index.lock").touch()
    assert ask(repository) is False


def test_a_submodule_counts_for_the_commit_that_it_is_at(repository: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(repository), "sub")
    git(outer, "commit", "-qm", "first")
    (outer / "sub/train.py").write_text("changed\n")
    assert ask(outer) is False
    assert ask(outer / "sub") is True
    git(outer / "sub", "commit", "-qam", "second")
    assert ask(outer) is True


def test_outside_of_a_repository_nothing_is_known(tmp_path: Path) -> None:
    assert ask(tmp_path) is None
    assert ask(tmp_path / "missing") is None


def test_the_callers_git_variables_do_not_mislead(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert ask(repository) is False


def test_programs_that_the_config_names_are_not_run(repository: Path, tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    (repository / ".git/hook").write_text(f"#!/bin/sh\ntouch '{mark}'\nexit 1\n")
    (repository / ".git/hook").chmod(0o755)
    hook = str(repository / ".git/hook")
    (repository / ".gitattributes").write_text("*.py diff=evil\n")
    for name in ("core.fsmonitor", "diff.external", "diff.evil.textconv", "diff.evil.command", "core.pager"):
        git(repository, "config", name, hook)
    (repository / "train.py").write_text("changed\n")
    assert ask(repository) is True
    assert not mark.exists()


def test_without_git_nothing_is_known(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("", str(tmp_path)):
        monkeypatch.setenv("PATH", path)
        assert ask(repository) is None


def test_a_git_that_cannot_be_started_is_no_error(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = fake_git(tmp_path / "bin", "")
    (broken / "git").write_bytes(b"\x7fELF is no program")
    monkeypatch.setenv("PATH", str(broken))
    assert ask(repository) is None


def test_a_hanging_git_is_killed_with_its_children(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The shell stays and waits for its child: both must go.
    script = f"sleep 1000 &\necho $! > '{tmp_path}/child'\necho $$ > '{tmp_path}/pid'\nwait"
    monkeypatch.setenv("PATH", f"{fake_git(tmp_path / 'bin', script)}:{os.environ['PATH']}")
    probe = DirtyProbe(str(repository))
    probe.start()
    pid, child = read_pid(tmp_path / "pid"), read_pid(tmp_path / "child")
    assert probe.result(0.0) is None
    assert is_running(pid)
    probe.stop()
    assert probe.result(WAIT_S) is None
    wait_until_gone(child)
    # Reaped, not only dead: a zombie would still have its entry.
    assert not Path(f"/proc/{pid}").exists()


def test_git_is_killed_when_its_time_is_over(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"echo $$ > '{tmp_path}/pid'\nexec sleep 1000"
    monkeypatch.setenv("PATH", f"{fake_git(tmp_path / 'bin', script)}:{os.environ['PATH']}")
    probe = DirtyProbe(str(repository), timeout_s=0.5)
    probe.start()
    assert probe.result(WAIT_S) is None
    if (tmp_path / "pid").exists():
        assert not Path(f"/proc/{read_pid(tmp_path / 'pid')}").exists()


def test_a_hanging_git_does_not_hold_the_interpreter_up(repository: Path, tmp_path: Path) -> None:
    script = f"echo $$ > '{tmp_path}/pid'\nexec sleep 1000"
    path = f"{fake_git(tmp_path / 'bin', script)}:{os.environ['PATH']}"
    program = (
        "import sys, time, pathlib\n"
        "from localtrack.api.context import DirtyProbe\n"
        "DirtyProbe(sys.argv[1]).start()\n"
        "while not pathlib.Path(sys.argv[2]).exists(): time.sleep(0.01)\n"
    )
    arguments = [sys.executable, "-c", program, str(repository), str(tmp_path / "pid")]
    done = subprocess.run(
        arguments, env=os.environ | {"PATH": path}, timeout=60, check=True, capture_output=True, text=True
    )
    assert done.stderr == ""
    wait_until_gone(read_pid(tmp_path / "pid"))


def test_a_probe_that_is_stopped_before_git_runs_starts_none(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{fake_git(tmp_path / 'bin', f'touch {tmp_path}/ran')}:{os.environ['PATH']}")
    probe = DirtyProbe(str(repository))
    probe.stop()
    probe.start()
    assert probe.result(WAIT_S) is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_neither_waits_for_nor_kills_its_parents_git(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"echo $$ > '{tmp_path}/pid'\nexec sleep 1000"
    monkeypatch.setenv("PATH", f"{fake_git(tmp_path / 'bin', script)}:{os.environ['PATH']}")
    probe = DirtyProbe(str(repository))
    probe.start()
    pid = read_pid(tmp_path / "pid")
    child = os.fork()
    if child == 0:
        probe.stop()
        os._exit(0 if probe.is_orphan and probe.result(1000.0) is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert is_running(pid)
    assert not probe.is_orphan
    probe.stop()
    assert not Path(f"/proc/{pid}").exists()


def test_an_exit_status_that_somebody_else_took_is_unknown() -> None:
    child = start_child(["/bin/sh", "-c", "exit 0"], {})
    os.waitpid(child._pid, 0)  # type: ignore[attr-defined]
    assert child.wait(WAIT_S) == (-1, b"")
    child.kill()


def test_a_child_starts_with_signals_as_they_are_by_default() -> None:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        child = start_child(["/bin/sh", "-c", "kill -TERM $$; exit 0"], {})
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    assert child.wait(WAIT_S) == (-signal.SIGTERM, b"")
    child = start_child(["/bin/sh", "-c", "kill -PIPE $$; exit 0"], {})
    assert child.wait(WAIT_S) == (-signal.SIGPIPE, b"")


def test_more_output_than_a_pipe_holds_is_read() -> None:
    child = start_child(
        ["/bin/sh", "-c", "head -c 1000000 /dev/zero; echo error >&2; exit 3"], {"PATH": os.environ["PATH"]}
    )
    assert child.wait(WAIT_S) == (3, bytes(1_000_000))


def test_an_output_that_another_process_keeps_open_does_not_delay_the_end() -> None:
    child = start_child(["/bin/sh", "-c", "sleep 1000 & echo x; exit 0"], {"PATH": os.environ["PATH"]})
    group = child._pid  # type: ignore[attr-defined]
    try:
        assert child.wait(WAIT_S) == (0, b"x\n")
    finally:
        os.killpg(group, signal.SIGKILL)


def test_a_child_and_its_pipe_leave_no_descriptor_behind() -> None:
    before = len(os.listdir("/proc/self/fd"))
    start_child(["/bin/sh", "-c", "exit 0"], {}).wait(WAIT_S)
    with pytest.raises(OSError, match="missing"):
        start_child(["/missing/program"], {})
    assert len(os.listdir("/proc/self/fd")) == before
