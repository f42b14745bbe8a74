"""An error is one sentence on stderr and an exit code; which store is used."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.cli.conftest import Invoke, Place

from localtrack import errors
from localtrack.api.store import Store
from localtrack.errors import LocaltrackError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.LocaltrackError)]


def raise_from_search(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Store, "search_runs", fail)


@pytest.mark.parametrize("kind", KINDS)
def test_each_error_ends_with_its_exit_code(
    kind: type[LocaltrackError], first_place: Place, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_from_search(monkeypatch, kind("It went \x1b[31mwrong.", hint="Do better."))
    answer = invoke("runs", "--store", first_place.path)
    assert answer.exit_code == kind.exit_code
    assert answer.stdout == ""
    assert answer.stderr == "Error: It went \\x1b[31mwrong. Do better.\n"


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["runs", "--debug"], {}),
        (["--debug", "runs"], {}),
        (["runs"], {"LOCALTRACK_DEBUG": "1"}),
    ],
)
def test_debug_shows_the_traceback(
    arguments: list[str], env: dict[str, str], first_place: Place, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_from_search(monkeypatch, errors.LockedError("It is locked."))
    answer = invoke(*arguments, "--store", first_place.path, env=env)
    assert answer.exit_code == errors.LockedError.exit_code
    assert answer.stderr.startswith("Traceback (most recent call last):\n")
    assert answer.stderr.endswith("\nError: It is locked.\n")


def test_debug_can_be_set_to_no(first_place: Place, invoke: Invoke) -> None:
    answer = invoke("show", "ffff", "--store", first_place.path, env={"LOCALTRACK_DEBUG": "false"})
    assert answer.stderr.startswith("Error: ")


def test_a_mistake_in_localtrack_is_a_sentence_too(
    first_place: Place, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_from_search(monkeypatch, ZeroDivisionError("division by zero"))
    answer = invoke("runs", "--store", first_place.path)
    assert answer.exit_code == 1
    assert answer.stderr == (
        "Error: localtrack failed with ZeroDivisionError: division by zero. This is a bug; --debug shows where.\n"
    )
    assert "raise error" in invoke("runs", "--debug", "--store", first_place.path).stderr


def test_an_interrupt_and_a_closed_pipe_have_the_codes_of_a_shell(
    first_place: Place, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_from_search(monkeypatch, KeyboardInterrupt())
    answer = invoke("runs", "--store", first_place.path)
    assert (answer.exit_code, answer.stdout, answer.stderr) == (130, "", "Error: Interrupted.\n")
    raise_from_search(monkeypatch, BrokenPipeError())
    answer = invoke("runs", "--store", first_place.path)
    assert (answer.exit_code, answer.stdout, answer.stderr) == (141, "", "")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["runs", "metrics.loss <"], 2, "The filter cannot be read"),
        (["runs", "-c", "loss"], 2, "'loss' is not a column"),
        (["runs", "-e", "nobody"], 3, "There is no experiment named 'nobody'"),
        (["runs", "-o", "x y z"], 2, ""),
        (["runs", "-n", "0"], 2, "--max"),
        (["runs", "--all", "--deleted"], 2, "not both"),
        (["experiments", "--all", "--deleted"], 2, "not both"),
        (["show", "ffff"], 3, "whose id is, or begins with, 'ffff'"),
        (["show"], 2, "RUN_ID"),
        (["delete"], 2, "RUN_ID"),
        (["nothing"], 2, "No such command"),
    ],
)
def test_what_is_wrong_is_said(
    first_place: Place, invoke: Invoke, arguments: list[str], exit_code: int, words: str
) -> None:
    answer = invoke("--store", first_place.path, *arguments)
    assert answer.exit_code == exit_code
    assert answer.stdout == ""
    assert words in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("command", ["runs", "experiments", "seal"])
def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, invoke: Invoke, command: str) -> None:
    answer = invoke(command, "--store", tmp_path / "nothing")
    assert answer.exit_code == 3
    assert "localtrack init" in answer.stderr
    assert not (tmp_path / "nothing").exists()
    assert invoke(command).exit_code == 3


def test_a_store_of_a_newer_format_is_refused(place: Place, invoke: Invoke) -> None:
    marker = place.path / "localtrack.json"
    text = marker.read_text("utf-8")
    marker.write_text(text.replace('"format":1', '"format":99').replace('"format": 1', '"format": 99'), "utf-8")
    assert marker.read_text("utf-8") != text
    answer = invoke("runs", "--store", place.path)
    assert answer.exit_code == 10
    assert "99" in answer.stderr


def test_which_store_is_used(
    first_place: Place, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    Store.open(other).close()

    def store_of(*arguments: object, env: dict[str, str] | None = None) -> str:
        return str(invoke(*arguments, "--json", env=env).document["store"])

    first = str(first_place.path)
    # After the command's name, before it, our variable, MLflow's where it names a store, the nearest upward, ./ltruns.
    assert store_of("--store", other, "env", "--store", first) == first
    assert store_of("--store", first, "env", env={"LOCALTRACK_TRACKING_URI": str(other)}) == first
    assert store_of("env", env={"LOCALTRACK_TRACKING_URI": first, "MLFLOW_TRACKING_URI": str(other)}) == first
    assert store_of("env", env={"MLFLOW_TRACKING_URI": first}) == first
    assert store_of("env", env={"MLFLOW_TRACKING_URI": "http://host"}) == str(Path.cwd() / "ltruns")
    (other / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(other / "deep" / "er")
    assert store_of("env") == str(other)
    assert store_of("env", env={"LOCALTRACK_TRACKING_URI": first}) == first


def test_json_may_stand_before_the_command(first_place: Place, invoke: Invoke) -> None:
    answer = invoke("--json", "--store", first_place.path, "experiments")
    assert {document["name"] for document in answer.documents} == {"Default", "team/a", "other"}
