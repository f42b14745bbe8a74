"""How many points, metrics, params and tags runs have, from the columns of the index: no run is read for it."""

from __future__ import annotations

from array import array
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from localtrack.store.index.segment import Segment

if TYPE_CHECKING:
    import pyarrow as pa

    from localtrack.store.index.view import IndexView

COUNTED: Final = {
    "metric_steps": ("metrics", "count"),
    "metric_keys": ("metrics", ""),
    "params": ("params", ""),
    "tags": ("tags", ""),
}
"""By measure which tall relation says it, and the column that is added up; without one its rows are counted."""
_PENDING_ROWS: Final = 1_000_000
"""So many rows of keys that few runs have are in memory before they are added up."""


def count_contents(view: IndexView, measures: Collection[str]) -> dict[str, array[int]]:
    """Return how much each row of a view has, by measure; rows that are not shown included.

    Args:
        view: The runs.
        measures: Which of `COUNTED`.
    """
    found: dict[str, array[int]] = {}
    for measure in measures:
        relation, column = COUNTED[measure]
        counts = array("q")
        for segment in view.segments:
            counts += _count_in_segment(segment, relation, column)
        for state, folds in view.live:
            if column:
                counts.append(sum(fold.count for fold in folds.values()))
            elif relation == "metrics":
                counts.append(len(folds))
            else:
                counts.append(len(state.params if relation == "params" else state.tags))
        found[measure] = counts
    return found


def _count_in_segment(segment: Segment, relation: str, column: str) -> array[int]:
    everywhere = 0
    pending: list[pa.Table] = []
    pending_count = 0
    for key in segment.keys(relation):
        if not column and segment.is_dense(relation, key):
            everywhere += 1
            continue
        table = segment.tall(relation, key, ["row", column] if column else ["row"])
        assert table is not None
        pending.append(table.rename_columns(["row", "n"]) if column else table.append_column("n", _ones(len(table))))
        pending_count += len(table)
        if pending_count > _PENDING_ROWS:
            pending = [_add_up(pending)]
            pending_count = len(pending[0])
    counts = array("q", [everywhere]) * segment.rows_count
    if pending:
        rows, added = (_integers(column) for column in _add_up(pending).columns)
        for row, count in zip(rows, added, strict=True):
            counts[row] += count
    return counts


def _add_up(tables: list[pa.Table]) -> pa.Table:
    import pyarrow as pa

    total = pa.concat_tables(tables).group_by("row").aggregate([("n", "sum")])
    return total.select(["row", "n_sum"]).rename_columns(["row", "n"])


def _integers(column: pa.ChunkedArray[Any]) -> list[int]:
    return column.to_pylist()  # type: ignore[return-value]  # no row and no count is null


def _ones(count: int) -> pa.Array[Any]:
    import pyarrow as pa

    return pa.array(array("q", [1]) * count, pa.int64())
