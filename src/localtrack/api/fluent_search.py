"""The fluent search over runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Literal, overload

from localtrack import reporting
from localtrack.api.fluent_experiments import active_experiment_id, page_size
from localtrack.api.fluent_store import active_store
from localtrack.api.store_experiments import listed
from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.types import Run, ViewType

if TYPE_CHECKING:
    import pandas as pd

    from localtrack.api.store import Store

MAX_RESULTS = 100_000
"""How many runs a search returns by default. Source: SEARCH_MAX_RESULTS_PANDAS of mlflow.tracking.fluent."""


@overload
def search_runs(
    experiment_ids: Collection[str] | None = ...,
    filter_string: str = ...,
    run_view_type: int = ...,
    max_results: int | None = ...,
    order_by: Iterable[str] | None = ...,
    output_format: Literal["pandas"] = ...,
    search_all_experiments: bool = ...,
    experiment_names: Collection[str] | None = ...,
) -> pd.DataFrame: ...
@overload
def search_runs(
    experiment_ids: Collection[str] | None = ...,
    filter_string: str = ...,
    run_view_type: int = ...,
    max_results: int | None = ...,
    order_by: Iterable[str] | None = ...,
    *,
    output_format: Literal["list"],
    search_all_experiments: bool = ...,
    experiment_names: Collection[str] | None = ...,
) -> list[Run]: ...
def search_runs(
    experiment_ids: Collection[str] | None = None,
    filter_string: str = "",
    run_view_type: int = ViewType.ACTIVE_ONLY,
    max_results: int | None = MAX_RESULTS,
    order_by: Iterable[str] | None = None,
    output_format: Literal["pandas", "list"] = "pandas",
    search_all_experiments: bool = False,
    experiment_names: Collection[str] | None = None,
) -> pd.DataFrame | list[Run]:
    """Return the runs that match a filter, in order.

    Args:
        experiment_ids: Only runs of these; those of the active experiment by default.
        filter_string: For example `metrics.loss < 0.1 AND params.optimizer = 'adam'`.
        run_view_type: Life-cycle stages to return.
        max_results: How many at most; None for all.
        order_by: For example `["metrics.loss ASC"]`; latest start first by default.
        output_format: `pandas` or `list`.
        search_all_experiments: Search all experiments that are not deleted, if none is named.
        experiment_names: Instead of ids. Names that are not there are warned of and left out.

    Returns:
        A data frame with the columns run_id, experiment_id, status, artifact_uri, start_time, end_time, `metrics.*`,
        `params.*`, `tags.*`; or a list of `Run`.

    Raises:
        InvalidInputError: An argument cannot be read, or experiments are given by id and by name.
        LocaltrackError: A data frame is asked for and pandas is not installed.
    """
    if output_format not in ("pandas", "list"):
        raise InvalidInputError(
            f"Unsupported output format: {output_format!r}.",
            code=ErrorCode.INVALID_VALUE,
            hint="Supported values are 'pandas' and 'list'.",
        )
    store = active_store()
    page = store.search_runs(
        _experiments(store, experiment_ids, experiment_names, search_all=search_all_experiments),
        filter_string=filter_string,
        order_by=order_by,
        max_results=page_size(max_results),
        run_view_type=run_view_type,
    )
    page = page.first(max_results)
    answer = page.to_pandas() if output_format == "pandas" else [row.to_run() for row in page]
    if page.findings:
        first = page.findings[0]
        reporting.warn(
            "%d findings in the store, so runs may be missing or incomplete here; the first: %s (%s)",
            len(page.findings),
            first.what,
            first.key,
        )
    return answer


def _experiments(
    store: Store, ids: Collection[str] | None, names: Collection[str] | None, *, search_all: bool
) -> list[str]:
    if ids and names:
        raise InvalidInputError("Only experiment_ids or experiment_names can be used, but not both.")
    ids, names = listed(ids), listed(names)
    if ids:
        return [str(experiment_id) for experiment_id in ids]
    if names:
        found = []
        for name in names:
            experiment = store.get_experiment_by_name(name)
            if experiment is None:
                reporting.warn("Cannot retrieve experiment by name %s", name)
            else:
                found.append(experiment.experiment_id)
        return found
    if search_all:
        return [experiment.experiment_id for experiment in store.list_experiments(ViewType.ACTIVE_ONLY)]
    return [active_experiment_id(store)]
