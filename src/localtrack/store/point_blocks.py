"""The points of a run block by block, in the order of their numbers: for whoever passes them on and keeps count.

Memory does not grow with the length of the run. FORMAT.md sections 6.4, 7 and 8.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from localtrack.errors import FormatError, StorageError
from localtrack.format.points import PointColumns
from localtrack.store.run_reading import RunReading

if TYPE_CHECKING:
    import pyarrow as pa

WINDOW_POINTS_COUNT: Final = 100_000
"""Most points in a block that comes from a segment."""
_TRIES: Final = 10


class PointBlock(NamedTuple):
    """Some points of one writer."""

    writer: str
    first: int
    """Where the block begins: no point of it has a lower number."""
    end: int
    """No point of it has this number or a greater one; where the writer's next block begins."""
    table: pa.Table
    """As `segment_schema()`, sorted by (key, number)."""


def iter_point_blocks(
    reading: RunReading,
    *,
    key: str | None = None,
    start: Mapping[str, int] | None = None,
    stop: Mapping[str, int] | None = None,
    window: int = WINDOW_POINTS_COUNT,
) -> Iterator[PointBlock]:
    """Yield the points that the run had when it was read, writer by writer, each number once.

    What is damaged is noted in `reading.findings`, and its points are left out.

    Args:
        reading: The run.
        key: Only points of this metric.
        start: Per writer, only points with this number or a greater one.
        stop: Per writer, only points with a lower number; none of a writer that is left out. None: to the end.
        window: Most points in a block of a segment.

    Concurrency: the run may be sealed meanwhile: a number stands for the same point before and after.
    """
    for writer in sorted(reading.writers):
        done = (start or {}).get(writer, 0)
        limit = sys.maxsize if stop is None else stop.get(writer, 0)
        tries = 0
        while done < limit:
            try:
                for block in _iter_writer(reading, writer, done, limit, key, window):
                    yield block
                    done, tries = block.end, 0
            except FileNotFoundError:
                tries += 1
                if tries >= _TRIES:
                    raise StorageError(
                        f"The folder {reading.storage.path(reading.folder)} changes faster than it can be read."
                    ) from None
                reading.load_again()
                continue
            break


def _iter_writer(
    reading: RunReading, writer: str, from_number: int, limit: int, key: str | None, window: int
) -> Iterator[PointBlock]:
    log = reading.logs.get(writer)
    end = from_number
    if log is not None and len(log.points) > end:
        behind = min(len(log.points), limit)
        yield PointBlock(writer, end, behind, _table(log.points, 0, end, behind, key))
        end = behind
    if writer not in reading.writers or end >= limit:
        return
    for file, info in sorted(reading.sound_segments(writer), key=lambda item: item[1].first):
        behind = min(info.first + info.points, limit)
        if behind <= max(end, info.first):
            continue
        for block in _iter_segment(reading, writer, file.name, max(end, info.first), behind, key, window):
            yield block
            end = block.end
    for first, points in reading.chunk_points(writer):
        behind = min(first + len(points), limit)
        if behind > max(end, first):
            start = max(first, end)
            yield PointBlock(writer, start, behind, _table(points, first, start, behind, key))
            end = behind


def _iter_segment(
    reading: RunReading, writer: str, name: str, start: int, behind: int, key: str | None, window: int
) -> Iterator[PointBlock]:
    import pyarrow.compute as pc

    from localtrack.format.arrow_columns import scalar
    from localtrack.format.segment_read import SegmentFile
    from localtrack.format.segment_table import concat_points, key_rows, sort_points

    with reading.open_segment(name) as source:
        try:
            file = SegmentFile(source)
            for first in range(start, behind, window):
                end = min(first + window, behind)
                tables = []
                for group in range(file.groups_count):
                    if not file.may_hold(group, key=key, from_number=first, below_number=end):
                        continue
                    table = file.read_group(group)
                    if key is not None:
                        table = key_rows(table, key)
                    number = table.column("number")
                    tables.append(
                        table.filter(
                            pc.and_(
                                pc.greater_equal(number, scalar("int64", first)), pc.less(number, scalar("int64", end))
                            )
                        )
                    )
                yield PointBlock(writer, first, end, sort_points(concat_points(tables)))
        except FileNotFoundError:
            raise
        except (FormatError, StorageError) as error:
            reading.note(name, str(error))
            reading.unsound.add(name)
            # Begun again without it: its chunks count, where they are still there.
            raise FileNotFoundError(name) from error


def _table(points: PointColumns, first: int, start: int, stop: int, key: str | None) -> pa.Table:
    """Return points as a table: those numbered `start` to `stop`, where the first one has the number `first`."""
    from localtrack.format.segment import build_table
    from localtrack.format.segment_table import key_rows

    wanted = slice(start - first, stop - first)
    table = build_table(
        points.key_names,
        points.key_index[wanted],
        number=array("q", range(start, stop)),
        step=points.step[wanted],
        timestamp_ms=points.timestamp_ms[wanted],
        value=points.value[wanted],
    )
    return table if key is None else key_rows(table, key)
