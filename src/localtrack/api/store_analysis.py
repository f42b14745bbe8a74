"""Questions over many runs, as users call them: SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from localtrack.api.store_experiments import ExperimentCalls
from localtrack.errors import FormatError, InvalidInputError, NotFoundError
from localtrack.format.layout import RUNS
from localtrack.store.run_reading import list_run_folders
from localtrack.types import FileInfo, Finding, ViewType

if TYPE_CHECKING:
    import pyarrow as pa

    from localtrack.query.snapshot import RunSnapshot
    from localtrack.query.sql.result import Parameters, SqlResult
    from localtrack.query.sql.source import ChooseKeys, Source


class AnalysisCalls(ExperimentCalls):
    """What a `Store` offers for questions over many runs."""

    def snapshot_runs(self, experiment_ids: Collection[str] | None = None) -> RunSnapshot:
        """Return all runs, or those of some experiments, as they are now: what searches and analyses are made of."""
        from localtrack.query.snapshot import RowSnapshot

        findings: list[Finding] = []
        wanted = None if experiment_ids is None else set(experiment_ids)
        rows = [self._runs.row(reading) for reading in self._runs.iterate(findings, experiment_ids=wanted)]
        names = {e.experiment_id: e.name for e in self._catalog.read().experiments.values()}
        return RowSnapshot(rows, experiment_names=names, findings=[*self._catalog.findings, *findings])

    def sql(self, query: str, parameters: Parameters | None = None) -> SqlResult:
        """Return the answer to a SELECT over the views of the store.

        The views are runs, params, metrics, metric_history, tags, datasets, experiments and artifacts;
        `localtrack help sql` lists their columns. Deleted runs are in them; `runs.lifecycle_stage` tells which they
        are. Nothing else can be read, and nothing changed.

        Args:
            query: The text, with `?` or `$name` where values belong.
            parameters: The values: a list for `?`, a dict for `$name`.

        Raises:
            InvalidInputError: It is no SELECT, names something other than the views, or has no meaning.

        Concurrency: the answer shows each run as it is when its part is read.
        """
        from localtrack.query.sql.result import run_query

        return run_query(query, parameters, self._sql_source())

    def _sql_source(self) -> Source:
        from localtrack.query.sql.source import Source

        source = Source(
            take_snapshot=self.snapshot_runs,
            experiments=lambda: self.list_experiments(ViewType.ALL),
            run_ids=self._run_ids,
            points=lambda run_id, choose: self._chosen_points(run_id, choose, source.findings),
            artifacts=self._all_artifacts,
        )
        return source

    def _run_ids(self) -> Sequence[str]:
        """Return the ids of all run folders, which name them, but for ids that are no names for folders."""
        folders = list_run_folders(self.storage)
        names = [folder.rpartition("/")[2] for folder in folders]
        if any(name.startswith("~") for name in names):
            return [header.run_id for header in self._runs.headers()]
        return names

    def _chosen_points(self, run_id: str, choose: ChooseKeys, findings: list[Finding]) -> pa.Table | None:
        from localtrack.store.history import read_history
        from localtrack.store.run_reading import RunReading

        def read(reading: RunReading) -> pa.Table | None:
            keys = sorted(reading.folds)
            wanted = choose(keys)
            if not wanted:
                return None
            return read_history(reading, wanted[0] if len(wanted) == 1 else None)

        try:
            reading = self._runs.read(run_id)
        except (NotFoundError, InvalidInputError):  # no run yet, or removed
            return None
        except FormatError as error:
            findings.append(Finding(f"{RUNS}/…/{run_id}", str(error)))
            return None
        points = reading.steadily(read)
        findings += reading.findings
        return points

    def _all_artifacts(self, run_id: str) -> Iterator[FileInfo]:
        from localtrack.store.artifacts import iter_files

        try:
            folder = self._runs.read(run_id).folder
        except (NotFoundError, InvalidInputError, FormatError):
            return iter(())
        return iter_files(self.storage, folder)
