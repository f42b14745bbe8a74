"""What the points of each key add up to, computed column by column in C++."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from localtrack.format.arrow_columns import scalar
from localtrack.format.segment_info import MetricFold
from localtrack.format.segment_table import column, compact_keys

if TYPE_CHECKING:
    import pyarrow as pa

_INT64_MAX = 2**63 - 1
_NEGATIVE_ZERO_RANK = -1


def fold_table(table: pa.Table) -> dict[str, MetricFold]:
    """Return the fold of each key, in the order of the keys.

    Args:
        table: Points with the columns of `segment_schema()`, in any order.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    table = compact_keys(table)
    if table.num_rows == 0:
        return {}
    keys, values = column(table, "key"), column(table, "value")
    rank = _value_ranks(values)
    is_nan = pc.is_nan(values)
    rows = pa.table(
        {
            "key": keys.indices,
            "step": column(table, "step"),
            "timestamp_ms": column(table, "timestamp_ms"),
            "rank": pc.if_else(is_nan, scalar("int64", None), rank),
            # In "last" NaN stands with -0.0; which of the two it was is looked up afterwards.
            "last_rank": pc.if_else(is_nan, scalar("int64", _NEGATIVE_ZERO_RANK), rank),
        }
    )
    totals = rows.group_by("key", use_threads=False).aggregate([("step", "count"), ("rank", "min"), ("rank", "max")])
    totals = totals.sort_by("key")
    last_rows, last_steps = _keep_greatest(rows, "step")
    last_rows, last_times = _keep_greatest(last_rows, "timestamp_ms")
    last_rows, last_ranks = _keep_greatest(last_rows, "last_rank")
    real = last_rows.group_by("key", use_threads=False).aggregate([("rank", "count")]).sort_by("key")
    last_values = _rank_values(
        pc.if_else(pc.equal(column(real, "rank_count"), scalar("int64", 0)), scalar("int64", None), last_ranks)
    )
    return {
        key: MetricFold(*fold)
        for key, *fold in zip(
            keys.dictionary.to_pylist(),
            totals.column("step_count").to_pylist(),
            last_values,
            last_steps.to_pylist(),
            last_times.to_pylist(),
            _rank_values(column(totals, "rank_min")),
            _rank_values(column(totals, "rank_max")),
            strict=True,
        )
    }


def _keep_greatest(rows: pa.Table, name: str) -> tuple[pa.Table, Any]:
    """Return the rows with the greatest `name` of their key, and that greatest of each key in the order of keys."""
    import pyarrow.compute as pc

    greatest = rows.group_by("key", use_threads=False).aggregate([(name, "max")]).sort_by("key")
    best = column(greatest, f"{name}_max")
    return rows.filter(pc.equal(column(rows, name), best.take(column(rows, "key")))), best


def _value_ranks(values: Any) -> Any:
    """Return integers that compare as the floats do, with -0.0 just below 0.0. NaN gets a rank without meaning."""
    import pyarrow as pa

    return _flip_negative(values.view(pa.int64()))


def _rank_values(ranks: Any) -> list[float]:
    """Return the floats of ranks; NaN for null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    bits = _flip_negative(ranks)
    floats = pc.fill_null(bits, 0).view(pa.float64())
    return [
        math.nan if rank is None else value for rank, value in zip(bits.to_pylist(), floats.to_pylist(), strict=True)
    ]


def _flip_negative(integers: Any) -> Any:
    """Turn the bits of floats into integers in the order of the floats, and back."""
    import pyarrow.compute as pc

    zero, mask = scalar("int64", 0), scalar("int64", _INT64_MAX)
    return pc.if_else(pc.less(integers, zero), pc.bit_wise_xor(integers, mask), integers)
