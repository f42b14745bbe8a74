"""The fluent functions take what MLflow's take: the same names, in the same places, with the same defaults."""

from __future__ import annotations

import inspect
from typing import Any

import mlflow
import pytest

import localtrack
from localtrack import entities

# What MLflow's functions take and these do not, each with its reason.
LEFT_OUT = {
    "set_experiment": {"trace_location"},  # where traces go; localtrack keeps none
    "create_experiment": {"trace_location"},
}
# What these take beyond MLflow's.
ADDED = {"start_run": {"resume", "job", "ranks"}}
# Names that MLflow does not have at its top.
OURS = {
    *("LocaltrackError", "Store", "errors", "flush"),
    # Only the one of Databricks' runtime has these.
    *("delete_runs", "restore_runs"),
    # Questions that MLflow's users answer by hand.
    *("align_histories", "best_per_day", "compare", "group_runs", "metric_history", "sql"),
    *("runs_per_day", "runs_per_month"),
    # MLflow has these in mlflow.entities.
    *("Experiment", "Metric", "Param", "Run", "RunStatus", "RunTag", "ViewType"),
}

FUNCTIONS = [name for name in localtrack.__all__ if inspect.isfunction(getattr(localtrack, name)) and name not in OURS]


def test_every_other_name_is_one_of_mlflow() -> None:
    assert [name for name in localtrack.__all__ if name not in OURS and not hasattr(mlflow, name)] == []
    assert [name for name in OURS if hasattr(mlflow, name)] == []
    assert [name for name in entities.__all__ if not hasattr(mlflow.entities, name)] == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments_are_those_of_mlflow(name: str) -> None:
    theirs = describe(getattr(mlflow, name), LEFT_OUT.get(name, set()))
    ours = describe(getattr(localtrack, name), ADDED.get(name, set()))
    assert ours == theirs


@pytest.mark.parametrize("name", {**LEFT_OUT, **ADDED})
def test_accepted_differences_are_there(name: str) -> None:
    theirs, ours = (set(inspect.signature(getattr(library, name)).parameters) for library in (mlflow, localtrack))
    assert theirs - ours == LEFT_OUT.get(name, set())
    assert ours - theirs == ADDED.get(name, set())


def describe(function: Any, without: set[str]) -> list[tuple[str, Any, Any]]:
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters if p.name not in without]
