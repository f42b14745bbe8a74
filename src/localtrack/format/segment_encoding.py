"""Which Parquet encoding makes each column smallest, by trial."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

COMPRESSION: Final = "zstd"
COMPRESSION_LEVEL: Final = 3
"""Level 9 gains under 1 % of the size of points and takes three times as long."""

DICTIONARY: Final = "DICTIONARY"
_INT_ENCODINGS: Final = ("DELTA_BINARY_PACKED", DICTIONARY, "PLAIN")
"""Not BYTE_STREAM_SPLIT, which many readers know for floats only."""
_VALUE_ENCODINGS: Final = ("BYTE_STREAM_SPLIT", DICTIONARY, "PLAIN")
_SAMPLE_ROWS_COUNT: Final = 65_536
_SAMPLE_PIECES_COUNT: Final = 8


def choose_encodings(table: pa.Table) -> dict[str, str]:
    """Return the encoding that makes each column smallest, `DICTIONARY` or a name of Parquet's.

    Args:
        table: Rows like those to be written, sorted. A sample of it is tried, so only its size in memory matters.
    """
    sample = _sample(table)
    choice = {"key": DICTIONARY}
    for name in ("number", "step", "timestamp_ms", "value"):
        encodings = _VALUE_ENCODINGS if name == "value" else _INT_ENCODINGS
        sizes = {encoding: _encoded_size_bytes(sample.select([name]), encoding) for encoding in encodings}
        choice[name] = min(sizes, key=sizes.__getitem__)
    return choice


def writer_options(encodings: dict[str, str]) -> dict[str, Any]:
    """Return the arguments of `pyarrow.parquet.ParquetWriter` for these encodings."""
    return {
        "compression": COMPRESSION,
        "compression_level": COMPRESSION_LEVEL,
        "use_dictionary": [name for name, encoding in encodings.items() if encoding == DICTIONARY],
        "column_encoding": {name: encoding for name, encoding in encodings.items() if encoding != DICTIONARY},
        "store_schema": False,
    }


def _sample(table: pa.Table) -> pa.Table:
    """Return pieces spread over the table, long ones: delta encoding lives on neighbours."""
    import pyarrow as pa

    if table.num_rows <= _SAMPLE_ROWS_COUNT:
        return table
    piece = _SAMPLE_ROWS_COUNT // _SAMPLE_PIECES_COUNT
    stride = (table.num_rows - piece) // (_SAMPLE_PIECES_COUNT - 1)
    return pa.concat_tables([table.slice(i * stride, piece) for i in range(_SAMPLE_PIECES_COUNT)]).combine_chunks()


def _encoded_size_bytes(column: pa.Table, encoding: str) -> int:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    with pq.ParquetWriter(sink, column.schema, **writer_options({column.column_names[0]: encoding})) as writer:
        writer.write_table(column)
    return sink.tell()
