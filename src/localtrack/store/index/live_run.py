"""A run that this process reads itself, because no segment of the index has it as it is.

Looking at it again costs one `stat` for its folder and one for each file that may still grow; of these only what is new
is read. Whatever is out of the ordinary there, a closing record included, makes it read the whole folder again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from localtrack.format.jsonlines import decode_json
from localtrack.format.lines import Record
from localtrack.format.metric_fold import Folds
from localtrack.format.points import PointColumns, PointReader
from localtrack.format.run_fold import RunState, fold_run
from localtrack.format.runlog import RunLog, extend_run_log
from localtrack.storage.base import Storage
from localtrack.store.liveness import judge_writer
from localtrack.store.logparts import gather_logs
from localtrack.store.run_reading import RunReading, read_folder
from localtrack.types import Finding

RACY_MS: Final = 2_000
"""A folder whose last change is not older than this when it is listed may change again without showing it: times of
change are as coarse as two seconds on some media."""
STALE_MS: Final = 6 * 3_600_000
"""An open file that has been still for so long is not looked at any more. Its writer, if it lives, sends a notice
before it goes on (FORMAT.md section 10)."""
_COPYING_MS: Final = 60_000
"""A run that nobody announced may still be being copied for so long after its last change."""
_FEW_RECORDS: Final = 8
"""So few are folded one by one; of more, columns are made first."""
_GROWING_KINDS: Final = frozenset(["k", "p"])
_FIRST_TYPES: Final = frozenset([int, str])


Seen = Sequence[tuple[int, int] | None]


@dataclass(slots=True)
class _Tail:
    """An open file, as far as it was read."""

    size: int
    """Of the file when it was last looked at."""
    offset: int = 0
    """Up to where it was read."""
    reader: PointReader | None = None
    """Knows the key sets that the file defines; None if the file cannot be read on from there."""
    log: RunLog | None = None
    """What the file says, if it is a run log."""


class LiveRun:
    """The run in a folder, as of the last look.

    Args:
        storage: The store's bytes.
        folder: The run's folder.
        is_noticed: A notice said that it changes; False if it was found without one.
    """

    def __init__(self, storage: Storage, folder: str, *, is_noticed: bool) -> None:
        self.folder = folder
        self.is_noticed = is_noticed
        self.is_exact = False
        """True: what the run comes to hangs on how many bytes there are, so that it is always read whole."""
        self.reading: RunReading | None = None
        self.state: RunState | None = None
        """None if the folder holds no run that can be read."""
        self.folds: Folds = {}
        self.findings: list[Finding] = []
        self.storage = storage
        self.watched_keys: Sequence[str] = (folder,)
        """The folder and the files that may grow: what `is_still` wants to be told of."""
        self.is_watched = False
        """Whoever has it watched by the kernel says so; it becomes False when the run wants to be looked at."""
        self.still: Seen | None = None
        """What `is_still` was told when it last held: as long as that is so, it holds."""
        self._tails: dict[str, _Tail] = {}
        """By the name of the file."""
        self._by_key: dict[str, _Tail] = {}
        """The same by its key."""
        self._names: frozenset[str] = frozenset()
        self._folder_ms = -1
        self._read_ms = 0
        self._changed_ms = 0
        self._is_abandoned = False

    @property
    def is_there(self) -> bool:
        """Whether the folder holds anything that can be told of."""
        return self.reading is not None

    def look(self, *, is_forced: bool = False, seen: Seen = ()) -> bool:
        """Bring it up to date; return whether anything changed.

        Args:
            is_forced: List the folder whatever its time of change says.
            seen: See `is_still`; empty if nobody has looked yet.
        """
        if self._read_ms == 0 or not (self.storage.can_append and self.storage.is_local):
            return self._read_whole()
        self.still = None
        folder, *files = seen or self.storage.look(self.watched_keys)
        if folder is None:
            return self._read_whole()
        if is_forced or folder[0] != self._folder_ms or self._read_ms - self._folder_ms < RACY_MS:
            read_ms = _now_ms()
            if frozenset(self.storage.names(self.folder)) != self._names:
                return self._read_whole()
            self._folder_ms, self._read_ms = folder[0], read_ms
        if self._tails and self.reading is None:
            return self._read_whole()
        has_changed = False
        for file, (name, tail) in zip(files, self._tails.items(), strict=True):
            if file is not None and file[1] == tail.size:
                continue
            if file is None or self.is_exact or not self._read_on(name, tail, file[1]):
                return self._read_whole()
            self._changed_ms, has_changed = max(self._changed_ms, file[0]), True
        return has_changed

    def is_still(self, seen: Seen) -> bool:
        """Return whether a run that goes on shows no change.

        Args:
            seen: Times of change and sizes of what `watched_keys` names, of now.
        """
        if not self._tails or self._read_ms == 0 or self.state is None or seen[0] is None:
            return False
        if seen[0][0] != self._folder_ms or self._read_ms - self._folder_ms < RACY_MS:
            return False
        for file, tail in zip(seen[1:], self._tails.values(), strict=True):
            if file is None or file[1] != tail.size:
                return False
        self.still = seen
        return True

    @property
    def can_be_watched(self) -> bool:
        """Whether all that may change of it, without a notice, is that `watched_keys` grow or are joined by others."""
        return bool(self._tails) and self._read_ms != 0 and self.state is not None

    def read_on(self, key: str, read_from: Callable[[str, int], bytes]) -> bool:
        """Take what was appended to a file; return False if nothing was, or a closer look must tell what it means.

        Args:
            key: The file, one of `watched_keys`.
            read_from: Returns the bytes of a file, by its key, from an offset on.
        """
        tail = self._by_key[key]
        data = read_from(key, tail.offset)
        size = tail.offset + len(data)
        if self.is_exact or not data or not self._take_data(tail, data):
            return False
        tail.size, self._changed_ms = size, _now_ms()
        return True

    def fail(self, finding: Finding) -> None:
        """Say that it cannot be read now."""
        self.state, self.folds, self.findings = None, {}, [finding]
        self.forget()

    def forget(self) -> None:
        """Read everything again at the next look."""
        self._read_ms = 0
        self.still, self.is_watched = None, False

    def is_settled(self, *, is_hasty: bool = False) -> bool:
        """Return whether nothing will change without a notice.

        Args:
            is_hasty: Do not wait for whoever may be copying it.
        """
        now_ms = _now_ms()
        still_ms = now_ms - max(self._changed_ms, self._folder_ms)
        if self.reading is None or self.state is None or self.reading.is_newer or self.reading.forbidden:
            return False  # what one user may not read must not be missing in everybody's index
        if self._tails and not self._is_abandoned and still_ms < STALE_MS:
            return False
        if self.is_noticed:
            return True  # whoever changes it again says so
        return self._read_ms - self._folder_ms >= RACY_MS and (is_hasty or still_ms >= _COPYING_MS)

    def judge(self) -> None:
        """Find out whether all who may still write to it are dead."""
        if self.reading is None or self._is_abandoned or not self._tails:
            return
        reading, now_ms = self.reading, _now_ms()
        open_logs = [log for log in reading.logs.values() if log.lines.closed is None]
        covered = {f"{log.writer}." for log in open_logs}
        if any(name[:21] not in covered for name in self._tails):
            return
        self._is_abandoned = all(judge_writer(reading, log, now_ms=now_ms) == "dead" for log in open_logs)
        if self._is_abandoned and self.look(is_forced=True):
            self._is_abandoned = False  # it wrote since: judge it anew next time

    def _read_whole(self) -> bool:
        try:
            return self._read_folder()
        finally:
            self._by_key = {f"{self.folder}/{name}": tail for name, tail in self._tails.items()}
            self.watched_keys = (self.folder, *self._by_key)

    def _read_folder(self) -> bool:
        self._read_ms = _now_ms()
        entry = self.storage.stat(self.folder)
        self._folder_ms = entry.mtime_ms if entry is not None else -1
        self._is_abandoned = False
        self.still, self.is_watched = None, False
        self.state, self.folds, self.findings, self._tails = None, {}, [], {}
        reading = self.reading = read_folder(self.storage, self.folder) if entry is not None else None
        if reading is None:
            entries = self.storage.entries(self.folder)
            self._names = frozenset(found.name for found in entries)
            self._tails = {name: _Tail(size) for name, size in gather_logs(entries).items()}
            return True
        if reading.is_run and not reading.is_newer:
            self.state, self.folds = reading.state, reading.folds
        self.findings = list(reading.findings)
        self._names = frozenset(entry.name for entry in reading.entries)
        self._changed_ms = reading.changed_ms
        sizes = gather_logs(reading.entries)
        for name in reading.open_names():
            self._tails[name] = self._tail(reading, name, sizes.get(name, 0))
        if not self.is_exact:
            for log in reading.logs.values():
                log.points, log.lines.records = PointColumns(), []
        return True

    @staticmethod
    def _tail(reading: RunReading, name: str, size: int) -> _Tail:
        writer = name.partition(".")[0]
        log = reading.logs.get(writer) if name == f"{writer}.jsonl" else None
        lines = log.lines if log is not None else reading.open_chunks.get(name)
        if lines is None or lines.header is None or lines.problems:
            return _Tail(size)
        reader = PointReader(lines.header["base_ms"])
        reader.take_points([record for record in lines.records if record[0] == "k"])
        return _Tail(max(size, lines.whole_bytes_count), lines.whole_bytes_count, reader, log)

    def _read_on(self, name: str, tail: _Tail, size: int) -> bool:
        """Take what was appended to a file; return False if the whole folder must be read."""
        reading, state = self.reading, self.state
        if tail.reader is None or size < tail.offset or reading is None or state is None:
            return False
        try:
            data = self.storage.read_from(f"{self.folder}/{name}", tail.offset)
        except FileNotFoundError:
            return False
        seen_size = tail.offset + len(data)
        if not self._take_data(tail, data):
            return False
        tail.size = min(size, seen_size)
        return True

    def _take_data(self, tail: _Tail, data: bytes) -> bool:
        """Take the whole lines of what a file holds from where it was read; return False if all must be read."""
        if tail.reader is None or self.reading is None:
            return False
        end = data.rfind(b"\n") + 1
        if end:
            records = _decode(data[:end])
            if records is None:
                return False
            folds = tail.reader.add_to(self.folds, records) if len(records) <= _FEW_RECORDS else None
            if folds is not None:
                self.folds = folds
            elif not self._take(tail, records):
                return False
            tail.offset += end
        return True

    def _take(self, tail: _Tail, records: list[Record]) -> bool:
        reader, log = tail.reader, tail.log
        assert reader is not None
        assert self.reading is not None
        if log is not None:
            changes_count = len(log.changes)
            if not extend_run_log(log, records, reader):
                return False
            if len(log.changes) > changes_count:
                self.state = fold_run(self.reading.logs.values())
                if self.state.problems:
                    return False
        elif any(type(record[0]) is str and record[0] not in _GROWING_KINDS for record in records):
            return False
        else:
            reader.take_points(records)
            if reader.problems:
                return False
        if len(reader.columns):
            folds = dict(self.folds)  # a view may hold the old ones
            for key, fold in reader.columns.fold().items():
                folds[key] = folds[key].combine(fold) if key in folds else fold
            self.folds, reader.columns = folds, PointColumns()
        return True


def rows_of(runs: Iterable[LiveRun]) -> list[tuple[RunState, Folds]]:
    """Return what runs come to."""
    return [(run.state, run.folds) for run in runs if run.state is not None]


def findings_of(runs: Iterable[LiveRun]) -> dict[str, list[Finding]]:
    """Return what is wrong with runs, by id."""
    return {run.state.run_id: run.findings for run in runs if run.state is not None and run.findings}


def _decode(data: bytes) -> list[Record] | None:
    """Return the records in whole lines, None if one of them needs a closer look."""
    count = data.count(b"\n")
    try:
        if count == 1:
            records: list[Record] = [decode_json(data)]
        else:
            records = decode_json(b"[" + data[:-1].replace(b"\n", b",") + b"]")
    except ValueError:
        return None
    if len(records) != count:
        return None
    for record in records:
        if type(record) is not list or len(record) < 2 or type(record[0]) not in _FIRST_TYPES:
            return None
    return records


def _now_ms() -> int:
    # The machine's own time, whatever clock the store has: it is compared with times of change of files.
    return time.time_ns() // 1_000_000
