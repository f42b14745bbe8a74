"""Moves what a process spools while it goes on, and at its end."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import Any, Final

from localtrack import reporting
from localtrack.errors import LocaltrackError, LockedError, NotFoundError, StorageError
from localtrack.format.documents import StoreDocument, encode_store, parse_store
from localtrack.format.layout import STORE_FILE
from localtrack.storage.base import Storage
from localtrack.storage.patience import ask
from localtrack.storage.spool import PATIENCE_S, SpooledStorage
from localtrack.storage.spool_folders import confirm_store, ensure_spool
from localtrack.store.site import BY, Clock, Site, open_site, wall_clock_ms
from localtrack.store.spool_waiting import look_into
from localtrack.store.spooling import Mover

INTERVAL_S: Final = 10.0
"""Between two moves; longer where a move takes long, so that moving takes a tenth of the time at most."""
RETRY_S: Final = 30.0
"""While the destination is away."""
END_PATIENCE_S: Final = 60.0
"""So long the end of a process waits for a destination from which nothing comes."""


def open_spooled_site(back: Storage, spool_root: str, *, create: bool, **options: Any) -> tuple[Site, SpoolKeeper]:
    """Open a store that is written to a spool first.

    Args:
        back: The store's destination. It may be away if it was there before, or may be made.
        spool_root: The folder of the spool, on a disk of this machine.
        create: Make the store where there is none.
        options: Fields of `Site`.

    Raises:
        NotFoundError: There is no store, and `create` is False.
        StorageError: The spool cannot be written to.
    """
    spool = ensure_spool(spool_root, back.uri)
    front = spool.storage
    known = _read_document(front)
    try:
        may_create = create and not spool.store_id
        what = f"Opening {back.uri}"
        document = ask(lambda: open_site(back, create=may_create).document, patience_s=PATIENCE_S, what=what)
        spool = confirm_store(spool, document.store_id)
    except (StorageError, NotFoundError) as error:
        if known is None and (isinstance(error, NotFoundError) or not create):
            raise
        reporting.warn(
            "%s is away; what is logged stays in the spool %s until it is back: %s", back.uri, spool.path, error
        )
        clock: Clock = options.get("clock", wall_clock_ms)
        document = known or StoreDocument(os.urandom(16).hex(), clock(), BY)
    if known is None:
        front.write(STORE_FILE, encode_store(document))
    storage = SpooledStorage(front, back)
    keeper = SpoolKeeper(Mover(spool, back))
    storage.on_create = keeper.ensure_running
    return Site(storage, document, **options), keeper


def _read_document(front: Storage) -> StoreDocument | None:
    try:
        return parse_store(front.read(STORE_FILE), where=front.path(STORE_FILE))
    except FileNotFoundError:
        return None


class SpoolKeeper:
    """One thread for each spooled store of a process, begun with its first log."""

    def __init__(self, mover: Mover) -> None:
        self._mover = mover
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_ended = False
        self._is_hurried = False
        self._is_told = False
        _alive.add(self)

    def ensure_running(self) -> None:
        """Move from now on, in the background."""
        with self._changed:
            if self._thread is None and not self._is_ended:
                self._thread = threading.Thread(target=self._run, name="localtrack-spool", daemon=True)
                self._thread.start()

    def hurry(self) -> None:
        """Move now, in the background."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()

    def move(self) -> None:
        """Move everything now.

        Raises:
            StorageError: The destination is away.
        """
        self._mover.look_at_all()
        self._mover.move(patience_s=END_PATIENCE_S)

    def finish(self, *, patience_s: float = END_PATIENCE_S) -> bool:
        """Move everything for the last time, as long as that gets on; return whether nothing is left that has ended.

        Never raises: what could not be moved stays in the spool, which is said.
        """
        with self._changed:
            if self._is_ended:
                return True
            self._is_ended = True
            self._changed.notify_all()
        failures: list[BaseException] = []
        thread = threading.Thread(target=self._finish, args=(failures,), name="localtrack-spool-end", daemon=True)
        thread.start()
        moved_bytes, deadline = -1, 0.0
        while thread.is_alive():
            if self._mover.moved_bytes_count != moved_bytes:
                moved_bytes, deadline = self._mover.moved_bytes_count, time.monotonic() + patience_s
            elif time.monotonic() > deadline:
                failures.append(StorageError(f"{self._mover.back.uri} does not answer."))
                break
            thread.join(0.05)
        if not failures:
            return True
        waiting = look_into(self._mover.spool)
        if waiting.files:
            reporting.warn(
                "%d files of %s wait in the spool %s (`localtrack drain` moves them): %s",
                waiting.files,
                self._mover.back.uri,
                self._mover.spool.path,
                failures[0],
            )
        return False

    def forget_after_fork(self) -> None:
        """Begin anew in the child of a fork, with its first log."""
        self._changed = threading.Condition()
        self._thread = None
        self._is_hurried = False
        self._mover.forget_after_fork()

    def _finish(self, failures: list[BaseException]) -> None:
        try:
            self.move()
            self._mover.end()
        except Exception as error:  # told by `finish`, whatever it is: the process is ending
            failures.append(error)

    def _run(self) -> None:
        pause_s = INTERVAL_S
        while True:
            with self._changed:
                if not self._is_hurried and not self._is_ended:
                    self._changed.wait(pause_s)
                self._is_hurried = False
                if self._is_ended:
                    return
            began = time.monotonic()
            try:
                self._mover.move()
            except LockedError:
                pause_s = INTERVAL_S  # another process moves ours as well
                continue
            except LocaltrackError as error:
                pause_s = RETRY_S
                if not self._is_told:
                    self._is_told = True
                    reporting.warn("what is logged stays in the spool for now: %s", error)
                continue
            except Exception as error:  # a bug, whatever it is: what is spooled is safe, and the thread must live on
                pause_s = RETRY_S
                reporting.complain("moving the spool %s failed: %r", self._mover.spool.path, error)
                continue
            self._is_told = False
            pause_s = max(INTERVAL_S, 10 * (time.monotonic() - began))


_alive: weakref.WeakSet[SpoolKeeper] = weakref.WeakSet()


# Registered when the first spooled store is opened: so it comes after those that end the runs, which register later.
@atexit.register
def _finish_all() -> None:
    for keeper in list(_alive):
        keeper.finish()


def _forget_after_fork() -> None:
    for keeper in list(_alive):
        keeper.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
