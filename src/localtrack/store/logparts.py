"""Logs as whole files, whether the medium can append or keeps them in parts. FORMAT.md section 5.4."""

from __future__ import annotations

from typing import Final

from localtrack.errors import StorageError
from localtrack.format.layout import parse_run_file, part_name
from localtrack.storage.base import Entry, Storage

_TRIES: Final = 10


def list_logs(storage: Storage, folder: str) -> dict[str, int]:
    """Return the names and sizes of the logs in a folder, the parts of one taken together."""
    return gather_logs(storage.entries(folder))


def gather_logs(entries: list[Entry]) -> dict[str, int]:
    """Return the names and sizes of the logs among a folder's entries, the parts of one taken together."""
    sizes: dict[str, int] = {}
    for entry in entries:
        file = parse_run_file(entry.name)
        if file is None or entry.is_folder or file.kind == "segment":
            continue
        name = entry.name if file.part is None else entry.name.rpartition(".part")[0]
        sizes[name] = sizes.get(name, 0) + entry.size
    return sizes


def put_log(storage: Storage, key: str, data: bytes) -> None:
    """Put a copy of a log in place, where a shorter one may lie.

    Raises:
        StorageError: On a medium with parts: somebody else adds to the same copy all the time.
    """
    if storage.can_append:
        storage.write(key, data)
        return
    for _ in range(_TRIES):
        there = sum(list_parts(storage, key))
        if there >= len(data) or append_part(storage, key, data[there:], at=there):
            return
    raise StorageError(f"{storage.path(key)} grows while it is copied.", hint="Try again.")


def append_part(storage: Storage, key: str, data: bytes, *, at: int) -> bool:
    """Put a further part of a copy of a log in place, if the parts there are `at` bytes long; return whether they were.

    Concurrency: where the medium can put under a condition, of two that add the same part one succeeds; elsewhere only
        one may add to a copy at a time.
    """
    sizes = list_parts(storage, key)
    if sum(sizes) != at:
        return False
    name = part_name(key, len(sizes))
    if storage.capabilities.can_put_if_absent:
        return storage.write_new(name, data)
    storage.write(name, data)
    return True


def list_parts(storage: Storage, key: str) -> list[int]:
    """Return the sizes of the parts of a log in order, up to the first that is missing."""
    folder, _, name = key.rpartition("/")
    sizes = {entry.name: entry.size for entry in storage.entries(folder) if entry.name.startswith(f"{name}.part")}
    found: list[int] = []
    while (part := part_name(name, len(found))) in sizes:
        found.append(sizes[part])
    return found


def count_parts(entries: list[Entry]) -> dict[str, int]:
    """Return how many parts of each log a listing has: up to the highest number, as a listing may lack some."""
    counts: dict[str, int] = {}
    for entry in entries:
        file = parse_run_file(entry.name)
        if file is not None and file.part is not None:
            name = entry.name.rpartition(".part")[0]
            counts[name] = max(counts.get(name, 0), file.part + 1)
    return counts


def read_log(storage: Storage, key: str, *, parts_count: int | None = None) -> bytes:
    """Return the bytes of a log, the parts put together up to the first that is missing.

    Args:
        storage: The store's bytes.
        key: The log.
        parts_count: How many parts a listing has, where it is known: saves the request for one more.
    """
    if storage.can_append:
        try:
            return storage.read(key)
        except FileNotFoundError:
            pass  # a store that was copied here from a medium with parts
    parts: list[bytes] = []
    while parts_count is None or len(parts) < parts_count:
        try:
            parts.append(storage.read(part_name(key, len(parts))))
        except FileNotFoundError:
            break
    if not parts:
        return storage.read(key)
    return b"".join(parts)
