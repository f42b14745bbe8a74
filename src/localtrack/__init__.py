"""Experiment tracking in plain files, without a server.

`import localtrack as mlflow` runs existing tracking code; `Store` is the same as objects. This module loads nothing:
each name comes from its module when it is first used.
"""

TYPE_CHECKING = False  # type checkers take it for True; `typing` itself would cost more than all of this module
if TYPE_CHECKING:
    from localtrack import entities, errors, exceptions, types
    from localtrack.api.active_model import ActiveModel, clear_active_model, get_active_model_id
    from localtrack.api.autologging import autolog
    from localtrack.api.fluent import (
        active_run,
        delete_run,
        delete_runs,
        end_run,
        get_artifact_uri,
        get_parent_run,
        get_run,
        last_active_run,
        restore_run,
        restore_runs,
        start_run,
    )
    from localtrack.api.fluent_analysis import (
        align_histories,
        best_per_day,
        compare,
        group_runs,
        metric_history,
        runs_per_day,
        runs_per_month,
        sql,
    )
    from localtrack.api.fluent_experiments import (
        create_experiment,
        delete_experiment,
        delete_experiment_tag,
        get_experiment,
        get_experiment_by_name,
        restore_experiment,
        search_experiments,
        set_experiment,
        set_experiment_tag,
        set_experiment_tags,
    )
    from localtrack.api.fluent_logging import (
        delete_tag,
        flush_async_logging,
        log_artifact,
        log_artifacts,
        log_dict,
        log_figure,
        log_image,
        log_metric,
        log_metrics,
        log_param,
        log_params,
        log_table,
        log_text,
        set_tag,
        set_tags,
    )
    from localtrack.api.fluent_models import (
        create_external_model,
        delete_logged_model_tag,
        finalize_logged_model,
        get_logged_model,
        initialize_logged_model,
        last_logged_model,
        log_input,
        log_inputs,
        log_model_params,
        log_outputs,
        search_logged_models,
        set_active_model,
        set_logged_model_tags,
    )
    from localtrack.api.fluent_search import search_runs
    from localtrack.api.fluent_store import flush, get_tracking_uri, is_tracking_uri_set, set_tracking_uri
    from localtrack.api.run import ActiveRun
    from localtrack.api.store import Store
    from localtrack.errors import LocaltrackError
    from localtrack.exceptions import MlflowException
    from localtrack.types import Experiment, Metric, Param, Run, RunStatus, RunTag, ViewType
    from localtrack.version import VERSION as __version__  # noqa: F401 -- a `*` import should not bring it

__all__ = [
    "ActiveModel",
    "ActiveRun",
    "Experiment",
    "LocaltrackError",
    "Metric",
    "MlflowException",
    "Param",
    "Run",
    "RunStatus",
    "RunTag",
    "Store",
    "ViewType",
    "active_run",
    "align_histories",
    "autolog",
    "best_per_day",
    "clear_active_model",
    "compare",
    "create_experiment",
    "create_external_model",
    "delete_experiment",
    "delete_experiment_tag",
    "delete_logged_model_tag",
    "delete_run",
    "delete_runs",
    "delete_tag",
    "end_run",
    "entities",
    "errors",
    "exceptions",
    "finalize_logged_model",
    "flush",
    "flush_async_logging",
    "get_active_model_id",
    "get_artifact_uri",
    "get_experiment",
    "get_experiment_by_name",
    "get_logged_model",
    "get_parent_run",
    "get_run",
    "get_tracking_uri",
    "group_runs",
    "initialize_logged_model",
    "is_tracking_uri_set",
    "last_active_run",
    "last_logged_model",
    "log_artifact",
    "log_artifacts",
    "log_dict",
    "log_figure",
    "log_image",
    "log_input",
    "log_inputs",
    "log_metric",
    "log_metrics",
    "log_model_params",
    "log_outputs",
    "log_param",
    "log_params",
    "log_table",
    "log_text",
    "metric_history",
    "restore_experiment",
    "restore_run",
    "restore_runs",
    "runs_per_day",
    "runs_per_month",
    "search_experiments",
    "search_logged_models",
    "search_runs",
    "set_active_model",
    "set_experiment",
    "set_experiment_tag",
    "set_experiment_tags",
    "set_logged_model_tags",
    "set_tag",
    "set_tags",
    "set_tracking_uri",
    "sql",
    "start_run",
    "types",
]

# Where each name comes from; a module under its own name comes as it is.
_HOMES = {
    "api.active_model": "ActiveModel clear_active_model get_active_model_id",
    "api.autologging": "autolog",
    "api.fluent": """
        active_run delete_run delete_runs end_run get_artifact_uri get_parent_run get_run last_active_run restore_run
        restore_runs start_run
    """,
    "api.fluent_analysis": """
        align_histories best_per_day compare group_runs metric_history runs_per_day runs_per_month sql
    """,
    "api.fluent_experiments": """
        create_experiment delete_experiment delete_experiment_tag get_experiment get_experiment_by_name
        restore_experiment search_experiments set_experiment set_experiment_tag set_experiment_tags
    """,
    "api.fluent_logging": """
        delete_tag flush_async_logging log_artifact log_artifacts log_dict log_figure log_image log_metric
        log_metrics log_param log_params log_table log_text set_tag set_tags
    """,
    "api.fluent_models": """
        create_external_model delete_logged_model_tag finalize_logged_model get_logged_model initialize_logged_model
        last_logged_model log_input log_inputs log_model_params log_outputs search_logged_models set_active_model
        set_logged_model_tags
    """,
    "api.fluent_search": "search_runs",
    "api.fluent_store": "flush get_tracking_uri is_tracking_uri_set set_tracking_uri",
    "api.run": "ActiveRun",
    "api.store": "Store",
    "errors": "LocaltrackError",
    "exceptions": "MlflowException",
    "types": "Experiment Metric Param Run RunStatus RunTag ViewType",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "__version__":
        value: object = import_module("localtrack.version").VERSION
    elif name in __all__:
        home = next((module for module, names in _HOMES.items() if name in names.split()), None)
        value = import_module(f"localtrack.{home or name}")
        if home is not None:
            value = getattr(value, name)
    else:
        raise AttributeError(
            f"module 'localtrack' has no attribute {name!r}", name=name, obj=import_module("localtrack")
        )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
