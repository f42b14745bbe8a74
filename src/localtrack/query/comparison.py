"""Runs side by side: params that differ, last values of metrics, differences from a baseline, the best marked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localtrack.errors import InvalidInputError
from localtrack.format.arrow_columns import column
from localtrack.query.directions import Direction, choose_direction
from localtrack.query.frame import Frame
from localtrack.types import RunRow

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class ParamRow:
    """One param of the runs compared; None where a run lacks it."""

    key: str
    values: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class MetricRow:
    """The last values of one metric in the runs compared; None where a run lacks it."""

    key: str
    direction: Direction | None
    """Which way is better; None where nobody said and the name does not tell."""
    values: tuple[float | None, ...]
    deltas: tuple[float | None, ...]
    """Value minus that of the baseline; None where either is missing."""
    best: tuple[bool, ...]
    """Which runs have the best value: several if they tie, none without a direction or if all are equal."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side. All tuples are in the order of `runs`."""

    runs: tuple[RunRow, ...]
    baseline: int
    """Place of the run that the others are held against."""
    params: tuple[ParamRow, ...]
    """Those that differ, a param that only some have included, by key."""
    same_params_count: int
    """How many params are the same in all."""
    metrics: tuple[MetricRow, ...]

    @property
    def run_ids(self) -> list[str]:
        """Ids of the runs."""
        return [row.info.run_id for row in self.runs]

    def params_frame(self) -> Frame:
        """Return the params that differ: a row for each, with the columns `key` and the ids of the runs."""
        import pyarrow as pa

        keys = column("string", [row.key for row in self.params])
        columns = [column("string", [row.values[place] for row in self.params]) for place in range(len(self.runs))]
        return Frame(pa.Table.from_arrays([keys, *columns], names=["key", *self.run_ids]))

    def metrics_frame(self) -> Frame:
        """Return the metrics: a row for each metric and run.

        Columns `key`, `direction`, `run_id`, `run_name`, `value`, `delta`, `is_best`; the runs that lack a metric
        are left out.
        """
        import pyarrow as pa

        rows = [
            (m.key, m.direction, run.info.run_id, run.info.run_name, m.values[place], m.deltas[place], m.best[place])
            for m in self.metrics
            for place, run in enumerate(self.runs)
            if m.values[place] is not None
        ]
        names = ["key", "direction", "run_id", "run_name", "value", "delta", "is_best"]
        by_column = list(zip(*rows, strict=True)) or [()] * len(names)
        arrays = [
            *(column("string", values) for values in by_column[:4]),
            *(column("double", values) for values in by_column[4:6]),
            column("int32", by_column[6]).cast(pa.bool_()),
        ]
        return Frame(pa.Table.from_arrays(arrays, names=names))


def compare_rows(
    rows: Sequence[RunRow],
    *,
    baseline: str | None = None,
    metrics: Collection[str] | None = None,
    minimize: Collection[str] = (),
    maximize: Collection[str] = (),
) -> Comparison:
    """Hold runs against each other.

    Args:
        rows: The runs.
        baseline: The id of the one that the others are held against; the first by default.
        metrics: Only these; all by default.
        minimize: Metrics of which less is better. Of others the name is asked.
        maximize: Metrics of which more is better.

    Raises:
        InvalidInputError: There are no runs, the baseline is none of them, or no run has one of the metrics named.
    """
    if not rows:
        raise InvalidInputError("There are no runs to compare.")
    ids = [row.info.run_id for row in rows]
    if baseline is not None and baseline not in ids:
        raise InvalidInputError(f"The baseline {baseline!r} is not among the runs to compare.")
    base = 0 if baseline is None else ids.index(baseline)
    known = {key for row in rows for key in row.metrics}
    for key in sorted({*(metrics or ()), *minimize, *maximize} - known):
        raise InvalidInputError(f"None of the runs has the metric {key!r}.")
    wanted = sorted(known) if metrics is None else list(dict.fromkeys(metrics))
    params = [ParamRow(key, tuple(row.params.get(key) for row in rows)) for key in _keys(rows)]
    differing = tuple(row for row in params if len(set(row.values)) > 1)
    return Comparison(
        runs=tuple(rows),
        baseline=base,
        params=differing,
        same_params_count=len(params) - len(differing),
        metrics=tuple(
            _compare_metric(key, rows, base, choose_direction(key, minimize=minimize, maximize=maximize))
            for key in wanted
        ),
    )


def _keys(rows: Sequence[RunRow]) -> list[str]:
    return sorted({key for row in rows for key in row.params})


def _compare_metric(key: str, rows: Sequence[RunRow], base: int, direction: Direction | None) -> MetricRow:
    values = tuple(row.metrics[key].value if key in row.metrics else None for row in rows)
    reference = values[base]
    deltas = tuple(None if value is None or reference is None else value - reference for value in values)
    numbers = [value for value in values if value is not None and value == value]
    best: float | None = None
    if direction is not None and len(set(numbers)) > 1:
        best = min(numbers) if direction == "min" else max(numbers)
    return MetricRow(key, direction, values, deltas, tuple(best is not None and value == best for value in values))
