"""State records: which shape they have, and what those of several logs add up to. FORMAT.md sections 6.2, 6.6 and 12.

Runs and logged models have params, tags and artifacts alike; what only one of them has stands in its own module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, TypeVar

from localtrack.format.lines import Lines, Record, read_lines, reject_record


class Change(NamedTuple):
    """One state record, in the order in which records are folded."""

    stamp: int
    writer: str
    order: int
    kind: str
    payload: dict[str, Any]


@dataclass(slots=True)
class StateLog:
    """What one writer said of a run or a logged model."""

    writer: str
    header: dict[str, Any]
    lines: Lines
    changes: list[Change] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    greatest_stamp: int = 0

    @property
    def is_imported(self) -> bool:
        """Whether the state records of this log stood in the source of an import."""
        return any(change.kind == "imported" for change in self.changes)


Shape = Callable[[dict[str, Any]], bool]
"""Tells whether the payload of a record is sound."""

SHARED_SHAPES: Final[Mapping[str, Shape]] = {
    "param": lambda payload: all(type(value) is str for value in payload.values()),
    "tag": lambda payload: all(value is None or type(value) is str for value in payload.values()),
    "artifact": lambda payload: (
        type(payload.get("path")) is str and type(payload.get("bytes")) is int and type(payload.get("sha256")) is str
    ),
    "imported": lambda payload: type(payload.get("from")) is str,
}
"""The records that stand in the logs of runs and of logged models."""


def read_header(data: bytes, kind: str, *, entity: str, writer: str, entity_id: str | None = None) -> Lines:
    """Return the lines of a log; without a header if it has none that is sound and fits.

    Args:
        data: The bytes of the log.
        kind: LOG or MODEL.
        entity: The field of the header that names what the log is about: `run` or `model`.
        writer: What the file's name says.
        entity_id: What the folder's name says, if it says it.
    """
    lines = read_lines(data, kind)
    header = lines.header
    if header is None:
        return lines
    if header["writer"] != writer:
        lines.problems.append(f"its header names another writer, {header['writer']!r}")
    if not _names_its_place(header, entity) or (entity_id is not None and header[entity] != entity_id):
        lines.problems.append(f"its header does not fit the {entity}")
        lines.header = None
    return lines


def _names_its_place(header: dict[str, Any], entity: str) -> bool:
    return (
        type(header.get(entity)) is str
        and type(header.get("experiment_id")) is str
        and type(header.get("experiment_name")) is str
        and type(header.get("generation")) is int
    )


def take_change(log: StateLog, order: int, record: Record, shapes: Mapping[str, Shape]) -> None:
    """Take one record into a log, or report it.

    Args:
        log: The log.
        order: The record's place among those of the log.
        record: The record.
        shapes: Which state records may stand there, and their shapes.
    """
    kind = record[0]
    shape = shapes.get(kind)
    if shape is None:
        reject_record(log.lines, record)
        return
    if len(record) != 3 or type(record[1]) is not int or type(record[2]) is not dict or not shape(record[2]):
        log.problems.append(f"the record {str(record)[:60]} is damaged")
        return
    log.greatest_stamp = max(log.greatest_stamp, record[1])
    log.changes.append(Change(record[1], log.writer, order, kind, record[2]))


@dataclass(slots=True, kw_only=True)
class FolderState:
    """What the state records of all logs in a folder add up to, as far as runs and logged models have it alike."""

    experiment_id: str
    experiment_name: str
    """The experiment's original name."""
    generation: int
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Per path the payload of the highest `artifact` record."""
    greatest_stamp: int = 0
    problems: list[str] = field(default_factory=list)

    def apply_shared(self, change: Change) -> bool:
        """Apply a change of the kinds that all folders have; return False, having done nothing, for another kind."""
        payload = change.payload
        if change.kind == "param":
            for key, value in payload.items():
                kept = self.params.setdefault(key, value)
                if kept != value:
                    self.problems.append(f"param {key!r} was set to {kept!r} and to {value!r}; the first counts")
        elif change.kind == "tag":
            for key, value in payload.items():
                if value is None:
                    self.tags.pop(key, None)
                else:
                    self.tags[key] = value
        elif change.kind == "artifact":
            self.artifacts[payload["path"]] = payload
        else:
            return False
        return True


AnyLog = TypeVar("AnyLog", bound=StateLog)


@dataclass(slots=True)
class OrderedLogs(Generic[AnyLog]):
    """The logs of one folder, ready to be folded: the same whichever order they come in."""

    logs: Sequence[AnyLog]
    """By base time, then by writer; not empty."""
    changes: Sequence[Change]
    """Of all logs, lowest first."""
    creation: Change | None
    """The lowest record of creation."""
    owner: AnyLog
    """Whose header says which experiment it is: the log of the creation, else the one with the least base time."""

    @property
    def greatest_stamp(self) -> int:
        """The greatest stamp in any of them."""
        return max(log.greatest_stamp for log in self.logs)


def order_logs(logs: Iterable[AnyLog], *, creation_kind: str) -> OrderedLogs[AnyLog]:
    """Return logs, of which there must be one, in the order in which they are folded.

    Args:
        logs: All logs of one run or logged model.
        creation_kind: The type of the record of its creation.
    """
    ordered = sorted(logs, key=lambda log: (log.header["base_ms"], log.writer))
    changes = sorted((change for log in ordered for change in log.changes), key=lambda change: change[:3])
    creation = next((change for change in changes if change.kind == creation_kind), None)
    owner = ordered[0] if creation is None else next(log for log in ordered if log.writer == creation.writer)
    return OrderedLogs(ordered, changes, creation, owner)
