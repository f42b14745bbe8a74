"""The fluent functions for experiments, and which experiment new runs go to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from localtrack.api import environment
from localtrack.api.argument_types import explain_wrong_types
from localtrack.api.fluent_store import active_store
from localtrack.errors import ErrorCode, InvalidInputError, NotFoundError
from localtrack.types import DEFAULT_EXPERIMENT_ID, Experiment, ViewType

if TYPE_CHECKING:
    from localtrack.api.store import Store

_active_experiment_id: str | None = None


def set_experiment(experiment_name: str | None = None, experiment_id: str | None = None) -> Experiment:
    """Choose the experiment of the runs that follow, in this process and its children.

    Args:
        experiment_name: Its name; made where it is missing.
        experiment_id: Its id, instead of the name; it must exist.

    Raises:
        InvalidInputError: Not exactly one of both is given, or the experiment is deleted.
        NotFoundError: There is no experiment of that id.
    """
    global _active_experiment_id
    if (experiment_name is None) == (experiment_id is None):
        raise InvalidInputError("Must specify exactly one of: `experiment_id` or `experiment_name`.")
    store = active_store()
    if experiment_name is None:
        experiment = store.get_experiment(check_experiment_id(experiment_id))
    else:
        experiment = store.get_experiment_by_name(experiment_name) or store.ensure_experiment(experiment_name)
    if experiment.lifecycle_stage != "active":
        raise InvalidInputError(
            f"Cannot set the deleted experiment {experiment.name!r} ({experiment.experiment_id}) as the active one.",
            code=ErrorCode.EXPERIMENT_DELETED,
            hint="Restore it, or use another one.",
        )
    _active_experiment_id = experiment.experiment_id
    environment.hand_down_experiment(experiment.experiment_id)
    return experiment


def chosen_experiment_id() -> str | None:
    """Return what `set_experiment` has chosen, or None."""
    return _active_experiment_id


def active_experiment_id(store: Store) -> str:
    """Return the experiment of new runs: `set_experiment`, the environment by name, by id, the notebook, Default.

    Raises:
        InvalidInputError: The environment names an experiment that is not there, or two different ones.
        StateError: The one that it names is deleted.
    """
    return (
        _active_experiment_id
        or _experiment_of_environment(store)
        or _experiment_of_notebook(store)
        or DEFAULT_EXPERIMENT_ID
    )


def create_experiment(name: str, artifact_location: str | None = None, tags: Mapping[str, Any] | None = None) -> str:
    """Make an experiment and return its id.

    Args:
        name: Its name; a path such as `/Shared/team/churn` is one too.
        artifact_location: Must be None: artifacts lie in the folder of their run.
        tags: Its first tags.

    Raises:
        AlreadyExistsError: The name is taken, if only by a deleted experiment.
        InvalidInputError: The name is empty, too long or no text, or an artifact location is given.
    """
    if artifact_location is not None:
        raise InvalidInputError(
            f"The artifact location {artifact_location!r} cannot be used: artifacts lie in the folder of their run.",
            code=ErrorCode.UNSUPPORTED,
            hint="Leave artifact_location out.",
        )
    return active_store().create_experiment(name, tags=tags)


def get_experiment(experiment_id: str) -> Experiment:
    """Return an experiment, a deleted one too.

    Raises:
        NotFoundError: There is none of that id.
    """
    return active_store().get_experiment(experiment_id)


def get_experiment_by_name(name: str) -> Experiment | None:
    """Return the experiment of a name, a deleted one too; None if there is none."""
    return active_store().get_experiment_by_name(name)


def search_experiments(
    view_type: int = ViewType.ACTIVE_ONLY,
    max_results: int | None = None,
    filter_string: str | None = None,
    order_by: Iterable[str] | None = None,
) -> list[Experiment]:
    """Return the experiments that match a filter, in order.

    Args:
        view_type: Life-cycle stages to return.
        max_results: How many at most; all by default.
        filter_string: For example `name LIKE '/Shared/%' AND tags.team = 'vision'`.
        order_by: For example `["name ASC"]`; latest creation first by default.

    Raises:
        InvalidInputError: An argument cannot be read.
    """
    page = active_store().search_experiments(
        filter_string=filter_string, order_by=order_by, max_results=page_size(max_results), view_type=view_type
    )
    return list(page[:max_results])


def delete_experiment(experiment_id: str) -> None:
    """Delete an experiment and so all its runs. It keeps its name, and can be restored."""
    active_store().delete_experiment(experiment_id)


def restore_experiment(experiment_id: str) -> None:
    """Take back the deletion of an experiment and of all its runs."""
    active_store().restore_experiment(experiment_id)


@explain_wrong_types
def set_experiment_tag(key: str, value: Any) -> None:
    """Set a tag of the active experiment."""
    set_experiment_tags({key: value})


def set_experiment_tags(tags: Mapping[str, Any]) -> None:
    """Set tags of the active experiment."""
    store = active_store()
    store.set_experiment_tags(active_experiment_id(store), tags)


def delete_experiment_tag(key: str) -> None:
    """Delete a tag of the active experiment.

    Raises:
        NotFoundError: It has no such tag.
    """
    store = active_store()
    store.delete_experiment_tag(active_experiment_id(store), key)


def page_size(max_results: int | None) -> int | None:
    """Return what to ask the store for: what goes beyond the longest page is cut from all results instead."""
    from localtrack.query.pages import MAX_RESULTS

    return None if type(max_results) is int and max_results > MAX_RESULTS else max_results


def check_experiment_id(experiment_id: object) -> str:
    """Return an experiment id as text; MLflow takes numbers too.

    Raises:
        InvalidInputError: It is neither text nor a whole number.
    """
    if isinstance(experiment_id, str):
        return experiment_id
    if isinstance(experiment_id, int) and not isinstance(experiment_id, bool):
        return str(experiment_id)
    raise InvalidInputError(f"An experiment id is a text, not {experiment_id!r}.")


def _experiment_of_environment(store: Store) -> str | None:
    name, experiment_id = environment.experiment()
    if name is not None:
        found = store.get_experiment_by_name(name)
        if found is None:
            return store.ensure_experiment(name).experiment_id
        if experiment_id is not None and experiment_id != found.experiment_id:
            raise InvalidInputError(
                f"The environment names the experiment {name!r}, which has the id {found.experiment_id}, and the id"
                f" {experiment_id}.",
                code=ErrorCode.INVALID_SETTING,
                hint="Unset one of both variables.",
            )
        return found.experiment_id
    if experiment_id is None:
        return None
    try:
        return store.get_experiment(experiment_id).experiment_id
    except NotFoundError as error:
        raise InvalidInputError(
            f"The environment names the experiment id {experiment_id}, which is not in {store.uri}.",
            code=ErrorCode.INVALID_SETTING,
            hint="Set LOCALTRACK_EXPERIMENT_NAME instead, or call set_experiment.",
        ) from error


def _experiment_of_notebook(store: Store) -> str | None:
    from localtrack.api.context.providers import notebook_experiment_name

    name = notebook_experiment_name()
    return None if name is None else store.ensure_experiment(name).experiment_id
