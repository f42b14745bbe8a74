"""A git repository read from its files: commit, branch and remote, without running git.

Work trees and submodules (where `.git` is a file), packed refs, detached heads and SHA-256 repositories are understood.
A repository with reftables keeps no refs in files that could be read cheaply: it gives no commit.

Source: gitrepository-layout(5), gitformat-pack(5) for packed-refs, git-config(1) "CONFIGURATION FILE".
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from localtrack.redaction import without_credentials

# HEAD, `.git` files and loose refs are a line; a config of this size is no config.
_MAX_LINE_FILE_BYTES: Final = 4096
_MAX_CONFIG_BYTES: Final = 1 << 20
_MAX_PACKED_REFS_BYTES: Final = 1 << 26
_MAX_SYMBOLIC_DEPTH: Final = 5
_HASH_LENGTHS: Final = (40, 64)
_HEADS: Final = "refs/heads/"
# Refs that every work tree has for itself; all others are shared.
_PER_WORKTREE: Final = ("refs/bisect/", "refs/worktree/", "refs/rewritten/")


class Repository(NamedTuple):
    """Where a repository lies."""

    worktree: str
    git_dir: str
    """Holds HEAD. Of a linked work tree it lies inside of `common_dir`."""
    common_dir: str
    """Holds refs and config."""


class Head(NamedTuple):
    """What is checked out."""

    commit: str
    branch: str | None
    """None while no branch is checked out."""


def find_repository(folder: str) -> Repository | None:
    """Return the repository that a folder lies in, or None.

    Like git it looks no further up than the file system of `folder`: above a mount point, asking for a name may wake an
    automounter.
    """
    folder = os.path.realpath(folder)
    try:
        device = os.stat(folder).st_dev
    except OSError:
        return None
    while True:
        repository = _repository_at(folder)
        if repository is not None:
            return repository
        parent = os.path.dirname(folder)
        if parent == folder or os.stat(parent).st_dev != device:
            return None
        folder = parent


def read_head(repository: Repository) -> Head | None:
    """Return what is checked out, or None before the first commit and where it cannot be read."""
    text = _read_line(os.path.join(repository.git_dir, "HEAD"))
    branch = None
    for _ in range(_MAX_SYMBOLIC_DEPTH):
        if text is None:
            return None
        if not text.startswith("ref:"):
            return Head(text, branch) if _is_hash(text) else None
        ref = text[len("ref:") :].strip()
        if branch is None and ref.startswith(_HEADS):
            branch = ref[len(_HEADS) :]
        text = _read_ref(repository, ref)
    return None


def read_remote_url(repository: Repository) -> str | None:
    """Return the URL of the first remote, as MLflow does, without credentials; None where there is none."""
    text = _read_text(os.path.join(repository.common_dir, "config"), _MAX_CONFIG_BYTES)
    in_remote = False
    for line in _logical_lines(text or ""):
        if line.startswith("["):
            in_remote = line[1:].lstrip().lower().startswith("remote ")
            line = line.partition("]")[2].strip()
        name, equals, value = line.partition("=")
        if in_remote and equals and name.strip().lower() == "url":
            url = _config_value(value)
            return without_credentials(url) if url else None
    return None


def _repository_at(folder: str) -> Repository | None:
    git = os.path.join(folder, ".git")
    if os.path.isdir(git):
        git_dir = git
    else:
        line = _read_line(git)
        if line is None or not line.startswith("gitdir:"):
            return None
        git_dir = os.path.normpath(os.path.join(folder, line[len("gitdir:") :].strip()))
    if not os.path.exists(os.path.join(git_dir, "HEAD")):
        return None
    common = _read_line(os.path.join(git_dir, "commondir"))
    return Repository(folder, git_dir, os.path.normpath(os.path.join(git_dir, common)) if common else git_dir)


def _read_ref(repository: Repository, ref: str) -> str | None:
    # HEAD is a file like any other: a name that climbs out would have us read anything on the disk.
    if not ref.startswith("refs/") or ".." in ref or "\\" in ref or "\0" in ref:
        return None
    folder = repository.git_dir if ref.startswith(_PER_WORKTREE) else repository.common_dir
    return _read_line(os.path.join(folder, *ref.split("/"))) or _read_packed_ref(repository.common_dir, ref)


def _read_packed_ref(common_dir: str, ref: str) -> str | None:
    packed = _read_bytes(os.path.join(common_dir, "packed-refs"), _MAX_PACKED_REFS_BYTES)
    if packed is None:
        return None
    end = packed.find(b" " + os.fsencode(ref) + b"\n")
    if end < 0:
        return None
    start = packed.rfind(b"\n", 0, end) + 1
    return packed[start:end].decode("ascii", "replace")


def _is_hash(text: str) -> bool:
    return len(text) in _HASH_LENGTHS and all(c in "0123456789abcdef" for c in text)


def _logical_lines(text: str) -> list[str]:
    lines = text.replace("\r\n", "\n").replace("\\\n", "").split("\n")
    return [line.strip() for line in lines]


def _config_value(text: str) -> str:
    """Undo quotes and escapes, and cut a comment off."""
    kept: list[str] = []
    quoted = escaped = False
    for char in text.strip():
        if escaped:
            kept.append({"n": "\n", "t": "\t", "b": "\b"}.get(char, char))
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char in "#;" and not quoted:
            break
        else:
            kept.append(char)
    return "".join(kept).strip()


def _read_line(path: str) -> str | None:
    text = _read_text(path, _MAX_LINE_FILE_BYTES)
    return text.strip() or None if text is not None else None


def _read_text(path: str, max_bytes: int) -> str | None:
    data = _read_bytes(path, max_bytes)
    return None if data is None else data.decode("utf-8", "surrogateescape")


def _read_bytes(path: str, max_bytes: int) -> bytes | None:
    """Return what a file holds; None where it cannot be read, is no regular file (a FIFO would block) or is larger."""
    try:
        if not os.path.isfile(path):
            return None
        with open(path, "rb", buffering=0) as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError):
        return None
    return data if data is not None and len(data) <= max_bytes else None
