"""Packs of one store into another: whole, where most of what one holds is new there. FORMAT.md sections 14 and 19."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from localtrack.format.layout import PACKS, parse_run_file
from localtrack.storage.packed import Pack, PackedStorage
from localtrack.store.inbox import Inbox
from localtrack.store.run_reading import first_header
from localtrack.types import Finding

_COPY_BYTES: Final = 1024 * 1024


def merge_packs(
    target: PackedStorage,
    source: PackedStorage,
    inbox: Inbox,
    count_file: Callable[[int], None],
    findings: list[Finding],
) -> set[str]:
    """Copy packs whole, and return the run folders that are new in the target by that.

    A pack of which the target has most runs is not copied: what is new of it is merged run by run.

    Args:
        target: The store that grows.
        source: The store that is only read.
        inbox: Where the notices of touched runs go, before the first write.
        count_file: Told the size of each file that was copied.
        findings: What could not be copied is added.
    """
    new: set[str] = set()
    there = target.packs()
    for name, pack in source.packs().items():
        if name in there or pack.problem:
            if pack.problem:
                findings.append(Finding(f"{PACKS}/{name}", pack.problem))
            continue
        folders = {member.folder for member in pack.members}
        missing = {folder for folder in folders if not target.exists(folder)}
        if 2 * len(missing) <= len(folders):
            continue
        _notice(source, pack, inbox)
        size = _copy(target, source, name)
        if size is None:
            findings.append(Finding(f"{PACKS}/{name}", "its content is not what its name says"))
            continue
        count_file(size)
        new |= missing
    return new


def _notice(source: PackedStorage, pack: Pack, inbox: Inbox) -> None:
    noticed: set[str] = set()
    for member in pack.members:
        file = parse_run_file(member.name)
        if file is None or file.kind != "log" or member.folder in noticed:
            continue
        header = first_header(source.read_packed(pack.name, member)[0])
        if header is not None and "run" in header:
            inbox.notice_open(str(header["run"]), str(header.get("experiment_id", "")))
            noticed.add(member.folder)


def _copy(target: PackedStorage, source: PackedStorage, name: str) -> int | None:
    """Copy a pack, and return its size; None if it is not what its name says."""
    key, size, digest = f"{PACKS}/{name}", 0, hashlib.sha256()
    stream = target.write_stream(PACKS)
    try:
        with source.open(key) as from_file:
            while block := from_file.read(_COPY_BYTES):
                digest.update(block)
                stream.sink.write(block)
                size += len(block)
        if f"{digest.hexdigest()}.zip" != name:
            return None
        stream.commit(key)
    finally:
        stream.discard()
    return size
