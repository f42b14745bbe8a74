"""Files of which one byte has changed, and what it was: told by the checksum of the file, and sure only if all fits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from localtrack.format.correction import iter_corrected_logs
from localtrack.format.edits import read_edits
from localtrack.format.layout import EDITS, MODELS, RUNS, parse_run_file
from localtrack.format.lines import Lines
from localtrack.format.modellog import read_model_log
from localtrack.format.runlog import RunLog, read_run_log
from localtrack.format.state_records import StateLog
from localtrack.storage.base import Storage
from localtrack.store.checking.report import Findings
from localtrack.store.sealing import read_chunk

REMEDY: Final = "One byte has changed, and its checksum tells what it was: `localtrack check --repair` puts it back."
_MAX_BYTES: Final = 32 * 1024 * 1024
"""Larger files are left alone: each MiB takes about half a second."""


def find_corrections(storage: Storage, findings: Findings) -> dict[str, bytes]:
    """Return what files were that are damaged in one byte, by key, and say in the findings that they can be repaired.

    Args:
        storage: The store's bytes, packs aside.
        findings: Only files that they name are looked at.
    """
    found: dict[str, bytes] = {}
    for key in findings.keys_of_errors():
        entry = storage.stat(key) if key.partition("/")[0] in (RUNS, MODELS, EDITS) else None
        if entry is None or entry.is_folder or entry.size > _MAX_BYTES:
            continue
        corrected = correct_file(key, storage.read(key), chunks_count=_count_chunks(storage, key))
        if corrected is not None:
            found[key] = corrected
            findings.mark_repairable(key, remedy=REMEDY)
    return found


def _count_chunks(storage: Storage, key: str) -> int:
    """Return how many chunks the writer of a file has begun, as the names beside it say."""
    folder, _, name = key.rpartition("/")
    files = [file for other in storage.names(folder) if (file := parse_run_file(other)) is not None]
    mine = [file.last + 1 for file in files if file.kind != "log" and name.startswith(file.writer)]
    return max(mine, default=0)


def correct_file(key: str, data: bytes, *, chunks_count: int = 0) -> bytes | None:
    """Return what a log, chunk or segment was before one byte of it changed; None if that cannot be told for sure.

    Args:
        key: Of the file.
        data: What it is.
        chunks_count: How many chunks its writer has begun.
    """
    name = key.rpartition("/")[2]
    file = parse_run_file(name)
    if file is None or file.part is not None:
        return None
    if file.kind == "segment":
        from localtrack.format.segment_crc import iter_corrected_segments

        return _only(iter_corrected_segments(data), lambda it: hashlib.sha256(it).hexdigest().startswith(file.digest))
    if file.kind == "chunk":
        return _only(iter_corrected_logs(data), lambda it: not read_chunk(it, file)[1].problems)
    readers: dict[str, Callable[[bytes], bool]] = {
        RUNS: lambda it: _is_sound_log(read_run_log(it, writer=file.writer), chunks_count),
        MODELS: lambda it: _is_sound_log(read_model_log(it, writer=file.writer), 0),
        EDITS: lambda it: _is_sound_lines(read_edits(it, writer=file.writer)[1]),
    }
    return _only(iter_corrected_logs(data), readers[key.partition("/")[0]])


def _only(candidates: Iterator[bytes], is_sound: Callable[[bytes], bool]) -> bytes | None:
    sound: list[bytes] = []
    for candidate in candidates:
        if is_sound(candidate):
            sound.append(candidate)
            if len(sound) > 1:
                return None  # a digit of which nothing depends: nobody can tell
    return sound[0] if sound else None


def _is_sound_lines(lines: Lines) -> bool:
    return not lines.problems and lines.closed is not None and lines.closed["points"] == 0


def _is_sound_log(log: Any, chunks_count: int) -> bool:
    if not isinstance(log, StateLog) or log.problems or log.lines.problems or log.lines.closed is None:
        return False
    points = len(log.points) if isinstance(log, RunLog) else 0
    chunks, points_all = log.lines.closed.get("chunks"), log.lines.closed.get("points_all")
    return chunks == chunks_count and type(points_all) is int and (points_all == points or chunks_count > 0)
