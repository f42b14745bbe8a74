"""A front that a push talks to: passes requests on to a back, and does to the n-th of them what a test wants.

What can go wrong, by name: `cut_before` (the connection ends, nothing was done), `cut_during` (it ends when half of the
body has come, nothing was done), `cut_after` (it was done, the
connection ends without an answer), `cut_answer` (half of the answer), `fail_before` and `fail_after` (500, nothing or
all was done), `throttle` (429 with Retry-After), `throttle_silently` (without), `slow` (the answer comes later than the
client waits, and so does the deed), `gateway_after` (502 with a page of HTML, all was done).
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

FAULTS: Final = (
    "cut_before",
    "cut_during",
    "cut_after",
    "cut_answer",
    "fail_before",
    "fail_after",
    "gateway_after",
    "throttle",
    "throttle_silently",
    "slow",
)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    """With the query."""
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


Back = Callable[[Request], Answer]


def fault_answer(fault: str, do: Callable[[], Answer]) -> Answer:
    """Return the answer under a fault that leaves the connection alone, having done the deed or not."""
    if fault == "fail_before":
        return Answer(500, b'{"error_code":"INTERNAL_ERROR","message":"down"}')
    if fault == "refuse":
        return Answer(400, b'{"error_code":"INVALID_PARAMETER_VALUE","message":"no"}')
    if fault in ("throttle", "throttle_silently"):
        headers = (("Retry-After", "0"),) if fault == "throttle" else ()
        return Answer(429, b'{"error_code":"RESOURCE_EXHAUSTED","message":"Too many requests."}', headers)
    answer = do()
    if fault == "fail_after":
        return Answer(500, b'{"error_code":"INTERNAL_ERROR","message":"after commit"}')
    if fault == "gateway_after":
        return Answer(502, b"<html>Bad gateway</html>", (("Content-Type", "text/html"),))
    return answer


class Front:
    """An HTTP server on the loopback in front of a back. A context manager."""

    def __init__(self, back: Back, *, slow_s: float = 1.0, tls: ssl.SSLContext | None = None) -> None:
        self.back = back
        self.slow_s = slow_s
        self.requests: list[Request] = []
        self.faults: dict[int, str] = {}
        """Number of the request, from 0 → what is done to it."""
        self.on_request: Callable[[int, str], None] = lambda number, moment: None
        """Called with `before` and `after` the back has done its deed."""
        self._lock = threading.Lock()
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1  # headers and body in one packet

            def log_message(self, *_: Any) -> None:
                pass

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except (ConnectionError, TimeoutError):
                    self.close_connection = True

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                if front.faults.get(len(front.requests)) == "cut_during":
                    length //= 2
                body = self.rfile.read(length)
                if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                    body = self._read_chunks()
                request = Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                front._handle(self, request)

            def _read_chunks(self) -> bytes:
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Front:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        with self._lock:
            self.requests.clear()
            self.faults.clear()

    def _handle(self, handler: BaseHTTPRequestHandler, request: Request) -> None:
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
        fault = self.faults.get(number, "")
        self.on_request(number, "before")
        if fault in ("cut_before", "cut_during"):
            return self._cut(handler)
        if fault == "slow":
            time.sleep(self.slow_s)

        def do() -> Answer:
            answer = self.back(request)
            self.on_request(number, "after")
            return answer

        answer = fault_answer(fault, do)
        if fault == "cut_after":
            return self._cut(handler)
        if fault == "cut_answer":
            return self._reply(handler, answer, cut=True)
        return self._reply(handler, answer)

    @staticmethod
    def _cut(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _reply(handler: BaseHTTPRequestHandler, answer: Answer, *, cut: bool = False) -> None:
        handler.send_response(answer.status)
        for name, value in answer.headers:
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        if handler.command == "HEAD":
            return
        handler.wfile.write(answer.body[: len(answer.body) // 2] if cut else answer.body)
        handler.wfile.flush()
        if cut:
            Front._cut(handler)


@contextmanager
def passing_on(url: str) -> Iterator[Back]:
    """Yield a back that is another server."""
    import httpx

    def back(request: Request) -> Answer:
        kept = {k: v for k, v in request.headers.items() if k not in ("host", "content-length", "connection")}
        kept.pop("accept-encoding", None)
        response = client.request(request.method, request.path, headers=kept, content=request.body)
        headers = tuple((k, v) for k, v in response.headers.items() if k.lower() in ("content-type", "location"))
        return Answer(response.status_code, response.content, headers)

    with httpx.Client(base_url=url, timeout=60.0) as client:
        yield back
