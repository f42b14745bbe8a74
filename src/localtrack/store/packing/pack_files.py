"""Writes packs, and writes them anew without some runs. A pack is durable before anything that it holds goes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from localtrack.errors import FormatError
from localtrack.format.layout import PACKS
from localtrack.format.packs import PackMember, read_members, write_pack
from localtrack.storage.packed import Pack, PackedStorage

MAX_PACK_BYTES: Final = 64 * 1024 * 1024
"""So much of what is packed goes into one: it is in memory while it is written."""
MAX_MEMBERS_COUNT: Final = 50_000
"""ZIP without extensions counts to 65,535."""


class PackedFile(NamedTuple):
    """A file on its way into a pack."""

    key: str
    data: bytes
    mtime_ms: int


def put_pack(packs: PackedStorage, files: Iterable[PackedFile]) -> tuple[str, int]:
    """Write a pack, look whether it can be read, and return its name and size.

    Raises:
        FormatError: What was written does not read as it should; nothing is in place.

    Durability: durable on return.
    """
    ordered, buffer = sorted(files), io.BytesIO()
    expected = {file.key: len(file.data) for file in ordered}
    write_pack(buffer, ordered)
    data = buffer.getvalue()
    found = {member.key: member.size for member in read_members(buffer)}
    if found != expected:
        raise FormatError(f"A pack of {len(expected)} files was written with {len(found)}.")
    name = f"{hashlib.sha256(data).hexdigest()}.zip"
    stream = packs.write_stream(PACKS)
    try:
        stream.sink.write(data)
        stream.commit(f"{PACKS}/{name}")
    finally:
        stream.discard()
    return name, len(data)


def files_of(packs: PackedStorage, pack: Pack, *, without: set[str]) -> Iterator[PackedFile]:
    """Yield the files of a pack but for those of some run folders.

    Raises:
        FormatError: One of them is damaged.
    """
    for member in pack.members:
        if member.folder not in without:
            yield read_sound(packs, pack.name, member)


def read_sound(packs: PackedStorage, name: str, member: PackMember) -> PackedFile:
    """Return a file in a pack.

    Raises:
        FormatError: It is damaged.
    """
    data, is_sound = packs.read_packed(name, member)
    if not is_sound:
        raise FormatError(f"{member.key} in {PACKS}/{name} is damaged.", hint="See `localtrack check --repair`.")
    return PackedFile(member.key, data, member.mtime_ms)


def write_anew(packs: PackedStorage, name: str, *, without: set[str]) -> None:
    """Replace a pack by one that does not hold some run folders; remove it if it holds no others.

    Raises:
        FormatError: Another run in it is damaged; the pack stays.

    Durability: the new pack is durable before the old one goes.
    """
    rest = list(files_of(packs, packs.packs()[name], without=without))
    kept_name = put_pack(packs, rest)[0] if rest else ""
    if kept_name != name:
        packs.remove(f"{PACKS}/{name}")


def drop_folders(packs: PackedStorage, folders: set[str]) -> int:
    """Write every pack anew that holds any of these run folders; return how many that were."""
    touched = [pack.name for pack in packs.packs().values() if any(m.folder in folders for m in pack.members)]
    for name in touched:
        write_anew(packs, name, without=folders)
    return len(touched)
