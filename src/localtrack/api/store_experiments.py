"""The experiments of a store, as users call them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from localtrack.api.pages import ExperimentPage
from localtrack.errors import ErrorCode, InvalidInputError, NotFoundError
from localtrack.format.edits import ExperimentState
from localtrack.format.names import validate_key
from localtrack.storage.base import Storage
from localtrack.store.catalog import Catalog
from localtrack.store.site import Site
from localtrack.types import Experiment, Finding, ViewType

if TYPE_CHECKING:
    from localtrack.query.folders import ExperimentFolder


class ExperimentCalls:
    """What a `Store` offers for experiments."""

    storage: Storage
    _site: Site
    _catalog: Catalog
    _user: str

    def create_experiment(self, name: str, *, tags: Mapping[str, Any] | None = None) -> str:
        """Make an experiment and return its id: the same on every machine that makes it under this name.

        Raises:
            AlreadyExistsError: The name is taken, if only by a deleted experiment.
            InvalidInputError: The name is empty, too long or no text.
        """
        return self._catalog.create(name, user=self._user, tags=tags).experiment_id

    def ensure_experiment(self, name: str) -> Experiment:
        """Return the experiment of a name, making it if there is none. Any number of processes may do so at once.

        Raises:
            StateError: It is deleted.
        """
        return self._shown(self._catalog.ensure(name, user=self._user))

    def get_experiment(self, experiment_id: str) -> Experiment:
        """Return an experiment, a deleted one too.

        Raises:
            NotFoundError: There is none of that id.
        """
        try:
            return self._shown(self._catalog.find(experiment_id))
        except NotFoundError:
            self._look_into_runs()
            return self._shown(self._catalog.find(experiment_id))

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        """Return the experiment of a name, a deleted one too; None if there is none."""
        experiment = self._catalog.find_by_name(name)
        if experiment is None:
            self._look_into_runs()
            experiment = self._catalog.find_by_name(name)
        return None if experiment is None else self._shown(experiment)

    def list_experiments(self, view_type: int = ViewType.ACTIVE_ONLY, *, prefix: str | None = None) -> list[Experiment]:
        """Return experiments, latest created first.

        Args:
            view_type: Life-cycle stages to return.
            prefix: Only those whose name is this path or lies below it: `/Shared/team`.
        """
        self._look_into_runs()
        found = [self._shown(e) for e in self._catalog.read().experiments.values() if _has_stage(e, view_type)]
        if prefix is not None:
            folder = prefix.rstrip("/")
            found = [e for e in found if e.name == folder or e.name.startswith(f"{folder}/")]
        return sorted(found, key=lambda e: (-(e.creation_time or 0), e.experiment_id))

    def search_experiments(
        self,
        filter_string: str | None = "",
        order_by: Iterable[str] | None = None,
        max_results: int | None = 1000,
        page_token: str | None = None,
        view_type: int = ViewType.ACTIVE_ONLY,
    ) -> ExperimentPage:
        """Return the experiments that match a filter, in order, one page of them.

        Raises:
            InvalidInputError: The filter or another argument cannot be read.
        """
        from localtrack.query.experiments import search_experiments

        page = search_experiments(
            self.list_experiments(ViewType.ALL),
            filter_string=filter_string,
            order_by=order_by,
            max_results=max_results,
            page_token=page_token,
            view_type=view_type,
        )
        return ExperimentPage(page, token=page.token)

    def browse_experiments(self, path: str = "/", view_type: int = ViewType.ACTIVE_ONLY) -> ExperimentFolder:
        """Return what lies in a folder of a workspace: names of experiments are paths, such as `/Shared/team/churn`.

        Args:
            path: The folder; `/` is the topmost.
            view_type: Life-cycle stages to count and return.

        Returns:
            The folders directly in it with how many experiments are in and below each, and the experiments directly
            in it, both by name. What is no folder has neither.
        """
        from localtrack.query.folders import browse

        return browse(self.list_experiments(view_type), path)

    def experiment_ids_of(self, ids: Iterable[str] | None, names: Iterable[str] | None) -> set[str] | None:
        """Return the ids of experiments given by id and by name, names that are not there left out; None for all."""
        ids, names = listed(ids), listed(names)
        wanted = None if ids is None else {str(experiment_id) for experiment_id in ids}
        if names is not None:
            found = [self.get_experiment_by_name(name) for name in names]
            wanted = (wanted or set()) | {experiment.experiment_id for experiment in found if experiment is not None}
        return wanted

    def rename_experiment(self, experiment_id: str, name: str) -> None:
        """Give an experiment another name; its id stays.

        Raises:
            StateError: It is deleted.
            AlreadyExistsError: The name is taken.
        """
        self._catalog.rename(self._known(experiment_id), name, user=self._user)

    def set_experiment_tags(self, experiment_id: str, tags: Mapping[str, Any]) -> None:
        """Set tags of an experiment."""
        self._catalog.tag(self._known(experiment_id), {key: str(value) for key, value in tags.items()}, user=self._user)

    def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        """Delete a tag of an experiment.

        Raises:
            NotFoundError: It has no such tag.
        """
        if validate_key(key, "tag") not in self._catalog.find(self._known(experiment_id)).tags:
            raise NotFoundError(f"Experiment {experiment_id} has no tag {key!r}.", code=ErrorCode.TAG_NOT_FOUND)
        self._catalog.tag(experiment_id, {key: None}, user=self._user)

    def delete_experiment(self, experiment_id: str) -> None:
        """Delete an experiment and so all its runs. It keeps its name, and can be restored."""
        self._catalog.delete(self._known(experiment_id), user=self._user)

    def restore_experiment(self, experiment_id: str) -> None:
        """Take back the deletion of an experiment and of all its runs."""
        self._catalog.restore(self._known(experiment_id), user=self._user)

    def _known(self, experiment_id: str) -> str:
        """Return the id of an experiment that is there, if only because a run or a model names it, else raise."""
        return self.get_experiment(experiment_id).experiment_id

    def _shown(self, experiment: ExperimentState) -> Experiment:
        return Experiment(
            experiment_id=experiment.experiment_id,
            name=experiment.name,
            artifact_location=self.storage.path("runs"),
            lifecycle_stage="deleted" if experiment.is_deleted else "active",
            tags=dict(experiment.tags),
            creation_time=experiment.created_ms,
            last_update_time=experiment.created_ms if experiment.updated_ms is None else experiment.updated_ms,
        )

    @abstractmethod
    def _look_into_runs(self) -> None:
        """Learn of experiments that only folders of runs or models name, as after one was copied in by hand."""

    @property
    def experiment_findings(self) -> list[Finding]:
        """What is damaged in the files that say which experiments there are."""
        self._catalog.read()
        return list(self._catalog.findings)


def _has_stage(experiment: ExperimentState, view_type: int) -> bool:
    if view_type == ViewType.ALL:
        return True
    return experiment.is_deleted == (view_type == ViewType.DELETED_ONLY)


def listed(values: Iterable[str] | None) -> list[str] | None:
    """Return what was given as a list; one text is a list of itself, not of its letters."""
    if values is None or isinstance(values, list):
        return values
    if isinstance(values, Iterable):
        return [values] if isinstance(values, str) else list(values)
    raise InvalidInputError(f"A list of texts is wanted, not {str(values)[:40]!r}.", code=ErrorCode.INVALID_VALUE)
