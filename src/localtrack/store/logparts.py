"""Logs as whole files, whether the medium can append or keeps them in parts. FORMAT.md section 5.4."""

from __future__ import annotations

from localtrack.format.layout import parse_run_file, part_name
from localtrack.storage.base import Entry, Storage


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
    """Put a copy of a log in place, where a shorter one may lie."""
    if storage.can_append:
        storage.write(key, data)
        return
    parts, there = 0, 0
    while storage.exists(part_name(key, parts)):
        there += len(storage.read(part_name(key, parts)))
        parts += 1
    storage.write(part_name(key, parts), data[there:])


def read_log(storage: Storage, key: str) -> bytes:
    """Return the bytes of a log, the parts put together up to the first that is missing."""
    if storage.can_append:
        try:
            return storage.read(key)
        except FileNotFoundError:
            pass  # a store that was copied here from a medium with parts
    parts: list[bytes] = []
    while True:
        try:
            parts.append(storage.read(part_name(key, len(parts))))
        except FileNotFoundError:
            break
    if not parts:
        return storage.read(key)
    return b"".join(parts)
