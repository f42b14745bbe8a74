"""The runs of a tracking store: make, find, end, delete; with the errors of MLflow's SQL store."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from mlflow.entities import Run, RunInfo, RunStatus, RunTag

from localtrack.api.pages import RunPage
from localtrack.api.store import Store
from localtrack.errors import DamagedIndexError, InvalidInputError, NotFoundError
from localtrack.format.scalars import to_timestamp_ms
from localtrack.mlflow_plugin import host
from localtrack.mlflow_plugin.entities import to_run, to_run_info, to_run_of_many
from localtrack.mlflow_plugin.experiments import ExperimentMethods, validate_max_results
from localtrack.mlflow_plugin.failures import not_active, raises_mlflow_errors, run_not_found
from localtrack.mlflow_plugin.locations import Locations
from localtrack.mlflow_plugin.run_writers import RunWriters
from localtrack.store.run_reading import RunReading
from localtrack.store.run_writer import RunWriter
from localtrack.types import TERMINAL_STATUSES, RunRow


@raises_mlflow_errors
class RunMethods(ExperimentMethods):
    """What MLflow asks a tracking store about runs."""

    store: Store
    writers: RunWriters
    locations: Locations

    def create_run(
        self,
        experiment_id: str | None,
        user_id: str | None,
        start_time: int | None,
        tags: Iterable[RunTag] | None,
        run_name: str | None,
    ) -> Run:
        """Begin a run."""
        experiment = self.require_active_experiment(experiment_id)
        checked = [host.validate_tag(tag.key, tag.value) for tag in tags or ()]
        first = {tag.key: str(tag.value) for tag in checked}
        named = first.get(host.MLFLOW_RUN_NAME)
        if run_name and named and run_name != named:
            raise host.refusal(
                "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
                f"(run_name='{run_name}', mlflow.runName='{named}').",
                "INVALID_PARAMETER_VALUE",
            )
        name = host.validate_tag(host.MLFLOW_RUN_NAME, run_name or named or host.random_run_name())
        first[host.MLFLOW_RUN_NAME] = name.value
        run_id = self.writers.begin(
            experiment,
            start_ms=None if start_time is None else to_timestamp_ms(start_time),
            user="" if user_id is None else str(user_id),
            tags=first,
        )
        return self.get_run(run_id)

    def get_run(self, run_id: str) -> Run:
        """Return a run, a deleted one too."""
        row = self.store.runs.row(self.read_run(run_id))
        return to_run(row, self.locations.of_run(row.info.run_id, self.experiment_tags(row.info.experiment_id)))

    def update_run_info(
        self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None
    ) -> RunInfo:
        """Set status, end and name of a run, each only if it is given."""
        info: dict[str, Any] = {}
        if run_status is not None:
            info["status"] = RunStatus.to_string(run_status)
        if end_time is not None:
            info["end_ms"] = to_timestamp_ms(end_time)
        tags: dict[str, str] = {}
        if run_name:
            tags[host.MLFLOW_RUN_NAME] = host.validate_tag(host.MLFLOW_RUN_NAME, run_name).value
        if info.get("status") in TERMINAL_STATUSES:
            self.writers.end(run_id, info, tags)
        else:

            def change(writer: RunWriter) -> None:
                if info:
                    writer.set_info(info)
                if tags:
                    writer.set_tags(tags)

            self.writers.use(run_id, change)
        found = self.store.runs.row(self.read_run(run_id)).info
        return to_run_info(found, self.locations.of_run(run_id, self.experiment_tags(found.experiment_id)))

    def delete_run(self, run_id: str) -> None:
        """Delete a run; it can be restored."""
        self.read_run(run_id)
        self.store.delete_run(run_id)
        self.writers.forget_life_cycles()

    def restore_run(self, run_id: str) -> None:
        """Take back the deletion of a run."""
        self.read_run(run_id)
        self.store.restore_run(run_id)
        self.writers.forget_life_cycles()

    def _search_runs(
        self,
        experiment_ids: Iterable[str],
        filter_string: str | None,
        run_view_type: int,
        max_results: int | None,
        order_by: list[str] | None,
        page_token: str | None,
    ) -> tuple[list[Run], str | None]:
        """Return a page of the runs that match a filter, and the token of the next page."""
        validate_max_results(max_results, may_be_none=True)
        self.show_own_writes()
        page = self.store.search_runs(
            experiment_ids=[self.check_experiment_id(experiment_id) for experiment_id in experiment_ids],
            filter_string=filter_string,
            order_by=order_by,
            max_results=max_results,
            page_token=page_token,
            run_view_type=run_view_type,
        )
        tags = {e.experiment_id: e.tags for e in self.store.catalog.read().experiments.values()}
        values = page.values()
        if values is None:
            return [
                to_run(row, self.locations.of_run(row.info.run_id, tags.get(row.info.experiment_id, {})))
                for row in page
            ], page.token
        runs = [
            to_run_of_many(
                it,
                self.locations.of_run(it.run_id, tags.get(it.experiment_id, {})),
                partial(self._row, page, place, it.run_id),
            )
            for place, it in enumerate(values)
        ]
        return runs, page.token

    def _row(self, page: RunPage, place: int, run_id: str) -> RunRow:
        """Return a run of a page, as it was then, or, if the index is damaged, as it is now."""
        try:
            return page.row(place)
        except DamagedIndexError:
            return self.store.runs.row(self.read_run(run_id))

    # -- for the other methods

    def read_run(self, run_id: object) -> RunReading:
        """Return a run as it is now, else raise what MLflow's stores raise."""
        self.show_own_writes()
        try:
            return self.store.runs.read(run_id)
        except (NotFoundError, InvalidInputError) as error:
            raise run_not_found(run_id) from error

    def show_own_writes(self) -> None:
        """On an object store, where what was logged waits to be written: write it, so that reading finds it."""
        if not self.store.storage.capabilities.can_append and len(self.writers):
            self.store.flush()

    def require_active_run(self, run_id: str) -> RunReading:
        """Return a run that is not deleted, else raise."""
        reading = self.read_run(run_id)
        if self.store.runs.is_deleted(reading):
            raise not_active("run", run_id)
        return reading
