"""What a process captures about itself, as a script, a module, code, a notebook, a job; and that nothing stops it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack.api.context import capture, capture_context, dirty_tags, providers

SCRIPT = """
import json, os, sys
from localtrack.api.context import capture_context, dirty_tags
tags = capture_context()
print(json.dumps({"tags": tags, "dirty": dirty_tags(30.0), "again": capture_context() == tags}))
"""
LOADED = """
import sys
before = set(sys.modules)
from localtrack.api import environment, run_names
from localtrack.api.context import capture_context
tags = capture_context()
slow = {"subprocess", "logging", "json", "socket", "platform", "getpass", "random", "shlex", "urllib.parse"}
print(sorted(slow & (set(sys.modules) - before)), "mlflow.source.git.commit" in tags)
"""


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def run(*arguments: str, cwd: Path, python: str = sys.executable, **variables: str) -> str:
    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(capture.__file__))))
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([source, *sys.path]), "LOGNAME": "me"} | variables
    done = subprocess.run([python, *arguments], cwd=cwd, env=environ, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "train.py").write_text(SCRIPT)
    git(folder, "add", "train.py")
    git(folder, "commit", "-qm", "first")
    git(folder, "remote", "add", "origin", "https://me:tok@example.org/r.git")
    return folder


@pytest.fixture
def uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    for cached in (capture._process_tags, capture._checkout_at_start):
        cached.cache_clear()
    monkeypatch.setattr(capture, "_probes", {})


def test_a_script_in_a_repository(repository: Path, tmp_path: Path) -> None:
    script = str(repository / "train.py")
    got = json.loads(run(script, "--token", "hidden", "--lr", "0 1", cwd=tmp_path))
    tags = got["tags"]
    assert tags.pop("localtrack.command") == f"{sys.executable} {script} --token *** --lr '0 1'"
    assert tags.pop("localtrack.python") == ".".join(map(str, sys.version_info[:3]))
    assert tags.pop("localtrack.host") == os.uname().nodename
    tags.pop("localtrack.job", None)
    assert tags == {
        "mlflow.user": "me",
        "mlflow.source.name": script,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git(repository, "rev-parse", "HEAD"),
        "mlflow.source.git.branch": "main",
        "mlflow.source.git.repoURL": "https://example.org/r.git",
    }
    assert got["dirty"] == {"mlflow.source.git.dirty": "false"}
    assert got["again"] is True


def test_a_changed_script_is_dirty(repository: Path) -> None:
    (repository / "train.py").write_text(SCRIPT + "\n")
    assert json.loads(run("train.py", cwd=repository))["dirty"] == {"mlflow.source.git.dirty": "true"}


def test_the_folder_of_the_script_counts_and_not_the_current_one(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(SCRIPT)
    got = json.loads(run(str(tmp_path / "other.py"), cwd=repository))
    assert "mlflow.source.git.commit" not in got["tags"]
    assert got["dirty"] == {}


def test_code_on_the_command_line_is_in_no_repository_and_not_shown(repository: Path) -> None:
    tags = json.loads(run("-c", SCRIPT, cwd=repository))["tags"]
    assert tags["mlflow.source.name"] == "-c"
    assert "mlflow.source.git.commit" not in tags
    assert tags["localtrack.command"] == f"{sys.executable} -c ..."


def test_a_module_has_the_path_of_its_file(repository: Path) -> None:
    tags = json.loads(run("-m", "train", cwd=repository))["tags"]
    assert tags["mlflow.source.name"] == str(repository / "train.py")
    assert "mlflow.source.git.commit" in tags


def test_a_tool_of_an_environment_inside_of_the_repository_is_no_part_of_it(repository: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", str(repository / ".venv")], check=True)
    python = str(repository / ".venv/bin/python")
    tool = repository / ".venv/bin/tool"
    tool.write_text(SCRIPT)
    assert "mlflow.source.git.commit" not in json.loads(run(str(tool), cwd=repository, python=python))["tags"]
    assert "mlflow.source.git.commit" in json.loads(run("train.py", cwd=repository, python=python))["tags"]


def test_nothing_slow_is_imported(repository: Path) -> None:
    (repository / "loaded.py").write_text(LOADED)
    assert run("loaded.py", cwd=repository) == "[] True\n"


def test_without_git_only_the_dirty_flag_is_missing(repository: Path) -> None:
    got = json.loads(run("train.py", cwd=repository, PATH=""))
    assert got["tags"]["mlflow.source.git.commit"] == git(repository, "rev-parse", "HEAD")
    assert got["dirty"] == {}


def test_run_context_wins_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_CONTEXT", '{"mlflow.user": "robot", "team": "a", "empty": ""}')
    tags = capture_context()
    assert tags["mlflow.user"] == "robot"
    assert tags["team"] == "a"
    assert "empty" not in tags


def test_the_batch_job_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALTRACK_JOB_ID", "j1")
    assert capture_context()["localtrack.job"] == "j1"


@pytest.mark.usefixtures("uncached")
@pytest.mark.parametrize(
    ("broken", "missing"),
    [
        ("localtrack.api.context.providers._user", "mlflow.user"),
        ("localtrack.api.context.providers.repository.find_repository", "mlflow.source.git.commit"),
        ("localtrack.api.environment.job_id", "localtrack.job"),
    ],
)
def test_a_provider_that_fails_costs_its_own_tags_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str, missing: str
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(broken, fail)
    monkeypatch.setattr(sys, "argv", [__file__])
    with caplog.at_level(logging.DEBUG, "localtrack"):
        tags = capture_context()
    assert missing not in tags
    assert tags["mlflow.source.name"] == __file__
    assert dirty_tags() == {} or missing != "mlflow.source.git.commit"
    assert "broken on purpose" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


def test_a_wrong_run_context_costs_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_CONTEXT", "{")
    with caplog.at_level(logging.DEBUG, "localtrack"):
        assert "mlflow.user" in capture_context()
    assert "MLFLOW_RUN_CONTEXT" in caplog.text


@pytest.mark.parametrize("arguments", [None, [], [""], ["\udcff.py"], ["x" * 20_000]])
def test_values_can_be_written_whatever_the_arguments(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str] | None
) -> None:
    if arguments is None:
        monkeypatch.delattr(sys, "argv")
    else:
        monkeypatch.setattr(sys, "argv", arguments)
    name = capture_context()["mlflow.source.name"]
    name.encode("utf-8")
    assert 0 < len(name) <= providers.MAX_VALUE_LENGTH
    if not arguments or arguments == [""]:
        assert name == "<console>"


@pytest.mark.usefixtures("uncached")
def test_a_user_without_a_name_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert providers.process_tags()["mlflow.user"] == pwd.getpwuid(os.getuid()).pw_name

    def no_entry(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    assert providers.process_tags()["mlflow.user"] == "unknown"


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, repository: Path) -> types.SimpleNamespace:
    """A notebook kernel that runs in the repository."""
    shell = types.SimpleNamespace(kernel=object(), user_ns={})
    module = types.ModuleType("IPython")
    module.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.chdir(repository)
    for name in ("JPY_SESSION_NAME", "IPYNB_FILE", "__vsc_ipynb_file__"):
        monkeypatch.delenv(name, raising=False)
    return shell


def test_a_notebook_by_its_session(kernel: object, monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/me/study.ipynb")
    tags = capture_context()
    assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == ("study.ipynb", "NOTEBOOK")
    assert tags["mlflow.source.git.commit"] == git(repository, "rev-parse", "HEAD")


def test_a_notebook_in_vs_code(kernel: types.SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").touch()
    kernel.user_ns["__vsc_ipynb_file__"] = str(tmp_path / "a.ipynb")
    tags = capture_context()
    assert tags["mlflow.source.name"] == "a.ipynb"
    assert "mlflow.source.git.commit" not in tags


@pytest.mark.parametrize("session", ["", "RTC:json:notebook:12-34", "console-1-2"])
def test_a_notebook_without_a_name(kernel: object, monkeypatch: pytest.MonkeyPatch, session: str) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", session)
    tags = capture_context()
    assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == ("<notebook>", "NOTEBOOK")


def test_a_commit_made_while_a_notebook_lives_is_seen(kernel: object, repository: Path) -> None:
    first = capture_context()["mlflow.source.git.commit"]
    assert dirty_tags(30.0) == {"mlflow.source.git.dirty": "false"}
    (repository / "train.py").write_text("changed\n")
    git(repository, "commit", "-qam", "second")
    (repository / "train.py").write_text("changed again\n")
    assert capture_context()["mlflow.source.git.commit"] != first
    assert dirty_tags(30.0) == {"mlflow.source.git.dirty": "true"}


def test_ipython_on_a_terminal_is_no_notebook(kernel: types.SimpleNamespace) -> None:
    del kernel.kernel
    assert capture_context()["mlflow.source.type"] == "LOCAL"


@pytest.fixture
def databricks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def set_context(**attributes: object) -> None:
        module = types.ModuleType("dbruntime.databricks_repl_context")
        module.get_context = lambda: types.SimpleNamespace(**attributes)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")

    return set_context


def test_a_databricks_notebook_and_a_job(databricks: Callable[..., None]) -> None:
    databricks(isInNotebook=True, isInJob=False, notebookPath="/Users/me/study", notebookId=12)
    tags = capture_context()
    assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == ("/Users/me/study", "NOTEBOOK")
    assert tags["mlflow.databricks.notebookID"] == "12"
    databricks(isInNotebook=True, isInJob=True, jobId="3", idInJob="4")
    tags = capture_context()
    assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == ("jobs/3/run/4", "JOB")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_captures_the_same_and_has_a_probe_of_its_own(kernel: object) -> None:
    tags = capture_context()
    child = os.fork()
    if child == 0:
        same = capture_context() == tags and dirty_tags(30.0) == {"mlflow.source.git.dirty": "false"}
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
