"""Reads a segment of the index: columns aligned with its rows, runs by id, whole rows."""

from __future__ import annotations

import threading
import zlib
from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from localtrack.errors import DamagedIndexError
from localtrack.format.index_rows import unpack_row
from localtrack.store.index.directory import BLOCK_ROWS, Directory, Group, Span, file_names, parse_directory
from localtrack.store.index.home import Home
from localtrack.store.index.tables import NARROW, REPEATING, TALL_COLUMNS, align, is_plain_id

if TYPE_CHECKING:
    import pyarrow as pa

_ID_BYTES: Final = 16


class Segment:
    """One segment. Its files are kept open: they may be read after a compaction has removed them.

    Raises:
        DamagedIndexError: From any method: a file is damaged.
        FileNotFoundError: A file is gone.

    Concurrency: may be read from any thread.
    """

    def __init__(self, home: Home, name: str, *, directory_crc: int) -> None:
        self.name = name
        self._home = home
        self._names = file_names(name)
        self._lock = threading.RLock()
        self._files: dict[str, BinaryIO] = {}
        self._parquet: dict[str, Any] = {}
        self._checked: set[tuple[str, int]] = set()
        data = home.read(self._names["directory"])
        if zlib.crc32(data) != directory_crc:
            raise self.damaged("directory")
        self.directory: Directory = parse_directory(data)
        self.rows_count = self.directory.rows_count
        self._places = {
            relation: {group.key: number for number, group in enumerate(table.groups)}
            for relation, table in self.directory.tables.items()
        }
        self._foreign = {run_id: i + self.directory.plain_count for i, run_id in enumerate(self.directory.foreign)}
        self._ids: bytes | None = None
        self._dictionary: bytes | None = None
        self._lengths: array[int] | None = None
        self._blocks: array[int] = array("Q")
        for kind in ("rows", *self.directory.tables):
            self._file(kind)

    # -- runs by id

    @property
    def plain_ids(self) -> bytes:
        """The ids of 32 hex digits, 16 bytes each, ascending."""
        if self._ids is None:
            self._ids = self._read("rows", self.directory.spans["ids"])
        return self._ids

    def find(self, run_id: str) -> int | None:
        """Return the row of a run."""
        if not is_plain_id(run_id):
            return self._foreign.get(run_id)
        row = self.first_from(bytes.fromhex(run_id))
        ids = self.plain_ids
        if ids[row * _ID_BYTES : (row + 1) * _ID_BYTES].hex() == run_id:
            return row
        return None

    def first_from(self, id_bytes: bytes) -> int:
        """Return the first row of a plain id that is not less than these bytes."""
        ids, low, high = self.plain_ids, 0, self.directory.plain_count
        while low < high:
            middle = (low + high) // 2
            if ids[middle * _ID_BYTES : (middle + 1) * _ID_BYTES] < id_bytes:
                low = middle + 1
            else:
                high = middle
        return low

    def id_at(self, row: int) -> str:
        """Return the id of the run of a row."""
        if row >= self.directory.plain_count:
            return self.directory.foreign[row - self.directory.plain_count]
        return self.plain_ids[row * _ID_BYTES : (row + 1) * _ID_BYTES].hex()

    def ids_between(self, first: int, last: int) -> list[str]:
        """Return the ids of the rows `first` … `last` - 1, all of them plain."""
        text = self.plain_ids[first * _ID_BYTES : last * _ID_BYTES].hex()
        return [text[at : at + 32] for at in range(0, len(text), 32)]

    # -- files for whoever reads Parquet himself

    @property
    def folder(self) -> str | None:
        """The path of the folder where the files lie; None if they have no path."""
        return self._home.local_folder

    def has_key(self, relation: str, key: str) -> bool:
        """Return whether a tall table has rows under a key."""
        return key in self._places.get(relation, ())

    def is_dense(self, relation: str, key: str) -> bool:
        """Return whether every row has a key that some row has: the rows under it are then those of the segment."""
        return self.directory.tables[relation].groups[self._places[relation][key]].rows_count == self.rows_count

    def checked_path(self, kind: str, key: str | None) -> str:
        """Return the path of a Parquet file whose footer and row groups, of one key or all, are what was written."""
        table = self.directory.tables[kind]
        self._read(kind, table.footer)
        for group in table.groups:
            if key is None or group.key == key:
                self._check(kind, group)
        return self._home.path(self._names[kind])

    # -- columns

    def narrow(self, name: str) -> pa.Array[Any]:
        """Return a column of the narrow table."""
        return self._read_column("runs", list(range(len(self.directory.tables["runs"].groups))), name)

    def keys(self, relation: str) -> list[str]:
        """Return the keys of a tall table, in order."""
        return list(self._places.get(relation, ()))

    def key_column(self, relation: str, key: str, name: str) -> pa.Array[Any] | None:
        """Return one column of one key of a tall table, aligned with the rows; None if no run has the key."""
        place = self._places.get(relation, {}).get(key)
        if place is None:
            return None
        rows = self._read_column(relation, [place], "row")
        values = self._read_column(relation, [place], name)
        if name in ("min", "max"):
            import pyarrow.compute as pc

            values = pc.coalesce(values, self._read_column(relation, [place], "value"))
        return align(values, rows, self.rows_count)

    def tall(self, relation: str, key: str, names: Iterable[str] = ()) -> pa.Table | None:
        """Return the rows of a tall table under a key, texts as they are; None if there are none.

        Args:
            relation: The tall table.
            key: The key.
            names: Only these columns; all by default.
        """
        place = self._places.get(relation, {}).get(key)
        if place is None:
            return None
        columns = list(names) or list(TALL_COLUMNS[relation])
        import pyarrow as pa

        arrays = [self._read_column(relation, [place], name, is_repeating=False) for name in columns]
        return pa.Table.from_arrays(arrays, names=columns)

    def _read_column(
        self, kind: str, places: list[int], name: str, *, is_repeating: bool | None = None
    ) -> pa.Array[Any]:
        import pyarrow as pa

        if is_repeating is None:
            is_repeating = name in REPEATING and _kind_of(kind, name) == "string"
        with self._lock:
            parquet = self._open_parquet(kind)
            table = self.directory.tables[kind]
            for place in places:
                self._check(kind, table.groups[place])
            try:
                read = parquet.read_row_groups(places, columns=[name], use_threads=False).column(0)
            except (pa.ArrowException, OSError) as error:
                raise self.damaged(kind) from error
        column: pa.Array[Any] = read.combine_chunks() if read.num_chunks != 1 else read.chunk(0)
        if is_repeating and not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        elif not is_repeating and _kind_of(kind, name) == "string":
            column = column.cast(pa.string())
        return column

    def _check(self, kind: str, group: Group) -> None:
        key = (kind, group.span.offset)
        if key not in self._checked:
            self._read(kind, group.span)
            self._checked.add(key)

    def _open_parquet(self, kind: str) -> Any:
        """Return the Parquet file of a table, whose footer was checked."""
        if kind not in self._parquet:
            import pyarrow as pa
            import pyarrow.parquet as pq

            self._read(kind, self.directory.tables[kind].footer)
            names = NARROW if kind == "runs" else TALL_COLUMNS[kind]
            try:
                self._parquet[kind] = pq.ParquetFile(
                    self._file(kind), read_dictionary=[name for name in names if name in REPEATING]
                )
            except (pa.ArrowException, OSError) as error:
                raise self.damaged(kind) from error
        return self._parquet[kind]

    # -- whole rows

    def row(self, number: int) -> bytes:
        """Return a whole row."""
        try:
            return unpack_row(self.packed_row(number), self.dictionary)
        except ValueError as error:
            raise self.damaged("rows") from error

    def packed_row(self, number: int) -> bytes:
        """Return a whole row as it was written."""
        with self._lock:
            if self._lengths is None:
                lengths, self._blocks = array("I"), array("Q")
                lengths.frombytes(self._read("rows", self.directory.spans["lengths"]))
                self._blocks.frombytes(self._read("rows", self.directory.spans["blocks"]))
                self._lengths = lengths
            block = number // BLOCK_ROWS
            offset = self._blocks[block] + sum(self._lengths[block * BLOCK_ROWS : number])
            file = self._file("rows")
            file.seek(offset)
            return file.read(self._lengths[number])

    @property
    def dictionary(self) -> bytes:
        """What whole rows are compressed against."""
        if self._dictionary is None:
            self._dictionary = self._read("rows", self.directory.spans["dictionary"])
        return self._dictionary

    # -- files

    def _read(self, kind: str, span: Span) -> bytes:
        with self._lock:
            try:
                return span.read(self._file(kind))
            except DamagedIndexError as error:
                raise self.damaged(kind) from error

    def _file(self, kind: str) -> BinaryIO:
        file = self._files.get(kind)
        if file is None:
            file = self._files[kind] = self._home.open(self._names[kind])
        return file

    def damaged(self, kind: str) -> DamagedIndexError:
        """Return the error that names one of the files."""
        return DamagedIndexError(f"{self._home.path(self._names[kind])} is damaged.", hint="It is made anew.")


def _kind_of(table: str, name: str) -> str:
    return (NARROW if table == "runs" else TALL_COLUMNS[table])[name]
