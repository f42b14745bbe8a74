"""Closed chunks of one writer to one Parquet segment, crash-safe at every step. FORMAT.md section 8."""

from __future__ import annotations

import time
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from localtrack.errors import FormatError
from localtrack.format.jsonlines import decode_json
from localtrack.format.layout import RunFile, chunk_name, parse_run_file, segment_name
from localtrack.format.lines import POINTS, Lines, read_lines
from localtrack.format.metric_fold import Folds
from localtrack.format.points import PointColumns, PointReader
from localtrack.storage.base import Storage
from localtrack.store.logparts import gather_logs, read_log

if TYPE_CHECKING:
    import pyarrow as pa

_SLICE_LINES: Final = 400
"""How much of a chunk is decoded before other threads get their turn: well below a millisecond."""
_TIER_SEGMENTS_COUNT: Final = 16
"""While a run goes on, so many segments are merged into one: each point is then written about log16(chunks) times."""


@dataclass(frozen=True, slots=True)
class SealReport:
    """What a sealing left."""

    segment: RunFile | None = None
    """The segment that holds all closed chunks of the writer; None if there are several, or none."""
    keys: Folds | None = None
    """What its points add up to; None if it is not known."""
    sealed_count: int = 0
    """How many chunks were sealed."""


class _HashingSink:
    """Passes bytes on and computes their digest: the name of a segment is that of its content."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        import hashlib

        self._hash = hashlib.sha256()

    def write(self, data: Any) -> int:
        self._hash.update(data)
        return self._sink.write(data)

    def flush(self) -> None:
        self._sink.flush()

    def tell(self) -> int:
        return self._sink.tell()

    def close(self) -> None:
        """PyArrow closes what it wrote to; the owner decides about the file."""

    closed = False

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()[:16]


def seal_writer(
    storage: Storage, folder: str, writer: str, *, run_id: str, is_final: bool, is_polite: bool = False
) -> SealReport:
    """Seal the closed chunks of a writer.

    Args:
        storage: The store's bytes.
        folder: The run's folder.
        writer: Whose chunks.
        run_id: The run, for the segment's footer.
        is_final: Make one segment of everything. Else chunks are sealed one by one, and segments merged when there
            are many.
        is_polite: Let other threads run in between, at the cost of some time.

    Durability: the segment is durable before a chunk is removed.

    Concurrency: two processes that seal at once do the work twice; readers see each point once.
    """
    sealed_count = 0
    while True:
        entries = storage.entries(folder)
        segments = _outermost(
            [f for e in entries if (f := parse_run_file(e.name)) and f.kind == "segment" and f.writer == writer]
        )
        chunks = sorted(
            file.first
            for name in gather_logs(entries)
            if (file := parse_run_file(name)) and file.kind == "chunk" and file.writer == writer
        )
        covered = {n for s in segments for n in range(s.first, s.last + 1)}
        for number in chunks:
            if number in covered:
                _remove_chunk(storage, folder, writer, number)
        for number in chunks:
            if number not in covered and _seal_chunk(
                storage, folder, writer, number, run_id=run_id, is_polite=is_polite
            ):
                sealed_count += 1
                break
        else:
            break
    if is_final or len(segments) >= _TIER_SEGMENTS_COUNT:
        segments = _merge_adjacent(storage, folder, segments, run_id=run_id)
    if len(segments) != 1:
        return SealReport(sealed_count=sealed_count)
    from localtrack.format.segment import read_info

    with storage.open(f"{folder}/{segments[0].name}") as source:
        info = read_info(source)
    return SealReport(segments[0], dict(info.keys) if info.keys is not None else None, sealed_count)


def read_chunk(data: bytes, file: RunFile, *, run_id: str | None = None) -> tuple[PointColumns, Lines, list[Any]]:
    """Return the points in a chunk, its lines with the problems, and its records of unknown type."""
    lines = read_lines(data, POINTS)
    if lines.header is None:
        return PointColumns(), lines, []
    header = lines.header
    if (
        header["writer"] != file.writer
        or header.get("chunk") != file.first
        or type(header.get("first")) is not int
        or (run_id is not None and header.get("run") != run_id)
    ):
        lines.problems.append("its header does not fit its name")
        lines.header = None
        return PointColumns(), lines, []
    reader = PointReader(header["base_ms"])
    unknown = _take_points(reader, lines.records)
    lines.problems += reader.problems
    for record in unknown:
        if type(record[0]) is str and record[0][:1].isupper():
            lines.newer = True
            lines.problems.append(
                f"it holds a record {record[0]!r} that only a newer version of localtrack understands"
            )
    points = reader.columns
    if lines.closed is not None and lines.closed["points"] != len(points):
        lines.problems.append(f"it holds {len(points)} points where its end counts {lines.closed['points']}")
    return points, lines, unknown


def _take_points(reader: PointReader, records: list[Any]) -> list[Any]:
    """Take all points of a chunk, fast where they are all of one key each."""
    key_sets = [record for record in records if record[0] == "k"]
    points = [record for record in records if type(record[0]) is int]
    if len(key_sets) + len(points) == len(records) and all(type(k[1]) is int for k in key_sets):
        single = PointReader(reader.base_ms)
        single.take_points(key_sets)
        if single.take_uniform(points):
            reader.columns.extend(single.columns)
            reader.problems += single.problems
            return []
    return reader.take_points(records)


def _seal_chunk(storage: Storage, folder: str, writer: str, number: int, *, run_id: str, is_polite: bool) -> bool:
    """Seal one chunk if it is closed and sound; return whether it was."""
    name = chunk_name(writer, number)
    file = RunFile(name, "chunk", writer, number, number)
    try:
        data = read_log(storage, f"{folder}/{name}")
    except FileNotFoundError:
        return False  # sealed by somebody else since it was listed
    if b'\n["Closed",' not in data[-4096:]:
        return False
    if is_polite:
        decoded = _decode_politely(data, file)
    else:
        points, lines, unknown = read_chunk(data, file, run_id=run_id)
        decoded = (
            None
            if lines.problems or unknown or lines.closed is None or lines.header is None
            else (
                points,
                lines.header["first"],
            )
        )
    if decoded is None:
        return False  # damaged, or more than this version understands: it stays, and readers say what is wrong
    points, first = decoded
    from localtrack.format.segment import build_table

    table = build_table(
        points.key_names,
        points.key_index,
        number=array("q", range(first, first + len(points))),
        step=points.step,
        timestamp_ms=points.timestamp_ms,
        value=points.value,
    )
    _put_segment(storage, folder, writer, (number, number), iter([table]), run_id=run_id)
    _remove_chunk(storage, folder, writer, number)
    return True


def _decode_politely(data: bytes, file: RunFile) -> tuple[PointColumns, int] | None:
    """Decode a closed chunk in small steps; None if anything about it is unusual, for the thorough way to judge."""
    start = data.rfind(b"\n", 0, len(data) - 1) + 1
    try:
        closed = decode_json(data[start:])
        if closed[0] != "Closed" or closed[2]["bytes"] != start or b'["torn"' in data:
            return _thoroughly(data, file)
        crc, position = 0, 0
        while position < start:
            crc = zlib.crc32(data[position : min(position + 65536, start)], crc)
            position += 65536
        if crc != closed[2]["crc"]:
            return None
        lines = data[:start].split(b"\n")[:-1]
        header = decode_json(lines[0])[1]
        reader = PointReader(header["base_ms"])
        for begin in range(1, len(lines), _SLICE_LINES):
            records = decode_json(b"[" + b",".join(lines[begin : begin + _SLICE_LINES]) + b"]")
            points = [record for record in records if type(record[0]) is int]
            others = [record for record in records if type(record[0]) is not int]
            if any(record[0] not in ("k", "p", "c") for record in others):
                return _thoroughly(data, file)
            if all(record[0] in ("k", "c") for record in others):
                reader.take_points([record for record in others if record[0] == "k"])
                if not reader.take_uniform(points):
                    reader.take_points(points)
            else:
                reader.take_points([record for record in records if record[0] != "c"])
            time.sleep(0.0005)
        if reader.problems or len(reader.columns) != closed[2]["points"] or header["chunk"] != file.first:
            return None
        return reader.columns, header["first"]
    except (ValueError, KeyError, IndexError, TypeError):
        return _thoroughly(data, file)


def _thoroughly(data: bytes, file: RunFile) -> tuple[PointColumns, int] | None:
    points, lines, unknown = read_chunk(data, file)
    if lines.problems or unknown or lines.closed is None or lines.header is None:
        return None
    return points, lines.header["first"]


def _merge_adjacent(storage: Storage, folder: str, segments: list[RunFile], *, run_id: str) -> list[RunFile]:
    """Merge segments whose ranges follow each other, and return what there is then."""
    from localtrack.format.segment import merge_segments

    merged: list[RunFile] = []
    for group in _adjacent(segments):
        if len(group) == 1:
            merged += group
            continue
        sources = [storage.open(f"{folder}/{file.name}") for file in group]
        try:
            chunks = (group[0].first, max(file.last for file in group))
            merged.append(
                _put_segment(storage, folder, group[0].writer, chunks, merge_segments(sources), run_id=run_id)
            )
        except FormatError:
            merged += group  # one of them is damaged: they stay as they are, and readers say so
            continue
        finally:
            for source in sources:
                source.close()
        for file in group:
            storage.remove(f"{folder}/{file.name}")
    return merged


def _adjacent(segments: list[RunFile]) -> Iterator[list[RunFile]]:
    group: list[RunFile] = []
    for segment in sorted(segments, key=lambda s: (s.first, s.last)):
        if group and segment.first > max(s.last for s in group) + 1:
            yield group
            group = []
        group.append(segment)
    if group:
        yield group


def _outermost(segments: list[RunFile]) -> list[RunFile]:
    """Return the segments that do not lie inside another one."""
    kept: list[RunFile] = []
    for segment in sorted(segments, key=lambda s: (s.first - s.last, s.name)):
        if not any(k.first <= segment.first and segment.last <= k.last for k in kept):
            kept.append(segment)
    return kept


def _put_segment(
    storage: Storage,
    folder: str,
    writer: str,
    chunks: tuple[int, int],
    tables: Iterator[pa.Table],
    *,
    run_id: str,
) -> RunFile:
    from localtrack.format.segment import SegmentInfo, write_segment

    stream = storage.write_stream(folder)
    try:
        sink = _HashingSink(stream.sink)
        # PyArrow asks for no more of a sink than what _HashingSink has.
        write_segment(cast("BinaryIO", sink), tables, SegmentInfo(run=run_id, writer=writer, chunks=chunks))
        name = segment_name(writer, *chunks, sink.digest)
        stream.commit(f"{folder}/{name}")
    finally:
        stream.discard()
    return RunFile(name, "segment", writer, *chunks, sink.digest)


def _remove_chunk(storage: Storage, folder: str, writer: str, number: int) -> None:
    name = chunk_name(writer, number)
    for entry in storage.entries(folder):
        if entry.name == name or entry.name.startswith(f"{name}.part"):
            storage.remove(f"{folder}/{entry.name}")
