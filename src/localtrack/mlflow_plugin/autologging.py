"""MLflow's automatic logging into the store of the fluent functions: the work behind `localtrack.autolog`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

import mlflow

from localtrack.api import active
from localtrack.api.run import ActiveRun
from localtrack.api.store import Store
from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.mlflow_plugin import host
from localtrack.mlflow_plugin.opened import open_store

_UNTOUCHED: Final[Mapping[str, Any]] = {"log_traces": True, "extra_tags": None, "exclude_flavors": None}
"""Options that some version does not have, and what they are where nobody has set them."""


def turn_on(store: Store, *, experiment_id: str, options: Mapping[str, Any]) -> None:
    """Turn MLflow's automatic logging on, with a store as its target.

    Args:
        store: The store.
        experiment_id: Where runs go that MLflow begins itself.
        options: The arguments of `mlflow.autolog`.

    Raises:
        InvalidInputError: This version of MLflow does not have an option that is not at its default.
    """
    known = inspect.signature(mlflow.autolog).parameters
    for name, value in options.items():
        if name not in known and value is not _UNTOUCHED.get(name):
            raise InvalidInputError(
                f"MLflow {mlflow.__version__} does not know {name!r} of autolog().",
                code=ErrorCode.INVALID_SETTING,
                hint="Leave it out, or install a newer MLflow.",
            )
    mlflow.set_tracking_uri(tracking_uri_of(store))
    mlflow.set_experiment(experiment_id=experiment_id)
    mlflow.autolog(**{name: value for name, value in options.items() if name in known})
    active.watch(show_to_mlflow)


def tracking_uri_of(store: Store) -> str:
    """Return the tracking URI under which MLflow finds a store."""
    if not store.storage.is_local:
        return f"localtrack+{store.uri}"
    return PurePosixPath(store.uri).as_uri().replace("file:", "localtrack:", 1)


def show_to_mlflow(run: ActiveRun, store: Store) -> None:
    """Make a run of the fluent functions MLflow's active one too, until it ends."""
    uri = tracking_uri_of(store)
    if mlflow.get_tracking_uri() != uri:
        return  # the program has sent MLflow elsewhere since
    stack = host.active_run_stack()
    shown = mlflow.ActiveRun(mlflow.MlflowClient(uri).get_run(run.run_id))
    stack.append(shown)

    def take_off() -> None:
        if shown in stack:
            stack.remove(shown)
        open_store(uri).writers.let_go(run.run_id)

    run.call_at_end(take_off)
