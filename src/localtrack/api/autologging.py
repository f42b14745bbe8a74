"""Automatic logging: MLflow's, into the store of the fluent functions."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Final

from localtrack.api.fluent_experiments import active_experiment_id
from localtrack.api.fluent_store import active_store
from localtrack.errors import MissingPackageError

# By its name, as it lies above this layer and needs MLflow.
_PLUGIN: Final = "localtrack.mlflow_plugin.autologging"


def autolog(
    log_input_examples: bool = False,
    log_model_signatures: bool = True,
    log_models: bool = True,
    log_datasets: bool = True,
    log_traces: bool = True,
    disable: bool = False,
    exclusive: bool = False,
    disable_for_unsupported_versions: bool = False,
    silent: bool = False,
    extra_tags: dict[str, str] | None = None,
    exclude_flavors: list[str] | None = None,
) -> None:
    """Let training functions of scikit-learn, XGBoost, PyTorch Lightning and others log by themselves.

    MLflow does the logging, into the store and the experiment of the fluent functions: into the active run, or, where
    there is none, into a run of its own.

    Args:
        log_input_examples: Log the first rows of the training data with models.
        log_model_signatures: Log what models take and give.
        log_models: Log trained models.
        log_datasets: Log which data sets were read.
        log_traces: Has no effect: a store keeps no traces.
        disable: Turn it off.
        exclusive: Do not log into runs that the program began itself.
        disable_for_unsupported_versions: Leave out libraries in versions that MLflow was not tested with.
        silent: Print no warnings.
        extra_tags: Tags of the runs that are made.
        exclude_flavors: Libraries to leave out.

    Raises:
        MissingPackageError: MLflow is not installed.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise MissingPackageError.of("autolog()", "MLflow", extra="mlflow")
    store = active_store()
    options: dict[str, Any] = {
        "log_input_examples": log_input_examples,
        "log_model_signatures": log_model_signatures,
        "log_models": log_models,
        "log_datasets": log_datasets,
        "log_traces": log_traces,
        "disable": disable,
        "exclusive": exclusive,
        "disable_for_unsupported_versions": disable_for_unsupported_versions,
        "silent": silent,
        "extra_tags": extra_tags,
        "exclude_flavors": exclude_flavors,
    }
    plugin = importlib.import_module(_PLUGIN)
    plugin.turn_on(store, experiment_id=active_experiment_id(store), options=options)
