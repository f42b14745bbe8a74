"""Which file system a path lies on, as the kernel tells it. Source: proc_pid_mountinfo(5)."""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

MOUNTINFO: Final = "/proc/self/mountinfo"


class Mount(NamedTuple):
    """A mounted file system."""

    point: str
    fs_type: str
    """As the kernel calls it: `ext4`, `nfs4`, `fuse.sshfs`."""
    source: str
    options: frozenset[str]
    """Those of this mount and those of the file system."""


def find_mount(path: str) -> Mount | None:
    """Return the mount that a path lies on, links followed, also if it is not there yet; None where unknown."""
    try:
        with open(MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
            mounts = parse_mountinfo(file.read())
    except OSError:  # no Linux
        return None
    return choose_mount(os.path.realpath(path), mounts)


def choose_mount(path: str, mounts: list[Mount]) -> Mount | None:
    """Return the mount of an absolute path: the innermost, and of several on one folder the last, which is on top."""
    best: Mount | None = None
    for mount in mounts:
        within = path == mount.point or path.startswith(mount.point.rstrip("/") + "/")
        if within and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def parse_mountinfo(text: str) -> list[Mount]:
    """Return the mounts in the text of `mountinfo`, in its order. Lines that do not fit are skipped."""
    mounts: list[Mount] = []
    for line in text.splitlines():
        fields, dash, rest = line.partition(" - ")
        before, behind = fields.split(" "), rest.split(" ")
        if not dash or len(before) < 6 or len(behind) < 2:
            continue
        options = before[5].split(",") + (behind[2].split(",") if len(behind) > 2 else [])
        mounts.append(Mount(_unescape(before[4]), behind[0], _unescape(behind[1]), frozenset(options)))
    return mounts


def _unescape(text: str) -> str:
    """Return a field as it was before the kernel wrote blanks, line breaks and backslashes in octal."""
    raw = re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), text.encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "surrogateescape")
