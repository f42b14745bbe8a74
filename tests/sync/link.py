"""Requests of a push, in this process, to a back: as `front.Front` without sockets, and with a clock that is not real.

Each fault of `front.FAULTS` does what it does over a socket, and ends as it ends there: `test_link.py` compares the
two. Where the client waits, nobody waits: time goes on by as much, and what the server still had to do is done then.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx

from tests.sync.front import Answer, Back, Request, fault_answer

TIMEOUT_S = 30.0


class Link(httpx.BaseTransport):
    """What `Connection.transport` takes.

    Args:
        back: The server.
    """

    def __init__(self, back: Back) -> None:
        self.back = back
        self.requests: list[Request] = []
        self.faults: dict[int, str] = {}
        """Number of the request, from 0 → what is done to it."""
        self.on_request: Callable[[int, str], None] = lambda number, moment: None
        """Called with `before` and `after` the server has done its deed."""
        self.now_s = 0.0
        self._late: list[tuple[float, Callable[[], object]]] = []

    def sleep(self, seconds: float) -> None:
        """Let time go on."""
        self.now_s += seconds
        due = [deed for at_s, deed in self._late if at_s <= self.now_s]
        self._late = [(at_s, deed) for at_s, deed in self._late if at_s > self.now_s]
        for deed in due:
            deed()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer, or raise what httpx raises."""
        received = Request(
            request.method,
            request.url.raw_path.decode(),
            {key.lower(): value for key, value in request.headers.items()},
            request.read(),
        )
        number = len(self.requests)
        fault = self.faults.get(number, "")
        self.requests.append(received)
        self.on_request(number, "before")
        if fault in ("cut_before", "cut_during"):
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        if fault == "slow":
            self._late.append((self.now_s + TIMEOUT_S * 1.4, lambda: self.back(received)))
            self.sleep(TIMEOUT_S)
            raise httpx.ReadTimeout("timed out", request=request)

        def do() -> Answer:
            answer = self.back(received)
            self.on_request(number, "after")
            return answer

        answer = fault_answer(fault, do)
        if fault == "cut_after":
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        if fault == "cut_answer":
            raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")
        return httpx.Response(answer.status, headers=list(answer.headers), content=answer.body, request=request)
