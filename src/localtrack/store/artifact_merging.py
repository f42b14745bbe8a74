"""Of two copies of the artifacts of a run or logged model one: the files that the records of both describe.

FORMAT.md section 14.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

from localtrack.errors import InvalidInputError, NotFoundError
from localtrack.format.state_records import StateLog
from localtrack.storage.base import Storage
from localtrack.store.artifacts import iter_files, open_artifact, require_place
from localtrack.store.folder_reading import FolderReading
from localtrack.types import Finding

_COPY_BYTES: Final = 1024 * 1024

AnyReading = FolderReading[Any, Any]
Content = tuple[int, str]
"""Size in bytes and SHA-256 of a file."""


def merge_artifacts(
    target: Storage, source: AnyReading, there: AnyReading, notice: Callable[[], None]
) -> tuple[list[int], list[Finding]]:
    """Copy the artifacts that the target does not have, or has in a version that counts less.

    Args:
        target: Where to.
        source: The run or model, as it is in the source.
        there: The same, as it is in the target.
        notice: Called before the first write.

    Returns:
        The size in bytes of each file that was copied, and what could not be copied.

    Raises:
        StorageError: The target cannot be written to.
    """
    ranks: dict[tuple[str, str], int] | None = None
    sizes: list[int] = []
    findings: list[Finding] = []
    for path, _, _ in iter_files(source.storage, source.folder):
        try:
            key = require_place(target, source.folder, path)
            if target.exists(key):
                offered = read_content(source.storage, source.folder, path)
                held = read_content(target, source.folder, path)
                if offered == held:
                    continue
                ranks = rank_contents(source, there) if ranks is None else ranks
                if (ranks.get((path, held[1]), -1), held) >= (ranks.get((path, offered[1]), -1), offered):
                    continue
            notice()
            sizes.append(copy_artifact(target, key, source.storage, source.folder, path))
        except (InvalidInputError, NotFoundError) as error:
            # A name that cannot stand beside one that is there, or a file that went away while it was read.
            findings.append(Finding(f"{source.folder}/artifacts/{path}", str(error), "artifact", "error"))
    return sizes, findings


def rank_contents(*copies: AnyReading) -> dict[tuple[str, str], int]:
    """Return the rank of the highest record that describes each (path, SHA-256), in the union of the copies' logs.

    All records count, not the highest alone: where nobody has the file of that one, the next must win in every order.
    """
    logs: dict[str, StateLog] = {}
    for copy in copies:
        for writer, log in copy.logs.items():
            if writer not in logs or log.lines.whole_bytes_count > logs[writer].lines.whole_bytes_count:
                logs[writer] = log
    changes = sorted(
        (change for log in logs.values() for change in log.changes if change.kind == "artifact"),
        key=lambda change: change[:3],
    )
    return {(change.payload["path"], change.payload["sha256"]): rank for rank, change in enumerate(changes)}


def read_content(storage: Storage, folder: str, path: str) -> Content:
    """Return size and digest of an artifact."""
    digest, size = hashlib.sha256(), 0
    with open_artifact(storage, folder, path) as file:
        while block := file.read(_COPY_BYTES):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def copy_artifact(target: Storage, key: str, source: Storage, folder: str, path: str) -> int:
    """Copy one artifact to a key, and return its size in bytes."""
    size = 0
    with open_artifact(source, folder, path) as file:
        stream = target.write_stream(key.rpartition("/")[0])
        try:
            while block := file.read(_COPY_BYTES):
                stream.sink.write(block)
                size += len(block)
            stream.commit(key)
        finally:
            stream.discard()
    return size
