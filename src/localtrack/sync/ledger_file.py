"""The ledger of one target on disk: read whole when a push begins, appended to while it goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from localtrack.errors import LockedError, StorageError
from localtrack.format.headers import encode_header
from localtrack.format.jsonlines import decode_json, encode_record
from localtrack.format.layout import log_name, parse_run_file
from localtrack.storage.base import Appender, Storage
from localtrack.storage.local import LocalStorage
from localtrack.storage.locks import maintenance_lock
from localtrack.storage.process import boot_id
from localtrack.store.site import Site, new_writer_id, this_writer
from localtrack.sync.environment import state_folder
from localtrack.sync.ledger import LEDGER, LedgerRecord, LedgerState, compact_ledger, fold_ledger, read_ledger

FOLDER: Final = "sync"
_LOG_PREFIX: Final = "push-"
_LOGS_COUNT: Final = 50
_COMPACT_RECORDS_COUNT: Final = 20_000
_COMPACT_FILES_COUNT: Final = 16
_ALIVE_MS: Final = 60_000
"""A ledger file of another host that has grown since then is one that somebody is writing to."""


class LedgerFile:
    """One target's ledger, as this push reads and extends it. Thread-safe."""

    def __init__(self, site: Site, target_key: str) -> None:
        self._site = site
        self._target_key = target_key
        self._lock = threading.Lock()
        self._appender: Appender | None = None
        self._writer = ""
        self._records_count = 0
        self._own = LocalStorage(str(state_folder() / site.document.store_id))
        self.storage: Storage = self._own if not site.storage.is_local else site.storage
        """Where this push writes."""
        self._state: LedgerState | None = None
        self._stamp = 0

    @property
    def state(self) -> LedgerState:
        """What the ledger says: as of the beginning of `hold`, else as of the first look."""
        if self._state is None:
            self._state = self._read()
        return self._state

    @property
    def folder(self) -> str:
        """The key of the folder that the files lie in."""
        return f"{FOLDER}/{self._target_key}"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the target's lock and have a file to write to, as long as the block runs.

        Raises:
            LockedError: Another process pushes to this target.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(maintenance_lock(self.storage, f"sync-{self._target_key}"))
                self._begin()
            except StorageError:
                if self.storage is self._own:
                    raise
                self.storage = self._own  # the store is read-only for this user
                stack.enter_context(maintenance_lock(self.storage, f"sync-{self._target_key}"))
                self._begin()
            try:
                # What another push has written since this object was made.
                self._state = self._read()
                self._stamp = max(self._stamp, self._state.greatest_stamp)
                self._refuse_other_host()
                stack.enter_context(self._showing_life())
                yield
            finally:
                self._end()

    @contextmanager
    def _showing_life(self) -> Iterator[None]:
        """Touch the file now and then, so that other hosts see that somebody writes to it."""
        appender, stop = self._appender, threading.Event()

        def touch() -> None:
            while not stop.wait(_ALIVE_MS / 3000) and appender is not None:
                appender.touch()

        thread = threading.Thread(target=touch, name="localtrack-ledger", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def append(self, kind: str, payload: Any, *, is_durable: bool = False) -> None:
        """Write one record.

        Durability: handed to the operating system on return; on the disk with `is_durable`.
        """
        with self._lock:
            assert self._appender is not None
            self._stamp = max(self._site.clock(), self._stamp + 1)
            self._appender.append(encode_record([kind, self._stamp, payload]))
            self._records_count += 1
            appender = self._appender
        if is_durable:
            appender.sync()

    def forget(self, run_ids: Iterable[str]) -> None:
        """Let go of what is known of some runs: they are looked for on the target, and sent if they are not there."""
        gone = [run_id for run_id in run_ids if self.state.runs.pop(run_id, None) is not None]
        if gone:
            self.append("forget", gone)

    def write_log(self, document: Any) -> None:
        """Keep what became of this push beside the ledger: `push-<time>-<writer>.json`; the oldest ones go.

        Durability: durable on return.
        """
        import json

        name = f"{_LOG_PREFIX}{self._site.clock():013d}-{self._writer}.json"
        text = json.dumps(document, indent=1, ensure_ascii=False)
        self.storage.write(f"{self.folder}/{name}", text.encode("utf-8", "replace"))
        for old in self._logs(self.storage)[:-_LOGS_COUNT]:
            self.storage.remove(f"{self.folder}/{old}")

    def read_last_log(self) -> dict[str, Any] | None:
        """Return what became of the last push, as it was kept; None if nothing of it can be read."""
        import json

        places = [self._own] if self.storage is self._own else [self._own, self.storage]
        found = [(name, place) for place in places for name in self._logs(place)]
        if not found:
            return None
        name, place = max(found, key=lambda item: item[0])
        try:
            document = json.loads(place.read(f"{self.folder}/{name}"))
        except (FileNotFoundError, StorageError, ValueError):  # it is for people; the ledger is what counts
            return None
        return document if isinstance(document, dict) else None

    def _logs(self, place: Storage) -> list[str]:
        """Return the names of the logs of pushes in a place, oldest first."""
        return sorted(name for name in place.names(self.folder) if name.startswith(_LOG_PREFIX))

    def _begin(self) -> None:
        writer = new_writer_id()
        appender = self.storage.create_log(f"{self.folder}/{log_name(writer)}", self._lock)
        header = encode_header(
            LEDGER,
            this_writer(),
            writer=writer,
            base_ms=self._site.clock(),
            stamp=self._stamp,
            flock=appender.is_locked,
            more={"store": self._site.document.store_id, "target": self._target_key},
        )
        with self._lock:
            appender.append(header)
        self._appender, self._writer = appender, writer

    def _end(self) -> None:
        appender = self._appender
        if appender is None:
            return
        if self._records_count:
            self.append("bye", 0)
            appender.sync()
        self._appender = None
        appender.close()
        if not self._records_count:
            self.storage.remove(appender.key)
        appender.abandon()
        if self._records_count + self.state.records_count > _COMPACT_RECORDS_COUNT or len(self._names()) > (
            _COMPACT_FILES_COUNT
        ):
            self._compact()

    def _compact(self) -> None:
        """Replace the files that nobody writes to by one."""
        names = [name for name in self._names() if self._is_finished(name)]
        records, is_damaged = self._read_files(self.storage, names)
        state = fold_ledger(records, is_damaged=is_damaged)
        writer = new_writer_id()
        header = encode_header(
            LEDGER,
            this_writer(),
            writer=writer,
            base_ms=self._site.clock(),
            stamp=state.greatest_stamp,
            flock=False,
            more={"store": self._site.document.store_id, "target": self._target_key},
        )
        # All with the greatest stamp of what they replace: a file that is read beside them has later ones.
        lines = [
            encode_record([kind, state.greatest_stamp, payload])
            for kind, payload in [*compact_ledger(state), ("bye", 0)]
        ]
        self.storage.write(f"{self.folder}/{log_name(writer)}", b"".join([header, *lines]))
        for name in names:
            self.storage.remove(f"{self.folder}/{name}")

    def _is_finished(self, name: str) -> bool:
        lines = self.storage.read(f"{self.folder}/{name}").splitlines()
        if not lines:
            return False
        try:
            return bool(decode_json(lines[-1])[0] == "bye")
        except (ValueError, LookupError, TypeError):
            return False

    def _read(self) -> LedgerState:
        records, is_damaged = self._read_files(self._own, self._names(self._own))
        if self._site.storage.is_local:
            more, is_more_damaged = self._read_files(self._site.storage, self._names(self._site.storage))
            records, is_damaged = records + more, is_damaged or is_more_damaged
        return fold_ledger(records, is_damaged=is_damaged)

    def _read_files(self, storage: Storage, names: Sequence[str]) -> tuple[list[LedgerRecord], bool]:
        found: list[LedgerRecord] = []
        is_damaged = False
        for name in names:
            file = parse_run_file(name)
            assert file is not None
            try:
                data = storage.read(f"{self.folder}/{name}")
            except FileNotFoundError:
                continue  # compacted since
            records, is_file_damaged = read_ledger(data, writer=file.writer)
            found += records
            # An empty file, or one with a torn header, is of a push that had not begun.
            is_damaged |= is_file_damaged and b"\n" in data
        return found, is_damaged

    def _names(self, storage: Storage | None = None) -> list[str]:
        entries = (storage or self.storage).entries(self.folder)
        return sorted(e.name for e in entries if (f := parse_run_file(e.name)) is not None and f.kind == "log")

    def _refuse_other_host(self) -> None:
        """Raise if a process of another host, whose lock cannot be seen from here, seems to push right now."""
        now_ms = time.time() * 1000
        for entry in self.storage.entries(self.folder):
            file = parse_run_file(entry.name)
            if file is None or file.writer == self._writer or now_ms - entry.mtime_ms > _ALIVE_MS:
                continue
            data = self.storage.read(f"{self.folder}/{entry.name}")
            first, _, _ = data.partition(b"\n")
            try:
                header = decode_json(first)[1]
            except (ValueError, LookupError, TypeError):
                continue
            if header.get("boot") in ("", None, boot_id()) or self._is_finished(entry.name):
                continue
            raise LockedError(
                f"A process on {header.get('host') or 'another host'} pushes to this target.",
                hint="Wait until it is done; one that died is forgotten after a minute.",
            )
