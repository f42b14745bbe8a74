"""What the views are made of."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, TypeVar

from localtrack.errors import DamagedIndexError
from localtrack.format.arrow_columns import ColumnType, column
from localtrack.format.segment_table import column as one_array
from localtrack.query.relations import experiments_relation, models_relation
from localtrack.query.snapshot import RunSnapshot
from localtrack.query.sql.columns import VIEWS
from localtrack.query.sql.streams import Candidates, Produce, make_stream
from localtrack.types import DatasetInput, Experiment, FileInfo, Finding, LoggedModel

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
ChooseKeys = Callable[[Sequence[str]], Sequence[str]]

_Parts = tuple["pa.Schema", Sequence[str], Produce]
"""Columns of a stream, which of them are known before reading, and where the rows come from."""

_MAX_TIME_MS: Final = 253_402_300_799_999
"""The end of the year 9999: what the calendars of Python and pandas know."""
_TRIES: Final = 3
"""How often the index may turn out to be damaged while one part of a query is read."""
_BATCH_RUNS: Final = 256
"""Runs whose artifacts are listed before rows are handed over."""


@dataclass
class Source:
    """Where the rows of the views come from; nothing is read before a query names it.

    Args:
        take_snapshot: Gives all runs, deleted ones too.
        experiments: All experiments, deleted ones too.
        models: All logged models, deleted ones too.
        run_ids: The ids of all runs, without looking into those where that can be helped.
        points: The points of a run, with the columns of `metric_history` but run_id; None if there is no such run
            (any more). It is given a function that tells which of the run's keys are wanted.
        artifacts: The files among the artifacts of a run, those in folders too; none if there is no such run.
    """

    take_snapshot: Callable[[], RunSnapshot]
    experiments: Callable[[], Sequence[Experiment]]
    models: Callable[[], Sequence[LoggedModel]]
    run_ids: Callable[[], Sequence[str]]
    points: Callable[[str, ChooseKeys], pa.Table | None]
    artifacts: Callable[[str], Iterable[FileInfo]]
    findings: list[Finding] = field(default_factory=list)
    """What was found damaged while the views were read."""
    failure: Exception | None = None
    """Why a view could not be read on; DuckDB passes on its text only."""
    only_runs: Collection[str] | None = None
    """The runs that the stream of the query has to be read of; None for all."""
    words: Sequence[str] = ()
    """The texts that the query compares with, in its own text and as parameters."""
    _snapshot: RunSnapshot | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    """DuckDB reads several views at once."""

    def list_runs(self) -> Sequence[str]:
        """Return the ids of the runs that a stream may have to be read of."""
        run_ids = self.run_ids()
        if self.only_runs is None:
            return run_ids
        wanted = set(self.only_runs)
        return [run_id for run_id in run_ids if run_id in wanted]

    def ask(self, question: Callable[[RunSnapshot], T]) -> T:
        """Ask all runs, as they were when the query first asked for them.

        Where a file of the search index turns out to be damaged, they are taken anew without it. Rows that the query
        has by then, it keeps: they were sound.
        """
        for _ in range(_TRIES):
            snapshot = self._hold_snapshot()
            try:
                return question(snapshot)
            except DamagedIndexError:  # the index was told, and does without that file from now on
                self._drop_snapshot(snapshot)
        return question(self._hold_snapshot())

    def _hold_snapshot(self) -> RunSnapshot:
        with self._lock:
            if self._snapshot is None:
                self._snapshot = self.take_snapshot()
                self.findings += self._snapshot.findings
            return self._snapshot

    def _drop_snapshot(self, snapshot: RunSnapshot) -> None:
        """Let go of a snapshot, unless another thread has by now taken another one."""
        with self._lock:
            if self._snapshot is snapshot:
                self._snapshot = None


def make_view(name: str, source: Source) -> Any:
    """Return the Arrow table or data set to register under the name of a view."""
    if name in _STREAMS:
        schema, known, produce = _STREAMS[name](source)

        def remember_failure(candidates: Candidates) -> Iterator[pa.Table]:
            try:
                yield from produce(candidates)
            except Exception as error:  # DuckDB would turn it into one of its own: kept, to be raised as it was
                source.failure = error
                raise

        return make_stream(schema, known, remember_failure)
    table = _MAKERS[name](source)
    for place, title in enumerate(table.column_names):
        if title.endswith("_time"):
            table = table.set_column(place, title, _moments(table.column(title)))
    return table.select(list(VIEWS[name]))


def _experiments(source: Source) -> pa.Table:
    experiments = list(source.experiments())
    return experiments_relation(experiments).append_column("tags", _maps("string", [e.tags for e in experiments]))


def _models(source: Source) -> pa.Table:
    models = list(source.models())
    latest = [{p.key: p.value for p in sorted(m.metrics, key=lambda p: (p.timestamp, p.step))} for m in models]
    table = models_relation(models).rename_columns(
        {"creation_timestamp": "creation_time", "last_updated_timestamp": "last_update_time"}
    )
    table = table.append_column("metrics", _maps("double", latest))
    table = table.append_column("params", _maps("string", [m.params for m in models]))
    return table.append_column("tags", _maps("string", [m.tags for m in models]))


def _maps(kind: ColumnType, mappings: Sequence[Mapping[str, Any]]) -> Any:
    """Return an Arrow column of maps from texts."""
    import pyarrow as pa

    offsets: Any = column("int32", [0, *accumulate(map(len, mappings))])
    keys = column("string", [key for mapping in mappings for key in mapping]).cast(pa.string())
    items = column(kind, [value for mapping in mappings for value in mapping.values()])
    return pa.MapArray.from_arrays(offsets, keys, items.cast(pa.string()) if kind == "string" else items)


def _tall(name: str) -> Callable[[Source], _Parts]:
    """Return the maker of a view of key and value, which asks for just the keys that a query names."""

    def make(source: Source) -> _Parts:
        import pyarrow as pa

        titles = list(VIEWS[name])
        types = {"VARCHAR": pa.large_string(), "BIGINT": pa.int64(), "DOUBLE": pa.float64()}
        schema = pa.schema([pa.field(title, types[VIEWS[name][title]]) for title in titles])
        schema = schema.set(0, pa.field("run_id", pa.dictionary(pa.int32(), pa.large_string())))

        def produce(candidates: Candidates) -> Iterable[pa.Table]:
            keys = candidates.only_words("key", source.words)
            table = source.ask(lambda snapshot: _with_run_ids(snapshot.table(name, keys=keys), snapshot))
            if name == "metrics":
                table = table.rename_columns({"timestamp": "timestamp_ms"})
            yield table.select(titles)

        return schema, [], produce

    return make


def _runs(source: Source) -> _Parts:
    import pyarrow as pa

    types: dict[str, pa.DataType] = {
        "VARCHAR": pa.string(),
        "BIGINT": pa.int64(),
        VIEWS["runs"]["start_time"]: pa.timestamp("ms", "UTC"),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in VIEWS["runs"].items()])

    def produce(candidates: Candidates) -> Iterable[pa.Table]:
        # Of a million runs each column takes time; those that nobody looks at stay empty.
        wanted = [name for name in schema.names if candidates.wants([name])]
        runs = source.ask(lambda snapshot: snapshot.runs(wanted))
        columns: dict[str, Any] = {name: runs.column(name) for name in wanted}
        columns |= {name: _moments(columns[name]) for name in wanted if name.endswith("_time")}
        nothing = [pa.nulls(runs.num_rows, schema.field(name).type) for name in schema.names]
        arrays = [columns.get(name, empty) for name, empty in zip(schema.names, nothing, strict=True)]
        yield pa.Table.from_arrays(arrays, names=schema.names).cast(schema)

    return schema, [], produce


def _with_run_ids(table: pa.Table, snapshot: RunSnapshot) -> pa.Table:
    """Append the ids of the runs of a tall relation: each once, and for each row its place among them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    runs = snapshot.runs(["run_id"])
    # Not the numbers of the rows themselves: some are of rows that count no more, and that `runs` leaves out.
    places: Any = pc.index_in(one_array(table, "row"), value_set=one_array(runs, "row"))
    return table.append_column("run_id", pa.DictionaryArray.from_arrays(places, one_array(runs, "run_id")))


