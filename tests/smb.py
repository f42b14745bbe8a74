"""Samba's smbd on the loopback, on a port that needs no rights, behind a relay that can be silent or cut."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path

SMBD = shutil.which("smbd") or next((path for path in ("/usr/sbin/smbd",) if os.path.exists(path)), None)
PASSWORD = "S3CR3T-smb"
_PATIENCE_S = 30.0

CONFIG = """
[global]
server role = standalone server
interfaces = 127.0.0.1/8
bind interfaces only = yes
smb ports = {port}
pid directory = {folder}/run
lock directory = {folder}/lock
state directory = {folder}/state
cache directory = {folder}/cache
private dir = {folder}/private
ncalrpc dir = {folder}/ncalrpc
passdb backend = tdbsam:{folder}/private/passdb.tdb
log file = {folder}/log
disable spoolss = yes
load printers = no
[share]
path = {folder}/share
read only = no
"""


def why_not_smb() -> str:
    """Return why there can be no server; "" if there can."""
    try:
        import smbprotocol  # noqa: F401
    except ImportError:
        return "smbprotocol is not installed"
    if SMBD is None or shutil.which("smbpasswd") is None:
        return "Samba is not installed"
    return "" if os.getuid() == 0 else "smbd runs as root only"


class SmbServer:
    def __init__(self) -> None:
        assert SMBD is not None
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self.share = folder / "share"
        for name in ("run", "lock", "state", "cache", "private", "ncalrpc", "share"):
            (folder / name).mkdir()
        back_port = _free_port()
        config = folder / "smb.conf"
        config.write_text(CONFIG.format(port=back_port, folder=folder))
        subprocess.run(
            ["smbpasswd", "-c", str(config), "-s", "-a", "root"],
            input=f"{PASSWORD}\n{PASSWORD}\n",
            text=True,
            check=True,
            capture_output=True,
        )
        command = [SMBD, "--foreground", "--no-process-group", "-s", str(config), "--debug-stdout"]
        self._output = open(folder / "output", "wb")  # noqa: SIM115
        # It ends its process group when it ends.
        self._process = subprocess.Popen(command, stdout=self._output, stderr=self._output, start_new_session=True)
        _wait_for_port(back_port, self._process)
        self._back_port = back_port
        self.is_silent = False
        self.connections_count = 0
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def environ(self) -> dict[str, str]:
        return {"FSSPEC_SMB_PASSWORD": PASSWORD}

    def new_place(self) -> str:
        return f"smb://root@127.0.0.1:{self.port}/share/{uuid.uuid4().hex[:12]}/store"

    def be_well(self) -> None:
        self.is_silent = False

    def cut(self) -> None:
        """End all connections; new ones are taken."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._process.terminate()
        self._process.wait(_PATIENCE_S)
        self._output.close()
        self._folder.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                front, _ = self._listener.accept()
                back = socket.create_connection(("127.0.0.1", self._back_port), timeout=_PATIENCE_S)
            except OSError:
                return
            back.settimeout(None)
            self.connections_count += 1
            self._sockets += [front, back]
            for source, target in ((front, back), (back, front)):
                threading.Thread(target=self._relay, args=(source, target, target is front), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                while is_answer and self.is_silent:
                    time.sleep(0.02)
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


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
