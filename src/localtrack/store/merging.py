"""Makes one store of two: a union, whatever the order, however often. FORMAT.md section 14."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from localtrack.errors import FormatError, StorageError
from localtrack.format.documents import ExperimentDocument, parse_experiment
from localtrack.format.edits import Tombstone
from localtrack.format.layout import ARTIFACTS, EDITS, EXPERIMENTS, RunFile, parse_run_file
from localtrack.format.run_fold import fold_run
from localtrack.storage.base import Storage
from localtrack.storage.locks import maintenance_lock
from localtrack.store.artifacts import iter_files, open_artifact
from localtrack.store.catalog import Catalog
from localtrack.store.inbox import Inbox
from localtrack.store.logparts import gather_logs, list_logs, put_log, read_log
from localtrack.store.run_reading import RunReading, list_run_folders, read_folder
from localtrack.store.site import Site, ensure_experiment_file
from localtrack.types import Finding

_COPY_BYTES: Final = 1024 * 1024
_LOCK_PATIENCE_S: Final = 60.0

Progress = Callable[[int, int], None]
"""Called with how many run folders are done, and how many there are."""


@dataclass(slots=True)
class MergeReport:
    """What a merge did."""

    experiments_added: int = 0
    runs_added: int = 0
    runs_extended: int = 0
    runs_unchanged: int = 0
    files_copied: int = 0
    bytes_copied: int = 0
    findings: list[Finding] = field(default_factory=list)
    """What could not be merged, or was not sound in the source."""


def merge_store(target: Site, source: Site, inbox: Inbox, *, progress: Progress | None = None) -> MergeReport:
    """Copy into `target` everything of `source` that it does not have.

    Args:
        target: The store that grows.
        source: The store that is only read; writers may go on in it.
        inbox: Where the notices of touched runs go.
        progress: Told how far it is.

    Raises:
        LockedError: Another merge into `target` goes on.

    Durability: what the report counts is durable.

    Concurrency: readers and writers of both stores may go on. A merge that was cut short is completed by the next one.
    """
    target.require_open()
    report = MergeReport()
    with maintenance_lock(target.storage, "merge", timeout_s=_LOCK_PATIENCE_S):
        catalog = Catalog(target)
        tombstones = catalog.read().tombstones
        _merge_experiments(target.storage, source.storage, report)
        folders = list_run_folders(source.storage)
        for number, folder in enumerate(folders):
            reading = read_folder(source.storage, folder)
            if reading is not None:
                _merge_run(target, source, reading, inbox, report, tombstones)
            if progress is not None:
                progress(number + 1, len(folders))
        # Edits last: an edit that speaks of a run finds it.
        for name in sorted(list_logs(source.storage, EDITS)):
            _merge_log(target.storage, source.storage, f"{EDITS}/{name}", report)
    return report


def _merge_experiments(target: Storage, source: Storage, report: MergeReport) -> None:
    there = {entry.name for entry in target.entries(EXPERIMENTS)}
    for entry in source.entries(EXPERIMENTS):
        if entry.name in there or entry.is_folder or not entry.name.endswith(".json"):
            continue
        key = f"{EXPERIMENTS}/{entry.name}"
        data = source.read(key)
        try:
            parse_experiment(data, where=key)
        except FormatError as error:
            report.findings.append(Finding(key, str(error)))
            continue
        target.write(key, data)
        report.experiments_added += 1
        report.files_copied += 1
        report.bytes_copied += len(data)


def _merge_run(
    target: Site, source: Site, reading: RunReading, inbox: Inbox, report: MergeReport, tombstones: dict[str, Tombstone]
) -> None:
    report.findings += reading.findings
    folder = reading.folder
    if not reading.logs and not reading.is_newer:
        return
    if reading.logs:
        state = reading.state
        tombstone = tombstones.get(state.run_id)
        if tombstone is not None and tombstone.covers(reading.positions):
            return  # removed for good over there, and nothing came since
    files_before = report.files_copied
    there = read_folder(target.storage, folder)
    is_noticed = False

    def notice() -> None:
        nonlocal is_noticed
        if not is_noticed and reading.logs:
            inbox.notice_open(reading.state.run_id, reading.state.experiment_id)
        is_noticed = True

    if reading.logs:
        _merge_artifacts(target.storage, source.storage, reading, there, report, notice)
    _merge_points(target.storage, source.storage, folder, there, report, notice)
    for files in reading.writers.values():
        if files.log_name is not None:
            _merge_log(target.storage, source.storage, f"{folder}/{files.log_name}", report, notice)
    if report.files_copied == files_before:
        report.runs_unchanged += 1
    elif there is None:
        report.runs_added += 1
    else:
        report.runs_extended += 1
    if reading.logs and there is None:
        document = reading.state
        ensure_experiment_file(
            target.storage,
            ExperimentDocument(document.experiment_id, document.experiment_name, document.generation),
        )


def _merge_points(
    target: Storage,
    source: Storage,
    folder: str,
    there: RunReading | None,
    report: MergeReport,
    notice: Callable[[], None],
) -> None:
    """Copy segments, and the chunks that no segment of either store covers."""
    here = read_folder(source, folder)
    entries = source.entries(folder)
    there_covered, _ = _covered(there)
    here_covered, sound = _covered(here)
    names = {entry.name for entry in target.entries(folder)}
    for entry in entries:
        file_name = parse_run_file(entry.name)
        if file_name is None or file_name.kind != "segment" or entry.name in names or entry.name not in sound:
            continue
        if {(file_name.writer, n) for n in range(file_name.first, file_name.last + 1)} <= there_covered:
            continue
        notice()
        _copy_segment(target, source, folder, file_name, report)
    for name in gather_logs(entries):
        chunk = parse_run_file(name)
        if (
            chunk is not None
            and chunk.kind == "chunk"
            and (chunk.writer, chunk.first) not in there_covered | here_covered
        ):
            _merge_log(target, source, f"{folder}/{name}", report, notice)


def _covered(reading: RunReading | None) -> tuple[set[tuple[str, int]], set[str]]:
    """Return which chunks the sound segments of a run cover, and the names of those segments."""
    chunks: set[tuple[str, int]] = set()
    names: set[str] = set()
    if reading is None:
        return chunks, names
    segments = reading.steadily(lambda run: [(w, *item) for w in run.writers for item in run.sound_segments(w)])
    for writer, file, info in segments:
        chunks.update((writer, n) for n in range(info.chunks[0], info.chunks[1] + 1))
        names.add(file.name)
    return chunks, names


def _copy_segment(target: Storage, source: Storage, folder: str, file: RunFile, report: MergeReport) -> None:
    digest = hashlib.sha256()
    stream = target.write_stream(folder)
    try:
        with source.open(f"{folder}/{file.name}") as from_file:
            while block := from_file.read(_COPY_BYTES):
                digest.update(block)
                stream.sink.write(block)
                report.bytes_copied += len(block)
        if digest.hexdigest()[:16] != file.digest:
            report.findings.append(Finding(f"{folder}/{file.name}", "its content is not what its name says"))
            return
        stream.commit(f"{folder}/{file.name}")
        report.files_copied += 1
    except FileNotFoundError:
        return  # merged into a wider one since it was listed; the next merge takes that
    finally:
        stream.discard()


def _merge_log(
    target: Storage, source: Storage, key: str, report: MergeReport, notice: Callable[[], None] = lambda: None
) -> None:
    """Bring the longer one of two copies of a log to the target."""
    relation = _compare(target, source, key)
    if relation is None:
        return
    data, which = relation
    if which == "same":
        return
    if which == "diverged":
        report.findings.append(
            Finding(
                key, "neither copy is the beginning of the other; both stores are left as they are", "diverged", "error"
            )
        )
        return
    if which == "longer" and target.is_log_locked(key):
        report.findings.append(Finding(key, "a process is writing to the shorter copy; merge again when it has ended"))
        return
    notice()
    put_log(target, key, data)
    report.files_copied += 1
    report.bytes_copied += len(data)


def _compare(
    target: Storage, source: Storage, key: str
) -> tuple[bytes, Literal["new", "longer", "same", "diverged"]] | None:
    try:
        data = read_log(source, key)
    except FileNotFoundError:
        return None  # sealed since it was listed: its segment comes with the next merge
    data = data[: data.rfind(b"\n") + 1]  # what is torn was never acknowledged, and what replaces it comes later
    try:
        there = read_log(target, key)
    except FileNotFoundError:
        return (data, "new") if data else None
    if there.startswith(data):
        return data, "same"
    whole = there[: there.rfind(b"\n") + 1]
    return data, "longer" if data.startswith(whole) else "diverged"


def _merge_artifacts(
    target: Storage,
    source: Storage,
    reading: RunReading,
    there: RunReading | None,
    report: MergeReport,
    notice: Callable[[], None],
) -> None:
    """Copy artifacts; of two different files of one path the one that the union of the records describes stays."""
    folder = reading.folder
    described: dict[str, dict[str, Any]] | None = None
    for path, _, size in iter_files(source, folder):
        key = f"{folder}/{ARTIFACTS}/{path}"
        if target.exists(key):
            here, over_there = _digest(source, folder, path), _digest(target, folder, path)
            if here == over_there:
                continue
            if described is None:
                described = _described(reading, there)
            wanted = described.get(path, {}).get("sha256")
            if wanted in (here[1], over_there[1]):
                if wanted == over_there[1]:
                    continue
            elif here < over_there:
                continue
        notice()
        _copy_artifact(target, source, folder, path, report)
        report.bytes_copied += size or 0


def _described(reading: RunReading, there: RunReading | None) -> dict[str, dict[str, Any]]:
    logs = dict(reading.logs)
    for writer, log in (there.logs if there is not None else {}).items():
        if writer not in logs or log.lines.whole_bytes_count > logs[writer].lines.whole_bytes_count:
            logs[writer] = log
    return fold_run(logs.values()).artifacts


def _digest(storage: Storage, folder: str, path: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with open_artifact(storage, folder, path) as file:
        while block := file.read(_COPY_BYTES):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def _copy_artifact(target: Storage, source: Storage, folder: str, path: str, report: MergeReport) -> None:
    key = f"{folder}/{ARTIFACTS}/{path}"
    stream = target.write_stream(key.rpartition("/")[0])
    try:
        with open_artifact(source, folder, path) as file:
            while block := file.read(_COPY_BYTES):
                stream.sink.write(block)
        stream.commit(key)
        report.files_copied += 1
    except StorageError as error:
        report.findings.append(Finding(key, str(error)))
    finally:
        stream.discard()
