"""Makes one store of two: a union, whatever the order, however often. FORMAT.md section 14."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from localtrack.errors import ErrorCode, FormatError
from localtrack.format.documents import ExperimentDocument, parse_experiment
from localtrack.format.layout import EDITS, EXPERIMENTS, parse_run_file
from localtrack.storage.base import Storage
from localtrack.storage.locks import maintenance_lock
from localtrack.store.artifact_merging import copy_artifact, merge_artifacts, read_content
from localtrack.store.artifacts import iter_files, require_place
from localtrack.store.file_copying import copy_named_file
from localtrack.store.folder_reading import FolderReading
from localtrack.store.inbox import Inbox
from localtrack.store.logparts import gather_logs, list_logs, put_log, read_log
from localtrack.store.model_reading import ModelReading, list_model_folders
from localtrack.store.packing.pack_merging import merge_packs
from localtrack.store.run_reading import RunReading, list_run_folders
from localtrack.store.site import Site, ensure_experiment_file
from localtrack.types import Finding

LOCK: Final = "merge"
"""Held by all that replaces or removes files of others: merging, packing, removal for good."""
_LOCK_PATIENCE_S: Final = 60.0
_TRIES: Final = 10
"""How often a folder is begun anew because a file vanished between listing and reading (it was sealed)."""

Progress = Callable[[int, int], None]
"""Called with how many folders of runs and models are done, and how many there are."""


@dataclass(slots=True)
class MergeReport:
    """What a merge did."""

    experiments_added: int = 0
    runs_added: int = 0
    runs_extended: int = 0
    runs_unchanged: int = 0
    models_added: int = 0
    models_extended: int = 0
    models_unchanged: int = 0
    files_copied: int = 0
    bytes_copied: int = 0
    findings: list[Finding] = field(default_factory=list)
    """What could not be merged, or was not sound in the source."""

    def count_file(self, bytes_count: int) -> None:
        """Count one file that was copied."""
        self.files_copied += 1
        self.bytes_copied += bytes_count


def merge_store(
    target: Site,
    source: Site,
    inbox: Inbox,
    *,
    folders: Collection[str] | None = None,
    progress: Progress | None = None,
) -> MergeReport:
    """Copy into `target` everything of `source` that it does not have.

    Args:
        target: The store that grows.
        source: The store that is only read; writers may go on in it.
        inbox: Where the notices of touched runs go.
        folders: Only these folders of runs and logged models, and all experiments and edits; everything by default.
        progress: Told how far it is.

    Raises:
        LockedError: Another merge into `target` goes on.

    Durability: what the report counts is durable.

    Concurrency: readers and writers of both stores may go on. A merge that was cut short is completed by the next one.
    """
    target.require_open()
    report = MergeReport()
    with maintenance_lock(target.storage, LOCK, timeout_s=_LOCK_PATIENCE_S):
        _merge_experiments(target.storage, source.storage, report)
        whole: Collection[str] = ()
        if folders is None:
            whole = merge_packs(target.packs, source.packs, inbox, report.count_file, report.findings)
        makers: dict[str, Maker] = dict.fromkeys(list_model_folders(source.storage), ModelReading)
        makers |= dict.fromkeys(list_run_folders(source.storage), RunReading)  # they name models, which come first
        chosen = [folder for folder in makers if folders is None or folder in folders]
        for number, folder in enumerate(chosen):
            _merge_steadily(target, source.storage, folder, makers[folder], inbox, report, is_new=folder in whole)
            if progress is not None:
                progress(number + 1, len(chosen))
        # Edits last: an edit that speaks of a run finds it.
        for name in sorted(list_logs(source.storage, EDITS)):
            _merge_log(target.storage, f"{EDITS}/{name}", read_log(source.storage, f"{EDITS}/{name}"), report)
    return report


def _merge_experiments(target: Storage, source: Storage, report: MergeReport) -> None:
    there = {entry.name: entry.size for entry in target.entries(EXPERIMENTS)}
    for entry in source.entries(EXPERIMENTS):
        if there.get(entry.name) == entry.size or entry.is_folder or not entry.name.endswith(".json"):
            continue
        key = f"{EXPERIMENTS}/{entry.name}"
        data = source.read(key)
        if not _is_experiment(data, key, report) or (entry.name in there and _is_experiment(target.read(key), key)):
            continue
        target.write(key, data)
        report.experiments_added += 1
        report.count_file(len(data))


def _is_experiment(data: bytes, key: str, report: MergeReport | None = None) -> bool:
    try:
        parse_experiment(data, where=key)
    except FormatError as error:
        if report is not None:
            report.findings.append(Finding(key, str(error)))
        return False
    return True


Maker = type[RunReading] | type[ModelReading]


def _merge_steadily(
    target: Site, source: Storage, folder: str, make: Maker, inbox: Inbox, report: MergeReport, *, is_new: bool
) -> None:
    """Copy what is missing of a folder, also if it holds nothing yet: its logs may come from another copy."""
    for _ in range(_TRIES):
        try:
            _merge_folder(target, source, folder, make, inbox, report, is_new=is_new)
        except FileNotFoundError:
            continue  # sealed since the folder was listed; what was copied until then is found in place
        return
    report.findings.append(Finding(folder, "it changes faster than it can be copied; merge again"))


def _merge_folder(
    target: Site, source: Storage, folder: str, make: Maker, inbox: Inbox, report: MergeReport, *, is_new: bool
) -> None:
    # Logs as they are before anything is listed: what they count and describe is in place by then, and is copied first.
    logs = {name: _read_listed(source, folder, name) for name in _list_logs(source, folder)}
    reading = make(source, folder, source.entries(folder))
    there = make(target.storage, folder, target.storage.entries(folder))
    known = reading if reading.has_logs else there
    files_before = report.files_copied
    is_noticed = not known.has_logs

    def notice() -> None:
        nonlocal is_noticed
        if not is_noticed and isinstance(known, RunReading):
            inbox.notice_open(known.state.run_id, known.state.experiment_id)
        is_noticed = True

    sizes, problems = merge_artifacts(target.storage, reading, there, notice)
    report.findings += problems
    for size in sizes:
        report.count_file(size)
    if isinstance(reading, RunReading) and isinstance(there, RunReading):
        _merge_points(target.storage, reading, there, report, notice)
    for name, data in logs.items():
        _merge_log(target.storage, f"{folder}/{name}", data, report, notice)
    report.findings += [finding for finding in reading.findings if finding not in report.findings]
    if reading.has_logs:
        _count_folder(
            target, reading, is_new=is_new or not there.has_logs, report=report, was=-1 if is_new else files_before
        )


def _count_folder(
    target: Site, reading: FolderReading[Any, Any], *, is_new: bool, report: MergeReport, was: int
) -> None:
    """Count a run or model, of which files were copied if the report counts more than it did."""
    outcome = "unchanged" if report.files_copied == was else "added" if is_new else "extended"
    counter = f"{'runs' if isinstance(reading, RunReading) else 'models'}_{outcome}"
    setattr(report, counter, getattr(report, counter) + 1)
    if outcome == "added":
        state = reading.state
        ensure_experiment_file(
            target.storage, ExperimentDocument(state.experiment_id, state.experiment_name, state.generation)
        )


def merge_files(storage: Storage, source: str, target: str, report: MergeReport) -> bool:
    """Copy what is missing from one folder of a store to another, as between two stores.

    Args:
        storage: The store's bytes.
        source: Key of a run folder in a wrong place.
        target: Key of the folder where its files belong.
        report: What could not be copied is added.

    Returns:
        Whether everything is there now.
    """
    entries, told_count = storage.entries(source), len(report.findings)
    for path, _, _ in iter_files(storage, source):
        key = require_place(storage, target, path)
        if not storage.exists(key):
            copy_artifact(storage, key, storage, source, path)
        elif read_content(storage, source, path) != read_content(storage, target, path):
            report.findings.append(Finding(key, "two different files have this name", ErrorCode.DIVERGED, "error"))
    there = {entry.name for entry in storage.entries(target)}
    for entry in entries:
        file = parse_run_file(entry.name)
        if file is not None and file.kind == "segment" and entry.name not in there:
            keys = (f"{target}/{entry.name}", f"{source}/{entry.name}")
            size = copy_named_file(storage, keys[0], storage, keys[1], file.digest, report.findings)
            if size is not None:
                report.count_file(size)
    for kind in ("chunk", "log"):
        for name in gather_logs(entries):
            file = parse_run_file(name)
            if file is not None and file.kind == kind:
                _merge_log(storage, f"{target}/{name}", _read_listed(storage, source, name), report)
    return len(report.findings) == told_count


def _merge_points(
    target: Storage, reading: RunReading, there: RunReading, report: MergeReport, notice: Callable[[], None]
) -> None:
    """Copy segments, and the chunks that no segment in the target covers then."""
    folder = reading.folder
    for writer, files in reading.writers.items():
        covered: set[int] = set()
        if writer in there.writers:
            covered.update(*(range(file.first, file.last + 1) for file, _ in there.sound_segments(writer)))
        for file, _ in reading.sound_segments(writer):
            chunks = set(range(file.first, file.last + 1))
            if chunks <= covered:
                continue
            notice()
            key = f"{folder}/{file.name}"
            size = copy_named_file(target, key, reading.storage, key, file.digest, report.findings)
            if size is not None:
                report.count_file(size)
                covered |= chunks
        for number, name in files.chunks.items():
            if number not in covered:
                _merge_log(target, f"{folder}/{name}", _read_listed(reading.storage, folder, name), report, notice)


def _list_logs(storage: Storage, folder: str) -> list[str]:
    names = gather_logs(storage.entries(folder))
    return [name for name in names if (file := parse_run_file(name)) is not None and file.kind == "log"]


def _read_listed(storage: Storage, folder: str, name: str) -> bytes:
    try:
        return read_log(storage, f"{folder}/{name}")
    except FileNotFoundError:
        raise FileNotFoundError(name) from None


def _merge_log(
    target: Storage, key: str, data: bytes, report: MergeReport, notice: Callable[[], None] = lambda: None
) -> None:
    """Bring the longer one of two copies of a log to the target."""
    data = data[: data.rfind(b"\n") + 1]  # what is torn was never acknowledged, and what replaces it comes later
    relation = _compare(target, key, data)
    if relation == "same":
        return
    if relation == "diverged":
        problem = "neither copy is the beginning of the other; both stores are left as they are"
        report.findings.append(Finding(key, problem, ErrorCode.DIVERGED, "error"))
        return
    if relation == "longer" and target.is_log_locked(key):
        report.findings.append(Finding(key, "a process is writing to the shorter copy; merge again when it has ended"))
        return
    notice()
    put_log(target, key, data)
    report.count_file(len(data))


def _compare(target: Storage, key: str, data: bytes) -> Literal["new", "longer", "same", "diverged"]:
    try:
        there = read_log(target, key)
    except FileNotFoundError:
        return "new" if data else "same"
    if there.startswith(data):
        return "same"
    whole = there[: there.rfind(b"\n") + 1]
    return "longer" if data.startswith(whole) else "diverged"
