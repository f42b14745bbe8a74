"""Each argument of each public function, given something of a wrong type: an error of ours that says so, or success."""

from __future__ import annotations

import inspect
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import localtrack
from localtrack.api.argument_types import explain_wrong_types, fits
from localtrack.errors import InvalidInputError, LocaltrackError

WRONG: dict[str, Any] = {"int": 5, "None": None, "list": [1], "object": object()}
WRONG_TOO: dict[str, Any] = {"float": 1.5, "bytes": b"x", "dict": {1: 2}}
NOT_CALLED = {
    # What ends the store or the run that all others are tried on, or is about the process.
    *("close", "leave", "forget_after_fork", "end", "detach", "set_tracking_uri", "autolog"),
    # Between the classes of the library.
    *("end_writer", "experiment_ids_of", "snapshot_runs", "require_logged_models", "require_tag", "log_linked"),
    *("add_model_metrics", "put_model_files", "let_go_of_deleted_models", "pull_from"),
}


class World:
    """A store with something of everything, and arguments that are right."""

    def __init__(self, folder: Path) -> None:
        self.store = localtrack.Store.open(folder / "store", on_error="raise")
        self.run = self.store.start_run("e", context=False)
        self.run.log_metric("m", 1.0)
        self.run.log_text("text", "a.txt")
        (folder / "d").mkdir()
        (folder / "d/f.txt").write_text("text")
        with localtrack.Store.open(folder / "other") as other:
            other.start_run("o", context=False).end()
        run_id, experiment_id = self.run.run_id, self.run.experiment_id
        model_id = self.store.create_logged_model(experiment_id, "net").model_id
        self.right: dict[str, Any] = {
            **{"run_id": run_id, "run_ids": [run_id], "runs": [run_id]},
            **{"experiment_id": experiment_id, "experiment_ids": [experiment_id], "experiment_name": "e"},
            **{"model_id": model_id, "model_ids": [model_id], "models": []},
            **{"key": "m", "metric": "m", "metrics": {}, "value": 1, "params": {}, "tags": {}, "datasets": []},
            **{"local_path": folder / "d/f.txt", "local_dir": folder / "d", "location": folder / "store"},
            **{"source": folder / "other", "to": folder / "other", "query": "SELECT 1", "name": "new"},
            **{"text": "t", "artifact_file": "z.txt", "dictionary": {}, "figure": None, "image": None, "data": {}},
            **{"status": "FAILED", "max_timestamp_millis": 0, "min_timestamp_millis": 0},
        }

    def functions(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        """Yield all that is public, by name."""
        for owner, thing in (("Store", self.store), ("ActiveRun", self.run)):
            for name, _ in inspect.getmembers(type(thing), callable):
                if not name.startswith("_") and name not in NOT_CALLED:
                    yield f"{owner}.{name}", getattr(thing, name)
        for name in localtrack.__all__:
            if inspect.isfunction(found := getattr(localtrack, name)) and name not in NOT_CALLED:
                yield name, found

    def calls(
        self, function: Callable[..., Any], values: dict[str, Any]
    ) -> Iterator[tuple[str, list[Any], dict[str, Any]]]:
        """Yield calls of a function, each with one argument that is wrong."""
        parameters = inspect.signature(function).parameters
        for wrong in parameters.values():
            for kind, value in values.items():
                args, named = [], {}
                for parameter in parameters.values():
                    if parameter.kind is parameter.VAR_POSITIONAL:
                        args = [value] if parameter is wrong else []
                    elif parameter.kind is not parameter.VAR_KEYWORD:
                        if parameter is wrong:
                            named[parameter.name] = value
                        elif parameter.default is parameter.empty:
                            named[parameter.name] = self.right[parameter.name]
                yield f"{wrong.name}={kind}", args, named


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.chdir(tmp_path)
    found = World(tmp_path)
    localtrack.set_tracking_uri(tmp_path / "store")
    yield found
    while localtrack.active_run() is not None:
        localtrack.end_run()
    localtrack.set_tracking_uri(None)
    found.store.close()


def try_call(function: Callable[..., Any], args: list[Any], named: dict[str, Any]) -> str:
    """Return what is wrong with how a call ends, "" if nothing is."""
    while localtrack.active_run() is not None:
        localtrack.end_run()
    try:
        result = function(*args, **named)
        if inspect.isgenerator(result):
            list(result)
        elif isinstance(result, localtrack.ActiveRun):
            result.end()
    except LocaltrackError:
        return ""
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:
            return ""  # Python's own, about the call as a whole
        return f"{error!r} at {traceback.extract_tb(error.__traceback__)[-1]}"
    except Exception as error:
        return f"{error!r} at {traceback.extract_tb(error.__traceback__)[-1]}"
    return ""


@pytest.mark.long
def test_whatever_is_of_a_wrong_type_is_told_as_an_error_of_ours(world: World, long_form: bool) -> None:
    values = WRONG | WRONG_TOO if long_form else WRONG
    wrong: list[str] = []
    count = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some calls succeed, and warn
        for name, function in world.functions():
            for what, args, named in world.calls(function, values):
                problem = try_call(function, args, named)
                count += 1
                if problem:
                    wrong.append(f"{name}({what}): {problem}")
    assert wrong == []
    assert count > 400 * len(values)


def test_the_sentence_names_the_argument_and_what_it_takes(world: World) -> None:
    with pytest.raises(InvalidInputError) as caught:
        world.store.browse_experiments(5)  # type: ignore[arg-type]
    assert str(caught.value) == "path=5 is nothing that browse_experiments takes. It takes str."
    assert isinstance(caught.value.__cause__, AttributeError)
    with pytest.raises(InvalidInputError, match=r"runs=\[1\] is nothing that compare takes"):
        world.store.compare([1])  # type: ignore[list-item]
    with pytest.raises(InvalidInputError, match="metrics=5 is nothing that log_metrics takes"):
        world.run.log_metrics(5)  # type: ignore[arg-type]


def test_an_error_of_a_call_whose_arguments_are_right_goes_on_as_it_is() -> None:
    @explain_wrong_types
    def broken(text: str, numbers: list[int] | None = None) -> None:
        raise AttributeError(text)

    with pytest.raises(AttributeError, match="a mistake"):
        broken("a mistake", [1])
    with pytest.raises(InvalidInputError, match=r"numbers=\['a'\] is nothing that broken takes"):
        broken("a mistake", ["a"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="missing"):
        broken()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        ("str", ["", "a"], [1, None, b"a", ["a"]]),
        ("int | None", [1, True, None], ["1", 1.5, [1]]),
        ("float", [1, 1.5], ["1", None]),
        ("str | os.PathLike[str]", ["a", Path("a")], [1, None, b"a"]),
        ("Iterable[str | Run]", [["a"], (), iter([1])], ["a", [1], 5, b"a"]),
        ("Mapping[str, int | None]", [{}, {"a": None}], [{1: 1}, {"a": "b"}, [], 5]),
        ("Callable[[int, int], None] | None", [print, None], [5, "a"]),
        ("Literal['a', 'b'] | LoggedModelStatus", ["a"], [5, None]),
        ("Any", [None, 5, "a", object()], []),
    ],
)
def test_a_value_is_held_against_an_annotation(annotation: str, right: list[Any], wrong: list[Any]) -> None:
    assert [value for value in right if not fits(value, annotation)] == []
    assert [value for value in wrong if fits(value, annotation)] == []
