"""What a new segment is to hold: runs that were read, or what is left of older segments."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from localtrack.format.index_rows import encode_index_row
from localtrack.format.metric_fold import Folds
from localtrack.format.run_fold import RunState
from localtrack.store.index.directory import TALL
from localtrack.store.index.segment import Segment
from localtrack.store.index.segment_write import Content, choose_dictionary
from localtrack.store.index.tables import NARROW, int32_array, is_plain_id, narrow_table, tall_groups
from localtrack.types import Finding

if TYPE_CHECKING:
    import pyarrow as pa

_DICTIONARY_GROWTH: Final = 16
"""When a segment has so many times the runs that its dictionary was taken from, another one is chosen."""


def content_of_runs(
    runs: Iterable[tuple[RunState, Folds]],
    findings: Mapping[str, Sequence[Finding]],
    *,
    beside: Sequence[Segment] = (),
) -> Content:
    """Return the content of a segment of these runs.

    Args:
        runs: The runs, each once.
        findings: What is wrong with them, by run id.
        beside: Segments that it may be merged with: with the same dictionary their rows need not be compressed anew.
    """
    ordered = sorted(runs, key=lambda run: (not is_plain_id(run[0].run_id), run[0].run_id))
    states = [state for state, _ in ordered]
    rows = [encode_index_row(state, folds) for state, folds in ordered]
    dictionary, sampled_count = choose_dictionary(rows), len(rows)
    model = max(beside, key=lambda segment: segment.directory.dictionary_rows_count, default=None)
    if model is not None and model.directory.dictionary_rows_count * _DICTIONARY_GROWTH >= len(rows):
        dictionary, sampled_count = model.dictionary, model.directory.dictionary_rows_count
    plain = [state.run_id for state in states if is_plain_id(state.run_id)]
    return Content(
        bytes.fromhex("".join(plain)),
        [state.run_id for state in states[len(plain) :]],
        {state.experiment_id: (state.experiment_name, state.generation) for state in states},
        [
            (number, finding.key, finding.what, finding.code, finding.severity)
            for number, state in enumerate(states)
            for finding in findings.get(state.run_id, ())
        ],
        narrow_table(states),
        {relation: tall_groups(relation, ordered) for relation in TALL},
        rows,
        dictionary,
        sampled_count,
    )


def content_of_segments(segments: Sequence[Segment], dead: Sequence[frozenset[int]]) -> Content:
    """Return the content of a segment that stands for several, without the rows that are dead.

    Args:
        segments: The old ones.
        dead: For each of them the rows that count no more.
    """
    sources = [
        (segment.id_at(row), number, row)
        for number, segment in enumerate(segments)
        for row in range(segment.rows_count)
        if row not in dead[number]
    ]
    sources.sort(key=lambda source: (not is_plain_id(source[0]), source[0]))
    to_new = [array("i", [-1]) * segment.rows_count for segment in segments]
    for new, (_, number, row) in enumerate(sources):
        to_new[number][row] = new
    plain_count = sum(is_plain_id(run_id) for run_id, _, _ in sources)
    largest = max(segments, key=lambda segment: segment.rows_count)
    sampled_count = largest.directory.dictionary_rows_count
    dictionary, is_compressed = largest.dictionary, True
    if len(sources) > sampled_count * _DICTIONARY_GROWTH or any(s.dictionary != dictionary for s in segments):
        is_compressed = False
    if len(sources) > sampled_count * _DICTIONARY_GROWTH and sources:
        step = max(1, len(sources) // 64)
        dictionary = choose_dictionary([segments[n].row(row) for _, n, row in sources[::step]])
        sampled_count = len(sources)
    read = Segment.packed_row if is_compressed else Segment.row
    return Content(
        bytes.fromhex("".join(run_id for run_id, _, _ in sources[:plain_count])),
        [run_id for run_id, _, _ in sources[plain_count:]],
        {key: value for segment in segments for key, value in segment.directory.experiments.items()},
        [
            (to_new[number][row], key, what, code, severity)
            for number, segment in enumerate(segments)
            for row, key, what, code, severity in segment.directory.findings
            if to_new[number][row] >= 0
        ],
        _merge_narrow(segments, to_new),
        {relation: _merge_tall(segments, to_new, relation) for relation in TALL},
        (read(segments[number], row) for _, number, row in sources),
        dictionary,
        sampled_count,
        is_compressed=is_compressed,
    )


def _merge_narrow(segments: Sequence[Segment], to_new: Sequence[array[int]]) -> pa.Table:
    import pyarrow as pa

    def texts(column: pa.Array[Any]) -> pa.Array[Any]:
        return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column

    tables = [
        pa.Table.from_arrays(
            [int32_array(to_new[number]), *(texts(segment.narrow(name)) for name in NARROW)], names=["row", *NARROW]
        )
        for number, segment in enumerate(segments)
    ]
    return _in_order(tables).drop_columns(["row"])


def _merge_tall(
    segments: Sequence[Segment], to_new: Sequence[array[int]], relation: str
) -> Iterator[tuple[str, pa.Table]]:
    for key in sorted({key for segment in segments for key in segment.keys(relation)}):
        tables = []
        for number, segment in enumerate(segments):
            table = segment.tall(relation, key)
            if table is not None:
                rows = int32_array(to_new[number]).take(table.column("row").combine_chunks())
                tables.append(table.set_column(0, "row", rows))
        yield key, _in_order(tables)


def _in_order(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of tables whose `row` is not negative, sorted by it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = pa.concat_tables(tables)
    kept = table.filter(pc.greater_equal(table.column("row"), _zero()))
    return kept.sort_by("row").combine_chunks()


def _zero() -> Any:
    from localtrack.format.arrow_columns import scalar

    return scalar("int32", 0)
