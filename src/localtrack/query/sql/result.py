"""Running a query, and its answer as a stream of batches, a table, a frame or a file."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from localtrack.errors import ErrorCode, InvalidInputError, StateError
from localtrack.query.connection import open_sealed
from localtrack.query.frame import table_to_pandas, table_to_polars
from localtrack.query.sql.guard import iter_parts, parse_query, query_error, views_of, words_of
from localtrack.query.sql.pruning import Pruner
from localtrack.query.sql.source import Source, make_view
from localtrack.types import Finding

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow as pa

BATCH_ROWS: Final = 50_000
_MAX_PARAMETERS_COUNT: Final = 10_000

Parameters = Sequence[Any] | Mapping[str, Any]
Bound = list[Any] | dict[str, Any]


def run_query(query: str, parameters: Parameters | None, source: Source) -> SqlResult:
    """Check a query, bind its parameters, and return its answer, which is computed as it is read.

    Args:
        query: One SELECT over the views.
        parameters: Values for `?` in order, or for `$name` by name.
        source: What the views are made of.

    Raises:
        InvalidInputError: The query may not run, or has no meaning.
    """
    import duckdb

    bound = _checked_parameters(parameters)
    connection = open_sealed()
    try:
        tree = parse_query(connection, query)
        source.words = [*words_of(tree), *_texts(bound)]
        for name in views_of(tree):
            connection.register(name, make_view(name, source))
        connection.begin()  # so that now() is one moment for the query, and for what is asked before it
        query, bound = _prune(connection, query, tree, bound, source)
        relation = connection.sql(query, params=bound)
    except (duckdb.Error, UnicodeError, OverflowError) as error:
        connection.close()
        raise query_error(error) from error
    except BaseException:  # ours (a refused query, a damaged run) and an interrupt pass as they are
        connection.close()
        raise
    return SqlResult(connection, relation, source)


def _prune(
    connection: duckdb.DuckDBPyConnection, query: str, tree: dict[str, Any], bound: Bound | None, source: Source
) -> tuple[str, Bound | None]:
    """Return the query with its subqueries answered, and tell the source which runs alone can be in the answer."""
    by_name = bound if isinstance(bound, dict) else {str(n): value for n, value in enumerate(bound or [], 1)}
    pruner = Pruner(connection, query, tree, by_name)
    if not pruner.is_worthwhile:
        return query, bound
    source.only_runs = pruner.joined_runs()
    # A list of values goes by the order of question marks, which would be others.
    if isinstance(bound, list) and bound:
        return query, bound
    shorter = pruner.list_subqueries()
    if shorter != query and isinstance(bound, dict):
        left = {part["identifier"] for part in iter_parts(parse_query(connection, shorter)) if "identifier" in part}
        bound = {name: value for name, value in bound.items() if name in left}
    return shorter, bound


class SqlResult:
    """The answer to a query. It is computed while it is read: once as a stream, or as a table any number of times.

    Concurrency: for one thread at a time.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, relation: duckdb.DuckDBPyRelation, source: Source
    ) -> None:
        self._connection = connection
        self._relation: duckdb.DuckDBPyRelation | None = relation
        self._source = source
        self._table: pa.Table | None = None
        self.columns: list[str] = list(relation.columns)
        """Names of the columns, in order."""
        self.types: list[str] = [str(kind) for kind in relation.types]
        """Their types, in DuckDB's words."""
        # Also at the end of the interpreter, while an answer is half read: DuckDB's threads call back into Python.
        self._close = weakref.finalize(self, _end, connection)

    def __enter__(self) -> SqlResult:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.batches():
            yield from batch.to_pylist(maps_as_pydicts="strict")

    def __repr__(self) -> str:
        return f"<SqlResult: {', '.join(self.columns)}>"

    @property
    def findings(self) -> list[Finding]:
        """What was damaged, and so is missing in the answer; whole once the answer was read."""
        return list(dict.fromkeys(self._source.findings))

    def close(self) -> None:
        """Let go of the query. What was read to the end as a table stays."""
        self._relation = None
        self._close()

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Yield the rows as Arrow batches, without holding more than a few of them in memory.

        Args:
            rows: About how many rows a batch holds.

        Raises:
            StateError: The answer has been read as a stream, or closed.
            InvalidInputError: A row cannot be computed.
        """
        reader = self.reader(rows)
        try:
            yield from reader
        finally:
            reader.close()

    def reader(self, rows: int = BATCH_ROWS) -> BatchReader:
        """Return what `batches` yields with its schema, which is known before the first batch."""
        import pyarrow as pa

        if self._table is not None:
            return BatchReader(self._table.schema, iter(self._table.to_batches(max_chunksize=rows)))
        reader = self._open(rows)
        schema = pa.schema([_handy_field(field) for field in reader.schema])
        return BatchReader(schema, self._drain(reader, schema))

    def to_arrow(self) -> pa.Table:
        """Return all rows as an Arrow table."""
        if self._table is None:
            import pyarrow as pa

            reader = self.reader()
            self._table = pa.Table.from_batches(list(reader), reader.schema)
        return self._table

    def to_pandas(self) -> pd.DataFrame:
        """Return all rows as a pandas data frame.

        Raises:
            LocaltrackError: pandas is not installed.
        """
        return table_to_pandas(self.to_arrow())

    def to_polars(self) -> pl.DataFrame:
        """Return all rows as a Polars data frame.

        Raises:
            LocaltrackError: Polars is not installed.
        """
        return table_to_polars(self.to_arrow())

    def _open(self, rows: int) -> pa.RecordBatchReader:
        relation, self._relation = self._relation, None
        if relation is None:
            raise StateError("The answer has been read, or closed.", code=ErrorCode.STORE_CLOSED, hint="Ask again.")
        with self._mapped_errors():
            # Before DuckDB 2 under another name.
            read: Any = getattr(relation, "to_arrow_reader", None) or relation.fetch_record_batch
            reader: pa.RecordBatchReader = read(rows)
            return reader

    def _drain(self, reader: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        try:
            while (batch := self._next_batch(reader, schema)) is not None:
                yield batch
        finally:
            self._close()

    def _next_batch(self, reader: pa.RecordBatchReader, schema: pa.Schema) -> pa.RecordBatch | None:
        with self._mapped_errors():
            batch = next(reader, None)
            return batch if batch is None or batch.schema == schema else batch.cast(schema)

    @contextlib.contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        """Raise what went wrong while a view was read as it was, and what DuckDB says as our error."""
        import duckdb
        import pyarrow as pa

        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError, UnicodeDecodeError) as error:
            self._close()
            if self._source.failure is not None:
                raise self._source.failure from error
            raise query_error(error) from error


class BatchReader:
    """Batches, and the schema that they have."""

    def __init__(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        self.schema = schema
        self._batches = batches

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self._batches

    def close(self) -> None:
        """Stop: the query ends here, although there may be more rows."""
        if isinstance(self._batches, Generator):
            self._batches.close()


def _handy_field(field: pa.Field[Any]) -> pa.Field[Any]:
    """Return the field of an answer: DuckDB's 128-bit integers, as sums of integers are, become plain ones."""
    import pyarrow as pa

    is_huge = field.type == pa.decimal128(38, 0)
    return pa.field(field.name, pa.int64()) if is_huge else field


