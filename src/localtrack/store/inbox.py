"""Notices for whoever keeps an index: which runs change, and what they came to. FORMAT.md section 10."""

from __future__ import annotations

import atexit
import weakref
from collections import Counter
from typing import Any, Final

from localtrack import reporting
from localtrack.errors import StorageError
from localtrack.format.layout import inbox_key
from localtrack.format.lines import INBOX
from localtrack.store.process_log import ProcessLog
from localtrack.store.site import Site

_LONG_BYTES: Final = 1024 * 1024
"""From this size on a file is ended when no run is open, so that it can be removed; the next notice begins another."""


class Inbox:
    """This process's notices in one store."""

    def __init__(self, site: Site) -> None:
        self._log = ProcessLog(site, INBOX, inbox_key)
        self._opened: Counter[str] = Counter()
        _alive.add(self)

    def notice_open(self, run_id: str, experiment_id: str) -> None:
        """Say that this process is about to write to a run. Must come before it does."""
        self._opened[run_id] += 1
        self._log.append(["open", run_id, experiment_id], is_careful=True)

    def notice_closed(
        self, run_id: str, writer: str, bytes_count: int, row: dict[str, Any] | None, *, opened_count: int = 1
    ) -> None:
        """Say that this process has closed a log of a run.

        Args:
            run_id: The run.
            writer: The writer of the log.
            bytes_count: The log's size.
            row: What the log folds to, if it is known.
            opened_count: How often the writer of the log has said that it is about to write.
        """
        try:
            again = [["close", run_id, writer, bytes_count, None]] * (opened_count - 1)
            self._log.append(*again, ["close", run_id, writer, bytes_count, row])
            self._opened[run_id] -= opened_count
            if self._opened[run_id] <= 0:
                del self._opened[run_id]
            if not self._opened and self._log.size >= _LONG_BYTES:
                self.close()
        except StorageError as error:  # the log itself says all of it
            reporting.debug("no notice of the end of run %s: %s", run_id, error)

    def sync(self) -> None:
        """Make the notices durable, before what they tell of is."""
        self._log.sync()

    def close(self) -> None:
        """Say goodbye, if anything was said."""
        if self._log.writer is None:
            return
        try:
            self._log.append(["bye", 0])
            self._log.close()
        except StorageError as error:
            reporting.debug("no goodbye in the inbox: %s", error)


_alive: weakref.WeakSet[Inbox] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for inbox in list(_alive):
        inbox.close()
