"""The points of runs, as users call them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from localtrack.errors import ErrorCode, InvalidInputError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from localtrack.query.charts import Chart
    from localtrack.query.histories import Axis, RunPoints
    from localtrack.store.runs import Runs


class HistoryCalls:
    """What a `Store` offers for histories."""

    _runs: Runs

    def metric_history(self, run_id: str, key: str | None = None, *, max_points: int | None = None) -> pa.Table:
        """Return the points of a run, each once.

        Args:
            run_id: The run.
            key: Only this metric; all by default.
            max_points: Thin each metric out to at most so many points, for a plot: its ends stay, and the least and
                greatest value of each stretch between.

        Returns:
            Columns `key`, `step`, `timestamp_ms`, `value`, by key and, within one, in the order (timestamp, step,
            value).
        """
        points = self._runs.history(run_id, key)
        if max_points is None:
            return points
        from localtrack.query.histories import thin_out

        return thin_out(points, max_points)

    def metric_history_pandas(
        self, run_id: str, key: str | None = None, *, max_points: int | None = None
    ) -> pd.DataFrame:
        """Return the points of a run as a pandas data frame, with the columns and order of `metric_history`."""
        from localtrack.format.segment import points_to_pandas

        return points_to_pandas(self.metric_history(run_id, key, max_points=max_points))

    def metric_history_polars(
        self, run_id: str, key: str | None = None, *, max_points: int | None = None
    ) -> pl.DataFrame:
        """Return the points of a run as a Polars data frame, with the columns and order of `metric_history`."""
        from localtrack.query.frame import table_to_polars

        return table_to_polars(self.metric_history(run_id, key, max_points=max_points))

    def align_histories(
        self,
        run_ids: Iterable[str],
        key: str,
        *,
        by: Axis = "step",
        interval: int | None = None,
        max_points: int | None = None,
        names: Literal["run_id", "run_name"] = "run_id",
    ) -> Chart:
        """Return one metric of many runs side by side.

        Args:
            run_ids: The runs.
            key: The metric. A run that lacks it has a column without values.
            by: `step`; `elapsed`: time since each run began; `time`: time of day.
            interval: How many steps, or milliseconds, one row stands for. By default 1 step, or the least round
                number of milliseconds that makes no more than 1,000 rows.
            max_points: Thin out for a plot: rows stay where a run has an end, or the least or greatest value of a
                stretch; at most so many for the sake of each run.
            names: What the columns are named by. Runs that share a name get the beginning of their id added.

        Returns:
            First the column `step`, `elapsed_ms` or `timestamp_ms`, ascending, each once; then one of doubles for
            each run, in the order given, null where it has no point. Of several points in one row the last counts.

        Raises:
            NotFoundError: One of the runs is not there.
            InvalidInputError: An argument makes no sense.
        """
        from localtrack.query.charts import Chart, ChartKind
        from localtrack.query.histories import RunPoints, align_histories

        if names not in ("run_id", "run_name"):
            raise InvalidInputError(f"names={names!r} is not known.", hint="Use 'run_id' or 'run_name'.")
        if isinstance(run_ids, str):
            raise InvalidInputError("run_ids is a list of run ids, not one of them.", code=ErrorCode.INVALID_VALUE)
        runs: list[RunPoints] = []
        for run_id in dict.fromkeys(run_ids):
            reading = self._runs.read(run_id)
            label = run_id if names == "run_id" else reading.state.name
            runs.append(RunPoints(label, reading.state.start_ms, self._runs.points_of(reading, key)))
        if names == "run_name":
            runs = _with_labels_that_differ(runs, list(dict.fromkeys(run_ids)))
        table = align_histories(runs, by=by, interval=interval, max_points=max_points)
        return Chart(table, ChartKind.LINES, table.column_names[0], key)


def _with_labels_that_differ(runs: list[RunPoints], run_ids: list[str]) -> list[RunPoints]:
    from localtrack.query.histories import AXES

    counts = Counter([run.label for run in runs] + list(AXES.values()))
    return [
        run if counts[run.label] == 1 else run._replace(label=f"{run.label} ({run_id[:12]})")
        for run, run_id in zip(runs, run_ids, strict=True)
    ]