def _end(connection: duckdb.DuckDBPyConnection) -> None:
    connection.interrupt()
    connection.close()


def _checked_parameters(parameters: Parameters | None) -> Bound | None:
    if parameters is None:
        return None
    if isinstance(parameters, Mapping):
        bound: Bound = {str(name): value for name, value in parameters.items()}
        values = list(parameters.values())
    elif isinstance(parameters, (list, tuple)):
        bound = values = list(parameters)
    else:
        raise _wrong_parameters(f"Parameters are a list or a dict, not {type(parameters).__name__}.")
    if len(values) > _MAX_PARAMETERS_COUNT:
        raise _wrong_parameters(f"There are {len(values)} parameters; at most {_MAX_PARAMETERS_COUNT} are taken.")
    for value in values:
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if not _is_plain(item):
                raise _wrong_parameters(f"A parameter is of the type {type(item).__name__}.")
            if isinstance(item, str) and item != item.encode("utf-8", "replace").decode():
                raise _wrong_parameters("A parameter holds half a character, which UTF-8 cannot write.")
    return bound


def _texts(bound: Bound | None) -> list[str]:
    values = list(bound.values()) if isinstance(bound, dict) else bound or []
    items = [item for value in values for item in (value if isinstance(value, (list, tuple)) else [value])]
    return [item for item in items if isinstance(item, str)]


def _is_plain(value: Any) -> bool:
    import datetime

    return value is None or isinstance(value, (bool, int, float, str, datetime.date, datetime.time, datetime.timedelta))


def _wrong_parameters(message: str) -> InvalidInputError:
    return InvalidInputError(
        message, code=ErrorCode.INVALID_SQL, hint="Give texts, numbers, booleans, dates, None, or lists of them."
    )
