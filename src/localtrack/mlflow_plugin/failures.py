"""The one place where localtrack's errors become MLflow's."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from mlflow.exceptions import MlflowException

from localtrack.errors import ErrorCode, LocaltrackError
from localtrack.mlflow_plugin.host import refusal

C = TypeVar("C", bound=type)

# MLflow's stores call these a wrong argument; as errors of localtrack they are about the state of things.
_OTHER_CODES = {
    ErrorCode.RUN_DELETED: "INVALID_PARAMETER_VALUE",
    ErrorCode.EXPERIMENT_DELETED: "INVALID_PARAMETER_VALUE",
}


def to_mlflow(error: LocaltrackError) -> MlflowException:
    """Return MLflow's exception for an error of localtrack: same category, same text."""
    return refusal(str(error), _OTHER_CODES.get(error.code, error.error_code))


def run_not_found(run_id: object) -> MlflowException:
    """Return what MLflow's stores raise for a run that is not there; clients look at the text."""
    return refusal(f"Run with id={run_id} not found", "RESOURCE_DOES_NOT_EXIST")


def experiment_not_found(experiment_id: object) -> MlflowException:
    """Return what MLflow's stores raise for an experiment that is not there."""
    return refusal(f"No Experiment with id={experiment_id} exists", "RESOURCE_DOES_NOT_EXIST")


def model_not_found(model_id: object) -> MlflowException:
    """Return what MLflow's stores raise for a logged model that is not there."""
    return refusal(f"Logged model with ID '{model_id}' not found.", "RESOURCE_DOES_NOT_EXIST")


def not_active(what: str, identity: str, stage: str = "deleted") -> MlflowException:
    """Return what MLflow's stores raise for writing to a run or experiment that is deleted."""
    return refusal(
        f"The {what} {identity} must be in the 'active' state. Current state is {stage}.", "INVALID_PARAMETER_VALUE"
    )


def raises_mlflow_errors(kind: C) -> C:
    """Let every method that a class defines raise MLflow's exceptions for localtrack's."""
    for name, member in list(vars(kind).items()):
        if inspect.isfunction(member) and not inspect.iscoroutinefunction(member):
            setattr(kind, name, _translating(member))
    return kind


def _translating(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except LocaltrackError as error:
            raise to_mlflow(error) from error

    return call
