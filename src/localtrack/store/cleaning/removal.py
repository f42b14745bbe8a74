"""What may be removed of the folder of a run or a logged model, and in which order."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any, Final

from localtrack.format.layout import ARTIFACTS, TEMPORARY_PREFIX, log_name, parse_run_file
from localtrack.storage import localpaths
from localtrack.storage.base import Storage
from localtrack.storage.trees import TreeEntry, is_link, walk_tree
from localtrack.store.folder_reading import FolderReading
from localtrack.store.run_reading import RunReading

DAY_MS: Final = 86_400_000
QUIET_MS: Final = 30 * DAY_MS
"""An open log that has not grown for so long may be removed by others than its writer. FORMAT.md section 13."""

_LAST: Final = {"segment": 1, "chunk": 2, "log": 3}
"""Logs go last: until then the tombstone can be held against what they say."""


@dataclass(frozen=True, slots=True)
class FolderContent:
    """What lies in such a folder, in the order in which it may be removed."""

    files: tuple[TreeEntry, ...]
    folders: tuple[TreeEntry, ...]
    """Those of the artifacts, innermost first."""
    others: tuple[str, ...]
    """Keys of what no rule of the format puts there: never removed."""

    @property
    def bytes_count(self) -> int:
        """How large the files are together."""
        return sum(entry.size for entry in self.files)


def list_content(storage: Storage, folder: str) -> FolderContent:
    """Return what lies in such a folder; links stand for themselves."""
    files: list[tuple[int, TreeEntry]] = []
    folders: list[TreeEntry] = []
    others: list[str] = []
    for entry in walk_tree(storage, folder):
        name = entry.key[len(folder) + 1 :]
        top, _, below = name.partition("/")
        if top == ARTIFACTS and entry.is_folder:
            folders.append(entry)
        elif (top == ARTIFACTS and (below or is_link(storage, entry.key))) or (
            not below and not entry.is_folder and top.startswith(TEMPORARY_PREFIX)
        ):
            files.append((0, entry))
        elif not below and not entry.is_folder and (file := parse_run_file(top)) is not None:
            files.append((_LAST[file.kind], entry))
        else:
            others.append(entry.key)
    ordered = sorted(files, key=lambda item: (item[0], item[1].key))
    return FolderContent(tuple(entry for _, entry in ordered), tuple(folders), tuple(others))


def why_not(storage: Storage, reading: FolderReading[Any, Any], *, now_ms: int) -> str:
    """Return why a run or a logged model may not be removed, in words; "" if it may."""
    if reading.is_newer:
        return "only a newer version of localtrack can read it"
    if leads_out(storage, reading.folder):
        return "a link leads out of the store"
    for writer, log in reading.logs.items():
        if log.lines.closed is not None:
            continue
        if storage.is_log_locked(f"{reading.folder}/{log_name(writer)}"):
            return "a process is writing to it"
        if now_ms - reading.changed_by_writer_ms.get(writer, 0) < QUIET_MS:
            return "a log that was not closed has changed within 30 days: its process may be alive on another host"
    if isinstance(reading, RunReading):
        reading.look_closely()
    if any(finding.key != reading.folder for finding in reading.findings):
        # A tombstone for it would cover what is missing or damaged here, and sound in another copy of the store.
        return "it is damaged, or parts of it are missing; merge a sound copy, or see `localtrack check`"
    return ""


def leads_out(storage: Storage, key: str) -> bool:
    """Return whether a folder is a link, or lies behind one, that leads out of the store."""
    if not storage.is_local:
        return False
    return not localpaths.is_within(storage.path(key), localpaths.real_path(storage.path("")))


def remove_content(
    storage: Storage, folder: str, content: FolderContent, *, only_writers: set[str], now_ms: int
) -> None:
    """Remove files of such a folder in order, then the folders that are empty.

    Args:
        storage: The store's bytes.
        folder: Its key.
        content: What was in it when it was decided.
        only_writers: Whose logs, chunks and segments. What others wrote since stays.
        now_ms: Milliseconds since 1970, UTC.
    """
    for entry in content.files:
        file = parse_run_file(entry.key[len(folder) + 1 :])
        if file is None or file.writer in only_writers:
            storage.remove(entry.key)
    for entry in content.folders:
        storage.remove_folder(entry.key)
    remove_emptied_folder(storage, folder, now_ms=now_ms)


def remove_emptied_folder(storage: Storage, folder: str, *, now_ms: int) -> int:
    """Remove such a folder if it is empty, and its day's if that is empty and past; return how many folders are gone.

    In the folder of a day that is not past, somebody may be about to make the next one.
    """
    if not storage.remove_folder(folder):
        return 0
    day = folder.rpartition("/")[0]
    is_past = (
        day.rpartition("/")[2] < f"{datetime.datetime.fromtimestamp(now_ms / 1000 - 2 * 86_400, datetime.UTC):%Y-%m-%d}"
    )
    return 1 + int(is_past and storage.remove_folder(day))
