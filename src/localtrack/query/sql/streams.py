"""Views that are read piece by piece, and only where the conditions of the query leave room.

DuckDB asks an Arrow data set for a scanner with the columns and a filter; of a data set it wants no more. So a data set
whose scanner calls back here is a table function with pushed-down conditions. The filter is an Arrow expression, which
cannot be looked into; it is tried on candidates (run and key, all else unknown): one that comes out false by
three-valued logic cannot hold a row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from localtrack.format.arrow_columns import column

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

_IN_LIST: Final = re.compile(r"if_else\(is_valid\(\w+\), ")
"""How DuckDB writes IN; harmless, whatever the column."""

Keys = Collection[str] | None


class Candidates:
    """Tells which runs, and which keys of a run, a filter leaves room for.

    Args:
        condition: What DuckDB filters by; None for no condition.
        schema: All columns of the view.
        known: Those whose values are known before reading.
        wanted: Those that the query asks for; by others it may filter.
    """

    def __init__(
        self, condition: pc.Expression | None, schema: pa.Schema, known: Sequence[str], wanted: Collection[str]
    ) -> None:
        self._schema = schema
        self._wanted = wanted
        self._given = condition
        self._condition = condition
        if condition is not None:
            # What is unknown stands as null, which IS [NOT] NULL would take for a value that is missing.
            unknown = "|".join(re.escape(name) for name in schema.names if name not in known)
            if re.search(rf"is_(?:valid|null|nan)\((?:{unknown})\b", _IN_LIST.sub("", str(condition))):
                self._condition = None
            else:
                self._condition = condition | condition.is_null()

    def only_words(self, name: str, words: Sequence[str]) -> list[str] | None:
        """Return which of these texts a column may hold, if the filter asks for certain texts alone; else None.

        Args:
            name: The column.
            words: All texts that the filter may name.
        """
        named = _named_texts(str(self._given), name)
        # A text that the query computes, or that is not told whole, is none of the words.
        if not named or not named <= set(words):
            return None
        import pyarrow as pa

        nothing = "\0"  # which no key holds, and no query can
        columns = {
            field.name: column("string", [*words, nothing] if field.name == name else [None] * (len(words) + 1))
            for field in self._schema
        }
        typed = {title: values.cast(self._schema.field(title).type) for title, values in columns.items()}
        assert self._given is not None
        kept: Any = pa.table(typed).filter(self._given | self._given.is_null()).column(name)
        found = list(dict.fromkeys(kept.to_pylist()))
        return None if nothing in found else found

    def wants(self, names: Iterable[str]) -> bool:
        """Return whether the values of one of these columns are of use."""
        condition = str(self._given)
        return any(name in self._wanted or re.search(rf"\b{re.escape(name)}\b", condition) for name in names)

    def select(self, **known: Sequence[str]) -> list[int]:
        """Return the places of the candidates, given as columns of equal length, that may fulfil the filter."""
        import pyarrow as pa

        count = len(next(iter(known.values())))
        if self._condition is None or not count:
            return list(range(count))
        columns = {
            field.name: column("string", list(known[field.name])).cast(field.type)
            if field.name in known
            else pa.nulls(count, field.type)
            for field in self._schema
        }
        columns["place"] = column("int64", range(count))
        places: Any = pa.table(columns).filter(self._condition).column("place")
        return list(places.to_pylist())


def _named_texts(condition: str, name: str) -> set[str] | None:
    """Return the texts that a column is compared with by = and IN; None if it is used in another way too.

    Args:
        condition: The filter as Arrow prints it; a range, or anything else than = and IN, leaves room for texts that
            nobody has named.
        name: The column.
    """
    plain = condition.replace(f"if_else(is_valid({name}), ", "")
    equal = re.findall(rf'\({name} == ("(?:[^"\\]|\\.)*")\)', plain)
    lists = re.findall(rf"is_in\({name}, {{value_set=\w+:\[\n(.*?)\n\], null_matching", plain, re.DOTALL)
    if len(equal) + len(lists) != len(re.findall(rf"\b{re.escape(name)}\b", plain)):
        return None
    found = set()
    for item in equal:
        try:
            found.add(str(json.loads(item)))
        except ValueError:
            return None
    for line in [line for listed in lists for line in listed.splitlines()]:
        match = re.fullmatch(r'  "(.*)",?', line)
        if match is None:  # long lists are printed with a gap
            return None
        found.add(match[1])
    return found


Produce = Callable[[Candidates], Iterable["pa.Table"]]
"""Yields tables with all columns of the view, of at least those rows that the candidates leave room for."""


def make_stream(schema: pa.Schema, known: Sequence[str], produce: Produce) -> Any:
    """Return a data set to register with DuckDB, whose rows are produced while a query reads them.

    Args:
        schema: The columns.
        known: Columns whose values are known before reading.
        produce: Where the rows come from; called once for each time that the query reads the view.
    """
    return _stream_class()(schema, known, produce)


class _Scan:
    """What DuckDB takes for a scanner."""

    def __init__(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        self.projected_schema = schema
        self._batches = batches

    def to_reader(self) -> pa.RecordBatchReader:
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.projected_schema, self._batches)


_classes: list[type] = []


def _stream_class() -> type:
    if _classes:
        return _classes[0]
    import pyarrow.dataset as ds

    base: Any = ds.InMemoryDataset  # its stubs lack the constructor

    class Stream(base):  # type: ignore[misc]
        def __init__(self, schema: pa.Schema, known: Sequence[str], produce: Produce) -> None:
            super().__init__(schema.empty_table())
            self._columns, self._known, self._produce = schema, known, produce

        def scanner(self, columns: Sequence[str] | None = None, filter: pc.Expression | None = None, **_: Any) -> _Scan:
            import pyarrow as pa

            wanted = pa.schema([self._columns.field(name) for name in columns or self._columns.names])
            return _Scan(wanted, self._batches(wanted, filter))

        def _batches(self, wanted: pa.Schema, condition: pc.Expression | None) -> Iterator[pa.RecordBatch]:
            for table in self._produce(Candidates(condition, self._columns, self._known, wanted.names)):
                # DuckDB relies on what it has handed down, and does not test it again.
                rows = table if condition is None else table.filter(condition)
                yield from rows.select(wanted.names).cast(wanted).to_batches()

    _classes.append(Stream)
    return Stream
