"""A real `mlflow server` in a process group of its own, on a free port of this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

FAR_S = 240
"""A bound that catches a hang; a server with four workers takes some ten seconds of one processor."""


class Server:
    """As a context manager: started on entering, ended with all its workers on leaving.

    Args:
        folder: Its current folder, where it also logs.
        store_uri: What it serves.
        options: More of its command line.
    """

    def __init__(self, folder: Path, store_uri: str, *options: str) -> None:
        self.folder = folder
        self.uri = f"http://127.0.0.1:{_free_port()}"
        port = self.uri.rpartition(":")[2]
        self._command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store_uri, "--port", port]
        self._command += options

    def __enter__(self) -> Server:
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        with (self.folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + FAR_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return self
            except OSError:
                time.sleep(0.2)
        self._end()
        raise AssertionError(f"the server did not start:\n{self.log()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def get(self, path: str) -> tuple[int, Any]:
        """Return status and answer, from JSON where it is that."""
        return _answer(urllib.request.Request(f"{self.uri}{path}"))

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"}
        return _answer(urllib.request.Request(f"{self.uri}{path}", json.dumps(body).encode(), headers, method="POST"))

    def kill(self) -> None:
        """Kill the server and all its workers, as when the machine is short of memory."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=FAR_S)

    def _end(self) -> None:
        for end in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, end)
                self._process.wait(timeout=20)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self._process.wait()


def _answer(request: urllib.request.Request) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(request, timeout=FAR_S) as response:
            status, data = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, data = error.code, error.read()
    try:
        return status, json.loads(data)
    except ValueError:
        return status, data


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
