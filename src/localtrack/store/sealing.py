"""Closed chunks of one writer to one Parquet segment, crash-safe at every step. FORMAT.md section 8."""

from __future__ import annotations

import time
import zlib
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, cast

from localtrack.errors import FormatError
from localtrack.format.jsonlines import decode_json
from localtrack.format.layout import RunFile, chunk_name, parse_run_file, segment_name
from localtrack.format.lines import POINTS, Lines, read_lines, reject_record
from localtrack.format.metric_fold import Folds
from localtrack.format.points import PointColumns, PointReader
from localtrack.storage.base import Storage
from localtrack.store.logparts import gather_logs, read_log

if TYPE_CHECKING:
    import pyarrow as pa

_SLICE_LINES: Final = 400
"""How much of a chunk is decoded before other threads get their turn: well below a millisecond."""
_TRIES: Final = 10
"""How often work begins anew because somebody else sealed the same chunks."""
_TIER_SEGMENTS_COUNT: Final = 16
"""While a run goes on, so many segments are merged into one: each point is then written about log16(chunks) times."""


class SealReport(NamedTuple):
    """What a sealing left."""

    segment: RunFile | None = None
    """The segment that holds all chunks of the writer; None if not one does."""
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
    sealing = _Sealing(storage, folder, writer, run_id, is_polite=is_polite)
    for _ in range(_TRIES):
        try:
            sealing.seal_chunks()
            if is_final or len(sealing.segments) >= _TIER_SEGMENTS_COUNT:
                sealing.merge_segments()
            return sealing.report()
        except FileNotFoundError:
            continue  # somebody else sealed it since the folder was listed
    return SealReport(sealed_count=sealing.sealed_count)


class _Sealing:
    """The work on one writer."""

    def __init__(self, storage: Storage, folder: str, writer: str, run_id: str, *, is_polite: bool) -> None:
        self.storage = storage
        self.folder = folder
        self.writer = writer
        self.run_id = run_id
        self.is_polite = is_polite
        self.sealed_count = 0
        self.segments: list[RunFile] = []
        """Those that count: sound as far as is known, and not inside another one."""
        self._safe: set[str] = set()  # segments that are known to be whole and durable
        self._unsound: set[str] = set()
        self._left_count = 0  # chunks that could not be sealed

    def seal_chunks(self) -> None:
        """Seal every closed chunk that no segment covers, and remove what segments cover."""
        while self._seal_next():
            self.sealed_count += 1

    def _seal_next(self) -> bool:
        entries = self.storage.entries(self.folder)
        files = [
            f for e in entries if (f := parse_run_file(e.name)) and f.kind == "segment" and f.writer == self.writer
        ]
        sound = [file for file in files if file.name not in self._unsound]
        chunks = sorted(
            file.first
            for name in gather_logs(entries)
            if (file := parse_run_file(name)) and file.kind == "chunk" and file.writer == self.writer
        )
        self.segments = _outermost(sound)
        covered: set[int] = set()
        for segment in self.segments:
            inside = [f for f in sound if f is not segment and segment.first <= f.first and f.last <= segment.last]
            left = [number for number in chunks if segment.first <= number <= segment.last]
            if (inside or left) and not self._is_safe(segment):
                return self._seal_next()  # as if it were not there
            for file in inside:
                self.storage.remove(f"{self.folder}/{file.name}")
            for number in left:
                _remove_chunk(self.storage, self.folder, self.writer, number)
            covered.update(left)
        rest = [number for number in chunks if number not in covered]
        self._left_count = len(rest)
        return any(map(self._seal_chunk, rest))

    def _seal_chunk(self, number: int) -> bool:
        """Seal one chunk if it is closed and sound; return whether it was."""
        table = _read_closed_chunk(
            self.storage, self.folder, self.writer, number, run_id=self.run_id, is_polite=self.is_polite
        )
        if table is None:
            return False
        self._put_segment((number, number), iter([table]))
        _remove_chunk(self.storage, self.folder, self.writer, number)
        return True

    def merge_segments(self) -> None:
        """Merge segments whose ranges follow each other."""
        from localtrack.format.segment import merge_segments

        merged: list[RunFile] = []
        for group in _adjacent(self.segments):
            if len(group) == 1:
                merged += group
                continue
            with ExitStack() as opened:
                sources = [opened.enter_context(self.storage.open(f"{self.folder}/{file.name}")) for file in group]
                chunks = (group[0].first, max(file.last for file in group))
                try:
                    merged.append(self._put_segment(chunks, merge_segments(sources)))
                except FormatError:
                    merged += group  # one of them is damaged: they stay as they are, and readers say so
                    continue
            for file in group:
                self.storage.remove(f"{self.folder}/{file.name}")
        self.segments = merged

    def report(self) -> SealReport:
        """Return what there is now."""
        if len(self.segments) != 1 or self.segments[0].first != 0 or self._left_count or self._unsound:
            return SealReport(sealed_count=self.sealed_count)
        from localtrack.format.segment import read_info

        segment = self.segments[0]
        with self.storage.open(f"{self.folder}/{segment.name}") as source:
            info = read_info(source)
        return SealReport(segment, dict(info.keys) if info.keys is not None else None, self.sealed_count)

    def _is_safe(self, segment: RunFile) -> bool:
        """Return whether what a segment covers may go: its content is that of its name, and durable.

        Whoever put it there may have died, or been told by the disk that it failed, before it was durable; and a copy
        of a store may hold half of it.
        """
        if segment.name in self._safe:
            return True
        import hashlib

        key = f"{self.folder}/{segment.name}"
        if hashlib.sha256(self.storage.read(key)).hexdigest()[: len(segment.digest)] != segment.digest:
            self._unsound.add(segment.name)
            return False
        self.storage.make_durable(key)
        self._safe.add(segment.name)
        return True

    def _put_segment(self, chunks: tuple[int, int], tables: Iterator[pa.Table]) -> RunFile:
        from localtrack.format.segment import SegmentInfo, write_segment

        stream = self.storage.write_stream(self.folder)
        try:
            sink = _HashingSink(stream.sink)
            # PyArrow asks for no more of a sink than what _HashingSink has.
            write_segment(
                cast("BinaryIO", sink), tables, SegmentInfo(run=self.run_id, writer=self.writer, chunks=chunks)
            )
            name = segment_name(self.writer, *chunks, sink.digest)
            stream.commit(f"{self.folder}/{name}")
        finally:
            stream.discard()
        self._safe.add(name)
        self._unsound.discard(name)  # the same name has the same content: what was damaged is whole again
        return RunFile(name, "segment", self.writer, *chunks, sink.digest)


