"""What each variable does, which name wins, and what a wrong value says."""

from __future__ import annotations

from pathlib import Path

import pytest

from localtrack.api import environment
from localtrack.errors import ErrorCode, InvalidInputError


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in environment.VARIABLES:
        for name in (variable.name, variable.twin):
            if name:
                monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "a store%41"
    folder.mkdir()
    (folder / "localtrack.json").write_text("{}")
    return folder


def test_nothing_set_gives_the_defaults() -> None:
    assert environment.tracking_uri() is None
    assert environment.experiment() == (None, None)
    assert environment.take_run_id() is None
    assert environment.run_name() is None
    assert environment.durability() == "process"
    assert environment.on_error() == "raise"
    assert environment.truncate_long_values() is True
    assert environment.run_context() == {}


@pytest.mark.parametrize("value", ["/nowhere", "localtrack:/x", "sqlite:///mlflow.db"])
def test_our_tracking_uri_counts_whatever_it_is(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("LOCALTRACK_TRACKING_URI", value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "localtrack:/other")
    assert environment.tracking_uri() == value


@pytest.mark.parametrize(
    "value",
    [
        "http://h:5000",
        "https://h",
        "sqlite:///mlflow.db",
        "postgresql://h/d",
        "databricks",
        "databricks-uc",
        "databricks://profile",
        "uc",
        "/nowhere",
        "mlruns",
        "file:///nowhere",
        "localtracker:/x",
        "s3://bucket/x",
    ],
)
def test_the_mlflow_uri_of_something_else_is_ignored(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
    assert environment.tracking_uri() is None


@pytest.mark.parametrize("value", ["localtrack:/x", "localtrack+s3://bucket/x", "LOCALTRACK:x", "localtrack:"])
def test_the_mlflow_uri_with_our_scheme_counts(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
    assert environment.tracking_uri() == value


def test_the_mlflow_uri_of_a_folder_counts_if_it_holds_a_store(
    monkeypatch: pytest.MonkeyPatch, store: Path, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = store.as_uri()
    for value in (str(store), store.name, uri, uri.replace("file://", "file:"), uri.replace("//", "//localhost", 1)):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
        assert environment.tracking_uri() == value
    (store / "localtrack.json").unlink()
    assert environment.tracking_uri() is None


def test_one_own_variable_leaves_both_of_mlflow_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "1")
    assert environment.experiment() == ("theirs", "1")
    monkeypatch.setenv("LOCALTRACK_EXPERIMENT_ID", "2")
    assert environment.experiment() == (None, "2")
    monkeypatch.setenv("LOCALTRACK_EXPERIMENT_NAME", "ours")
    assert environment.experiment() == ("ours", "2")


def test_a_run_id_is_taken_once_under_both_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "theirs")
    assert environment.take_run_id() == "theirs"
    assert environment.take_run_id() is None
    monkeypatch.setenv("MLFLOW_RUN_ID", "theirs")
    monkeypatch.setenv("LOCALTRACK_RUN_ID", "ours")
    assert environment.take_run_id() == "ours"
    assert environment.take_run_id() is None


def test_the_own_run_name_wins_and_empty_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_NAME", "theirs")
    monkeypatch.setenv("LOCALTRACK_RUN_NAME", "")
    assert environment.run_name() == "theirs"
    monkeypatch.setenv("LOCALTRACK_RUN_NAME", "ours")
    assert environment.run_name() == "ours"


@pytest.mark.parametrize(
    ("name", "value", "read", "expected"),
    [
        ("LOCALTRACK_DURABILITY", "call", environment.durability, "call"),
        ("LOCALTRACK_DURABILITY", "PROCESS", environment.durability, "process"),
        ("LOCALTRACK_ON_ERROR", "Warn", environment.on_error, "warn"),
        ("LOCALTRACK_ON_ERROR", "raise", environment.on_error, "raise"),
        ("LOCALTRACK_TRUNCATE_LONG_VALUES", "0", environment.truncate_long_values, False),
        ("MLFLOW_TRUNCATE_LONG_VALUES", "False", environment.truncate_long_values, False),
        ("MLFLOW_TRUNCATE_LONG_VALUES", "1", environment.truncate_long_values, True),
    ],
)
def test_a_choice_is_read_in_any_case(monkeypatch, name, value, read, expected) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv(name, value)
    assert read() == expected


def test_our_truncation_setting_wins_over_mlflows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRUNCATE_LONG_VALUES", "false")
    monkeypatch.setenv("LOCALTRACK_TRUNCATE_LONG_VALUES", "true")
    assert environment.truncate_long_values() is True


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("LOCALTRACK_DURABILITY", "always", environment.durability),
        ("LOCALTRACK_ON_ERROR", "ignore", environment.on_error),
        ("LOCALTRACK_TRUNCATE_LONG_VALUES", "yes", environment.truncate_long_values),
        ("MLFLOW_TRUNCATE_LONG_VALUES", "no", environment.truncate_long_values),
        ("MLFLOW_RUN_CONTEXT", "[1]", environment.run_context),
        ("LOCALTRACK_RUN_CONTEXT", "{", environment.run_context),
        ("MLFLOW_RUN_CONTEXT", "[" * 100_000, environment.run_context),
    ],
)
def test_a_wrong_value_names_the_variable(monkeypatch, name, value, read) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInputError, match=name) as caught:
        read()
    assert caught.value.code is ErrorCode.INVALID_SETTING
    assert len(str(caught.value)) < 300


