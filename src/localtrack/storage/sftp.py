"""Files on an SFTP server: fsspec's client, made to write whole files, to be used by many threads, and to come back.

fsspec's own writes into the file that readers see, waits for ever for a server that is silent, and is of no more use
once its connection is gone. The protocol itself has what a store needs: `rename` refuses a target that is there
(draft-ietf-secsh-filexfer-02, 6.5), and `posix-rename@openssh.com` replaces it.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Any, BinaryIO, Final, TypeVar

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem

from localtrack.storage.whole_files import WholeFiles

T = TypeVar("T")

PATIENCE_S: Final = 20.0
"""So long a server may be silent before the connection is given up."""
_TRIES: Final = (False, False, True)
"""Of a call during which the connection ends: which is the last one."""
_PREFETCH_BYTES: Final = 64 * 1024
"""From so much on, a file is asked for in many requests at once."""


class SftpFiles(WholeFiles, SFTPFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """What `ObjectStorage` asks of a file system.

    Concurrency: any thread; paramiko's client is for one at a time, so they take turns.
    """

    def __init__(self, host: str, **ssh_kwargs: Any) -> None:
        self._turn = RLock()
        for name in ("timeout", "banner_timeout", "auth_timeout", "channel_timeout"):
            ssh_kwargs.setdefault(name, PATIENCE_S)
        super().__init__(host, **ssh_kwargs)

    def _connect(self) -> None:
        for is_last in _TRIES:
            try:
                super()._connect()
                break
            except (EOFError, ConnectionResetError):
                if is_last:
                    raise
        self.ftp.get_channel().settimeout(PATIENCE_S)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return what is known of a file or folder."""
        path = self._strip_protocol(path)
        found: dict[str, Any] = self._decode_stat(self._try(lambda ftp: ftp.stat(path)))
        return {**found, "name": path}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Return what a folder holds."""
        path = self._strip_protocol(path)
        found = [self._decode_stat(item, path) for item in self._try(lambda ftp: ftp.listdir_attr(path))]
        return found if detail else sorted(item["name"] for item in found)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return the bytes of a file from `start` up to `end`."""
        path = self._strip_protocol(path)

        def get(ftp: paramiko.SFTPClient) -> bytes:
            with ftp.open(path, "rb") as file:
                size = file.stat().st_size or 0
                stop = size if end is None else min(end, size)
                if start:
                    file.seek(start)
                elif stop > _PREFETCH_BYTES:
                    file.prefetch(stop)
                return bytes(file.read(max(stop - (start or 0), 0)))

        return self._try(get)

    def _put(self, path: str, temporary: str, file: BinaryIO, *, is_new: bool) -> None:
        def put(ftp: paramiko.SFTPClient) -> None:
            file.seek(0)
            try:
                ftp.putfo(file, temporary)  # compares the size when all is sent
                if is_new:
                    ftp.rename(temporary, path)
                else:
                    _replace(ftp, temporary, path)
            except OSError:
                if ftp.get_channel().closed:
                    raise
                is_there = is_new and _exists(ftp, path)
                if _exists(ftp, temporary):
                    ftp.remove(temporary)
                if is_there:
                    raise FileExistsError(path) from None
                raise

        self._try(put)

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        path = self._strip_protocol(path)
        self._try(lambda ftp: ftp.remove(path))

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        path = self._strip_protocol(path)
        self._folders.discard(path)
        self._try(lambda ftp: ftp.rmdir(path))

    def _make_folder(self, path: str, mode: int) -> None:
        self._try(lambda ftp: ftp.mkdir(path, mode))

    def _is_there(self, path: str) -> bool:
        return self._try(lambda ftp: _exists(ftp, path))

    def _try(self, call: Callable[[paramiko.SFTPClient], T]) -> T:
        """Return what `call` returns, on a new connection if the old one is found to have ended."""
        with self._turn:
            for is_last in _TRIES:
                if self._is_gone():
                    self._connect()
                try:
                    return call(self.ftp)
                except (OSError, EOFError, paramiko.SSHException) as error:
                    if isinstance(error, TimeoutError):
                        # What it still has to say would be taken for the answer to the next question.
                        self.client.close()
                        raise
                    # Not gone: the server's answer. Else the connection may have ended long ago, or during the call:
                    # every call can be made twice.
                    if is_last or not self._is_gone():
                        raise
        raise AssertionError  # the last try returns or raises

    def _is_gone(self) -> bool:
        transport = self.client.get_transport()
        return transport is None or not transport.is_active() or self.ftp.get_channel().closed


def _exists(ftp: paramiko.SFTPClient, path: str) -> bool:
    try:
        ftp.stat(path)
    except FileNotFoundError:
        return False
    return True


def _replace(ftp: paramiko.SFTPClient, source: str, target: str) -> None:
    try:
        ftp.posix_rename(source, target)
    except OSError as error:
        # The server has no such extension; then readers see no file for a moment.
        if error.errno is not None or "unsupported" not in str(error).lower() or not _exists(ftp, source):
            raise
        if _exists(ftp, target):
            ftp.remove(target)
        ftp.rename(source, target)