def read_chunk(data: bytes, file: RunFile, *, run_id: str | None = None) -> tuple[PointColumns, Lines, list[Any]]:
    """Return the points in a chunk, its lines with the problems, and its records of unknown type."""
    lines = read_lines(data, POINTS)
    if lines.header is None:
        return PointColumns(), lines, []
    header = lines.header
    if header["writer"] != file.writer:
        lines.problems.append(f"its header names another writer, {header['writer']!r}")
    if (
        header.get("chunk") != file.first
        or type(header.get("first")) is not int
        or (run_id is not None and header.get("run") != run_id)
    ):
        lines.problems.append("its header does not fit its name")
        lines.header = None
        return PointColumns(), lines, []
    reader = PointReader(header["base_ms"])
    unknown = reader.take_points(lines.records)
    lines.problems += reader.problems
    for record in unknown:
        reject_record(lines, record)
    points = reader.columns
    if lines.closed is not None and lines.closed["points"] != len(points):
        lines.problems.append(f"it holds {len(points)} points where its end counts {lines.closed['points']}")
    return points, lines, unknown


def _read_closed_chunk(
    storage: Storage, folder: str, writer: str, number: int, *, run_id: str, is_polite: bool
) -> pa.Table | None:
    """Return the points of a chunk as a segment holds them; None if it is not closed, or not sound."""
    name = chunk_name(writer, number)
    file = RunFile(name, "chunk", writer, number, number)
    data = read_log(storage, f"{folder}/{name}")
    if b'\n["Closed",' not in data[-4096:]:
        return None
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
        return None  # damaged, or more than this version understands: it stays, and readers say what is wrong
    points, first = decoded
    from localtrack.format.segment import build_table

    return build_table(
        points.key_names,
        points.key_index,
        number=array("q", range(first, first + len(points))),
        step=points.step,
        timestamp_ms=points.timestamp_ms,
        value=points.value,
    )


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
            others = [record for record in records if type(record[0]) is not int]
            if any(record[0] not in ("k", "p", "c") for record in others):
                return _thoroughly(data, file)
            reader.take_points(record for record in records if record[0] != "c")
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


def _remove_chunk(storage: Storage, folder: str, writer: str, number: int) -> None:
    name = chunk_name(writer, number)
    for entry in storage.entries(folder):
        if entry.name == name or entry.name.startswith(f"{name}.part"):
            storage.remove(f"{folder}/{entry.name}")
