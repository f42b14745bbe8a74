"""The points of one writer, in its run log, chunks and segments (6.3, 6.4, 7, 8), and what they add up to (12.4)."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tests.independent.logs import CHUNK_KIND, Log, read_log
from tests.independent.words import Finding, is_count, to_float, to_json

CHUNK_NAME = re.compile(r"([0-9a-f]{20})\.(0|[1-9][0-9]*)\.points\.jsonl")
SEGMENT_NAME = re.compile(r"([0-9a-f]{20})\.(0|[1-9][0-9]*)-(0|[1-9][0-9]*)\.([0-9a-f]{16})\.parquet")


class Point(NamedTuple):
    """One point of a metric."""

    key: str
    step: int
    timestamp_ms: int
    value: float

    def identity(self) -> tuple[Any, ...]:
        """What two points have in common that are one (12.4). 0.0 and -0.0 are not (section 8: bit for bit)."""
        return self.key, self.step, self.timestamp_ms, repr(self.value)


class WriterPoints(NamedTuple):
    """What was found of one writer."""

    by_number: dict[int, Point]
    colliding: list[Point]
    """Points whose number another point has, which damage alone brings about."""
    findings: list[Finding]

    @property
    def points_count(self) -> int:
        """The second half of the writer's position."""
        return max(self.by_number, default=-1) + 1

    def add(self, points: dict[int, Point]) -> None:
        """Take points by their number."""
        for number, point in points.items():
            if self.by_number.setdefault(number, point).identity() != point.identity():
                self.colliding.append(point)


class _Segment(NamedTuple):
    first_chunk: int
    last_chunk: int
    by_number: dict[int, Point]


def points_of_log(log: Log) -> tuple[list[Point], list[Finding]]:
    """Return the points of a run log or a chunk in the order in which they stand."""
    points: list[Point] = []
    findings: list[Finding] = []
    if log.header is None:
        return points, findings
    for set_number, dt_ms, step, *values in log.rows:
        key_set = log.key_sets[set_number]
        for key, value in zip(key_set.keys, values, strict=True):
            points.append(Point(key, key_set.base_step + step, key_set.base_ms + dt_ms, to_float(value)))
    if log.closed is not None and log.closed["points"] != len(points):
        findings.append(Finding(log.key, "count"))
    return points, findings


def read_writer_points(folder: Path, writer: str, log: Log | None, *, run: str, key: str) -> WriterPoints:
    """Return all points of a writer by their number.

    Args:
        folder: The run folder.
        writer: Which writer.
        log: Its run log, if there is one.
        run: The run id that everything in the folder has to name.
        key: The key of the folder.
    """
    findings: list[Finding] = []
    result = WriterPoints({}, [], findings)
    if log is not None:
        points, of_log = points_of_log(log)
        findings += of_log
        result.add(dict(enumerate(points)))

    counted_chunks: set[int] = set()
    for segment in sorted(
        _read_segments(folder, writer, run=run, key=key, findings=findings),
        key=lambda it: (it.first_chunk - it.last_chunk, it.first_chunk),
    ):
        chunks = set(range(segment.first_chunk, segment.last_chunk + 1))
        if not chunks <= counted_chunks:
            result.add(segment.by_number)
            counted_chunks |= chunks

    names = {}
    for path in folder.iterdir():
        name = path.name.split(".part")[0]
        if (match := CHUNK_NAME.fullmatch(name)) and match[1] == writer:
            names[int(match[2])] = name
    highest = max([*names, *counted_chunks], default=-1)
    for number, name in sorted(names.items()):
        if number in counted_chunks:
            continue
        chunk = read_log(folder, name, key=key, kind=CHUNK_KIND)
        findings += chunk.findings
        if chunk.refused is not None:  # its points are missing, the others are not (5.3)
            findings.append(chunk.refused)
            continue
        if chunk.header is None:
            continue
        if chunk.header["chunk"] != number or chunk.header["run"] != run:  # M7
            findings.append(Finding(chunk.key, "name"))
            continue
        points, of_chunk = points_of_log(chunk)
        findings += of_chunk
        result.add(dict(enumerate(points, start=chunk.header["first"])))
        if chunk.closed is None and number < highest:  # 7: only the highest may be open
            findings.append(Finding(chunk.key, "gap"))

    if not findings and not (log is not None and log.findings):
        expected = result.points_count
        if log is not None and log.closed is not None:
            expected = max(expected, log.closed["points_all"])
        if len(result.by_number) != expected or result.colliding or (log is None and result.by_number):  # M4
            findings.append(Finding(f"{key}/{writer}.jsonl", "gap"))
    return result


