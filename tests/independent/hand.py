"""Files of the format, put together by hand: as much as it takes to write the golden and the damaged stores."""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

NOON_MS = 1_790_000_000_000
"""2026-09-21T14:13:20Z, the time around which all the stores were written."""
DAY = "2026-09-21"
STORE_ID = "5f0c0a6e0b0c4f41a8f1ab8c6d7e9f10"
A, B, C = "a1" * 10, "b2" * 10, "c3" * 10
EDITOR = "ed" * 10


def run_id(number: int) -> str:
    """Return a UUIDv7 of `DAY`: its first 48 bits are `NOON_MS`."""
    return f"01a0c4506c007abc8def{number:012d}"


def model_id(number: int) -> str:
    """Return the id of a logged model of `DAY` (4.3)."""
    return f"m-{run_id(number)}"


def experiment_id(name: str, *, generation: int = 0) -> str:
    """9.1."""
    return str(int(hashlib.sha256(f"{generation}:{name}".encode()).hexdigest()[:15], 16))


def dump(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


class HandLog:
    """The bytes of one log, line by line.

    Args:
        header: Type of the header.
        writer: Whose log it is.
        fields: What the header says besides 5.2, and instead of it.
    """

    def __init__(self, header: str, writer: str, **fields: Any) -> None:
        self.writer = writer
        self.data = b""
        common = {
            "base_ms": NOON_MS,
            "boot": "9e1c1f2a-7d53-4a0e-9c55-0d6b6f4f1c11",
            "by": "by hand",
            "flock": False,
            "format": 1,
            "host": "node7",
            "pid": 4242,
            "pidns": "4026531836",
            "stamp": NOON_MS,
            "start": "88123",
            "writer": writer,
        }
        self.add([header, common | fields])

    def add(self, *records: list[Any]) -> HandLog:
        for record in records:
            self.data += dump(record) + b"\n"
        return self

    def raw(self, data: bytes) -> HandLog:
        self.data += data
        return self

    def torn(self, start_of_record: bytes) -> HandLog:
        """A write that failed after these bytes, and the marker that the next one begins with."""
        return self.raw(start_of_record + b"\n").add(["torn", len(start_of_record)])

    def check(self, start: int = 0) -> HandLog:
        """A `c` record over all bytes from `start` on."""
        return self.add(["c", start, len(self.data), zlib.crc32(self.data[start:])])

    def close(self, stamp: int, *, points: int, fold: dict[str, Any] | None = None, **more: Any) -> HandLog:
        """Add the last record, and before it what the points of the writer add up to, if that is given."""
        if fold is not None:
            self.add(["fold", fold])
        fields = {"bytes": len(self.data), "crc": zlib.crc32(self.data), "points": points}
        return self.add(["Closed", stamp, fields | more])


def run_log(run: str, writer: str = A, *, experiment: tuple[str, str] = ("0", "Default"), **fields: Any) -> HandLog:
    """A run log with its header. `experiment` is (id, name), of generation 0."""
    return HandLog(
        "Log",
        writer,
        **{"run": run, "experiment_id": experiment[0], "experiment_name": experiment[1], "generation": 0} | fields,
    )


def model_log(model: str, writer: str = A, *, experiment: tuple[str, str] = ("0", "Default"), **fields: Any) -> HandLog:
    """A model log with its header. `experiment` is (id, name), of generation 0."""
    return HandLog(
        "Model",
        writer,
        **{"model": model, "experiment_id": experiment[0], "experiment_name": experiment[1], "generation": 0} | fields,
    )


def chunk(run: str, number: int, first: int, writer: str = A, **fields: Any) -> HandLog:
    return HandLog("Points", writer, **{"run": run, "chunk": number, "first": first} | fields)


def created(stamp: int, name: str, *, generation: int = 0, time_ms: int | None = None, id_: str = "") -> list[Any]:
    """The edit that makes an experiment."""
    payload = {
        "id": id_ or experiment_id(name, generation=generation),
        "op": "created",
        "name": name,
        "generation": generation,
        "time_ms": stamp if time_ms is None else time_ms,
        "user": "ada",
    }
    return ["experiment", stamp, payload]


def edit(stamp: int, id_: str, op: str, **more: Any) -> list[Any]:
    """Another edit of an experiment, made when its stamp says."""
    return ["experiment", stamp, {"id": id_, "op": op, "time_ms": stamp, "user": "ada"} | more]


def edit_runs(stamp: int, op: str, *runs: str) -> list[Any]:
    return ["runs", stamp, {"op": op, "runs": list(runs), "time_ms": stamp, "user": "ada"}]


Row = tuple[str, int, int, int, float]
"""key, number, step, timestamp_ms, value."""


def segment(rows: list[Row], *, run: str, writer: str, chunks: tuple[int, int], keys: dict[str, Any]) -> bytes:
    """Return a segment of these rows, which are in order already."""
    columns = list(zip(*rows, strict=True))
    types = {
        "key": pa.string(),
        "number": pa.int64(),
        "step": pa.int64(),
        "timestamp_ms": pa.int64(),
        "value": pa.float64(),
    }
    schema = pa.schema([pa.field(name, type_, nullable=False) for name, type_ in types.items()])
    arrays = [pa.array(column, type_) for column, type_ in zip(columns, types.values(), strict=True)]
    numbers = [row[1] for row in rows]
    info = {
        "format": 1,
        "run": run,
        "writer": writer,
        "chunks": list(chunks),
        "first": min(numbers),
        "points": len(rows),
        "distinct": len({(row[0], *row[2:4], repr(row[4])) for row in rows}) == len(rows),
        "keys": keys,
    }
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema) as file:
        file.write_table(pa.Table.from_arrays(arrays, schema=schema))
        file.add_key_value_metadata({"localtrack": dump(info).decode(), "localtrack.crc32": "0" * 16})
    return _with_checksums(sink.getvalue())


