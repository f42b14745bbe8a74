"""The experiments of a tracking store, with the errors of MLflow's SQL store."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from typing import Any, Final

from mlflow.entities import Experiment, ExperimentTag, ViewType

from localtrack.api.store import Store
from localtrack.errors import AlreadyExistsError, ErrorCode, InvalidInputError, NotFoundError, StateError
from localtrack.format.edits import ExperimentState
from localtrack.mlflow_plugin import host
from localtrack.mlflow_plugin.entities import to_experiment
from localtrack.mlflow_plugin.failures import experiment_not_found, not_active, raises_mlflow_errors
from localtrack.mlflow_plugin.locations import LOCATION_TAG, Locations
from localtrack.mlflow_plugin.run_writers import RunWriters
from localtrack.types import DEFAULT_EXPERIMENT_ID


class MissedNames:
    """Names under which this process has just found no experiment, so that it is about to make it.

    Where another process makes it in between, MLflow's `set_experiment` takes the refusal for an answer and leaves the
    program in the experiment Default, with all its runs. Both have made the same experiment, as in all of localtrack.
    """

    def __init__(self) -> None:
        self._told_ms: dict[str, int] = {}
        self._lock = threading.Lock()

    def note(self, name: str, now_ms: int) -> None:
        """Remember that there was no experiment of a name."""
        with self._lock:
            while len(self._told_ms) >= _MISSED_COUNT:
                del self._told_ms[next(iter(self._told_ms))]
            self._told_ms[name] = now_ms

    def forget(self, name: str) -> None:
        """Forget a name: this process has made the experiment itself."""
        with self._lock:
            self._told_ms.pop(name, None)

    def made_elsewhere(self, name: str, store: Store) -> str | None:
        """Return the id of an experiment that has been made since this process found none; None for any other."""
        with self._lock:
            told_ms = self._told_ms.pop(name, None)
        if told_ms is None or store.clock() - told_ms > _MISSED_MS:
            return None
        found = store.get_experiment_by_name(name)
        return found.experiment_id if found is not None and found.lifecycle_stage == "active" else None


_MISSED_COUNT: Final = 1000
_MISSED_MS: Final = 60_000


@raises_mlflow_errors
class ExperimentMethods:
    """What MLflow asks a tracking store about experiments."""

    store: Store
    writers: RunWriters
    locations: Locations
    missed_names: MissedNames

    def search_experiments(
        self,
        view_type: int = ViewType.ACTIVE_ONLY,
        max_results: int = host.SEARCH_MAX_RESULTS_DEFAULT,
        filter_string: str | None = None,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> Any:
        """Return a page of the experiments that match a filter."""
        validate_max_results(max_results)
        page = self.store.search_experiments(filter_string, order_by, max_results, page_token, view_type)
        return host.PagedList([to_experiment(experiment, self.locations) for experiment in page], page.token)

    def create_experiment(
        self, name: str, artifact_location: str | None = None, tags: Iterable[ExperimentTag] | None = None
    ) -> str:
        """Make an experiment and return its id."""
        host.validate_experiment_name(name)
        for tag in tags or ():
            host.validate_experiment_tag(tag.key, tag.value)
        place = self.locations.choose("", artifact_location) if artifact_location else None
        first = {tag.key: tag.value for tag in tags or ()}
        if place is not None:
            first[LOCATION_TAG] = place
        try:
            experiment_id = self.store.create_experiment(name, tags=first)
        except AlreadyExistsError as error:
            experiment_id = self.missed_names.made_elsewhere(name, self.store) or ""
            if not experiment_id or first:
                raise host.refusal(
                    f"Experiment(name={name}) already exists. {error}", "RESOURCE_ALREADY_EXISTS"
                ) from error
            return experiment_id
        self.missed_names.forget(name)
        if not artifact_location and (place := self.locations.choose(experiment_id, None)) is not None:
            self.store.set_experiment_tags(experiment_id, {LOCATION_TAG: place})
        return experiment_id

    def get_experiment(self, experiment_id: str | None) -> Experiment:
        """Return an experiment, a deleted one too; Default for none."""
        wanted = str(experiment_id or DEFAULT_EXPERIMENT_ID)
        try:
            return to_experiment(self.store.get_experiment(wanted), self.locations)
        except (NotFoundError, InvalidInputError) as error:
            raise _no_experiment(wanted) from error

    def get_experiment_by_name(self, experiment_name: str) -> Experiment | None:
        """Return the experiment of a name, a deleted one too; None if there is none."""
        try:
            found = self.store.get_experiment_by_name(experiment_name)
        except InvalidInputError:  # what can be no name names nothing
            return None
        if found is None:
            self.missed_names.note(experiment_name, self.store.clock())
            return None
        return to_experiment(found, self.locations)

    def delete_experiment(self, experiment_id: str) -> None:
        """Delete an experiment, and so its runs."""
        if self.find_experiment(experiment_id).is_deleted:
            raise experiment_not_found(experiment_id)
        self.store.delete_experiment(str(experiment_id))
        self.writers.forget_life_cycles()

    def restore_experiment(self, experiment_id: str) -> None:
        """Take back the deletion of an experiment, and that of all its runs."""
        if not self.find_experiment(experiment_id).is_deleted:
            raise experiment_not_found(experiment_id)
        self.store.restore_experiment(str(experiment_id))
        self.writers.forget_life_cycles()

    def rename_experiment(self, experiment_id: str, new_name: str) -> None:
        """Give an experiment another name."""
        host.validate_experiment_name(new_name)
        self.find_experiment(experiment_id)
        try:
            self.store.rename_experiment(str(experiment_id), new_name)
        except StateError as error:
            if error.code != ErrorCode.EXPERIMENT_DELETED:
                raise
            raise host.refusal("Cannot rename a non-active experiment.", "INVALID_STATE") from error

    def set_experiment_tag(self, experiment_id: str, tag: ExperimentTag) -> None:
        """Set a tag of an experiment."""
        host.validate_experiment_tag(tag.key, tag.value)
        self.require_active_experiment(experiment_id)
        self.store.set_experiment_tags(str(experiment_id), {tag.key: tag.value})

    def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        """Delete a tag of an experiment."""
        experiment = self.require_active_experiment(experiment_id)
        if key not in experiment.tags:
            raise host.refusal(
                f"No tag with name: {key} in experiment with id {experiment_id}", "RESOURCE_DOES_NOT_EXIST"
            )
        self.store.delete_experiment_tag(experiment.experiment_id, key)

    # -- for the other methods

    def find_experiment(self, experiment_id: object) -> ExperimentState:
        """Return an experiment as the store has it, else raise what MLflow's stores raise."""
        wanted = str(experiment_id or DEFAULT_EXPERIMENT_ID)
        try:
            return self.store.catalog.find(wanted)
        except InvalidInputError as error:
            raise _no_experiment(wanted) from error
        except NotFoundError:
            with contextlib.suppress(NotFoundError):
                self.store.get_experiment(wanted)  # looks into the runs, one of which may name it
                return self.store.catalog.find(wanted)
            raise _no_experiment(wanted) from None

    def require_active_experiment(self, experiment_id: object) -> ExperimentState:
        """Return an experiment that is not deleted, else raise."""
        experiment = self.find_experiment(experiment_id)
        if experiment.is_deleted:
            raise not_active("experiment", experiment.experiment_id)
        return experiment

    def check_experiment_id(self, experiment_id: object) -> str:
        """Return an experiment's id as text; raise for one that is neither a number nor known."""
        text = str(experiment_id)
        if not text.isdecimal() and text not in self.store.catalog.read().experiments:
            raise _no_experiment(text)
        return text

    def experiment_tags(self, experiment_id: str) -> dict[str, str]:
        """Return the tags of an experiment, none if it is not known."""
        found = self.store.catalog.read().experiments.get(experiment_id)
        return {} if found is None else found.tags


def validate_max_results(max_results: int | None, *, may_be_none: bool = False) -> None:
    """Raise what MLflow's SQL store raises for a length that no page can have."""
    if max_results is None and may_be_none:
        return
    if max_results is None or max_results < 1:
        raise host.refusal(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be a positive integer",
            "INVALID_PARAMETER_VALUE",
        )
    if max_results > host.SEARCH_MAX_RESULTS_THRESHOLD:
        raise host.refusal(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be at most "
            f"{host.SEARCH_MAX_RESULTS_THRESHOLD}",
            "INVALID_PARAMETER_VALUE",
        )


def _no_experiment(experiment_id: str) -> Exception:
    try:
        int(experiment_id)
    except ValueError:
        return host.refusal(
            f"Invalid experiment ID '{experiment_id}'. Experiment ID must be a valid integer.",
            "INVALID_PARAMETER_VALUE",
        )
    return experiment_not_found(experiment_id)