def _read_segments(folder: Path, writer: str, *, run: str, key: str, findings: list[Finding]) -> list[_Segment]:
    segments = []
    for path in sorted(folder.glob(f"{writer}.*.parquet")):
        if not (match := SEGMENT_NAME.fullmatch(path.name)):
            continue
        here = f"{key}/{path.name}"
        try:
            segments.append(_read_segment(path, run=run, writer=writer, chunks=[int(match[2]), int(match[3])]))
        except _NewerSegmentError:
            findings.append(Finding(here, "newer"))
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
            findings.append(Finding(here, "segment"))
    return segments


class _NewerSegmentError(Exception):
    """The segment is of a later format."""


def _read_segment(path: Path, *, run: str, writer: str, chunks: list[int]) -> _Segment:
    """Read a segment; raise ValueError or what PyArrow raises if it is not sound (8)."""
    # PyArrow ends the process on some damaged footers: it gets to see only what its name vouches for (M6).
    if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(path.name.split(".")[-2]):
        raise ValueError("its name is not that of its content")
    with pq.ParquetFile(path) as file:
        metadata = json.loads((file.schema_arrow.metadata or file.metadata.metadata or {})[b"localtrack"])
        if metadata["format"] != 1:
            raise _NewerSegmentError
        if metadata["run"] != run or metadata["writer"] != writer or metadata["chunks"] != chunks:
            raise ValueError("its metadata is that of another segment")
        table = file.read()
    expected = ["key", "number", "step", "timestamp_ms", "value"]
    if table.column_names != expected or any(column.null_count for column in table.columns):
        raise ValueError("its columns are not those of a segment")
    if not is_count(metadata["first"]) or metadata["points"] != table.num_rows:
        raise ValueError("its metadata does not fit its rows")
    by_number = {}
    columns = [table[name].to_pylist() for name in expected]
    for key, number, step, timestamp_ms, value in zip(*columns, strict=True):
        by_number[number] = Point(key, step, timestamp_ms, value)
    if sorted(by_number) != list(range(metadata["first"], metadata["first"] + metadata["points"])):
        raise ValueError("its point numbers have a gap")
    return _Segment(chunks[0], chunks[1], by_number)


def as_set(points: Iterable[Point]) -> list[Point]:
    """Return each point once, by key and in history order (12.4)."""
    return sorted({point.identity(): point for point in points}.values(), key=_history_rank)


def _history_rank(point: Point) -> tuple[Any, ...]:
    is_nan = math.isnan(point.value)
    return point.key, point.timestamp_ms, point.step, is_nan, 0.0 if is_nan else point.value, repr(point.value)


def last_rank(point: Point) -> tuple[Any, ...]:
    """Order the points of one key so that the greatest has the last value (12.4).

    NaN is 0; in a tie a number wins over NaN, and 0.0 over -0.0.
    """
    is_nan = math.isnan(point.value)
    return point.step, point.timestamp_ms, 0.0 if is_nan else point.value, not is_nan, math.copysign(1, point.value)


def fold(points: Iterable[Point]) -> dict[str, list[Any]]:
    """Return what 6.5 calls the fold of these points."""
    by_key: dict[str, list[Point]] = {}
    for point in points:
        by_key.setdefault(point.key, []).append(point)
    folds: dict[str, list[Any]] = {}
    for key, of_key in sorted(by_key.items()):
        last = max(of_key, key=last_rank)
        numbers = [point.value for point in of_key if not math.isnan(point.value)]
        folds[key] = [
            len(of_key),
            to_json(last.value),
            last.step,
            last.timestamp_ms,
            to_json(min(numbers, default=math.nan)),
            to_json(max(numbers, default=math.nan)),
        ]
    return folds
