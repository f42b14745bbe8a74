"""One run log: what its records say, before the logs of a run are folded together. FORMAT.md section 6."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from localtrack.format.lines import LOG, Lines, read_lines, reject_record
from localtrack.format.metric_fold import Folds, parse_folds
from localtrack.format.points import PointColumns, PointReader
from localtrack.types import STATUSES

STATE_KINDS: Final = frozenset(["run", "info", "param", "tag", "artifact", "imported"])
_GROWING_KINDS: Final = STATE_KINDS | {"k", "p", "batch"}
_INFO_FIELDS: Final = frozenset(["status", "end_ms", "start_ms"])


class Change(NamedTuple):
    """One state record, in the order in which records are folded."""

    stamp: int
    writer: str
    order: int
    kind: str
    payload: dict[str, Any]


@dataclass(slots=True)
class RunLog:
    """What one writer said of a run."""

    writer: str
    header: dict[str, Any]
    lines: Lines
    changes: list[Change] = field(default_factory=list)
    points: PointColumns = field(default_factory=PointColumns)
    folds: Folds | None = None
    """What the writer says that all its points add up to; None if it did not say."""
    problems: list[str] = field(default_factory=list)
    greatest_stamp: int = 0

    @property
    def is_imported(self) -> bool:
        """Whether the state records of this log stood in the source of an import."""
        return any(change.kind == "imported" for change in self.changes)


def read_run_log(data: bytes, *, writer: str, run_id: str | None = None) -> RunLog | Lines:
    """Return what a run log says, or, if it has no sound header that fits, only its lines with the problems.

    Args:
        data: The bytes of the log.
        writer: What the file's name says.
        run_id: What the folder's name says, if it says it.
    """
    lines = read_lines(data, LOG)
    header = lines.header
    if header is None:
        return lines
    if header["writer"] != writer:
        lines.problems.append(f"its header names another writer, {header['writer']!r}")
    if not is_sound_log_header(header) or (run_id is not None and header["run"] != run_id):
        lines.problems.append("its header does not fit the run")
        return lines
    log = RunLog(writer, header, lines, problems=lines.problems)
    reader = PointReader(header["base_ms"])
    reader.problems = log.problems
    log.points = reader.columns
    log.greatest_stamp = max(header["stamp"], lines.closed_stamp)
    for index, record in enumerate(reader.take_points(_with_batches_split(lines.records, reader, log.problems))):
        _take_change(log, index, record)
    if lines.closed and lines.closed["points"] != len(log.points):
        log.problems.append(f"it holds {len(log.points)} points where its end counts {lines.closed['points']}")
    return log


def extend_run_log(log: RunLog, records: list[list[Any]], reader: PointReader) -> bool:
    """Add records that were appended to an open log since it was read.

    Args:
        log: What was read so far.
        records: What came since.
        reader: Knows the key sets that the log defines; its columns are to be empty, and get the new points.

    Returns:
        False if the whole log must be read again: the records close it, or speak of what stands before them, or there
        is something wrong with them.
    """
    if any(type(record[0]) is str and record[0] not in _GROWING_KINDS for record in records):
        return False
    problems_count = len(log.problems)
    index = log.changes[-1].order + 1 if log.changes else 0
    for number, record in enumerate(reader.take_points(_with_batches_split(records, reader, log.problems))):
        _take_change(log, index + number, record)
    return len(log.problems) == problems_count and not reader.problems and not log.lines.newer


def is_sound_log_header(header: dict[str, Any]) -> bool:
    """Return whether the header of a run log names its run and experiment."""
    return (
        type(header.get("run")) is str
        and type(header.get("experiment_id")) is str
        and type(header.get("experiment_name")) is str
        and type(header.get("generation")) is int
    )


def _with_batches_split(records: list[Any], reader: PointReader, problems: list[str]) -> list[Any]:
    """Return the records with each `batch` replaced by what it holds."""
    if not any(record[0] == "batch" for record in records):
        return records
    split: list[Any] = []
    for record in records:
        if record[0] != "batch":
            split.append(record)
            continue
        payload = record[2] if len(record) == 3 else None
        if type(payload) is not dict:
            problems.append(f"the record {str(record)[:60]} is damaged")
            continue
        split.append(["p", payload.get("points", [])])
        split += [
            [kind, record[1], payload[name]] for kind, name in (("param", "params"), ("tag", "tags")) if name in payload
        ]
    return split


def _take_change(log: RunLog, index: int, record: list[Any]) -> None:
    kind = record[0]
    if kind == "fold":
        try:
            log.folds = parse_folds(record[1])
        except ValueError as error:
            log.problems.append(str(error))
        return
    if kind not in STATE_KINDS:
        reject_record(log.lines, record)
        return
    if len(record) != 3 or type(record[1]) is not int or not _is_sound(kind, record[2]):
        log.problems.append(f"the record {str(record)[:60]} is damaged")
        return
    log.greatest_stamp = max(log.greatest_stamp, record[1])
    log.changes.append(Change(record[1], log.writer, index, kind, record[2]))


def _is_sound(kind: str, payload: Any) -> bool:
    if type(payload) is not dict:
        return False
    if kind == "param":
        return all(type(value) is str for value in payload.values())
    if kind == "tag":
        return all(value is None or type(value) is str for value in payload.values())
    if kind == "artifact":
        return (
            type(payload.get("path")) is str
            and type(payload.get("bytes")) is int
            and type(payload.get("sha256")) is str
        )
    if kind == "imported":
        return type(payload.get("from")) is str
    if kind == "run":
        return type(payload.get("start_ms")) is int and payload.get("status") in STATUSES
    return all(
        type(value) is int or (name == "end_ms" and value is None) or (name == "status" and value in STATUSES)
        for name, value in payload.items()
        if name in _INFO_FIELDS
    )
