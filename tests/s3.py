"""An S3 server on the loopback interface, which counts requests and can be made to fail, hang or list slowly."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

Respond = Callable[..., Any]


class S3Server:
    """moto behind a gate. Requests are counted by kind: PUT, GET, HEAD, DELETE, POST, LIST."""

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.counts: Counter[str] = Counter()
        self.bytes_sent_count = 0
        self.fault: Callable[[str, str], str | None] = lambda kind, path: None
        """Given kind and path of a request: None, `500`, `503`, `hang`, `lost` (done, but the answer is 500)."""
        self.delays_s: dict[str, float] = {}
        """By kind."""
        self._app = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def be_well(self) -> None:
        """Work, and quickly."""
        self.fault = lambda kind, path: None
        self.delays_s = {}

    @contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """Count the requests of the block."""
        before = Counter(self.counts)
        found: Counter[str] = Counter()
        yield found
        found.update(self.counts - before)

    def _answer(self, environ: dict[str, Any], start_response: Respond) -> Any:
        method, path, query = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", "")
        kind = "LIST" if method == "GET" and ("list-type=" in query or "prefix=" in query) else method
        with self._lock:
            self.counts[kind] += 1
        if delay_s := self.delays_s.get(kind):
            time.sleep(delay_s)
        fault = self.fault(kind, path)
        if fault == "hang":
            time.sleep(2)
        if fault in ("500", "503"):
            start_response(f"{fault} Broken", [("Content-Type", "text/plain"), ("Content-Length", "0")])
            return [b""]
        if fault == "lost":
            for _ in self._app(environ, lambda *_: lambda data: None):
                pass
            start_response("500 Broken", [("Content-Type", "text/plain"), ("Content-Length", "0")])
            return [b""]
        return self._app(environ, start_response)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server, and the environment that leads s3fs there, also in child processes."""
    s3_server.be_well()
    for name, value in environment(s3_server.url).items():
        monkeypatch.setenv(name, value)
    yield s3_server
    s3_server.be_well()


@pytest.fixture
def s3_url(s3: S3Server) -> str:
    """A new bucket, and a prefix in it."""
    import s3fs

    bucket = f"lt-{uuid.uuid4().hex[:12]}"
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(bucket)
    return f"s3://{bucket}/store"


def environment(url: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
