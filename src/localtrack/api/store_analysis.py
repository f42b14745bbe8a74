"""Questions over many runs, as users call them: SQL, comparisons, groups, dashboards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from localtrack.api.pages import RunPage
from localtrack.api.store_experiments import listed
from localtrack.api.store_search import SearchCalls
from localtrack.errors import DamagedIndexError, FormatError, InvalidInputError, NotFoundError
from localtrack.format.layout import RUNS
from localtrack.types import FileInfo, Finding, Run, RunRow, ViewType

if TYPE_CHECKING:
    import pyarrow as pa

    from localtrack.query.charts import Chart
    from localtrack.query.comparison import Comparison
    from localtrack.query.frame import Frame
    from localtrack.query.snapshot import RunSnapshot
    from localtrack.query.sql.result import Parameters, SqlResult
    from localtrack.query.sql.source import ChooseKeys, Source


T = TypeVar("T")

_FEW_KEYS_COUNT: Final = 4
"""Up to so many metrics are read one by one, each from its own row groups; what lies in logs is read anew each time."""


class AnalysisCalls(SearchCalls):
    """What a `Store` offers for questions over many runs."""

    def sql(self, query: str, parameters: Parameters | None = None) -> SqlResult:
        """Return the answer to a SELECT over the views of the store.

        The views are runs, params, metrics, metric_history, tags, datasets, experiments, models and artifacts;
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

    def iter_runs(
        self,
        filter_string: str | None = "",
        *,
        batch_size: int = 10_000,
        experiment_ids: Iterable[str] | None = None,
        experiment_names: Iterable[str] | None = None,
        run_view_type: int = ViewType.ACTIVE_ONLY,
    ) -> Iterator[RunPage]:
        """Yield all runs that match a filter, latest first, some at a time, for results larger than memory.

        Unlike pages of `search_runs` all batches show the store as it was at one moment; only where a file of the
        search index turns out to be damaged on the way, the runs that are left are shown as they are then.

        Args:
            filter_string: Which runs, in the language of `search_runs`; all by default.
            batch_size: How many runs a batch holds.
            experiment_ids: Only runs of these; all experiments by default.
            experiment_names: Only runs of these.
            run_view_type: Life-cycle stages to return.

        Raises:
            InvalidInputError: An argument cannot be read.
        """
        if type(batch_size) is not int or batch_size < 1:
            raise InvalidInputError(f"batch_size={str(batch_size)[:40]!r} is no whole number from 1 on.")
        snapshot, numbers = self._ask_about(
            lambda snapshot, numbers: (snapshot, numbers),
            (filter_string, experiment_ids, experiment_names, run_view_type),
        )

        def read_batches() -> Iterator[RunPage]:
            source, left = snapshot, numbers
            while left:
                try:
                    page = RunPage(source.rows(left[:batch_size]), findings=source.findings)
                except DamagedIndexError:  # told, so that the next snapshot does without it
                    if source is not snapshot:
                        raise
                    source, left = self._same_runs_again(source, left)
                    continue
                left = left[batch_size:]
                yield page

        return read_batches()  # by then the arguments were read: a mistake shows at once

    def compare(
        self,
        runs: Iterable[str | Run | RunRow],
        *,
        baseline: str | None = None,
        metrics: Collection[str] | None = None,
        minimize: Collection[str] = (),
        maximize: Collection[str] = (),
    ) -> Comparison:
        """Hold runs against each other.

        Args:
            runs: Ids, or runs as a search returned them.
            baseline: The id of the one that the others are held against; the first by default.
            metrics: Only these; all by default.
            minimize: Metrics of which less is better. Of others the name is asked: `val_loss`, `accuracy`.
            maximize: Metrics of which more is better.

        Returns:
            Params that differ, last values of metrics, differences from the baseline, and which is best;
            `params_frame()` and `metrics_frame()` are the same as frames.

        Raises:
            NotFoundError: One of the runs is not there.
            InvalidInputError: There are no runs, or what is named is not in them.
        """
        from localtrack.query.comparison import compare_rows

        if isinstance(runs, str):
            raise InvalidInputError("runs is a list of runs, not the id of one.")
        ids = [run if isinstance(run, str) else run.info.run_id for run in runs]
        rows = [self._runs.row(self._runs.read(run_id)) for run_id in dict.fromkeys(ids)]
        return compare_rows(rows, baseline=baseline, metrics=metrics, minimize=minimize, maximize=maximize)

    def group_runs(
        self,
        filter_string: str | None = "",
        *,
        by: Sequence[str] | None = None,
        ignore: Collection[str] | None = None,
        metrics: Sequence[str] | None = None,
        experiment_ids: Iterable[str] | None = None,
        experiment_names: Iterable[str] | None = None,
        run_view_type: int = ViewType.ACTIVE_ONLY,
    ) -> Frame:
        """Take runs together that agree in their params, as repetitions over seeds do.

        Args:
            filter_string: Which runs, in the language of `search_runs`; all by default.
            by: What runs of a group agree in: keys of params, or `params.<key>` and `tags.<key>`; all params but
                those of `ignore` by default.
            ignore: Params that tell repetitions apart; `seed`, `random_seed` and `random_state` by default.
            metrics: Only these; all by default.
            experiment_ids: Only runs of these; all experiments by default.
            experiment_names: Only runs of these.
            run_view_type: Life-cycle stages to look at.

        Returns:
            A row for each group: `params.<key>` or `tags.<key>`, `runs`, and of each metric's last values
            `metrics.<key>.mean`, `.std` (of a sample; null for one run) and `.count`.
        """
        from localtrack.query.groups import SEED_PARAMS, group_runs

        ignored = SEED_PARAMS if ignore is None else ignore
        return self._ask_about(
            lambda snapshot, numbers: group_runs(snapshot, numbers, by=by, ignore=ignored, metrics=metrics),
            (filter_string, experiment_ids, experiment_names, run_view_type),
        )

    def best_per_day(
        self,
        metric: str,
        filter_string: str | None = "",
        *,
        direction: str | None = None,
        days: int | None = 14,
        experiment_ids: Iterable[str] | None = None,
        experiment_names: Iterable[str] | None = None,
        run_view_type: int = ViewType.ACTIVE_ONLY,
    ) -> Chart:
        """Return the best last value of a metric among the runs that began on each day (UTC).

        Args:
            metric: The metric. NaN is never best.
            filter_string: Which runs, in the language of `search_runs`; all by default.
            direction: `min` or `max`; by default what the name of the metric tells.
            days: Only runs that began in the last so many days; None for all.
            experiment_ids: Only runs of these; all experiments by default.
            experiment_names: Only runs of these.
            run_view_type: Life-cycle stages to look at.

        Returns:
            Columns `date`, `metrics.<metric>`, `run_id`, `run_name`; days without a value are left out. `plot()`
            draws it.

        Raises:
            InvalidInputError: The name of the metric does not tell the direction, or an argument makes no sense.
        """
        from localtrack.query.dashboards import best_per_day

        now_ms = self._site.clock()
        return self._ask_about(
            lambda snapshot, numbers: best_per_day(
                snapshot, numbers, metric, direction=direction, days=days, now_ms=now_ms
            ),
            (filter_string, experiment_ids, experiment_names, run_view_type),
        )

    def runs_per_day(
        self,
        filter_string: str | None = "",
        *,
        user: str | None = None,
        days: int | None = 14,
        experiment_ids: Iterable[str] | None = None,
        experiment_names: Iterable[str] | None = None,
        run_view_type: int = ViewType.ACTIVE_ONLY,
    ) -> Chart:
        """Return how many runs each user began on each day (UTC).

        Args:
            filter_string: Which runs, in the language of `search_runs`; all by default.
            user: Only those of this user, as the tag `mlflow.user` names it; all by default.
            days: Only runs that began in the last so many days; None for all.
            experiment_ids: Only runs of these; all experiments by default.
            experiment_names: Only runs of these.
            run_view_type: Life-cycle stages to look at.

        Returns:
            Columns `date`, `user` (null without the tag), `runs`; what would be 0 is left out. `plot()` draws it.
        """
        from localtrack.query.dashboards import runs_per_day

        now_ms = self._site.clock()
        return self._ask_about(
            lambda snapshot, numbers: runs_per_day(snapshot, numbers, user=user, days=days, now_ms=now_ms),
            (filter_string, experiment_ids, experiment_names, run_view_type),
        )

    def runs_per_month(
        self,
        filter_string: str | None = "",
        *,
        year: int | None = None,
        experiment_ids: Iterable[str] | None = None,
        experiment_names: Iterable[str] | None = None,
        run_view_type: int = ViewType.ACTIVE_ONLY,
    ) -> Chart:
        """Return how many runs began in each month (UTC).

        Args:
            filter_string: Which runs, in the language of `search_runs`; all by default.
            year: Only this one; all by default.
            experiment_ids: Only runs of these; all experiments by default.
            experiment_names: Only runs of these.
            run_view_type: Life-cycle stages to look at.

        Returns:
            Columns `month` (its first day), `name` (January …), `runs`; months without runs are left out. `plot()`
            draws it.
        """
        from localtrack.query.dashboards import runs_per_month

        return self._ask_about(
            lambda snapshot, numbers: runs_per_month(snapshot, numbers, year=year),
            (filter_string, experiment_ids, experiment_names, run_view_type),
        )

    def _same_runs_again(self, old: RunSnapshot, numbers: Sequence[int]) -> tuple[RunSnapshot, list[int]]:
        """Return a new snapshot, and the numbers that runs of an old one have in it; without those that are gone."""
        new = self.snapshot_runs()
        columns: list[Any] = [
            table.column(name) for table in (old.runs(["run_id"]), new.runs(["run_id"])) for name in ("row", "run_id")
        ]
        old_rows, old_ids, new_rows, new_ids = (column.to_pylist() for column in columns)
        ids, places = dict(zip(old_rows, old_ids, strict=True)), dict(zip(new_ids, new_rows, strict=True))
        return new, [places[ids[number]] for number in numbers if ids[number] in places]

    def _ask_about(
        self,
        ask: Callable[[RunSnapshot, list[int]], T],
        scope: tuple[str | None, Iterable[str] | None, Iterable[str] | None, int],
    ) -> T:
        """Ask something about the runs that a scope chooses, and again if the index turns out to be damaged."""
        filter_string, ids, names, view_type = scope
        # They are gone through twice where the first answer fails.
        ids, names = listed(ids), listed(names)
        try:
            return ask(*self._choose(filter_string, ids, names, view_type))
        except DamagedIndexError:
            return ask(*self._choose(filter_string, ids, names, view_type))

    def _choose(
        self,
        filter_string: str | None,
        experiment_ids: Iterable[str] | None,
        experiment_names: Iterable[str] | None,
        view_type: int,
    ) -> tuple[RunSnapshot, list[int]]:
        from localtrack.query.choice import choose_runs

        snapshot = self.snapshot_runs(self.experiment_ids_of(experiment_ids, experiment_names))
        numbers = choose_runs(snapshot, filter_string=filter_string, view_type=view_type, now_ms=self._site.clock())
        return snapshot, numbers

    def _sql_source(self) -> Source:
        from localtrack.query.sql.source import Source

        findings: list[Finding] = []  # apart from the source, which would hold itself and so the index's files open
        return Source(
            take_snapshot=self.snapshot_runs,
            experiments=lambda: self.list_experiments(ViewType.ALL),
            models=lambda: [self._models.entity(model) for model in self._models.iterate(findings)],
            run_ids=lambda: self._index.run_ids(),
            points=lambda run_id, choose: self._chosen_points(run_id, choose, findings),
            artifacts=self._all_artifacts,
            findings=findings,
        )

    def _chosen_points(self, run_id: str, choose: ChooseKeys, findings: list[Finding]) -> pa.Table | None:
        from localtrack.format.segment_table import concat_points
        from localtrack.store.history import read_history
        from localtrack.store.run_reading import RunReading

        def read(reading: RunReading) -> pa.Table | None:
            keys = sorted(reading.folds)
            wanted = choose(keys)
            if not wanted:
                return None
            if len(wanted) < len(keys) and len(wanted) <= _FEW_KEYS_COUNT:
                return concat_points(read_history(reading, key) for key in wanted)
            return read_history(reading, None)

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
