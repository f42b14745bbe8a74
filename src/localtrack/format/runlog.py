"""One run log: what its records say, before the logs of a run are folded together. FORMAT.md section 6."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

from localtrack.format.lines import LOG, Lines
from localtrack.format.metric_fold import Folds, parse_folds
from localtrack.format.points import PointColumns, PointReader
from localtrack.format.state_records import SHARED_SHAPES, Shape, StateLog, read_header, take_change
from localtrack.types import STATUSES

_INFO_FIELDS: Final = frozenset(["status", "end_ms", "start_ms"])


@dataclass(slots=True)
class RunLog(StateLog):
    """What one writer said of a run."""

    points: PointColumns = field(default_factory=PointColumns)
    folds: Folds | None = None
    """What the writer says that all its points add up to; None if it did not say."""


def read_run_log(data: bytes, *, writer: str, run_id: str | None = None) -> RunLog | Lines:
    """Return what a run log says, or, if it has no sound header that fits, only its lines with the problems.

    Args:
        data: The bytes of the log.
        writer: What the file's name says.
        run_id: What the folder's name says, if it says it.
    """
    lines = read_header(data, LOG, entity="run", writer=writer, entity_id=run_id)
    header = lines.header
    if header is None:
        return lines
    log = RunLog(writer, header, lines, problems=lines.problems)
    reader = PointReader(header["base_ms"])
    reader.problems = log.problems
    log.points = reader.columns
    log.greatest_stamp = max(header["stamp"], lines.closed_stamp)
    for index, record in enumerate(reader.take_points(_with_batches_split(lines.records, reader, log.problems))):
        if record[0] == "fold":
            _take_fold(log, record)
        else:
            take_change(log, index, record, RUN_SHAPES)
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
        take_change(log, index + number, record, RUN_SHAPES)
    return len(log.problems) == problems_count and not reader.problems and not log.lines.newer


def _with_batches_split(records: list[Any], reader: PointReader, problems: list[str]) -> list[Any]:
    """Return the records with each `batch` replaced by what it holds."""
    if "batch" not in map(itemgetter(0), records):
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


def _take_fold(log: RunLog, record: list[Any]) -> None:
    try:
        log.folds = parse_folds(record[1])
    except ValueError as error:
        log.problems.append(str(error))


def _is_sound_info(payload: dict[str, Any]) -> bool:
    return all(
        type(value) is int or (name == "end_ms" and value is None) or (name == "status" and value in STATUSES)
        for name, value in payload.items()
        if name in _INFO_FIELDS
    )


def _is_sound_dataset(payload: dict[str, Any]) -> bool:
    tags = payload.get("tags")
    return (
        all(type(payload.get(name)) is str for name in ("name", "digest", "source_type", "source"))
        and all(payload.get(name) is None or type(payload[name]) is str for name in ("schema", "profile"))
        and type(tags) is dict
        and all(type(value) is str for value in tags.values())
    )


RUN_SHAPES: Final[Mapping[str, Shape]] = {
    **SHARED_SHAPES,
    "run": lambda payload: type(payload.get("start_ms")) is int and payload.get("status") in STATUSES,
    "info": _is_sound_info,
    "dataset": _is_sound_dataset,
    "input": lambda payload: type(payload.get("model")) is str,
    "output": lambda payload: type(payload.get("model")) is str and type(payload.get("step")) is int,
}
_GROWING_KINDS: Final = RUN_SHAPES.keys() | {"k", "p", "batch"}