def _datasets(source: Source) -> _Parts:
    import pyarrow as pa

    text: pa.DataType = pa.string()
    titles = VIEWS["datasets"]
    types = {name: text if kind == "VARCHAR" else pa.map_(text, text) for name, kind in titles.items()}
    schema = pa.schema(list(types.items()))
    known = ("run_id", "name", "digest", "context")
    others = [name for name in titles if name not in known]

    def produce(candidates: Candidates) -> Iterable[pa.Table]:
        snapshot, table = source.ask(lambda it: (it, _with_run_ids(it.table("datasets"), it)))
        columns: dict[str, Any] = {name: table.column(name).cast(text) for name in known}
        texts = {name: values.to_pylist() for name, values in columns.items()}
        numbers = dict(zip(texts["run_id"], table.column("row").to_pylist(), strict=True))
        places = candidates.select(**texts)

        def read_inputs(asked: RunSnapshot, run_ids: Collection[str]) -> dict[tuple[str, str, str], DatasetInput]:
            nonlocal snapshot, numbers
            if asked is not snapshot:
                runs = asked.runs(["run_id"])
                rows = (runs.column(name).to_pylist() for name in ("run_id", "row"))
                snapshot, numbers = asked, dict(zip(*rows, strict=True))
            return _dataset_inputs(asked, {run_id: numbers[run_id] for run_id in run_ids if run_id in numbers})

        is_whole = candidates.wants(others)
        for start in range(0, len(places), _BATCH_RUNS):
            chosen = places[start : start + _BATCH_RUNS]
            described: dict[str, list[Any]] = dict.fromkeys(others, [None] * len(chosen)) | {"tags": [{}] * len(chosen)}
            if is_whole:  # or nobody looks at them
                run_ids = dict.fromkeys(texts["run_id"][place] for place in chosen)
                found = source.ask(lambda it, run_ids=run_ids: read_inputs(it, run_ids))  # type: ignore[misc]
                keys = {
                    place: (texts["run_id"][place], texts["name"][place], texts["digest"][place]) for place in chosen
                }
                chosen = [place for place in chosen if keys[place] in found]
                described = _described([found[keys[place]] for place in chosen])
            values = {name: [texts[name][place] for place in chosen] for name in known} | described
            arrays = [
                column("string", values[name]) if types[name] is text else _maps("string", values[name])
                for name in titles
            ]
            yield pa.Table.from_arrays(arrays, names=list(titles)).cast(schema)

    return schema, known, produce


