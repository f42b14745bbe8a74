"""Mends what can be mended without loss. Everything that is set aside is kept in `quarantine/`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from localtrack.errors import LocaltrackError
from localtrack.format.documents import encode_experiment
from localtrack.format.layout import EXPERIMENTS, INBOX, INDEX, PACKS, QUARANTINE, RUNS, parse_run_file, run_folder
from localtrack.format.packs import iter_salvaged
from localtrack.storage.base import Storage
from localtrack.storage.trees import is_link, walk_tree
from localtrack.store.artifacts import COPY_BYTES
from localtrack.store.background import sealer
from localtrack.store.checking.catalog_files import KnownExperiments
from localtrack.store.checking.run_folders import DAY_MS
from localtrack.store.inbox import Inbox
from localtrack.store.logparts import gather_logs, put_log, read_log
from localtrack.store.merging import MergeReport, merge_files
from localtrack.store.run_reading import first_header, read_folder
from localtrack.store.site import Site
from localtrack.types import CheckFinding

QUIET_MS: Final = 30 * DAY_MS
"""An open log that has not grown for so long may be removed by others than its writer. FORMAT.md section 13."""


class Repair:
    """Mends one store.

    Args:
        site: The store.
        inbox: Where the notices of runs go that are mended.
        known: What is said of experiments.
        corrections: By key what files were of which a byte has changed.
    """

    def __init__(
        self, site: Site, inbox: Inbox, known: KnownExperiments, corrections: Mapping[str, bytes] = MappingProxyType({})
    ) -> None:
        self._site = site
        self._storage: Storage = site.storage
        self._inbox = inbox
        self._known = known
        self._corrections = corrections
        self.failures: list[LocaltrackError] = []

    def mend(self, finding: CheckFinding) -> bool:
        """Mend what a finding tells of; return whether that is done.

        Durability: what replaces a file is durable before the file is set aside.
        """
        top = finding.key.partition("/")[0]
        try:
            if finding.key in self._corrections:
                return self._put_back(finding.key)
            if top == EXPERIMENTS:
                return self._write_experiment(finding.key)
            if finding.key.startswith(f"{INDEX}/"):
                return not self._storage.exists(finding.key) or self.set_aside(finding.key)
            if top == INBOX:
                return self._set_aside_unlocked(finding.key)
            if top == PACKS:
                return self._unpack(finding.key)
            if top == RUNS:
                return self._mend_run(finding)
        except LocaltrackError as error:
            self.failures.append(error)
        return False

    def _put_back(self, key: str) -> bool:
        """Put a file in place as it was, and keep it as it is."""
        data = self._corrections[key]
        self._announce(key, data)
        keep_file(self._storage, key)
        self._storage.write(key, data)
        return True

    def _announce(self, key: str, data: bytes) -> None:
        """Tell whoever keeps an index that a run changes, if the file is one of its own."""
        if not key.startswith(f"{RUNS}/"):
            return
        header = first_header(data) if key.endswith(".jsonl") else None
        if header is not None and "run" in header:
            self._inbox.notice_open(str(header["run"]), str(header.get("experiment_id", "")))
        elif (reading := read_folder(self._storage, key.rpartition("/")[0])) is not None and reading.is_run:
            self._inbox.notice_open(reading.state.run_id, reading.state.experiment_id)

    def _write_experiment(self, key: str) -> bool:
        document = self._known.rebuild(key.rpartition("/")[2].removesuffix(".json"))
        if document is None:
            return False
        if self._storage.exists(key):
            keep_file(self._storage, key)
        self._storage.write(key, encode_experiment(document))
        return True

    def _set_aside_unlocked(self, key: str) -> bool:
        if self._storage.is_log_locked(key):
            return False  # its process goes on with it
        return self.set_aside(key)

    def _mend_run(self, finding: CheckFinding) -> bool:
        if finding.invariant == "S2":
            folder, _, name = finding.key.rpartition("/")
            return self._seal(folder, name)
        if finding.invariant == "M6":
            folder, _, name = finding.key.rpartition("/")
            self.set_aside(finding.key)
            self._seal(folder, name)
            return True
        return self._bring_home(finding.key)

    def _seal(self, folder: str, name: str) -> bool:
        file, reading = parse_run_file(name), read_folder(self._storage, folder)
        if file is None or reading is None or not reading.is_run:
            return False
        self._inbox.notice_open(reading.state.run_id, reading.state.experiment_id)
        sealer.seal_now(self._storage, folder, file.writer, run_id=reading.state.run_id)
        return True

    def _bring_home(self, folder: str) -> bool:
        """Copy a run that lies in a wrong folder to the right one, as a merge does, and set the folder aside."""
        entries = self._storage.entries(folder)
        names = [name for name in gather_logs(entries) if (f := parse_run_file(name)) is not None and f.kind == "log"]
        headers = [first_header(read_log(self._storage, f"{folder}/{name}")) for name in names]
        run_ids = {str(header["run"]) for header in headers if header is not None and "run" in header}
        if len(run_ids) != 1:
            return False
        (run_id,) = run_ids
        experiment_id = next(str(header.get("experiment_id")) for header in headers if header is not None)
        self._inbox.notice_open(run_id, experiment_id)
        report = MergeReport()
        if not merge_files(self._storage, folder, run_folder(run_id), report):
            return False
        now_ms = self._site.clock()
        for entry in entries:
            file = parse_run_file(entry.name)
            if file is not None and file.kind != "segment" and now_ms - entry.mtime_ms < QUIET_MS:
                data = self._storage.read(f"{folder}/{entry.name}")
                if b'\n["Closed",' not in data[-4096:]:
                    return True  # its writer may go on with it; what it has written is where it belongs
        self._set_aside_tree(folder)
        return True

    def _unpack(self, key: str) -> bool:
        """Put what can be read of a damaged pack into run folders, and set the pack aside."""
        packs, name = self._site.packs, key.rpartition("/")[2]
        members = {member.key: member for member in packs.packs()[name].members}
        found = {key: packs.read_packed(name, member)[0] for key, member in members.items()}
        for member_key, data in iter_salvaged(packs.inner.read(key)):  # its directory may be what is damaged
            if len(data) > len(found.get(member_key, b"")):
                found[member_key] = data
        for member_key, data in found.items():
            self._announce(member_key, data)
            there = packs.inner.stat(member_key)
            if data and (there is None or there.size < len(data)):
                put_log(packs.inner, member_key, data)
        return self.set_aside(key)

    def set_aside(self, key: str) -> bool:
        """Move a file to `quarantine/`."""
        keep_file(self._storage, key)
        self._storage.remove(key)
        return True

    def _set_aside_tree(self, folder: str) -> None:
        """Set a folder aside, file by file. A link stays where it is: what it leads to is not the store's."""
        for entry in list(walk_tree(self._storage, folder)):
            if entry.is_folder:
                self._storage.remove_folder(entry.key)
            elif not is_link(self._storage, entry.key):
                self.set_aside(entry.key)
        self._storage.remove_folder(folder)


def keep_file(storage: Storage, key: str) -> None:
    """Copy a file to `quarantine/`, beside what was set aside from there before."""
    number, place = 0, f"{QUARANTINE}/{key}"
    while storage.exists(place):
        number += 1
        place = f"{QUARANTINE}/{key}.{number}"
    stream = storage.write_stream(place.rpartition("/")[0])
    try:
        with storage.open(key) as source:
            while block := source.read(COPY_BYTES):
                stream.sink.write(block)
        stream.commit(place)
    finally:
        stream.discard()
