"""An answer as a file: CSV, JSON lines or Parquet, written while it is computed."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final, Literal, cast

from localtrack.errors import ErrorCode, InvalidInputError

if TYPE_CHECKING:
    import pyarrow as pa

    from localtrack.query.sql.result import SqlResult

Format = Literal["csv", "json", "parquet"]
FORMATS: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}
"""Suffix of a file -> its format; `json` is one object a line."""


def write_result(result: SqlResult, sink: BinaryIO, kind: Format) -> int:
    """Write an answer and return how many rows it has.

    Args:
        result: The answer, not read yet.
        sink: Open for writing; stays open.
        kind: `csv`: a line of names, then a line a row, quoted as RFC 4180 says, lists and maps as JSON. `json`: an
            object a line, times in ISO 8601, NaN and infinities as strings. `parquet`: with the types of the answer.
    """
    if kind == "csv":
        return _write_csv(result, sink)
    return _write_json(result, sink) if kind == "json" else _write_parquet(result, sink)


def format_of(path: str) -> Format:
    """Return the format that the suffix of a file asks for.

    Raises:
        InvalidInputError: It asks for none.
    """
    for suffix, kind in FORMATS.items():
        if path.lower().endswith(suffix):
            return kind
    raise InvalidInputError(
        f"{path!r} does not tell the format.",
        code=ErrorCode.INVALID_VALUE,
        hint=f"Use one of the suffixes {', '.join(FORMATS)}, or name the format.",
    )


def plain_value(value: Any) -> Any:
    """Return a value of an answer as what JSON has: times in ISO 8601, NaN and infinities as strings."""
    import datetime
    import decimal

    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if value != value:
            return "NaN"
        return value if abs(value) != float("inf") else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _write_csv(result: SqlResult, sink: BinaryIO) -> int:
    import csv

    rows_count = 0
    with contextlib.closing(_TextOver(sink)) as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(result.columns)
        for rows in _rows(result):
            writer.writerows([_cell(value) for value in row] for row in rows)
            rows_count += len(rows)
    return rows_count


def _write_json(result: SqlResult, sink: BinaryIO) -> int:
    import json

    rows_count = 0
    for rows in _rows(result):
        for row in rows:
            document = dict(zip(result.columns, map(plain_value, row), strict=True))
            sink.write(json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n")
        rows_count += len(rows)
    return rows_count


def _write_parquet(result: SqlResult, sink: BinaryIO) -> int:
    import pyarrow.parquet as pq

    rows_count = 0
    with (
        contextlib.closing(result.reader()) as reader,
        pq.ParquetWriter(cast(IO[bytes], sink), reader.schema, compression="zstd") as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)
            rows_count += batch.num_rows
    return rows_count


def _rows(result: SqlResult) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of each batch as tuples: names need not differ, as keys of a dict would have to."""
    for batch in result.batches():
        yield list(zip(*(column_values(column) for column in batch.columns), strict=True))


def column_values(column: pa.Array[Any]) -> list[Any]:
    """Return the values of a column of an answer, maps as dicts."""
    return column.to_pylist(maps_as_pydicts="strict")


def _cell(value: Any) -> str:
    import json

    plain = plain_value(value)
    if plain is None:
        return ""
    if isinstance(plain, str):
        return plain
    if isinstance(plain, float):
        return repr(plain)
    return json.dumps(plain, ensure_ascii=False)


class _TextOver(io.TextIOWrapper):
    """Text onto a binary sink that stays open."""

    def __init__(self, sink: BinaryIO) -> None:
        super().__init__(cast(IO[bytes], sink), encoding="utf-8", errors="replace", newline="")

    def close(self) -> None:
        self.detach()
