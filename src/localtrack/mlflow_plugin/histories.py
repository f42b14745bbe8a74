"""The histories of metrics: whole, in pages, of many runs at once, and thinned out for charts."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from mlflow.entities import Metric

from localtrack.errors import NotFoundError
from localtrack.mlflow_plugin import host
from localtrack.mlflow_plugin.failures import raises_mlflow_errors
from localtrack.mlflow_plugin.runs import RunMethods

if TYPE_CHECKING:
    import pyarrow as pa

_KEPT_COUNT: Final = 8
"""Histories that are being read page by page, which clients do in steps of 25,000 points."""


class PagedHistories:
    """Keeps a history while it is read page by page: so all pages are of one moment, and it is read once."""

    def __init__(self) -> None:
        self._tables: OrderedDict[tuple[str, str], pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, run_id: str, key: str, table: pa.Table) -> None:
        """Keep a history of which a page was handed out."""
        with self._lock:
            self._tables[run_id, key] = table
            while len(self._tables) > _KEPT_COUNT:
                self._tables.popitem(last=False)

    def take(self, run_id: str, key: str) -> pa.Table | None:
        """Return the history that was kept, and keep it no longer."""
        with self._lock:
            return self._tables.pop((run_id, key), None)


@raises_mlflow_errors
class HistoryMethods(RunMethods):
    """What MLflow asks a tracking store about the history of metrics."""

    histories: PagedHistories

    def get_metric_history(
        self, run_id: str, metric_key: str, max_results: int | None = None, page_token: str | None = None
    ) -> Any:
        """Return the points of a metric in the order (timestamp, step, value); none for a run that is not there."""
        offset = host.SearchUtils.parse_start_offset_from_page_token(page_token)
        table = self.histories.take(run_id, metric_key) if offset else None
        if table is None:
            table = self._history(run_id, metric_key)
        if max_results is None:
            return host.PagedList(_to_metrics(metric_key, table.slice(offset)), None)
        token = None
        if offset + max_results < table.num_rows:
            token = host.SearchUtils.create_page_token(offset + max_results)
            self.histories.keep(run_id, metric_key, table)
        return host.PagedList(_to_metrics(metric_key, table.slice(offset, max_results)), token)

    def get_metric_history_bulk(self, run_ids: Iterable[str], metric_key: str, max_results: int) -> list[Any]:
        """Return the points of a metric of several runs, by run id, at most so many together."""
        found: list[Any] = []
        for run_id in sorted(set(run_ids)):
            table = self._history(run_id, metric_key).slice(0, max_results - len(found))
            found += _of_run(run_id, _to_metrics(metric_key, table))
            if len(found) >= max_results:
                break
        return found

    def get_metric_history_bulk_interval(
        self,
        run_ids: Sequence[str],
        metric_key: str,
        max_results: int,
        start_step: int | None,
        end_step: int | None,
    ) -> list[Any]:
        """Return at most so many points of each run, evenly spread over a range of steps, first and last kept."""
        if (start_step is None) != (end_step is None):
            raise host.refusal(
                "Both start_step and end_step must be specified together, or neither may be specified.",
                "INVALID_PARAMETER_VALUE",
            )
        import pyarrow as pa

        found: list[Any] = []
        for run_id in run_ids:
            table = _by_step(self._history(run_id, metric_key))
            if start_step is not None and end_step is not None:
                table = _between(table, start_step, end_step)
            rows = pa.array(_spread(table.num_rows, max(1, max_results)), pa.int64())
            found += _of_run(run_id, _to_metrics(metric_key, table.take(rows)))
        return found

    def get_metric_history_bulk_interval_from_steps(
        self, run_id: str, metric_key: str, steps: Iterable[int], max_results: int
    ) -> list[Any]:
        """Return the points of a metric at certain steps, by step."""
        import pyarrow as pa
        import pyarrow.compute as pc

        table = _by_step(self._history(run_id, metric_key))
        wanted = pa.array(sorted(set(steps)), pa.int64())
        table = table.filter(pc.is_in(table.column("step"), value_set=wanted)).slice(0, max_results)
        return _of_run(run_id, _to_metrics(metric_key, table))

    def get_max_step_for_metric(self, run_id: str, metric_key: str) -> int:
        """Return the greatest step of a metric; 0 if it was never logged."""
        import pyarrow.compute as pc

        return pc.max(self._history(run_id, metric_key).column("step")).as_py() or 0

    def _history(self, run_id: str, metric_key: str) -> pa.Table:
        self.show_own_writes()
        try:
            return self.store.metric_history(run_id, metric_key)
        except NotFoundError:
            import pyarrow as pa

            columns = {"step": pa.int64(), "timestamp_ms": pa.int64(), "value": pa.float64()}
            return pa.table({name: pa.array([], kind) for name, kind in columns.items()})


def _to_metrics(key: str, table: pa.Table) -> list[Metric]:
    columns = [table.column(name).to_pylist() for name in ("value", "timestamp_ms", "step")]
    return [Metric(key, value, timestamp, step) for value, timestamp, step in zip(*columns, strict=True)]


def _of_run(run_id: str, metrics: Iterable[Metric]) -> list[Any]:
    return [host.MetricWithRunId(run_id=run_id, metric=metric) for metric in metrics]


def _by_step(table: pa.Table) -> pa.Table:
    """Return points in the order (step, timestamp, value)."""
    return table.sort_by([(name, "ascending") for name in ("step", "timestamp_ms", "value")])


def _between(table: pa.Table, first: int, last: int) -> pa.Table:
    import pyarrow.compute as pc

    return table.filter((pc.field("step") >= first) & (pc.field("step") <= last))


def _spread(count: int, max_count: int) -> list[int]:
    """Return row numbers: the first of each of `max_count` parts, as even as can be, and the last of all."""
    if count <= max_count:
        return list(range(count))
    size, longer = divmod(count, max_count)
    rows = [part * size + min(part, longer) for part in range(max_count)]
    if rows[-1] != count - 1:
        rows[-1] = count - 1
    return rows
