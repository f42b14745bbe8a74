"""Keeps requests within the rate that a target takes: known limits at first, then what its answers teach."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

_SLOWER: Final = 0.5
_FASTER_PER_S: Final = 0.5
"""After a throttled request the rate is halved, and grows by so many requests a second for each good second."""
_LEAST_PER_S: Final = 0.2
_FIRST_PER_S: Final = 20.0
"""Taken for the rate that was too much, where less was sent just before: other people's requests count as well."""
_FORGET_S: Final = 60.0
"""After so long without a throttled request a rate that the target does not have by its documentation is forgotten."""
_LONGEST_WAIT_S: Final = 120.0


class Pace:
    """The rate of one kind of request, shared by all threads. Thread-safe.

    Args:
        limit_per_s: At most so many a second; None: as fast as it goes, until the target throttles.
        clock: Seconds, for tests.
        sleep: Waits, for tests.
        first_pause_s: Wait after a 429 that does not say for how long; doubled each time in a row.
    """

    def __init__(
        self,
        limit_per_s: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        first_pause_s: float = 1.0,
    ) -> None:
        self._limit_per_s = limit_per_s
        self._rate_per_s = limit_per_s
        self._clock = clock
        self._sleep = sleep
        self._first_pause_s = first_pause_s
        self._lock = threading.Lock()
        self._next_s = 0.0
        self._closed_until_s = 0.0
        self._changed_s = clock()
        self._in_a_row = 0
        self._sent: list[float] = []
        self.throttled_count = 0

    def wait(self) -> None:
        """Return when the next request may be sent."""
        with self._lock:
            now = self._clock()
            at = max(now, self._closed_until_s)
            rate = self._current_rate(now)
            if rate is not None:
                at = max(at, self._next_s)
                self._next_s = at + 1.0 / rate
            self._sent.append(at)
            del self._sent[:-64]
        if at > now:
            self._sleep(at - now)

    def note_good(self) -> None:
        """Take note of a request that was not throttled."""
        with self._lock:
            self._in_a_row = 0

    def note_throttled(self, wait_s: float | None) -> None:
        """Take note of a 429: all threads wait as long as it says, and go on at half the rate."""
        with self._lock:
            now = self._clock()
            self.throttled_count += 1
            if now >= self._closed_until_s:  # requests that were under way together count once
                rate = self._current_rate(now) or self._measured_rate(now)
                self._rate_per_s = max(rate * _SLOWER, _LEAST_PER_S)
                self._changed_s = now
                self._in_a_row += 1
            pause_s = wait_s if wait_s is not None else self._first_pause_s * 2 ** min(self._in_a_row - 1, 6)
            self._closed_until_s = max(self._closed_until_s, now + min(pause_s, _LONGEST_WAIT_S))

    def _current_rate(self, now: float) -> float | None:
        if self._rate_per_s is None:
            return None
        grown = self._rate_per_s + _FASTER_PER_S * (now - self._changed_s)
        if self._limit_per_s is not None:
            return min(grown, self._limit_per_s)
        if now - self._changed_s > _FORGET_S:
            self._rate_per_s = None
            return None
        return grown

    def _measured_rate(self, now: float) -> float:
        recent = [at for at in self._sent if now - at < 2.0]
        return max(len(recent) / 2.0, _FIRST_PER_S)