def _with_checksums(data: bytes) -> bytes:
    """Fill in `localtrack.crc32`: the CRC-32 of the footer with these digits zero, then that of the row group."""
    group = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    begin = min(it.dictionary_page_offset or it.data_page_offset for it in columns)
    of_group = b"%08x" % zlib.crc32(data[begin : begin + sum(it.total_compressed_size for it in columns)])
    at = data.rindex(b"0" * 16)
    data = data[: at + 8] + of_group + data[at + 16 :]
    footer_bytes = int.from_bytes(data[-8:-4], "little")
    of_footer = b"%08x" % zlib.crc32(data[-8 - footer_bytes : -8])
    return data[:at] + of_footer + data[at + 8 :]


class HandStore:
    """A store under construction: files by key.

    Args:
        format_: What `localtrack.json` gives as its format.
    """

    def __init__(self, format_: int = 1) -> None:
        self.files: dict[str, bytes] = {
            "localtrack.json": dump(
                {"created_by": "by hand", "created_ms": NOON_MS, "format": format_, "store": STORE_ID}
            )
        }
        self.experiment("Default", id_="0")

    def put(self, key: str, data: bytes) -> str:
        self.files[key] = data
        return key

    def experiment(self, name: str, *, generation: int = 0, id_: str = "") -> str:
        """Add the file of an experiment and return its id."""
        id_ = id_ or experiment_id(name, generation=generation)
        self.put(f"experiments/{id_}.json", dump({"format": 1, "generation": generation, "id": id_, "name": name}))
        return id_

    def edits(self, *records: list[Any], writer: str = EDITOR) -> str:
        """Add a log of edits, closed."""
        log = HandLog("Edits", writer, base_ms=NOON_MS, stamp=records[0][1])
        log.add(*records).close(records[-1][1] + 1, points=0)
        return self.put(f"edits/{writer}.jsonl", log.data)

    def log(self, folder: str, log: HandLog) -> str:
        return self.put(f"{folder}/{log.writer}.jsonl", log.data)

    def chunk(self, folder: str, number: int, log: HandLog) -> str:
        return self.put(f"{folder}/{log.writer}.{number}.points.jsonl", log.data)

    def segment(self, folder: str, writer: str, chunks: tuple[int, int], data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()[:16]
        return self.put(f"{folder}/{writer}.{chunks[0]}-{chunks[1]}.{digest}.parquet", data)

    def write(self, root: Path) -> None:
        for key, data in self.files.items():
            path = root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
