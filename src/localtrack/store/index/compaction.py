"""Writes what is settled to a segment of the index, and clears the inbox of what it covers.

Order: segment, marker, manifest, then removal of what the manifest does not need. Whatever a crash leaves is no harm:
files that no manifest names are removed by the next compaction, notices that are still there are read again.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import Final

from localtrack import reporting
from localtrack.errors import DamagedIndexError, LocaltrackError, LockedError
from localtrack.format.edits import EditsState
from localtrack.format.layout import COVERED_SUFFIX, INBOX
from localtrack.storage.base import Storage
from localtrack.storage.locks import maintenance_lock
from localtrack.storage.place_clock import clock_of_place
from localtrack.store.index.home import Home, MemoryHome
from localtrack.store.index.live_run import LiveRun, findings_of, rows_of
from localtrack.store.index.manifest import (
    MANIFEST,
    InboxEntry,
    Manifest,
    SegmentEntry,
    encode_manifest,
    marker_name,
)
from localtrack.store.index.notices import InboxFile
from localtrack.store.index.part import DEAD, Part, merge_count
from localtrack.store.index.run_index import RunIndex
from localtrack.store.index.segment import Segment
from localtrack.store.index.segment_content import content_of_runs, content_of_segments
from localtrack.store.index.segment_write import Content, Written, put_file, remove_segment, write_segment
from localtrack.store.liveness import judge_process

LOCK: Final = "index"
_FORGOTTEN_MS: Final = 7 * 86_400_000
"""An inbox file that has been still for so long is done with, whoever wrote it: its process looks whether the file is
there before it writes to it again."""
_MANY_DEAD: Final = 0.5
"""A segment with a greater share of dead rows is written anew."""


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What a compaction did."""

    runs_written: int
    """Runs in segments that were written."""
    runs_count: int
    """Runs in all segments."""
    segments_count: int
    bytes_count: int
    """Size of the index."""
    notices_removed: int
    """Inbox files that were removed."""


def compact(index: RunIndex, edits: EditsState, *, lock_storage: Storage) -> CompactReport:
    """Write what is settled to the index, if no other process does so.

    Args:
        index: What this process knows.
        edits: What the store's edits say.
        lock_storage: Where the lock lies.

    Raises:
        LockedError: Another process compacts.
        StorageError: The home cannot be written to.

    Concurrency: searches and writers go on in other processes.
    """
    # In a user's cache folder the indexes of all stores lie side by side.
    name = LOCK if lock_storage is index.storage else f"{LOCK}-{index.manifest.store_id}"
    with maintenance_lock(lock_storage, name), index.lock:
        index.refresh(edits)
        index.judge()
        index.refresh(edits)
        try:
            return _write(index)
        except DamagedIndexError as error:
            index.distrust(str(error))
            index.refresh(edits, is_hasty=True)
            return _write(index)


def try_compact(index: RunIndex, edits: EditsState, *, lock_storage: Storage) -> bool:
    """Compact, unless another process does or it is not possible; return whether it was done."""
    try:
        compact(index, edits, lock_storage=lock_storage)
    except LockedError:
        return False
    except (LocaltrackError, FileNotFoundError) as error:
        reporting.debug("the search index of %s was not compacted: %s", index.storage.uri, error)
        return False
    return True


