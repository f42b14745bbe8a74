"""Counts the operations on files of a store, and makes one of them fail.

Everything that the library does to files goes through the functions that are replaced here: `test_faults.py` proves it
with an audit hook and with strace.
"""

from __future__ import annotations

import builtins
import fcntl
import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

EXIT_CODE = 77

READS = frozenset(["stat", "lstat", "fstat", "listdir", "scandir", "readlink", "read", "open to read", "flock", "dup"])
"""Operations that change nothing: ending the process next to one is like ending it at the change before."""
WRITES = frozenset(["write"])

_BY_PATH = (
    "stat",
    "lstat",
    "listdir",
    "scandir",
    "readlink",
    "mkdir",
    "rmdir",
    "unlink",
    "remove",
    "utime",
    "truncate",
)
_BY_TWO_PATHS = ("rename", "replace", "link", "symlink")
_BY_FD = ("write", "fsync", "fdatasync", "close", "fstat", "dup", "ftruncate")


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong."""

    at: int
    """Number of the operation."""
    kind: str
    """`fail`: raise, do nothing. `partial`: write half of the bytes, then raise. `exit before`, `exit after`: end."""
    errno: int = 0
    until: int = 0
    """If given, `fail` holds for the changes among the operations `at` … `until`-1."""


class Operations:
    """The replaced functions of one process."""

    def __init__(self, root: str, fault: Fault | None) -> None:
        self.seen: list[tuple[str, str]] = []
        """(name, path below the store) of each operation so far."""
        self.past: list[str] = []
        """What the audit hook saw of the store outside of the replaced functions."""
        self.written_bytes_count = 0
        self._root = os.path.realpath(root)
        self._fault = fault
        self._fds: dict[int, str] = {}
        self._inside = 0
        self._originals: dict[str, Callable[..., Any]] = {}

    def install(self) -> None:
        """Replace the functions, for the rest of this process."""
        for name in (*_BY_PATH, *_BY_TWO_PATHS, *_BY_FD, "open"):
            self._originals[name] = getattr(os, name)
        for name in _BY_PATH:
            setattr(os, name, self._by_path(name))
        for name in _BY_TWO_PATHS:
            setattr(os, name, self._by_two_paths(name))
        for name in _BY_FD:
            setattr(os, name, self._by_fd(name))
        os.open = self._open
        self._originals["io.open"] = builtins.open
        builtins.open = io.open = self._open_file  # type: ignore[assignment]
        self._originals["flock"] = fcntl.flock
        fcntl.flock = self._flock
        os.supports_fd.add(os.utime)  # the replaced one is another object
        sys.addaudithook(self._audit)

    # -- what an operation goes through

    def step(self, name: str, path: str, call: Callable[[], Any], *, partial: Callable[[], Any] | None = None) -> Any:
        """Count an operation, and do it or what is to happen instead."""
        number = len(self.seen)
        self.seen.append((name, path.removeprefix(self._root)))
        fault = self._fault
        if fault is not None and (number == fault.at or (fault.at <= number < fault.until and name not in READS)):
            if fault.kind == "exit before":
                os._exit(EXIT_CODE)
            if fault.kind == "exit after":
                try:
                    self._do(call)
                finally:
                    os._exit(EXIT_CODE)
            if fault.kind == "partial" and partial is not None:
                self._do(partial)
            if name == "close":
                self._do(call)  # a descriptor is gone, also where closing it reports that something was lost
            raise OSError(fault.errno, os.strerror(fault.errno), path)
        return self._do(call)

    def _do(self, call: Callable[[], Any]) -> Any:
        self._inside += 1
        try:
            return call()
        finally:
            self._inside -= 1

    def _of_store(self, path: Any) -> str | None:
        """Return the path if it lies in the store."""
        if isinstance(path, int):
            return self._fds.get(path)
        text = os.path.abspath(os.fsdecode(path))
        return text if text == self._root or text.startswith(self._root + "/") else None

    # -- the replaced functions

    def _by_path(self, name: str) -> Callable[..., Any]:
        original = self._originals[name]

        def replaced(path: Any = ".", *args: Any, **named: Any) -> Any:
            ours = None if self._inside else self._of_store(path)
            if ours is None:
                return original(path, *args, **named)
            return self.step(name, ours, lambda: original(path, *args, **named))

        return replaced

    def _by_two_paths(self, name: str) -> Callable[..., Any]:
        original = self._originals[name]

        def replaced(source: Any, target: Any, *args: Any, **named: Any) -> Any:
            ours = None if self._inside else self._of_store(target)
            if ours is None:
                return original(source, target, *args, **named)
            return self.step(name, ours, lambda: original(source, target, *args, **named))

        return replaced

    def _by_fd(self, name: str) -> Callable[..., Any]:
        original = self._originals[name]

        def replaced(fd: int, *args: Any) -> Any:
            ours = None if self._inside else self._fds.get(fd)
            if ours is None:
                return original(fd, *args)
            if name == "write":
                return self._write(fd, args[0], ours)
            if name == "close":
                del self._fds[fd]
            result = self.step(name, ours, lambda: original(fd, *args))
            if name == "dup":
                self._fds[result] = ours
            return result

        return replaced

    def _write(self, fd: int, data: Any, ours: str) -> int:
        original = self._originals["write"]
        half = memoryview(data)[: len(data) // 2]
        if self._fault is not None and self._fault.kind == "partial" and self._fault.at == len(self.seen):
            # As the kernel has it: first a short write, then the error.
            self.seen.append(("write", ours.removeprefix(self._root)))
            self._fault = Fault(len(self.seen), "fail", self._fault.errno)
            return int(self._do(lambda: original(fd, half)))
        written = int(self.step("write", ours, lambda: original(fd, data)))
        self.written_bytes_count += written
        return written

    def _open(self, path: Any, flags: int, *args: Any, **named: Any) -> int:
        original = self._originals["open"]
        ours = None if self._inside else self._of_store(path)
        if ours is None:
            return int(original(path, flags, *args, **named))
        name = "open" if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else "open to read"
        fd = int(self.step(name, ours, lambda: original(path, flags, *args, **named)))
        self._fds[fd] = ours
        return fd

    def _open_file(self, file: Any, mode: str = "r", *args: Any, **named: Any) -> Any:
        original = self._originals["io.open"]
        ours = None if self._inside else self._of_store(file)
        if ours is None:
            return original(file, mode, *args, **named)
        if "b" not in mode:
            raise AssertionError(f"{file} is opened as text")
        if isinstance(file, int):
            raw = self._do(lambda: original(file, mode, buffering=0))
        else:
            name = "open to read" if mode == "rb" else "open"
            raw = self.step(name, ours, lambda: original(file, mode, buffering=0))
        return WatchedFile(self, raw, ours)

    def _flock(self, fd: Any, operation: int) -> None:
        number = fd if isinstance(fd, int) else fd.fileno()
        ours = None if self._inside else self._fds.get(number)
        original = self._originals["flock"]
        if ours is None:
            original(fd, operation)
        else:
            self.step("flock", ours, lambda: original(fd, operation))

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._inside or not event.startswith(("open", "os.", "shutil.", "fcntl.")) or not arguments:
            return
        path = arguments[0]
        if isinstance(path, str | bytes | os.PathLike) and self._of_store(path) is not None:
            self.past.append(f"{event} {os.fsdecode(path)}")


class WatchedFile:
    """A file object, as PyArrow and the standard library know them, whose every call is an operation. Unbuffered."""

    def __init__(self, operations: Operations, raw: Any, path: str) -> None:
        self._operations = operations
        self._raw = raw
        self._path = path

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._operations.step(
            "write", self._path, lambda: self._write_all(view), partial=lambda: self._write_all(view[: len(view) // 2])
        )
        return len(view)

    def _write_all(self, view: memoryview) -> None:
        while view:
            written = self._raw.write(view)
            self._operations.written_bytes_count += written
            view = view[written:]

    def read(self, size: int | None = -1) -> bytes:
        size = -1 if size is None else size
        return bytes(self._operations.step("read", self._path, lambda: self._read(size)))

    def _read(self, size: int) -> bytes:
        if size < 0:
            return bytes(self._raw.readall())
        blocks: list[bytes] = []
        while size and (block := self._raw.read(size)):
            blocks.append(block)
            size -= len(block)
        return b"".join(blocks)

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        return int(self._operations.step("read", self._path, lambda: self._raw.readinto(buffer)))

    def close(self) -> None:
        if not self._raw.closed:
            self._operations._fds.pop(self._raw.fileno(), None)
            self._operations.step("close", self._path, self._raw.close)

    def flush(self) -> None:
        self._raw.flush()

    def __enter__(self) -> WatchedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        if name in ("fileno", "seek", "tell", "closed", "readable", "writable", "seekable", "mode", "name", "isatty"):
            return getattr(self._raw, name)
        raise AttributeError(name)

    def __iter__(self) -> NoReturn:
        raise AssertionError("nothing in a store is read by lines")
