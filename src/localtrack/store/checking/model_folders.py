"""Looks at everything in one folder of a logged model. FORMAT.md sections 6.6, 11 to 13 and 17."""

from __future__ import annotations

from localtrack.format.edits import EditsState
from localtrack.format.layout import log_name, model_folder, parse_run_file
from localtrack.format.lines import Lines
from localtrack.format.modellog import read_model_log
from localtrack.storage.base import Storage
from localtrack.store.checking.report import Findings
from localtrack.store.checking.run_folders import (
    FolderCheck,
    check_artifacts,
    check_names,
    check_state,
    take_log_problems,
)
from localtrack.store.logparts import read_log
from localtrack.store.model_reading import ModelReading


def check_model_folder(
    storage: Storage, folder: str, edits: EditsState, findings: Findings, *, now_ms: int, sizes_only: bool
) -> ModelReading | None:
    """Look at a model folder; return the model, or None if it holds none that is shown.

    Args:
        storage: The store's bytes.
        folder: Key of the folder.
        edits: What the store's edits say.
        findings: Where to add what is wrong.
        now_ms: Milliseconds since 1970, UTC.
        sizes_only: Do not read artifacts to compare their digests.
    """
    entries = storage.entries(folder)
    try:
        reading = ModelReading(storage, folder, entries)
    except FileNotFoundError:
        return None  # removed since it was listed
    check = FolderCheck(storage, folder, entries, reading, findings)
    check_names(check, now_ms=now_ms)
    for entry in entries:
        file = parse_run_file(entry.name)
        if file is not None and file.kind != "log":
            what, remedy = "a logged model has no points; nobody reads it", "Move it out of the store."
            findings.add(f"{folder}/{entry.name}", what, "M7", severity="info", remedy=remedy)
    if reading.is_removed(edits):
        what = "the logged model was removed for good, and some of its files are still there"
        findings.add(folder, what, "S3", severity="info", remedy="`localtrack gc` removes them.")
        return None
    if not reading.has_logs and (homes := _homes(check)):
        if not check.damaged_writers:
            remedy = "Rename the folder, when nobody writes to the store."
            findings.add(folder, f"the logged model in it belongs into {min(homes)}", "M7", remedy=remedy)
        return None
    take_log_problems(check)
    for writer, log in reading.logs.items():
        closed = log.lines.closed
        if closed is not None and any(closed.get(name) != 0 for name in ("points", "points_all", "chunks")):
            check.note(log_name(writer), "it has no points where its end counts some, or does not count them", "M5")
    if not reading.has_logs:
        if not check.damaged_writers:
            what, remedy = "no log in it has a whole first line", "It harms nothing."
            if not reading.writers:
                what = "it holds no logged model"
                if any(entry.is_folder for entry in entries):
                    what, remedy = "it holds artifacts and no logged model", "`localtrack gc` removes them."
            findings.add(folder, what, "S3", severity="info", remedy=remedy)
        return None
    check_state(check)
    check_artifacts(check, sizes_only=sizes_only)
    return None if reading.is_newer else reading


def _homes(check: FolderCheck[ModelReading]) -> set[str]:
    """Return where the logs in a folder without a model say that they belong; logs that are damaged are reported."""
    homes: set[str] = set()
    for writer, files in check.reading.writers.items():
        assert files.log_name is not None
        log = read_model_log(read_log(check.storage, f"{check.folder}/{files.log_name}"), writer=writer)
        if isinstance(log, Lines) or log.lines.newer:
            continue
        if log.problems:  # a digit of the header may have changed as well as the place of the folder
            check.note(files.log_name, log.problems[0])
        homes.add(model_folder(log.header["model"]))
    return homes
