"""Looks at a whole store, file by file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from localtrack.errors import ErrorCode, FormatError
from localtrack.format.correction import correct_store_document
from localtrack.format.documents import is_store_crc_sound, parse_store
from localtrack.format.layout import (
    EDITS,
    EXPERIMENTS,
    INBOX,
    MODELS,
    PACKS,
    RUNS,
    STORE_FILE,
    edits_key,
    is_day_folder,
    run_folder,
)
from localtrack.storage import localpaths
from localtrack.storage.base import Storage
from localtrack.storage.trees import is_link, list_strange
from localtrack.store.checking.catalog_files import (
    KnownExperiments,
    check_edits,
    check_experiments,
    check_inbox,
    check_top,
    fold_known,
    read_experiments,
)
from localtrack.store.checking.corrections import REMEDY, find_corrections
from localtrack.store.checking.index_files import check_index
from localtrack.store.checking.model_folders import check_model_folder
from localtrack.store.checking.pack_checks import check_copies, check_packs
from localtrack.store.checking.repair import Repair, keep_file
from localtrack.store.checking.report import CheckReport, Findings
from localtrack.store.checking.run_folders import check_folder
from localtrack.store.folder_reading import FolderReading
from localtrack.store.inbox import Inbox
from localtrack.store.model_reading import list_model_folders
from localtrack.store.run_reading import list_run_folders
from localtrack.store.site import Site

Progress = Callable[[int, int], None]
"""Called with how many run folders are done, and how many there are."""


def check_store(
    site: Site, inbox: Inbox, *, repair: bool = False, sizes_only: bool = False, progress: Progress | None = None
) -> CheckReport:
    """Look at every file of a store, and say what is not as it should be.

    Args:
        site: The store.
        inbox: Where the notices of runs that are mended go.
        repair: Mend what can be mended without loss.
        sizes_only: Compare the sizes of artifacts with their records, not their digests.
        progress: Told how far it is.

    Concurrency: readers and writers may go on; what they change meanwhile is no finding.
    """
    storage, now_ms = site.storage, site.clock()
    findings, report = Findings(), CheckReport()
    links = _Links(storage, findings)
    links.lead_out(PACKS)
    check_top(storage, findings, now_ms=now_ms)
    edits = check_edits(storage, findings)
    known = read_experiments(storage, findings, edits)
    state = fold_known(edits, known, store_created_ms=site.document.created_ms)
    closed_bytes = check_inbox(storage, findings)
    for top in (RUNS, MODELS):
        _check_day_names(storage, top, findings)
    in_damaged_packs = check_packs(site.packs, findings)
    if not in_damaged_packs:
        check_copies(site.packs, findings)
    folders = list_run_folders(storage)
    for number, folder in enumerate(folders):
        if not links.lead_out(folder):
            reading = check_folder(
                storage,
                folder,
                state,
                Findings() if folder in in_damaged_packs else findings,
                closed_bytes=closed_bytes,
                now_ms=now_ms,
                sizes_only=sizes_only,
            )
            if reading is not None:
                report.runs_count += 1
                _count_files(report, reading, known)
        if progress is not None:
            progress(number + 1, len(folders))
    for folder in list_model_folders(storage):
        if not links.lead_out(folder):
            model = check_model_folder(storage, folder, state, findings, now_ms=now_ms, sizes_only=sizes_only)
            if model is not None:
                report.models_count += 1
                _count_files(report, model, known)
    _check_strange(storage, [*folders, *list_model_folders(storage)], findings)
    _check_told_runs(set(folders), closed_bytes, state.tombstones.keys(), findings)
    sound = [edit for edit in edits if edits_key(edit.writer) not in findings]  # what a damaged one says may be wrong
    check_experiments(findings, known, fold_known(sound, known, store_created_ms=site.document.created_ms))
    check_index(site.packs.inner, findings, store_id=site.document.store_id)
    corrections = find_corrections(site.packs.inner, findings)
    report.findings = findings.merged()
    if repair:
        mending = Repair(site, inbox, known, corrections)
        for finding in report.findings:
            if finding.is_repairable and mending.mend(finding):
                report.repaired.append(finding)
        report.findings = [finding for finding in report.findings if finding not in report.repaired]
    return report


def check_document(storage: Storage, *, repair: bool = False) -> CheckReport:
    """Say what is wrong with `localtrack.json`, without which nothing else may be read.

    Args:
        storage: The store's bytes.
        repair: Put back the byte of it that has changed, if it is only one.
    """
    findings = Findings()
    remedy = "Copy it from a backup, or from another copy of the store: its id is in no other file."
    if not storage.exists(STORE_FILE):
        findings.add(STORE_FILE, "the document that makes the folder a store is missing", "M7", remedy=remedy)
    else:
        data = storage.read(STORE_FILE)
        try:
            parse_store(data, where=STORE_FILE)
        except FormatError as error:
            invariant = "M8" if error.code == ErrorCode.NEWER_FORMAT else "M7"
            findings.add(STORE_FILE, error.message, invariant, remedy=remedy, code=error.code)
        else:
            if not is_store_crc_sound(data):
                findings.add(STORE_FILE, "its checksum does not fit: its id may have changed", "M5", remedy=remedy)
        if findings.keys_of_errors() and (corrected := correct_store_document(data)) is not None:
            findings.mark_repairable(STORE_FILE, remedy=REMEDY)
            if repair:
                keep_file(storage, STORE_FILE)
                storage.write(STORE_FILE, corrected)
                return CheckReport(repaired=findings.merged())
    return CheckReport(findings.merged())


def _count_files(report: CheckReport, reading: FolderReading[Any, Any], known: KnownExperiments) -> None:
    report.files_count += sum(not entry.is_folder for entry in reading.entries)
    report.bytes_count += sum(entry.size for entry in reading.entries)
    for log in reading.logs.values():
        header = log.header
        if not log.problems:  # else it may be the header that is damaged
            known.told[header["experiment_id"]].add((header["experiment_name"], header["generation"]))
            known.with_runs.add(header["experiment_id"])


def _check_day_names(storage: Storage, top: str, findings: Findings) -> None:
    for entry in storage.entries(top):
        if not (entry.is_folder and is_day_folder(entry.name)) and not entry.name.startswith(".tmp-"):
            what, remedy = "no rule of the format gives this name; nobody reads it", "Move it out of the store."
            findings.add(f"{top}/{entry.name}", what, "M7", severity="info", remedy=remedy)


def _check_strange(storage: Storage, folders: Iterable[str], findings: Findings) -> None:
    """Look for what readers leave out, since nothing can be read from it."""
    days = {folder.rpartition("/")[0] for folder in folders}
    for folder in ("", EXPERIMENTS, EDITS, INBOX, PACKS, RUNS, MODELS, *sorted(days), *folders):
        for name in list_strange(storage, folder):
            what = "it is neither a file nor a folder: a link that leads nowhere, a FIFO, socket or device"
            remedy = "Move it out of the store."
            findings.add(f"{folder}/{name}".lstrip("/"), what, "M7", severity="warning", remedy=remedy)


class _Links:
    """Tells whether a folder leads out of the store, with one look a folder at most."""

    def __init__(self, storage: Storage, findings: Findings) -> None:
        self._storage = storage
        self._findings = findings
        self._root = localpaths.real_path(storage.path("")) if storage.is_local else ""
        self._days: dict[str, bool] = {}

    def lead_out(self, folder: str) -> bool:
        """Return whether a folder leads out of the store, and say so if it does."""
        if not self._storage.is_local:
            return False
        day = folder.rpartition("/")[0]
        if day not in self._days:
            self._days[day] = self._is_outside(day)
        if not self._days[day] and not (is_link(self._storage, folder) and self._is_outside(folder)):
            return False
        remedy = "Put the folder itself in place of the link."
        self._findings.add(folder, "a link leads out of the store", "M9", severity="warning", remedy=remedy)
        return True

    def _is_outside(self, key: str) -> bool:
        return not localpaths.is_within(self._storage.path(key), self._root)


def _check_told_runs(
    folders: set[str], closed_bytes: dict[tuple[str, str], int], removed: object, findings: Findings
) -> None:
    """Look for runs that a notice tells of, and that nobody can find."""
    for run_id, writer in closed_bytes:
        folder = run_folder(run_id)
        if folder not in folders and run_id not in removed:  # type: ignore[operator]
            findings.add(
                folder,
                f"a notice tells of the log {writer}.jsonl of a run that is not there",
                "M2",
                severity="warning",
                remedy="If nobody took the folder away on purpose, merge a copy of the store that has it.",
            )
