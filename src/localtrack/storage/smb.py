"""Files on an SMB share, without mounting it: fsspec's client, made to put whole files, and to come back.

fsspec's own keeps connections in a place that forks share, waits for ever for a server that is silent, opens files so
that nobody else can, and says of a missing file that something failed. What a store needs is in the protocol: a hard
link is made only where its name is free, and a rename replaces (MS-FSCC: FileLinkInformation, FileRenameInformation).
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from threading import Lock
from typing import Any, BinaryIO, Final, TypeVar

import smbclient
from fsspec.implementations.smb import SMBFileSystem
from smbprotocol.connection import Connection
from smbprotocol.exceptions import SMBConnectionClosed, SMBException, SMBOSError, SMBResponseException
from smbprotocol.header import NtStatus

from localtrack.storage.whole_files import WholeFiles

T = TypeVar("T")

CONNECT_PATIENCE_S: Final = 10
PATIENCE_S: Final = 20
"""So long a server may be silent before the connection is given up."""
_BUSY_PATIENCE_S: Final = 2.0
"""A file that somebody reads cannot be replaced on most servers; readers are done in milliseconds."""
_TRIES: Final = (False, False, True)
"""Of a call during which the connection ends: which is the last one."""
_PAUSE_S: Final = 0.2
"""Before one more try to connect."""
_COPY_BYTES: Final = 1024 * 1024
_FORBIDDEN: Final = frozenset('\\:*?"<>|') | frozenset(map(chr, range(32)))
"""In names, to SMB. Behind a colon a server may look for a stream of the file, which no listing shows."""
_SHARED: Final = "rwd"
"""While a file is open here, others may read, write and remove it."""

_BUSY: Final = frozenset([NtStatus.STATUS_ACCESS_DENIED, NtStatus.STATUS_SHARING_VIOLATION])
_NO_LINKS: Final = frozenset([NtStatus.STATUS_NOT_SUPPORTED, 0xC0000010, 0xC0000002])
"""Also STATUS_INVALID_DEVICE_REQUEST and STATUS_NOT_IMPLEMENTED."""
# Source: MS-ERREF 2.3.1.
_ERRNO: Final = {
    NtStatus.STATUS_ACCESS_DENIED: errno.EACCES,
    NtStatus.STATUS_SHARING_VIOLATION: errno.EBUSY,
    NtStatus.STATUS_DELETE_PENDING: errno.ENOENT,
    NtStatus.STATUS_OBJECT_NAME_INVALID: errno.EINVAL,
    0xC000007F: errno.ENOSPC,  # STATUS_DISK_FULL
    0xC0000044: errno.EDQUOT,  # STATUS_QUOTA_EXCEEDED
    0xC00000A2: errno.EROFS,  # STATUS_MEDIA_WRITE_PROTECTED
    0xC00000CC: errno.ENODEV,  # STATUS_BAD_NETWORK_NAME: no such share; then the client asks for a referral:
    NtStatus.STATUS_NOT_FOUND: errno.ENODEV,
}
_TEXT: Final = {errno.ENODEV: "the server has no such share"}


class SmbFiles(WholeFiles, SMBFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """What `ObjectStorage` asks of a file system.

    Concurrency: any thread; requests of several are under way at once.
    """

    def __init__(self, host: str, **options: Any) -> None:
        self._connecting = Lock()
        self._connections: dict[str, Connection] = {}
        options.setdefault("timeout", CONNECT_PATIENCE_S)
        group, separator, user = str(options.get("username") or "").partition(";")
        if separator:  # in a URL it is `group;user`, to the protocol `group\user`
            options["username"] = f"{group}\\{user}"
        super().__init__(host, **options)

    def _connect(self) -> None:
        for is_last in _TRIES:
            try:
                self._connect_once()
                return
            except (SMBConnectionClosed, ConnectionError):
                if is_last:
                    raise
            time.sleep(_PAUSE_S)

    def _connect_once(self) -> None:
        connection = _Connection(smbclient.ClientConfig().client_guid, self.host, self._port)
        try:
            connection.connect(timeout=self.timeout)
        except ValueError as error:
            if isinstance(error.__cause__, OSError):
                raise ConnectionError(str(error)) from error
            raise
        connections = {f"{self.host.lower()}:{self._port}": connection}
        smbclient.register_session(
            self.host,
            username=self.username,
            password=self.password,
            port=self._port,
            encrypt=self.encrypt,
            connection_timeout=self.timeout,
            connection_cache=connections,
        )
        self._connections = connections

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return what is known of a file or folder."""
        path = self._strip_protocol(path)
        status = self._try(lambda: smbclient.stat(self._unc(path), **self._where()))
        is_folder = (status.st_mode & 0o170000) == 0o040000
        kind = "directory" if is_folder else "file"
        return {"name": path, "type": kind, "size": status.st_size, "mtime": status.st_mtime}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Return what a folder holds."""
        path = self._strip_protocol(path).rstrip("/")
        # The listing tells all, so that nothing is asked for each file.
        found = [
            {
                "name": f"{path}/{entry.name}",
                "type": "directory" if entry.is_dir() else "file",
                "size": entry.smb_info.end_of_file,
                "mtime": entry.smb_info.last_write_time,
            }
            for entry in self._try(lambda: list(smbclient.scandir(self._unc(path), **self._where())))
        ]
        return found if detail else sorted(item["name"] for item in found)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return the bytes of a file from `start` up to `end`."""
        path = self._strip_protocol(path)

        def get() -> bytes:
            with self._open_file(path, "rb") as file:
                if start:
                    file.seek(start)
                return bytes(file.read(-1 if end is None else max(end - (start or 0), 0)))

        return self._try(get)

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        path = self._strip_protocol(path)
        self._try(lambda: smbclient.remove(self._unc(path), **self._where()))

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        path = self._strip_protocol(path)
        self._folders.discard(path)
        self._try(lambda: smbclient.rmdir(self._unc(path), **self._where()))

    def _put(self, path: str, temporary: str, file: BinaryIO, *, is_new: bool) -> None:
        source, goal = self._unc(temporary), self._unc(path)

        def put() -> None:
            file.seek(0)
            with self._open_file(temporary, "wb") as target:
                while block := file.read(_COPY_BYTES):
                    target.write(block)
            try:
                if is_new:
                    self._claim(source, goal)
                else:
                    _when_free(lambda: smbclient.replace(source, goal, **self._where()))
                    return
            except SMBOSError:
                self._remove(source)
                raise
            self._remove(source)

        self._try(put)

    def _claim(self, source: str, goal: str) -> None:
        """Give a file a second name if that is free; of several at the same moment one succeeds."""
        try:
            smbclient.link(source, goal, **self._where())
        except SMBOSError as error:
            if error.ntstatus not in _NO_LINKS:
                raise
            # Samba looks first and renames then, but has links; what has none is Windows, which does both at once.
            smbclient.rename(source, goal, **self._where())

    def _remove(self, name: str) -> None:
        try:
            smbclient.remove(name, **self._where())
        except SMBOSError as error:
            if error.ntstatus != NtStatus.STATUS_OBJECT_NAME_NOT_FOUND:
                raise

    def _make_folder(self, path: str, mode: int) -> None:
        del mode
        self._try(lambda: smbclient.mkdir(self._unc(path), **self._where()))

    def _is_there(self, path: str) -> bool:
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def _open_file(self, path: str, mode: str) -> Any:
        return smbclient.open_file(self._unc(path), mode=mode, share_access=_SHARED, **self._where())

    def _where(self) -> dict[str, Any]:
        return {"port": self._port, "connection_cache": self._connections}

    def _unc(self, path: str) -> str:
        if not _FORBIDDEN.isdisjoint(path):
            raise OSError(errno.EINVAL, f"SMB has no such names: {path!r}")
        return f"\\\\{self.host}{path.rstrip('/')}".replace("/", "\\")

    def _try(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, on a new connection if the old one is found to have ended."""
        for is_last in _TRIES:
            with self._connecting:
                if not all(one.transport.connected for one in self._connections.values()):
                    self._connect()
                connections = self._connections
            try:
                return call()
            except SMBOSError as error:
                raise _as_os_error(error, error.ntstatus) from error
            except SMBResponseException as error:
                raise _as_os_error(error, error.status) from error
            except (SMBException, OSError) as error:
                is_gone = isinstance(error, SMBConnectionClosed | ConnectionError)
                is_gone = is_gone or not all(one.transport.connected for one in connections.values())
                if is_gone or isinstance(error, TimeoutError):
                    # What a silent server still has to say would come too late for anybody.
                    for connection in connections.values():
                        connection.transport.close()
                if isinstance(error, TimeoutError):
                    raise
                # The connection may have ended long ago, or during the call: every call can be made twice.
                if is_last or not is_gone:
                    if isinstance(error, OSError):
                        raise
                    raise ConnectionError(str(error)) from error
        raise AssertionError  # the last try returns or raises


class _Connection(Connection):  # type: ignore[misc]  # smbprotocol is not checked
    """One that does not wait for ever."""

    def receive(self, request: Any, wait: bool = True, timeout: float | None = None, **options: Any) -> Any:
        limit_s = PATIENCE_S if timeout is None else timeout
        if not request.response_event.wait(limit_s):
            raise TimeoutError(errno.ETIMEDOUT, "the server does not answer")
        return super().receive(request, wait, limit_s, **options)


def _when_free(call: Callable[[], T]) -> T:
    """Return what `call` returns, once nobody has the file open any more."""
    deadline = time.monotonic() + _BUSY_PATIENCE_S
    while True:
        try:
            return call()
        except SMBOSError as error:
            if error.ntstatus not in _BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.005)


def _as_os_error(error: Exception, status: int) -> OSError:
    """Return the error that Python has for what a server answered, of the class that callers know."""
    number = _ERRNO.get(status) or getattr(error, "errno", None) or errno.EIO
    known = status in _ERRNO or getattr(error, "errno", None)
    text = _TEXT.get(number) or (os.strerror(number) if known else str(error))
    return OSError(number, text)
