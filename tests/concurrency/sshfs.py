"""A folder mounted once more over a network protocol: sshfs on a socket, with delays, cuts and its caches.

What stands behind such a mount is what NFS does too: attributes and listings from a cache, writes that fail late, locks
that other mounts do not see. Two mounts of one folder are two hosts to the file system.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")
_MOUNT_PATIENCE_S = 10.0


class Line:
    """The wire between the mount and the server, that can be slow or cut."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._open = threading.Event()
        self._open.set()

    def cut(self) -> None:
        """Let nothing through: operations on the mount hang, as on a hard NFS mount."""
        self._open.clear()

    def mend(self) -> None:
        self._open.set()

    def carry(self, source: socket.socket, target: socket.socket) -> None:
        """Pass on what comes until one side hangs up."""
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if self.delay_s:
                    time.sleep(self.delay_s)
                self._open.wait()
                target.sendall(data)
        for side in (source, target):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


class Mounted:
    """A mount, until `unmount`."""

    def __init__(self, folder: Path, point: Path, *options: str) -> None:
        point.mkdir(parents=True, exist_ok=True)
        self.path = point
        self.line = Line()
        ours, theirs = socket.socketpair()
        far, server = socket.socketpair()
        self._server = subprocess.Popen([server_path()], stdin=server, stdout=server)
        arguments = ["sshfs", "-f", "-o", ",".join(["passive", *options]), f"server:{folder}", str(point)]
        self._mount = subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL)
        theirs.close()
        server.close()
        self._sockets = (ours, far)
        self._carriers = [
            threading.Thread(target=self.line.carry, args=pair, daemon=True) for pair in ((ours, far), (far, ours))
        ]
        for carrier in self._carriers:
            carrier.start()
        deadline = time.monotonic() + _MOUNT_PATIENCE_S
        while not os.path.ismount(point):
            if self._mount.poll() is not None or time.monotonic() > deadline:
                self.unmount()
                raise OSError("sshfs could not mount")
            time.sleep(0.01)

    def disconnect(self) -> None:
        """Take the server away for good: operations fail with EIO or ENOTCONN."""
        for side in self._sockets:
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def unmount(self) -> None:
        self.line.mend()
        subprocess.run(["fusermount3", "-u", "-z", "-q", str(self.path)], check=False)
        self.disconnect()
        for process in (self._mount, self._server):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for carrier in self._carriers:
            carrier.join(10)
        for side in self._sockets:
            side.close()


@contextmanager
def mounted(folder: Path, point: Path, *options: str) -> Iterator[Mounted]:
    """Mount a folder at another place while the block runs."""
    mount = Mounted(folder, point, *options)
    try:
        yield mount
    finally:
        mount.unmount()


def why_not() -> str:
    """Return why nothing can be mounted here; empty if it can."""
    missing = [name for name in ("sshfs", "fusermount3") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed"
    if not any(map(os.path.exists, SERVERS)):
        return "no sftp-server is installed"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse cannot be opened: {error.strerror}"
    return ""


def server_path() -> str:
    return next(path for path in SERVERS if os.path.exists(path))


needs_sshfs = pytest.mark.skipif(bool(why_not()), reason=f"no FUSE mounts here: {why_not()}")
