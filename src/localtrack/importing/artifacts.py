"""The artifacts of a run: copied where they are new or have changed in the source."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from localtrack.errors import ErrorCode, InvalidInputError, LocaltrackError
from localtrack.format.names import validate_artifact_path
from localtrack.importing.changes import NOTHING, judge
from localtrack.importing.meta_files import printable_name
from localtrack.importing.places import SourceFile
from localtrack.importing.report import Findings, ImportReport
from localtrack.storage.base import Storage
from localtrack.store.artifacts import COPY_BYTES, open_artifact, put_chunks
from localtrack.store.state_writer import StateWriter

Described = tuple[int, str]
"""Size and SHA-256 of a file."""


class ArtifactImport:
    """Brings the artifacts of one run or logged model.

    Args:
        begin: Gives its writer, beginning it with the first call; None in a dry run.
        folder: Key of its folder.
        here: What records describe, by path.
        base: What imports have left.
        unrecorded: Gives the paths of files that are here without a record.
    """

    def __init__(
        self,
        begin: Callable[[], StateWriter | None],
        folder: str,
        here: Mapping[str, Mapping[str, Any]],
        base: Mapping[str, Mapping[str, Any]],
        unrecorded: frozenset[str],
    ) -> None:
        self._begin = begin
        self._folder = folder
        self._here = here
        self._base = base
        self._unrecorded = unrecorded

    def bring(self, file: SourceFile, storage: Storage, findings: Findings, report: ImportReport) -> None:
        """Bring one file if it is new or has changed."""
        shown = f"artifacts/{printable_name(file.name)}"
        try:
            validate_artifact_path(file.name)
            self._bring(file, storage, shown, findings, report)
        except InvalidInputError as error:
            findings.note(shown, error.message.rstrip("."))

    def _bring(self, file: SourceFile, storage: Storage, shown: str, findings: Findings, report: ImportReport) -> None:
        path = file.name
        here: Described | object = _described(self._here.get(path))
        if path in self._unrecorded:
            with open_artifact(storage, self._folder, path) as copy:
                here = _describe(iter(lambda: copy.read(COPY_BYTES), b""))
        if here is not NOTHING:
            there = _describe(_read(file))
            if path in self._unrecorded and there == here:
                # An import was cut off between the file and its record.
                report.artifacts_added += 1
                writer = self._begin()
                if writer is not None:
                    writer.note_artifact(path, *there)
                return
            verdict = judge(there, here, _described(self._base.get(path)))
            if verdict == "conflict":
                findings.note(shown, "it differs from the one here, which stays", severity="info")
            if verdict != "take":
                return
        chunks = _read(file)  # what cannot be opened shows before the run is touched
        writer = self._begin()
        if writer is None:
            size, _ = _describe(chunks)
        else:
            _, size, digest = put_chunks(storage, self._folder, chunks, path)
            writer.note_artifact(path, size, digest)
        report.artifacts_added += 1
        report.artifact_bytes += size


def _described(record: Mapping[str, Any] | None) -> Described | object:
    return NOTHING if record is None else (record["bytes"], record["sha256"])


def _describe(chunks: Iterator[bytes]) -> Described:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def _read(file: SourceFile) -> Iterator[bytes]:
    """Open a file and return an iterator over what it holds."""
    try:
        source = file.open()
    except (OSError, LocaltrackError) as error:
        raise _unreadable(error) from error
    return _read_chunks(source)


def _read_chunks(source: BinaryIO) -> Iterator[bytes]:
    with source:
        while True:
            try:
                chunk = source.read(COPY_BYTES)
            except (OSError, LocaltrackError) as error:
                raise _unreadable(error) from error
            if not chunk:
                return
            yield chunk


def _unreadable(error: Exception) -> InvalidInputError:
    """Return the error for a file of the source, which must not be taken for one of the store."""
    reason = getattr(error, "message", "") or getattr(error, "strerror", "") or str(error)
    return InvalidInputError(f"it cannot be read ({reason.rstrip('.')})", code=ErrorCode.STORAGE_FAILED)
