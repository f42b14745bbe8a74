"""The runs of a store at one moment, in columns: segments and overlay put together, with the life cycle of each run.

A view never changes. Its row numbers count through the segments, dead rows included, and then through the overlay.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from localtrack.format.arrow_columns import scalar
from localtrack.format.edits import EditsState
from localtrack.format.index_rows import decode_index_row
from localtrack.format.layout import ARTIFACTS, run_folder
from localtrack.store.index.columns import ColumnCache
from localtrack.store.index.overlay import LiveRows, live_values
from localtrack.store.index.segment import Segment
from localtrack.store.index.tables import TALL_COLUMNS, all_null, numbers, tall_groups, to_array
from localtrack.store.run_rows import build_row
from localtrack.types import Finding, LifecycleStage, RunRow

if TYPE_CHECKING:
    import pyarrow as pa

ACTIVE, DELETED, NOT_SHOWN = range(3)
"""Values of `stage`."""
_STAGE_NAMES: Final[tuple[LifecycleStage, ...]] = ("active", "deleted")


class IndexView:
    """See the module.

    Args:
        segments: The segments.
        stages: For each of them the stage of each row, and at the end those of the overlay.
        live: The runs of the overlay.
        edits: What the store's edits say: names of experiments.
        columns: Where columns of segments are kept.
        path: Spells the path of a key.
        findings: What is damaged.
        is_first: The process has not asked for one before: it may be the only one.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        stages: Sequence[bytes],
        live: LiveRows,
        *,
        edits: EditsState,
        columns: ColumnCache,
        path: Callable[[str], str],
        findings: Sequence[Finding],
        is_first: bool = False,
    ) -> None:
        self.findings = findings
        self.is_first = is_first
        self.segments = segments
        self.stages = stages
        self.live = live.rows
        self._live = live
        self._edits = edits
        self._columns = columns
        self._path = path
        counts = [*(segment.rows_count for segment in segments), len(live.rows)]
        self.starts = list(accumulate(counts, initial=0))
        self.rows_count = self.starts[-1]

    def live_value(self, place: int, relation: str, key: str, name: str) -> Any:
        """Return what a run of the overlay has in one column of one key of a tall relation, or None."""
        return live_values((relation, key, name), self.live[place : place + 1])[0]

    # -- columns over all rows

    def stage(self) -> pa.ChunkedArray[Any]:
        """Return the stage of each row, as uint8."""
        import pyarrow as pa

        chunks = [
            pa.Array.from_buffers(pa.uint8(), len(stages), [None, pa.py_buffer(stages)]) for stages in self.stages
        ]
        return pa.chunked_array(chunks, pa.uint8())

    def narrow(self, name: str) -> pa.ChunkedArray[Any]:
        """Return a column of the relation `runs`, with dead rows."""
        made: dict[str, Callable[[], pa.ChunkedArray[Any]]] = {
            "duration_ms": self._durations,
            "lifecycle_stage": self._lifecycle_stages,
            "experiment_name": self._experiment_names,
            "artifact_uri": self._artifact_uris,
        }
        if name in made:
            return made[name]()
        import pyarrow as pa

        chunks = [self._segment_column(segment, name) for segment in self.segments]
        if self.live or not chunks:
            chunks.append(self._live.column("runs", "", name))
        return pa.chunked_array(chunks)

    def key_column(self, relation: str, key: str, name: str) -> pa.ChunkedArray[Any]:
        """Return one column of one key of a tall relation, null where a run has no such key."""
        import pyarrow as pa

        kind = TALL_COLUMNS[relation][name]
        is_repeating = kind == "string"
        chunks: list[pa.Array[Any]] = []
        for segment in self.segments:

            def read(segment: Segment = segment) -> pa.Array[Any] | None:
                return segment.key_column(relation, key, name)

            found = self._columns.get((segment.name, relation, key, name), read)
            chunks.append(all_null(kind, segment.rows_count, is_repeating=is_repeating) if found is None else found)
        if self.live or not chunks:
            chunks.append(self._live.column(relation, key, name))
        return pa.chunked_array(chunks)

    def keys(self, relation: str) -> list[str]:
        """Return the keys of a tall relation that a segment or the overlay has, in order."""
        found = {key for segment in self.segments for key in segment.keys(relation)}
        for state, folds in self.live:
            found.update(folds if relation == "metrics" else state.params if relation == "params" else state.tags)
        return sorted(found)

    # -- tables of the rows that are shown

    def runs_table(self, names: Sequence[str]) -> pa.Table:
        """Return the relation `runs`, without dead rows: the numbers of the rows, and these columns."""
        import pyarrow as pa

        columns = [_plain_texts(self.narrow(name)) for name in names]
        table = pa.table([pa.chunked_array([numbers(self.rows_count)]), *columns], names=["row", *names])
        return table.filter(self._is_shown())

    def tall_table(self, relation: str, *, keys: Collection[str] | None) -> pa.Table:
        """Return a tall relation, without dead rows.

        Args:
            relation: Which one.
            keys: Only these; None for all.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        is_shown = self._is_shown()
        tables: list[pa.Table] = []
        for start, segment in zip(self.starts, self.segments, strict=False):
            wanted = segment.keys(relation) if keys is None else sorted(set(keys) & set(segment.keys(relation)))
            for key in wanted:
                table = segment.tall(relation, key)
                assert table is not None
                if relation == "metrics":
                    for name in ("min", "max"):
                        filled = pc.coalesce(table.column(name), table.column("value"))
                        table = table.set_column(table.column_names.index(name), name, filled)
                tables.append(table.set_column(0, "row", pc.add(table.column("row"), scalar("int32", start))))
        live = [(key, table) for key, table in tall_groups(relation, self.live) if keys is None or key in keys]
        for _, table in live:
            if relation == "metrics":
                for name in ("min", "max"):
                    filled = pc.coalesce(table.column(name), table.column("value"))
                    table = table.set_column(table.column_names.index(name), name, filled)
            tables.append(table.set_column(0, "row", pc.add(table.column("row"), scalar("int32", self.starts[-2]))))
        if not tables:
            columns = TALL_COLUMNS[relation]
            tables = [pa.Table.from_arrays([to_array(kind, []) for kind in columns.values()], names=list(columns))]
        table = pa.concat_tables(tables)
        table = table.filter(is_shown.take(table.column("row")))
        return table.drop_columns(["key"]) if relation == "datasets" else table

    def _is_shown(self) -> Any:
        import pyarrow.compute as pc

        return pc.not_equal(self.stage(), column_of_uint8(NOT_SHOWN))

    # -- whole rows

    def row(self, number: int) -> RunRow:
        """Return a run."""
        place = bisect.bisect_right(self.starts, number) - 1
        local = number - self.starts[place]
        stage = self.stages[place][local]
        if place == len(self.segments):
            state, folds = self.live[local]
        else:
            try:
                state, folds = decode_index_row(self.segments[place].id_at(local), self.segments[place].row(local))
            except ValueError as error:
                raise self.segments[place].damaged("rows") from error
        return build_row(
            state, folds, lifecycle_stage=_STAGE_NAMES[stage], artifact_uri=self._artifact_uri(state.run_id)
        )

    def run_id(self, number: int) -> str:
        """Return the id of a run."""
        place = bisect.bisect_right(self.starts, number) - 1
        local = number - self.starts[place]
        return self.live[local][0].run_id if place == len(self.segments) else self.segments[place].id_at(local)

    def shown_numbers(self) -> list[int]:
        """Return the numbers of all rows that are shown."""
        found: list[int] = []
        for start, stages in zip(self.starts, self.stages, strict=False):
            found += [start + row for row, stage in enumerate(stages) if stage != NOT_SHOWN]
        return found

    # -- columns that are computed

    def _segment_column(self, segment: Segment, name: str) -> pa.Array[Any]:
        found = self._columns.get((segment.name, "runs", "", name), lambda: segment.narrow(name))
        assert found is not None
        return found

    def _durations(self) -> pa.ChunkedArray[Any]:
        import pyarrow.compute as pc

        return pc.subtract(self.narrow("end_time"), self.narrow("start_time"))

    def _lifecycle_stages(self) -> pa.ChunkedArray[Any]:
        import pyarrow as pa

        names = to_array("string", [*_STAGE_NAMES, ""])
        stages = [pa.Array.from_buffers(pa.int8(), len(stages), [None, pa.py_buffer(stages)]) for stages in self.stages]
        return pa.chunked_array([pa.DictionaryArray.from_arrays(stage, names) for stage in stages])

    def _experiment_names(self) -> pa.ChunkedArray[Any]:
        import pyarrow as pa

        experiments = self._edits.experiments
        chunks: list[pa.Array[Any]] = []
        for ids in self.narrow("experiment_id").chunks:
            names = [
                experiments[key].name if key in experiments else None
                for key in ids.dictionary.to_pylist()  # type: ignore[attr-defined]
            ]
            chunks.append(pa.DictionaryArray.from_arrays(ids.indices, to_array("string", names)))  # type: ignore[attr-defined]
        return pa.chunked_array(chunks)

    def _artifact_uris(self) -> pa.ChunkedArray[Any]:
        import pyarrow as pa

        chunks: list[pa.Array[Any]] = []
        for segment in self.segments:

            def read(segment: Segment = segment) -> pa.Array[Any]:
                ids = (segment.id_at(row) for row in range(segment.rows_count))
                return to_array("string", [self._artifact_uri(run_id) for run_id in ids])

            found = self._columns.get((segment.name, "runs", "", "artifact_uri"), read)
            assert found is not None
            chunks.append(found)
        chunks.append(to_array("string", [self._artifact_uri(state.run_id) for state, _ in self.live]))
        return pa.chunked_array(chunks)

    def _artifact_uri(self, run_id: str) -> str:
        return self._path(f"{run_folder(run_id)}/{ARTIFACTS}")


def _plain_texts(values: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    """Return a column with its dictionaries, which may differ between chunks, written out."""
    import pyarrow as pa

    return values.cast(pa.string()) if pa.types.is_dictionary(values.type) else values


def column_of_uint8(value: int) -> Any:
    """Return a number as an Arrow scalar."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.uint8(), 1, [None, pa.py_buffer(bytes([value]))])[0]
