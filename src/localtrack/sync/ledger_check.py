"""Looks at ledgers, which are caches: damage of one makes the next push ask the target more."""

from __future__ import annotations

from localtrack.errors import ErrorCode
from localtrack.format.layout import parse_run_file
from localtrack.storage.base import Storage
from localtrack.store.logparts import gather_logs, read_log
from localtrack.sync.ledger import read_ledger
from localtrack.sync.ledger_file import FOLDER
from localtrack.types import CheckFinding


def check_ledgers(storage: Storage) -> list[CheckFinding]:
    """Return a finding for each file of a ledger of which a part cannot be read."""
    found: list[CheckFinding] = []
    for folder in storage.entries(FOLDER):
        for name in gather_logs(storage.entries(f"{FOLDER}/{folder.name}")) if folder.is_folder else ():
            file, key = parse_run_file(name), f"{FOLDER}/{folder.name}/{name}"
            if file is not None and file.kind == "log" and read_ledger(read_log(storage, key), writer=file.writer)[1]:
                what = "a record of what a push has done cannot be read"
                remedy = "Nothing has to be done: the next push asks the target what it has of all these runs."
                found.append(CheckFinding(key, what, ErrorCode.DAMAGED, "info", "M3", remedy, False))
    return found
