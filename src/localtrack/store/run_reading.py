"""What a run's folder says to somebody who did not write it: alive or dead, whole or damaged.

FORMAT.md sections 6 to 8 and 12.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

from localtrack.errors import FormatError, StorageError
from localtrack.format.jsonlines import decode_json
from localtrack.format.layout import RUNS, RunFile, run_folder
from localtrack.format.lines import Lines
from localtrack.format.metric_fold import Folds, combine_folds
from localtrack.format.points import PointColumns
from localtrack.format.run_fold import RunState, fold_run
from localtrack.format.runlog import RunLog, read_run_log
from localtrack.storage.base import Entry, Storage
from localtrack.storage.once import once
from localtrack.store.folder_reading import FolderReading, list_folders, read_steadily
from localtrack.store.sealing import read_chunk

if TYPE_CHECKING:
    from localtrack.format.segment import SegmentFooter, SegmentInfo

T = TypeVar("T")

_WHOLE_BYTES: Final = 128 * 1024
"""A segment no larger than this is read at once: as much as Linux reads ahead anyway."""
_TRIES: Final = 10
"""How often a folder is listed anew because a file vanished between listing and reading (it was sealed)."""


class RunReading(FolderReading[RunLog, RunState]):
    """A run as its folder was at one moment. Points are read when they are asked for."""

    def __init__(self, storage: Storage, folder: str, entries: list[Entry]) -> None:
        self.unsound: set[str] = set()
        """Names of segments whose points were found unreadable."""
        super().__init__(storage, folder, entries)

    def _load(self, entries: list[Entry]) -> None:
        for _ in range(_TRIES):
            self._load_once(entries)
            if not self._lacks_chunks():
                return
            # A listing that goes on while chunks are sealed may show neither them nor their segment. What a second one
            # lacks as well is missing.
            again = self.storage.entries(self.folder)
            if {entry.name for entry in again} == {entry.name for entry in entries}:
                return
            entries = again

    def _load_once(self, entries: list[Entry]) -> None:
        self.footers: dict[str, SegmentFooter] = {}
        """Of the segments that were looked at, by name."""
        self._sound_segments: dict[tuple[str, int], list[tuple[RunFile, SegmentInfo]]] = {}
        self.open_chunks: dict[str, Lines] = {}
        """By name what the lines of the chunks are that are not closed, once points were read."""
        super()._load(entries)

    def _lacks_chunks(self) -> bool:
        """Return whether there must be chunks of a writer that neither lie here nor are part of a segment."""
        for writer, files in self.writers.items():
            numbers = {n for file in files.segments for n in range(file.first, file.last + 1)} | files.chunks.keys()
            log = self.logs.get(writer)
            closed = log.lines.closed if log is not None else None
            ended = closed.get("chunks") if closed is not None else None
            if len(numbers) <= max(numbers, default=-1) or (type(ended) is int and len(numbers) < ended):
                return True
        return False

    @property
    def is_run(self) -> bool:
        """Whether the folder holds a run: at least one log that can be read."""
        return self.has_logs

    def _parse(self, data: bytes, writer: str) -> RunLog | Lines:
        return read_run_log(data, writer=writer)

    def _place(self, log: RunLog) -> str:
        return run_folder(log.header["run"])

    def _fold(self) -> RunState:
        return fold_run(self.logs.values())

    @once
    def folds(self) -> Folds:
        """What the points of each metric add up to, over all writers."""
        return self.steadily(lambda run: combine_folds(run._fold_writer(writer) for writer in sorted(run.writers)))

    @property
    def positions(self) -> dict[str, tuple[int, int]]:
        """Per writer how many bytes of its log, and how many points there are."""
        return self.steadily(lambda run: {w: (run.log_bytes.get(w, 0), run._count_points(w)) for w in run.writers})

    def steadily(self, compute: Callable[[RunReading], T]) -> T:
        """Return what is computed from the run's files, listing them anew when one was sealed meanwhile."""
        for _ in range(_TRIES):
            try:
                return compute(self)
            except FileNotFoundError:
                self._load(self.storage.entries(self.folder))
        raise StorageError(f"The folder {self.storage.path(self.folder)} changes faster than it can be read.")

    def load_again(self) -> None:
        """List and read the folder anew, as after a file vanished because it was sealed."""
        self._load(self.storage.entries(self.folder))

    def chunk_points(self, writer: str) -> list[tuple[int, PointColumns]]:
        """Return the number of the first point, and the points, of each chunk that no sound segment covers."""
        covered = {n for _, info in self.sound_segments(writer) for n in range(info.chunks[0], info.chunks[1] + 1)}
        found: list[tuple[int, PointColumns]] = []
        highest = max([*covered, *self.writers[writer].chunks, -1])
        for number, name in sorted(self.writers[writer].chunks.items()):
            if number in covered:
                continue
            file = RunFile(name, "chunk", writer, number, number)
            data = self._read_permitted(name)
            if data is None:
                continue
            points, lines, _ = read_chunk(data, file, run_id=self._run_id(writer))
            for problem in lines.problems:
                self.note(name, problem)
            if lines.header is not None and lines.closed is None and number < highest:
                self.note(name, "it is not closed although a later chunk was begun: its end is missing")
            if lines.header is not None and not lines.newer:
                found.append((lines.header["first"], points))
                if lines.closed is None:
                    self.open_chunks[name] = lines
        return found

    def open_names(self) -> list[str]:
        """Return the names of the logs and chunks that are not closed, and so may still grow."""
        names: list[str] = []
        for writer, files in self.writers.items():
            log = self.logs.get(writer)
            if log is None or log.lines.closed is None:
                names += [files.log_name] if files.log_name is not None else []
                names += [files.chunks[max(files.chunks)]] if files.chunks else []
        return names

    def open_segment(self, name: str) -> BinaryIO:
        """Open a segment for reading at any place. `FileNotFoundError` if it is gone. A small one is read at once."""
        key = f"{self.folder}/{name}"
        size_bytes = next((entry.size for entry in self.entries if entry.name == name), 0)
        return io.BytesIO(self.storage.read(key)) if size_bytes <= _WHOLE_BYTES else self.storage.open(key)

    def sound_segments(self, writer: str) -> list[tuple[RunFile, SegmentInfo]]:
        """Return the segments of a writer that count, widest first, with what their footers say."""
        files = self.writers[writer].segments
        if not files:
            return []
        # Once for each state of `unsound`: a history asks several times, and each footer is checked whole.
        state = writer, len(self.unsound)
        if state not in self._sound_segments:
            self._sound_segments[state] = self._find_sound_segments(writer, files)
        return self._sound_segments[state]

    def _find_sound_segments(self, writer: str, files: list[RunFile]) -> list[tuple[RunFile, SegmentInfo]]:
        from localtrack.format.segment import read_footer

        found: list[tuple[RunFile, SegmentInfo]] = []
        covered: set[int] = set()
        for file in sorted(files, key=lambda f: (f.first - f.last, f.first, f.name)):
            chunks = set(range(file.first, file.last + 1))
            if chunks <= covered or file.name in self.unsound:
                continue
            try:
                with self.open_segment(file.name) as source:
                    footer = self.footers[file.name] = read_footer(source)
            except (FormatError, StorageError) as error:
                self.note(file.name, str(error))
                continue
            info = footer.info
            if (info.writer, info.chunks) != (writer, (file.first, file.last)) or run_folder(info.run) != self.folder:
                self.note(file.name, "its footer does not fit its name")
                continue
            covered |= chunks
            found.append((file, info))
        return found

    def look_closely(self) -> None:
        """Look at all points, for what only shows there: damaged chunks, chunks and points that are missing."""
        self.steadily(RunReading._check_chunks)

    def _check_chunks(self) -> None:
        for writer in self.writers:
            self._check_chunks_of(writer)

    def _check_chunks_of(self, writer: str) -> None:
        covered = {n for _, info in self.sound_segments(writer) for n in range(info.chunks[0], info.chunks[1] + 1)}
        chunks = [(first, first + len(points)) for first, points in self.chunk_points(writer)]
        numbers = covered | set(self.writers[writer].chunks)
        log = self.logs.get(writer)
        closed = log.lines.closed if log is not None else None
        wanted = max([*numbers, -1]) + 1
        if closed is not None and type(closed.get("chunks")) is int:
            wanted = max(wanted, closed["chunks"])
        for number in sorted(set(range(wanted)) - numbers):
            self.note(f"{writer}.{number}.points.jsonl", "the chunk is missing, and its points with it")
        # One without points, of a chunk whose first point was refused, has no first number.
        segments = [(info.first, info.first + info.points) for _, info in self.sound_segments(writer) if info.points]
        self._check_numbers(writer, sorted(segments + chunks))

    def _check_numbers(self, writer: str, spans: list[tuple[int, int]]) -> None:
        """Look whether the points of a writer are all there (M4), given the numbers of those in chunks and segments."""
        log = self.logs.get(writer)
        end = len(log.points) if log is not None else 0
        if spans and spans[0][0] < end:
            self.note(f"{writer}.jsonl", f"it holds {end} points where chunks begin with number {spans[0][0]}")
        points_all = log.lines.closed.get("points_all") if log is not None and log.lines.closed is not None else None
        if type(points_all) is int:
            spans = [*spans, (points_all, points_all)]
        for first, behind in spans:
            if first > end:
                self.note(f"{writer}.jsonl", f"the points {end} to {first - 1} of its writer are missing")
            end = max(end, behind)

    def _run_id(self, writer: str) -> str | None:
        log = self.logs.get(writer)
        if log is not None:
            return str(log.header["run"])
        return next((str(log.header["run"]) for log in self.logs.values()), None)

    def _fold_writer(self, writer: str) -> Folds:
        log = self.logs.get(writer)
        if log is not None and log.lines.closed is not None and log.folds is not None:
            return log.folds
        parts: list[Folds] = [log.points.fold()] if log is not None else []
        segments = self.sound_segments(writer)
        if segments and (any(info.keys is None for _, info in segments) or _do_overlap(segments)):
            from localtrack.format.segment import fold_table
            from localtrack.store.history import read_writer_points

            return fold_table(read_writer_points(self, writer))
        parts += [dict(info.keys or {}) for _, info in segments]
        parts += [_fold_columns(points) for _, points in self.chunk_points(writer)]
        return combine_folds(parts)

    def _count_points(self, writer: str) -> int:
        log = self.logs.get(writer)
        if log is not None and log.lines.closed is not None:
            return int(log.lines.closed.get("points_all", 0))
        ends = [len(log.points) if log is not None else 0]
        ends += [info.first + info.points for _, info in self.sound_segments(writer)]
        ends += [first + len(points) for first, points in self.chunk_points(writer)]
        return max(ends)