def test_run_context_gives_text_as_mlflow_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_CONTEXT", '{"a": "x", "b": 1, "c": true}')
    assert environment.run_context() == {"a": "x", "b": "1", "c": "True"}
    monkeypatch.setenv("LOCALTRACK_RUN_CONTEXT", '{"d": "y"}')
    assert environment.run_context() == {"d": "y"}


def test_the_own_job_id_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("LOCALTRACK_JOB_ID", "sweep-3")
    assert environment.job_id() == "sweep-3"


def test_user_name_is_asked_in_the_order_of_getpass(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert environment.user_name() is None
    monkeypatch.setenv("USERNAME", "last")
    assert environment.user_name() == "last"
    monkeypatch.setenv("LOGNAME", "first")
    assert environment.user_name() == "first"


def test_programs_are_never_found_in_relative_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "git"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for path in (".", "", ":", "bin"):
        monkeypatch.setenv("PATH", path)
        assert environment.find_program("git") is None
    monkeypatch.setenv("PATH", f".:{tmp_path}")
    assert environment.find_program("git") == str(program)
    program.chmod(0o644)
    assert environment.find_program("git") is None


def test_git_gets_no_git_variable_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("KEPT", "1")
    environ = environment.git_environment()
    assert "GIT_DIR" not in environ
    assert environ["KEPT"] == "1"
    assert environ["GIT_TERMINAL_PROMPT"] == "0"


def test_every_variable_has_one_line_of_meaning() -> None:
    names = [variable.name for variable in environment.VARIABLES]
    assert len(names) == len(set(names))
    for variable in environment.VARIABLES:
        assert variable.name.startswith("LOCALTRACK_")
        assert variable.twin == "" or variable.twin == variable.name.replace("LOCALTRACK_", "MLFLOW_")
        assert variable.meaning.endswith(".")
        assert "\n" not in variable.meaning


def test_no_variable_is_read_that_is_not_in_the_table() -> None:
    import re

    source = Path(environment.__file__).read_text("utf-8")
    read = set(re.findall(r'"((?:LOCALTRACK|MLFLOW)_[A-Z_]+)"', source))
    listed = {name for variable in environment.VARIABLES for name in (variable.name, variable.twin) if name}
    assert read == listed


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("1KB", 1024), ("5 mb", 5 * 1024**2), ("2G", 2 * 1024**3), ("512MB", 512 * 1024**2)],
)
def test_search_memory_is_a_number_of_bytes(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    assert environment.search_memory_bytes() == 512 * 1024**2
    monkeypatch.setenv("LOCALTRACK_SEARCH_MEMORY", text)
    assert environment.search_memory_bytes() == size


@pytest.mark.parametrize("text", ["much", "-1", "1.5GB", "MB"])
def test_search_memory_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LOCALTRACK_SEARCH_MEMORY", text)
    with pytest.raises(InvalidInputError, match="LOCALTRACK_SEARCH_MEMORY"):
        environment.search_memory_bytes()


def test_the_cache_folder_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/cache")
    assert environment.cache_folder() == "/somewhere/cache/localtrack"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert environment.cache_folder() is None
    monkeypatch.setenv("LOCALTRACK_CACHE_DIR", "/other")
    assert environment.cache_folder() == "/other"
