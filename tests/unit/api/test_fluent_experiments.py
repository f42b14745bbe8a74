"""The experiment of new runs, where it is not as in MLflow or MLflow cannot be asked. The rest: tests/conformance."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest

import localtrack
from localtrack.api import fluent_experiments
from localtrack.errors import ErrorCode, InvalidInputError, LocaltrackError, NotFoundError, StateError


def experiment_of_a_new_run() -> str:
    with localtrack.start_run() as run:
        return localtrack.get_experiment(run.experiment_id).name


def in_notebook(monkeypatch: pytest.MonkeyPatch, path: object) -> None:
    shell = types.SimpleNamespace(kernel=object(), user_ns={"__vsc_ipynb_file__": path})
    module = types.ModuleType("IPython")
    module.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)


def test_a_notebook_has_its_own_experiment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_notebook(monkeypatch, "/home/ada/churn study.ipynb")
    assert experiment_of_a_new_run() == "churn study"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "by environment")
    assert experiment_of_a_new_run() == "by environment"
    localtrack.set_experiment("set")
    assert experiment_of_a_new_run() == "set"


@pytest.mark.parametrize("path", [None, "", "a console", 7])
def test_a_notebook_without_a_name_uses_default(folder: Path, monkeypatch: pytest.MonkeyPatch, path: object) -> None:
    in_notebook(monkeypatch, path)
    assert experiment_of_a_new_run() == "Default"


def test_a_workspace_notebook_has_the_experiment_of_its_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = types.SimpleNamespace(isInJob=False, isInNotebook=True, notebookPath="/Users/ada/churn", notebookId="5")
    module = types.ModuleType("dbruntime.databricks_repl_context")
    module.get_context = lambda: context  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dbruntime.databricks_repl_context", module)
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.0")
    assert experiment_of_a_new_run() == "/Users/ada/churn"


def test_our_variable_wins_over_both_of_mlflow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "123")
    monkeypatch.setenv("LOCALTRACK_EXPERIMENT_NAME", "ours")
    assert experiment_of_a_new_run() == "ours"


def test_a_wrong_variable_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALTRACK_EXPERIMENT_ID", "123")
    with pytest.raises(InvalidInputError, match="123") as caught:
        localtrack.start_run()
    assert caught.value.code is ErrorCode.INVALID_SETTING
    assert localtrack.active_run() is None


def test_a_deleted_experiment_of_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    localtrack.delete_experiment(localtrack.create_experiment("gone"))
    monkeypatch.setenv("LOCALTRACK_EXPERIMENT_NAME", "gone")
    with pytest.raises(StateError, match="gone"):
        localtrack.start_run()


def test_a_refused_choice_leaves_the_one_before(folder: Path) -> None:
    localtrack.set_experiment("kept")
    gone = localtrack.create_experiment("gone")
    localtrack.delete_experiment(gone)
    wrong = [{}, {"experiment_name": "a", "experiment_id": "0"}, {"experiment_name": "gone"}, {"experiment_id": gone}]
    wrong += [{"experiment_id": "99"}, {"experiment_name": ""}]
    for arguments in wrong:
        with pytest.raises(LocaltrackError):
            localtrack.set_experiment(**arguments)
    assert experiment_of_a_new_run() == "kept"
    assert os.environ["LOCALTRACK_EXPERIMENT_ID"] == localtrack.get_experiment_by_name("kept").experiment_id


def test_an_artifact_location_is_refused_before_anything_is_made(folder: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        localtrack.create_experiment("a", artifact_location="/elsewhere")
    assert caught.value.code is ErrorCode.UNSUPPORTED
    assert localtrack.get_experiment_by_name("a") is None
    assert localtrack.create_experiment("a", None, {"k": 1})
    assert localtrack.get_experiment_by_name("a").tags == {"k": "1"}


def test_tags_go_to_the_active_experiment(folder: Path) -> None:
    localtrack.set_experiment("a")
    localtrack.set_experiment_tag("k", 1)
    localtrack.set_experiment_tags({"l": 2, "m": 3})
    localtrack.delete_experiment_tag("l")
    assert localtrack.get_experiment_by_name("a").tags == {"k": "1", "m": "3"}
    with pytest.raises(NotFoundError):
        localtrack.delete_experiment_tag("l")


@pytest.mark.parametrize(("given", "asked"), [(5, 5), (50_000, 50_000), (50_001, None), (None, None), (0, 0), (-1, -1)])
def test_more_than_a_page_is_cut_from_all(given: int | None, asked: int | None) -> None:
    assert fluent_experiments.page_size(given) == asked


def test_search_experiments_is_cut(folder: Path) -> None:
    for name in "abc":
        localtrack.create_experiment(name)
    assert [e.name for e in localtrack.search_experiments(order_by=["name"], max_results=2)] == ["Default", "a"]
    assert len(localtrack.search_experiments(max_results=60_000)) == 4
    with pytest.raises(InvalidInputError):
        localtrack.search_experiments(max_results=0)
