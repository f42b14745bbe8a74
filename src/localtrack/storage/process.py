"""Who this process is, as a log's header tells it, and whether another process is alive. FORMAT.md section 15."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import NamedTuple


class ProcessIdentity(NamedTuple):
    """A process on a machine since a boot. Unknown parts are empty."""

    host: str
    boot: str
    pidns: str
    pid: int
    start: str
    """Clock ticks since boot at which the process began."""


def this_process() -> ProcessIdentity:
    """Return the identity of the calling process."""
    return _identity(os.getpid())


@lru_cache(maxsize=1)
def _identity(pid: int) -> ProcessIdentity:
    return ProcessIdentity(_host(), boot_id(), pid_namespace(), pid, process_start(pid))


def _host() -> str:
    try:
        return os.uname().nodename
    except AttributeError:  # Windows has no uname
        import socket

        return socket.gethostname()


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Return what names the current boot of this machine's kernel; empty where there is no such thing."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def pid_namespace() -> str:
    """Return what names the space in which this process's pid counts; empty where unknown."""
    try:
        return os.readlink("/proc/self/ns/pid").removeprefix("pid:[").removesuffix("]")
    except OSError:
        return ""


def process_start(pid: int) -> str:
    """Return when a process began, in clock ticks since boot; empty if there is none or it cannot be known."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return ""
    # The second field is the command in parentheses and may hold anything; starttime is field 22 of proc_pid_stat(5).
    fields = stat[stat.rindex(b")") + 2 :].split()
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