def _write(index: RunIndex) -> CompactReport:
    home = index.home
    settled = index.settled()
    private = [part for part in index.parts if part.is_private]
    kept = [part for part in index.parts if not part.is_private]
    entries = {entry.name: entry for entry in index.manifest.segments}
    incoming = len(settled) + sum(part.rows_count for part in private)
    kept.sort(key=lambda part: -part.rows_count)
    merged = [part for part in kept if part.marks.count(DEAD) > part.rows_count * _MANY_DEAD]
    if incoming:
        rest = [part for part in kept if part not in merged]
        count = merge_count([part.rows_count for part in rest], incoming + sum(p.rows_count for p in merged))
        merged += rest[len(rest) - count :]
    written = None
    if incoming or merged:
        content = _content([*merged, *private], settled, index)
        if content.rows_count:
            written = write_segment(home, content)
    new_entries = [
        entries[part.segment.name]._replace(dead=tuple(part.dead_rows())) for part in kept if part not in merged
    ]
    if written is not None:
        new_entries.append(SegmentEntry(written.name, written.rows_count, written.bytes_count, written.directory_crc))
    manifest = replace(
        index.manifest,
        token=index.manifest.token or os.urandom(8).hex(),
        segments=new_entries,
        inbox=_inbox_entries(index),
        days={day: changed_ms for day, changed_ms in index.days.items() if changed_ms},
        watched={run.folder: run.is_noticed for run in index.unsettled()},
    )
    if index.is_marked:
        mark_inbox(index.storage, manifest.token)
    data = encode_manifest(manifest)
    put_file(home, MANIFEST, data)
    removed_count = _clean(index, manifest)
    index.take_over(manifest, data)
    return CompactReport(
        written.rows_count if written is not None else 0,
        sum(entry.rows_count - len(entry.dead) for entry in new_entries),
        len(new_entries),
        len(data) + sum(entry.bytes_count for entry in new_entries),
        removed_count,
    )


def _content(parts: list[Part], settled: list[LiveRun], index: RunIndex) -> Content:
    delta = content_of_runs(rows_of(settled), findings_of(settled), beside=[part.segment for part in index.parts])
    if not parts:
        return delta
    segments = [part.segment for part in parts]
    dead = [frozenset(part.dead_rows()) for part in parts]
    if settled:
        memory = MemoryHome()
        segments.append(_open(memory, write_segment(memory, delta)))
        dead.append(frozenset())
    return content_of_segments(segments, dead)


def _open(home: Home, written: Written) -> Segment:
    return Segment(home, written.name, directory_crc=written.directory_crc)


def _inbox_entries(index: RunIndex) -> dict[str, InboxEntry]:
    """Return how far each inbox file is covered by what was read."""
    entries: dict[str, InboxEntry] = {}
    for name, file in index.inbox.items():
        is_done = file.has_ended or _is_forsaken(index.storage, f"{INBOX}/{name}", file)
        entries[name] = InboxEntry(file.offset, is_done, {} if is_done else dict(file.opened))
    return entries


def _is_forsaken(storage: Storage, key: str, file: InboxFile) -> bool:
    """Return whether nobody will write to an inbox file any more, and all of it was read."""
    before = storage.stat(key)
    if before is None or file.header is None or not storage.can_append:
        return False
    quiet_ms = _own_clock_ms() - before.mtime_ms
    if quiet_ms >= _FORGOTTEN_MS:
        quiet_ms = clock_of_place(storage, _own_clock_ms)() - before.mtime_ms
    if quiet_ms < _FORGOTTEN_MS and judge_process(storage, key, file.header, quiet_ms=quiet_ms) != "dead":
        return False
    try:
        return b"\n" not in storage.read_from(key, file.offset)
    except FileNotFoundError:
        return False


def _own_clock_ms() -> int:
    return time.time_ns() // 1_000_000


def mark_inbox(storage: Storage, token: str) -> None:
    """Put the file in the inbox by which its keeper sees that nobody emptied it; remove those of older indexes."""
    marker = marker_name(token)
    names = storage.names(INBOX)
    if marker not in names:
        storage.write(f"{INBOX}/{marker}", b"")
    for name in names:
        if name.endswith(COVERED_SUFFIX) and name != marker:
            storage.remove(f"{INBOX}/{name}")


def _clean(index: RunIndex, manifest: Manifest) -> int:
    """Remove what the manifest does not need; return how many inbox files that were."""
    removed_count = 0
    try:
        if index.is_marked:
            for name, entry in manifest.inbox.items():
                if entry.is_done:
                    index.storage.remove(f"{INBOX}/{name}")
                    removed_count += 1
        segments = {entry.name for entry in manifest.segments}
        names = index.home.sizes()
        for name in {name.partition(".")[0] for name in names if name != MANIFEST} - segments:
            if name:
                remove_segment(index.home, name)
        for name in names:
            if name.startswith(".tmp-"):
                index.home.remove(name)
    except LocaltrackError as error:  # the next compaction tries again
        reporting.debug("the search index of %s was not cleaned up: %s", index.storage.uri, error)
    return removed_count
