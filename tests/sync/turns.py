"""Pushes side by side, one of which goes on at a time: the server gets their requests in the order that a test wants.

Before each request, and where a push waits, the other one can have its turn. What comes next depends on the `switches`
alone, so that every order up to a number of them can be tried, one after the other, and each again.

The clock is not real, and all pushes go by it: a push that waits lets the others go on until its time has come, or is
called early, which is a server that was slow with the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Final

import httpx

from tests.sync.front import Back
from tests.sync.link import Link

_STUCK_S: Final = 60.0


class Turns:
    """Whose turn it is.

    Args:
        switches: At which steps, counted over all pushes, the turn goes to the other push although this one could go
            on.
    """

    def __init__(self, switches: Collection[int] = ()) -> None:
        self.now_s = 0.0
        self.steps: list[tuple[int, str]] = []
        """Which push took each step, in their order, and its request."""
        self.choices_count = 0
        """Up to this one a switch would have made a difference."""
        self._begun_count = 0
        self._switches = frozenset(switches)
        self._wakes_s: dict[int, float] = {}
        """Of pushes that are not done: from when on they want to go on."""
        self._calls: list[threading.Semaphore] = []
        self._errors: list[BaseException] = []

    def run(self, *pushes: Callable[[], object]) -> None:
        """Run pushes to their ends, the first one first; what they raise is raised."""
        self._calls = [threading.Semaphore(0) for _ in pushes]
        self._wakes_s = dict.fromkeys(range(len(pushes)), 0.0)
        threads = [threading.Thread(target=self._go, args=item, daemon=True) for item in enumerate(pushes)]
        for thread in threads:
            thread.start()
        self._calls[0].release()
        for thread in threads:
            thread.join(_STUCK_S)
            assert not thread.is_alive(), "a push is stuck"
        if self._errors:
            raise self._errors[0]

    def step(self, who: int, request: str) -> None:
        """Come to a request: the turn may go to another push here."""
        number = self._begun_count
        self._begun_count += 1
        if len(self._wakes_s) > 1:
            self.choices_count = self._begun_count
        if number in self._switches:
            self._wait(who)
        self.steps.append((who, request))

    def sleep(self, who: int, seconds: float) -> None:
        """Wait, or be called early."""
        self._wakes_s[who] = self.now_s + seconds
        self._wait(who)

    def _go(self, who: int, push: Callable[[], object]) -> None:
        self._calls[who].acquire()
        try:
            push()
        except BaseException as error:  # raised in `run`: a thread has nobody to tell
            self._errors.append(error)
        del self._wakes_s[who]
        if self._wakes_s:
            self._call(min(self._wakes_s, key=lambda other: (self._wakes_s[other], other)))

    def _wait(self, who: int) -> None:
        wake_s = self._wakes_s[who]
        other = min((other for other in self._wakes_s if other != who), key=self._wakes_s.__getitem__, default=None)
        if other is None or self.now_s < wake_s < self._wakes_s[other]:
            self.now_s = max(self.now_s, wake_s)
            return
        self._call(other)
        assert self._calls[who].acquire(timeout=_STUCK_S), "a push waits for its turn for ever"

    def _call(self, who: int) -> None:
        self.now_s = max(self.now_s, self._wakes_s[who])
        self._wakes_s[who] = self.now_s
        self._calls[who].release()


class TurnLink(Link):
    """The link of one of several pushes to a server.

    Args:
        back: The server.
        turns: Of all the pushes.
        who: Number of this one.
    """

    def __init__(self, back: Back, turns: Turns, who: int) -> None:
        super().__init__(back)
        self._turns = turns
        self._who = who

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.requests:  # not before the push, for what is late from an earlier one
            self._turns.sleep(self._who, seconds)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._turns.step(self._who, request.url.path.rpartition("/mlflow/")[2])
        return super().handle_request(request)


def try_orders(try_order: Callable[[Collection[int]], int], *, most: int, part: int = 1) -> int:
    """Try every choice of switches that makes another order, up to some number of them, and return how many these were.

    Args:
        try_order: Tries one, and returns up to which step another switch would make a difference.
        most: How many switches there are at most.
        part: Try each n-th step for a switch only, beginning elsewhere after each choice of those before it.
    """
    tried_count = 0
    open_choices: list[tuple[int, ...]] = [()]
    while open_choices:
        choice = open_choices.pop()
        count = try_order(choice)
        tried_count += 1
        if len(choice) < most:
            # Whoever gives the turn back at its first request has changed nothing.
            first = choice[-1] + 2 if choice else 0
            open_choices += [(*choice, step) for step in range(first + sum(choice) % part, count, part)]
    return tried_count
