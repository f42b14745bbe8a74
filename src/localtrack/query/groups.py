"""Runs that repeat each other, such as over seeds, taken together: mean, standard deviation and count of metrics."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from localtrack.errors import InvalidInputError
from localtrack.format.segment_table import column
from localtrack.query.choice import ask_about
from localtrack.query.frame import Frame
from localtrack.query.snapshot import RunSnapshot

if TYPE_CHECKING:
    import pyarrow as pa

SEED_PARAMS: Final = ("seed", "random_seed", "random_state")
"""Params that tell repetitions apart, and do not make groups of their own."""
_MAX_COLUMNS_COUNT: Final = 1_000


def group_runs(
    snapshot: RunSnapshot,
    numbers: Sequence[int],
    *,
    by: Sequence[str] | None = None,
    ignore: Collection[str] = SEED_PARAMS,
    metrics: Sequence[str] | None = None,
) -> Frame:
    """Return the groups of runs that agree in their params, and what the last values of their metrics come to.

    Args:
        snapshot: Where the runs are.
        numbers: The runs.
        by: What runs of a group agree in: keys of params, or `params.<key>` and `tags.<key>`; all params by default.
        ignore: Params that are left out of the default.
        metrics: Only these; all by default.

    Returns:
        A row for each group: `params.<key>` or `tags.<key>` (null where the runs lack it), `runs` (how many), then
        for each metric `metrics.<key>.mean`, `.std` (of a sample: divided by count - 1; null for one run) and `.count`
        (runs that have it). Mean and deviation are NaN if a value is NaN or infinite. Ordered by the params, as
        numbers where they are.

    Raises:
        InvalidInputError: There are more columns than a frame should have.
    """
    fields = _parse_fields(by) if by is not None else _all_params(snapshot, numbers, ignore)
    wanted = _all_keys(snapshot, numbers, "metrics") if metrics is None else list(dict.fromkeys(metrics))
    if len(fields) + 3 * len(wanted) > _MAX_COLUMNS_COUNT:
        raise InvalidInputError(
            f"Groups over {len(fields)} params with {len(wanted)} metrics have too many columns.",
            hint="Name the params with by=, and the metrics with metrics=.",
        )
    parameters: dict[str, str] = {}
    relations: dict[str, list[str]] = {}
    for relation, key in [*fields, *(("metrics", key) for key in wanted)]:
        relations.setdefault(relation, []).append(key)
        parameters[f"k{len(parameters)}"] = key
    query = _query(fields, len(wanted), sorted(relations))
    table = ask_about(snapshot, numbers, query, keys=relations, parameters=parameters)
    names = [f"{relation}.{key}" for relation, key in fields]
    names += ["runs", *(f"metrics.{key}.{what}" for key in wanted for what in ("mean", "std", "count"))]
    return Frame(table.rename_columns(names))


def _parse_fields(by: Sequence[str]) -> list[tuple[str, str]]:
    if isinstance(by, str):
        raise InvalidInputError(f"by={by!r} is a text, not a list of them.", hint=f"Use by=[{by!r}].")
    fields: list[tuple[str, str]] = []
    for name in by:
        entity, dot, key = name.partition(".")
        fields.append((entity, key) if dot and key and entity in ("params", "tags") else ("params", name))
    return list(dict.fromkeys(fields))


def _all_params(snapshot: RunSnapshot, numbers: Sequence[int], ignore: Collection[str]) -> list[tuple[str, str]]:
    return [("params", key) for key in _all_keys(snapshot, numbers, "params") if key not in ignore]


def _all_keys(snapshot: RunSnapshot, numbers: Sequence[int], relation: str) -> list[str]:
    query = f"SELECT DISTINCT t.key FROM chosen JOIN {relation} t USING (row) ORDER BY 1"
    found: pa.Table = ask_about(snapshot, numbers, query, keys={relation: None})
    return [str(key) for key in column(found, "key").to_pylist()]


def _query(fields: Sequence[tuple[str, str]], metrics_count: int, relations: Sequence[str]) -> str:
    """Return the statement: each relation is made wide once, then the rows are grouped; keys are parameters k0, k1."""
    places: dict[str, list[int]] = {}
    for place, (relation, _) in enumerate(fields):
        places.setdefault(relation, []).append(place)
    first_metric = len(fields)
    if metrics_count:
        places["metrics"] = list(range(first_metric, first_metric + metrics_count))
    source = "chosen"
    for relation in relations:
        picked = ", ".join(
            f"any_value(t.value) FILTER (WHERE t.key = $k{place}) AS c{place}" for place in places[relation]
        )
        wide = f"SELECT t.row, {picked} FROM {relation} t SEMI JOIN chosen USING (row) GROUP BY t.row"
        source += f" LEFT JOIN ({wide}) {relation}_wide USING (row)"
    groups = [f"c{place}" for place in range(first_metric)]
    measures: list[str] = []
    for place in range(first_metric, first_metric + metrics_count):
        value = f"c{place}"
        # DuckDB refuses to compute the deviation of what is not finite.
        is_odd = f"bool_or(NOT isfinite({value}))"
        measures += [
            f"CASE WHEN {is_odd} THEN 'NaN'::DOUBLE ELSE avg({value}) END",
            f"CASE WHEN count({value}) < 2 THEN NULL WHEN {is_odd} THEN 'NaN'::DOUBLE "
            f"ELSE stddev_samp({value}) FILTER (WHERE isfinite({value})) END",
            f"count({value})",
        ]
    selected = ", ".join([*groups, "count(*)", *measures])
    order = ", ".join(f"TRY_CAST({group} AS DOUBLE) NULLS LAST, {group} NULLS LAST" for group in groups)
    grouping = f" GROUP BY {', '.join(groups)} ORDER BY {order}" if groups else ""
    return f"SELECT {selected} FROM {source}{grouping or ' HAVING count(*) > 0'}"
