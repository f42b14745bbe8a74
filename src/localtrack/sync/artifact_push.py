"""Brings the artifacts of one run to the target: those that are not there, each compared by size and digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO

from localtrack.errors import ErrorCode, SyncError, UnreachableError, UnsureError
from localtrack.storage.base import Storage
from localtrack.store.artifacts import iter_files, open_artifact
from localtrack.sync.artifact_places import COPY_BYTES, ArtifactPlace, LocalFile, check_size
from localtrack.sync.limits import Limits
from localtrack.sync.options import ArtifactChoice


@dataclass(slots=True)
class ArtifactOutcome:
    """What the target has of the artifacts of a run, and what it does not."""

    known: dict[str, list[Any]] = field(default_factory=dict)
    """Path → [size, SHA-256], of those that are there as they are here."""
    sent_count: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    """Path → why."""


def push_artifacts(
    storage: Storage,
    folder: str,
    *,
    records: Mapping[str, Mapping[str, Any]],
    choice: ArtifactChoice,
    limits: Limits,
    known: Mapping[str, list[Any]],
    open_place: Callable[[], ArtifactPlace],
    list_there: Callable[[], dict[str, int | None]],
    require_going: Callable[[], None] = lambda: None,
) -> ArtifactOutcome:
    """Send what the target lacks, and compare.

    Args:
        storage: The store.
        folder: The run's folder.
        records: What the run's log says of its artifacts, by path.
        choice: Which artifacts are wanted.
        limits: Of the target.
        known: Path → [size, SHA-256], of what a push has compared before.
        open_place: Gives the place to write to; called when there is something to write.
        list_there: Gives the sizes of what the target has.
        require_going: Called before each file.

    Raises:
        SyncError: A file cannot be brought there, or is not there as it is here afterwards.
    """
    outcome = ArtifactOutcome()
    if choice.is_skipped:
        return outcome
    wanted: list[LocalFile] = []
    for info in iter_files(storage, folder):
        file = LocalFile(info.path, info.file_size or 0, partial(_open, storage, folder, info.path))
        reason = choice.reason_against(file.path, file.size) or check_size(file, limits)
        if reason is None:
            wanted.append(file)
        else:
            outcome.left_out[file.path] = reason
    if not wanted:
        return outcome
    there = list_there()
    place: ArtifactPlace | None = None
    sent: list[LocalFile] = []
    for file in wanted:
        require_going()
        record = records.get(file.path, {})
        recorded = str(record["sha256"]) if record.get("bytes") == file.size else ""
        # Servers before MLflow 3 leave out sizes of 0.
        is_there = there.get(file.path, -1) in (file.size, None)
        if is_there and recorded and known.get(file.path) == [file.size, recorded]:
            outcome.known[file.path] = [file.size, recorded]
            continue
        digest = digest_blocks(_blocks(file))
        if recorded and digest != recorded:
            raise SyncError(
                f"The artifact {file.path!r} is not what was logged: its content has changed, or is damaged.",
                code=ErrorCode.DAMAGED,
                hint="`localtrack check` tells more; --exclude-artifact leaves it out.",
            )
        place = place or open_place()
        # Of a file that the ledger does not know the content counts, not the size.
        if not is_there or (known.get(file.path) != [file.size, digest] and _there(place, file) != digest):
            place.put(file)
            sent.append(file)
        outcome.known[file.path] = [file.size, digest]
    if sent:
        there = list_there()
        for file in sent:
            if there.get(file.path, -1) not in (file.size, None):
                raise SyncError(f"The artifact {file.path!r} has another size on the target after it was sent.")
    outcome.sent_count = len(sent)
    return outcome


def digest_blocks(blocks: Iterator[bytes]) -> str:
    """Return the SHA-256 of bytes that come in blocks."""
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def _there(place: ArtifactPlace, file: LocalFile) -> str:
    """Return the digest of what the target has; empty where it does not give it, and it is sent over that."""
    try:
        return digest_blocks(place.read(file.path))
    except (UnsureError, UnreachableError):
        # MLflow from 3.6 to 3.11 answers 500 for files whose name it cannot write into a header.
        return ""


def _open(storage: Storage, folder: str, path: str) -> BinaryIO:
    return open_artifact(storage, folder, path)


def _blocks(file: LocalFile) -> Iterator[bytes]:
    with file.open() as source:
        while block := source.read(COPY_BYTES):
            yield block