def read_run(storage: Storage, run_id: str) -> RunReading | None:
    """Return a run as it is now, or None if there is none of that id."""
    return read_folder(storage, run_folder(run_id))


def read_folder(storage: Storage, folder: str) -> RunReading | None:
    """Return the run in a folder as it is now, or None if it holds none."""
    return read_steadily(storage, folder, RunReading)


def list_run_folders(storage: Storage) -> list[str]:
    """Return the keys of all folders that may hold a run, in order."""
    return list_folders(storage, RUNS)


def first_header(data: bytes) -> dict[str, object] | None:
    """Return the header in the first line of a log, without reading the rest; None if it is not whole or sound."""
    line, found, _ = data.partition(b"\n")
    try:
        record = decode_json(line)
    except ValueError:
        return None
    return record[1] if found and type(record) is list and len(record) == 2 and type(record[1]) is dict else None


def _do_overlap(segments: list[tuple[RunFile, SegmentInfo]]) -> bool:
    ranges = sorted(info.chunks for _, info in segments)
    return any(a[1] >= b[0] for a, b in itertools.pairwise(ranges))


_FOLD_IN_ARROW_COUNT: Final = 20_000
"""From so many points on, loading PyArrow pays."""


def _fold_columns(points: PointColumns) -> Folds:
    if len(points) < _FOLD_IN_ARROW_COUNT:
        return points.fold()
    from array import array

    from localtrack.format.segment import build_table, fold_table

    numbers = array("q", range(len(points)))
    return fold_table(
        build_table(
            points.key_names,
            points.key_index,
            number=numbers,
            step=points.step,
            timestamp_ms=points.timestamp_ms,
            value=points.value,
        )
    )
