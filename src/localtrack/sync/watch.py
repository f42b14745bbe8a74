"""Pushes again and again, as runs log: for a machine with a network beside machines without one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from localtrack.errors import ErrorCode, LocaltrackError, LockedError, NotFoundError, StorageError, SyncError
from localtrack.sync.report import PushReport

INTERVAL_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 300.0
"""While nothing can be reached: doubled from the interval up to this."""

Heard = Callable[[PushReport | None, LocaltrackError | None], None]
"""Told of each push that sent something or failed, and of what keeps a push from beginning."""


def watch(
    push_once: Callable[[], PushReport],
    *,
    heard: Heard,
    interval_s: float = INTERVAL_S,
    stop: threading.Event | None = None,
) -> None:
    """Push until `stop` is set.

    A store that is not there (yet, or any more), a target that cannot be reached, for days if need be, and another
    push that goes on are waited for.

    Args:
        push_once: Opens the store and pushes what is new.
        heard: Told what became of it.
        interval_s: From the end of one push to the beginning of the next.
        stop: Ends the watch.

    Raises:
        LocaltrackError: What will not mend itself: a wrong setting, credentials that are refused.
    """
    stop = stop or threading.Event()
    failures_count = 0
    while not stop.is_set():
        began_s = time.monotonic()
        try:
            report = push_once()
        except (NotFoundError, StorageError, LockedError, SyncError) as error:
            if error.code == ErrorCode.SYNC_DENIED:
                raise
            failures_count += 1
            heard(None, error)
        else:
            failures_count = failures_count + 1 if report.failure else 0
            if report.runs or report.failure:
                heard(report, None)
        pause_s = min(interval_s * 2.0 ** min(failures_count, 20), max(_LONGEST_PAUSE_S, interval_s))
        stop.wait(max(pause_s - (time.monotonic() - began_s if failures_count else 0.0), 0.0))
