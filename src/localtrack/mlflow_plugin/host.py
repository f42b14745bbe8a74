"""Everything that the plugin takes from MLflow's private modules, in one place, with what differs between its versions.

What MLflow documents (`mlflow.entities`, `mlflow.exceptions`, the fluent functions) is imported where it is used.
"""

from __future__ import annotations

import builtins
import inspect
from typing import Any, Final

import mlflow.exceptions
from mlflow.entities import RunInfo, _DatasetSummary
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode as _ErrorCode
from mlflow.store.artifact.artifact_repo import ArtifactRepository, verify_artifact_path
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry.abstract_store import AbstractStore as AbstractRegistry
from mlflow.store.tracking import SEARCH_MAX_RESULTS_DEFAULT, SEARCH_MAX_RESULTS_THRESHOLD
from mlflow.store.tracking.abstract_store import AbstractStore
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_MODELS, MLFLOW_RUN_NAME
from mlflow.utils.name_utils import _generate_random_name as random_run_name
from mlflow.utils.search_utils import SearchUtils
from mlflow.utils.uri import append_to_uri_path, resolve_uri_if_local
from mlflow.utils.validation import _validate_batch_log_data as validate_batch
from mlflow.utils.validation import _validate_batch_log_limits as validate_batch_limits
from mlflow.utils.validation import _validate_dataset_inputs as validate_dataset_inputs
from mlflow.utils.validation import _validate_experiment_artifact_location_length as validate_location_length
from mlflow.utils.validation import _validate_experiment_name as validate_experiment_name
from mlflow.utils.validation import _validate_experiment_tag as validate_experiment_tag
from mlflow.utils.validation import _validate_logged_model_name as validate_logged_model_name
from mlflow.utils.validation import _validate_metric as validate_metric
from mlflow.utils.validation import _validate_param as validate_param
from mlflow.utils.validation import _validate_param_keys_unique as validate_param_keys_unique
from mlflow.utils.validation import _validate_run_id as validate_run_id
from mlflow.utils.validation import _validate_tag as validate_tag

try:
    from mlflow.entities.metric import MetricWithRunId
except ImportError:
    MetricWithRunId = None


def error_code(name: str) -> int:
    """Return MLflow's number of an error code."""
    return int(_ErrorCode.Value(name))


def refusal(message: str, code: str) -> MlflowException:
    """Return MLflow's exception for a message and the name of an error code."""
    return MlflowException(message, error_code=error_code(code))


# MLflow's server answers the one with 501 (older versions do not have it), its tracing passes over the other.
_NotTracked: Any = type(
    "NotTracked",
    (getattr(mlflow.exceptions, "MlflowNotImplementedException", MlflowException), builtins.NotImplementedError),
    {"__init__": lambda self, message: MlflowException.__init__(self, message, error_code("NOT_IMPLEMENTED"))},
)


def not_tracked(message: str) -> MlflowException:
    """Return the refusal of something that a localtrack store does not keep: HTTP status 501."""
    return _NotTracked(message)


_RUN_INFO_ARGUMENTS: Final = frozenset(inspect.signature(RunInfo.__init__).parameters)


def make_run_info(**fields: Any) -> RunInfo:
    """Return a `RunInfo`; older versions want the id a second time."""
    if "run_uuid" in _RUN_INFO_ARGUMENTS:
        fields["run_uuid"] = fields["run_id"]
    return RunInfo(**fields)


def make_dataset_summary(experiment_id: str, name: str, digest: str, context: str | None) -> Any:
    """Return what MLflow's pages list of a data set."""
    return _DatasetSummary(experiment_id, name, digest, context)


def active_run_stack() -> list[Any]:
    """Return the runs that are active in the calling thread, innermost last, to be changed in place."""
    from mlflow.tracking import fluent

    stack: list[Any] = fluent._active_run_stack.get()
    return stack


def end_active_runs_first() -> None:
    """Let MLflow end its active runs before whoever registered an exit handler up to now.

    Handlers run last registered first, and MLflow registers its own on import, before any store is opened: its runs
    would end after the store has said goodbye.
    """
    import atexit

    from mlflow.tracking import fluent

    end_runs = getattr(fluent, "_safe_end_run", None)
    if end_runs is not None:
        atexit.unregister(end_runs)
        atexit.register(end_runs)


_REPOSITORY_ARGUMENTS: Final = frozenset(inspect.signature(ArtifactRepository.__init__).parameters)


def known_repository_arguments(uris: dict[str, Any]) -> dict[str, Any]:
    """Return those of the URIs that this version's artifact repositories are made with."""
    return {name: uri for name, uri in uris.items() if name in _REPOSITORY_ARGUMENTS}


def open_sql_registry(database_uri: str) -> Any:
    """Return MLflow's own model registry on a database, whose tables are made where they are missing."""
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore(database_uri)


def registry_methods() -> list[str]:
    """Return the names of what MLflow asks a model registry."""
    return [
        name
        for name in dir(AbstractRegistry)
        if not name.startswith("_") and inspect.isfunction(inspect.getattr_static(AbstractRegistry, name))
    ]


def raising_methods() -> list[str]:
    """Return the names of those methods of `AbstractStore` that do nothing but raise a `NotImplementedError`."""
    names = []
    for name in dir(AbstractStore):
        method = inspect.getattr_static(AbstractStore, name)
        code = getattr(method, "__code__", None)
        if code is not None and {"NotImplementedError", "MlflowNotImplementedException"} & set(code.co_names):
            names.append(name)
    return names


__all__ = [
    "MLFLOW_LOGGED_MODELS",
    "MLFLOW_RUN_NAME",
    "SEARCH_MAX_RESULTS_DEFAULT",
    "SEARCH_MAX_RESULTS_THRESHOLD",
    "AbstractRegistry",
    "AbstractStore",
    "ArtifactRepository",
    "MetricWithRunId",
    "PagedList",
    "SearchUtils",
    "active_run_stack",
    "append_to_uri_path",
    "end_active_runs_first",
    "error_code",
    "known_repository_arguments",
    "make_dataset_summary",
    "make_run_info",
    "not_tracked",
    "open_sql_registry",
    "raising_methods",
    "random_run_name",
    "refusal",
    "registry_methods",
    "resolve_uri_if_local",
    "validate_batch",
    "validate_batch_limits",
    "validate_dataset_inputs",
    "validate_experiment_name",
    "validate_experiment_tag",
    "validate_location_length",
    "validate_logged_model_name",
    "validate_metric",
    "validate_param",
    "validate_param_keys_unique",
    "validate_run_id",
    "validate_tag",
    "verify_artifact_path",
]
