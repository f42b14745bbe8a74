"""A run log or chunk while its writer appends to it, and the key sets that are defined in it. FORMAT.md section 6.3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final, NamedTuple

from localtrack.errors import StorageError
from localtrack.format.headers import encode_closed, encode_header
from localtrack.format.jsonlines import decode_json, encode_record, encode_value
from localtrack.format.lines import LOG, read_lines
from localtrack.format.metric_fold import Folds
from localtrack.format.names import validate_key
from localtrack.format.points import PointReader
from localtrack.storage.base import Appender
from localtrack.store.logparts import read_log
from localtrack.store.site import Site, discard_log, this_writer

Point = tuple[str, float, int, int]
"""Key, value, timestamp in ms, step; checked."""
KeyName = str | tuple[str, ...]
"""What a key set is looked up by: its only key, or all of them."""

SHORT_DT_MS: Final = 100_000
SHORT_DS: Final = 10_000
"""From these differences on a key set is defined anew, so that a point keeps to some 35 bytes."""
FAR_BACK: Final = -(2**62)
"""A step so far before the base would not fit into 64 bits as a difference."""
_REBASE_POINTS_COUNT: Final = 1_000
"""But not more often than this, so that definitions stay below a tenth of a byte a point."""


class DefinedSet(NamedTuple):
    """A key set that points can refer to."""

    number: int
    base_ms: int
    base_step: int
    until_points_count: int
    """It is not defined anew before the writer has this many points."""

    def is_far_from(self, timestamp_ms: int, step: int, points_count: int) -> bool:
        """Return whether it is time, or necessary, to define the set anew for a point."""
        dt, ds = timestamp_ms - self.base_ms, step - self.base_step
        if ds <= FAR_BACK:
            return True
        return (ds >= SHORT_DS or dt >= SHORT_DT_MS) and points_count >= self.until_points_count


DefinedSets = dict[KeyName, DefinedSet]


@dataclass(slots=True)
class OpenLog:
    """A log that points can go to. Its owner's lock guards it."""

    file: Appender
    base_ms: int
    first_point: int = 0
    """Number of the first point that this file can hold."""
    sets: DefinedSets = field(default_factory=dict)
    definitions: list[bytes] = field(default_factory=list)
    """The lines of all key sets, for a file that must take this one's place."""
    next_set: int = 0

    def define(
        self, keys: tuple[str, ...], timestamp_ms: int, step: int, *, points_count: int, lines: list[bytes]
    ) -> DefinedSet:
        """Return a new key set, whose definition is added to `lines`."""
        number = self.next_set
        self.next_set += 1  # a number whose definition fails to be written is not used again
        record: list[Any] = ["k", number, list(keys)]
        base_ms, base_step = self.base_ms, 0
        if step >= SHORT_DS or timestamp_ms - base_ms >= SHORT_DT_MS:
            base_ms, base_step = timestamp_ms, step if 0 <= step <= -FAR_BACK else 0
            record += [base_ms, base_step]
        lines.append(encode_record(record))
        return DefinedSet(number, base_ms, base_step, points_count + _REBASE_POINTS_COUNT)

    def remember(self, sets: Mapping[KeyName, DefinedSet], definitions: Sequence[bytes]) -> None:
        """Use key sets from now on: their definitions are in the file."""
        self.sets.update(sets)
        self.definitions += definitions

    def encode_points(
        self, points: Sequence[Point], *, points_count: int, lines: list[bytes]
    ) -> tuple[list[list[Any]], DefinedSets]:
        """Return points as lists, and the key sets that are new; the definitions of those are added to `lines`.

        Raises:
            InvalidInputError: A key breaks a rule.
        """
        encoded: list[list[Any]] = []
        fresh: DefinedSets = {}
        for key, value, timestamp_ms, step in points:
            found = fresh.get(key) or self.sets.get(key)
            if found is None or step - found.base_step <= FAR_BACK:
                keys = (validate_key(key, "metric"),)
                found = fresh[key] = self.define(keys, timestamp_ms, step, points_count=points_count, lines=lines)
            encoded.append([found.number, timestamp_ms - found.base_ms, step - found.base_step, encode_value(value)])
        return encoded, fresh

    def fold(self, site: Site) -> Folds:
        """Return what the points in the file add up to."""
        data = self.file.recall()
        if data is None:
            data = read_log(site.storage, self.file.key)
        if b'["torn",' in data:
            records = read_lines(data, LOG).records
        else:
            records = decode_json(b"[" + data[:-1].replace(b"\n", b",") + b"]")
        reader = PointReader(self.base_ms)
        for record in reader.take_points(records):
            if record[0] == "batch":
                for point in record[2].get("points", []):
                    reader.take_point(point)
        return reader.columns.fold()

    def close_chunk(self, *, stamp: int, points_count: int) -> None:
        """Append the `Closed` record of a chunk.

        Args:
            stamp: Of the record.
            points_count: How many points its writer has by now.
        """
        self.file.settle()
        closed = encode_closed(
            stamp, bytes_count=self.file.size, crc=self.file.checksum(), points=points_count - self.first_point
        )
        self.file.append(closed, is_last=True)


def create_open_log(
    site: Site,
    key: str,
    lock: Lock,
    *,
    kind: str,
    writer: str,
    base_ms: int,
    stamp: int,
    more: Mapping[str, Any],
    lines: Sequence[bytes] = (),
    in_new_folder: bool = False,
) -> OpenLog:
    """Create a log and write its header and first lines, in one write. Leaves no file behind when that fails.

    Args:
        site: The store.
        key: The log.
        lock: What the owner holds around its calls.
        kind: LOG or POINTS.
        writer: The writer's id.
        base_ms: Its base time.
        stamp: Its first stamp.
        more: What this kind of header adds.
        lines: What follows the header.
        in_new_folder: The folder is probably not there yet.
    """
    file = site.storage.create_log(key, lock, in_new_folder=in_new_folder)
    header = encode_header(
        kind, this_writer(), writer=writer, base_ms=base_ms, stamp=stamp, flock=file.is_locked, more=more
    )
    try:
        file.append(b"".join([header, *lines]))
    except StorageError:
        discard_log(site, file)
        raise
    return OpenLog(file, base_ms)