def _dataset_inputs(snapshot: RunSnapshot, numbers: Mapping[str, int]) -> dict[tuple[str, str, str], DatasetInput]:
    """Return what runs, given as the number of each id, say of their data sets, by run, name and digest."""
    return {
        (run_id, read.dataset.name, read.dataset.digest): read
        for run_id, row in zip(numbers, snapshot.rows(list(numbers.values())), strict=True)
        for read in row.datasets
    }


def _described(inputs: Sequence[DatasetInput]) -> dict[str, list[Any]]:
    """Return those columns of data sets that the index does not hold."""
    names = ("source_type", "source", "schema", "profile")
    values: dict[str, list[Any]] = {name: [getattr(read.dataset, name) for read in inputs] for name in names}
    return values | {"tags": [{tag.key: tag.value for tag in read.tags} for read in inputs]}


def _moments(values: Any) -> Any:
    """Return milliseconds as moments; NULL for what no calendar knows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    limit = column("int64", [_MAX_TIME_MS, -_MAX_TIME_MS])
    is_known = pc.and_(pc.less_equal(values, limit[0]), pc.greater_equal(values, limit[1]))
    nothing = column("int64", [None])[0]
    return pc.if_else(is_known, values, nothing).cast(pa.timestamp("ms", "UTC"))


def _metric_history(source: Source) -> _Parts:
    import pyarrow as pa

    text: pa.DataType = pa.string()
    schema = pa.schema(
        {"run_id": text, "key": text, "step": pa.int64(), "timestamp_ms": pa.int64(), "value": pa.float64()}
    )

    def produce(candidates: Candidates) -> Iterable[pa.Table]:
        run_ids = source.list_runs()
        for place in candidates.select(run_id=run_ids):
            run_id = run_ids[place]

            def choose(keys: Sequence[str], run_id: str = run_id) -> Sequence[str]:
                return [keys[i] for i in candidates.select(run_id=[run_id] * len(keys), key=keys)]

            points = source.points(run_id, choose)
            if points is not None and points.num_rows:
                yield _with_run_id(points, run_id).select(schema.names).cast(schema)

    return schema, ["run_id", "key"], produce


def _with_run_id(table: pa.Table, run_id: str) -> pa.Table:
    import pyarrow as pa

    rows = pa.repeat(column("string", [run_id])[0].cast(pa.string()), table.num_rows)
    return table.append_column("run_id", rows)


def _artifacts(source: Source) -> _Parts:
    import pyarrow as pa

    text: pa.DataType = pa.string()
    schema = pa.schema({"run_id": text, "path": text, "size_bytes": pa.int64()})

    def produce(candidates: Candidates) -> Iterable[pa.Table]:
        run_ids = source.list_runs()
        places = candidates.select(run_id=run_ids)
        for start in range(0, len(places), _BATCH_RUNS):
            rows = [
                (run_ids[place], file.path, file.file_size)
                for place in places[start : start + _BATCH_RUNS]
                for file in source.artifacts(run_ids[place])
            ]
            ids, paths, sizes = (zip(*rows, strict=True)) if rows else ((), (), ())
            arrays = [column("string", ids), column("string", paths), column("int64", sizes)]
            yield pa.Table.from_arrays(arrays, names=schema.names).cast(schema)

    return schema, ["run_id"], produce


_MAKERS: Final[dict[str, Callable[[Source], Any]]] = {
    "experiments": _experiments,
    "models": _models,
}

_STREAMS: Final[dict[str, Callable[[Source], Any]]] = {
    **{name: _tall(name) for name in ("params", "metrics", "tags")},
    "runs": _runs,
    "datasets": _datasets,
    "metric_history": _metric_history,
    "artifacts": _artifacts,
}
