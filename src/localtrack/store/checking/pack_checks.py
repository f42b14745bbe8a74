"""Looks at packs: whether each is what its name says, and whether two copies of a file contradict each other."""

from __future__ import annotations

import hashlib
from typing import Final

from localtrack.errors import ErrorCode
from localtrack.format.layout import PACKS, TEMPORARY_PREFIX, is_pack_name
from localtrack.format.packs import PackMember
from localtrack.storage.packed import PackedStorage
from localtrack.store.checking.report import Findings

_COPY_BYTES: Final = 1024 * 1024


def check_packs(packs: PackedStorage, findings: Findings) -> set[str]:
    """Look at all packs, and return the run folders of which a damaged one holds something."""
    damaged: set[str] = set()
    for entry in packs.inner.entries(PACKS):
        key = f"{PACKS}/{entry.name}"
        if not is_pack_name(entry.name) or entry.is_folder:
            if not entry.name.startswith(TEMPORARY_PREFIX):
                what, remedy = "no rule of the format gives this name; nobody reads it", "Move it out of the store."
                findings.add(key, what, "M7", severity="info", remedy=remedy)
            continue
        pack = packs.packs().get(entry.name)
        if pack is None or f"{_digest(packs, key)}.zip" == entry.name:
            continue  # sound, or written anew meanwhile
        findings.add(
            key,
            pack.problem or "its content is not what its name says",
            "M6",
            remedy="`localtrack check --repair` unpacks what can be read, and sets it aside.",
            is_repairable=True,
        )
        damaged |= {member.folder for member in pack.members}
    return damaged


def check_copies(packs: PackedStorage, findings: Findings) -> None:
    """Look whether, where a packed file lies in several places, one copy is the beginning of the other (12.2)."""
    copies: dict[str, list[tuple[str, PackMember]]] = {}
    for pack in packs.packs().values():
        for member in pack.members:
            copies.setdefault(member.key, []).append((pack.name, member))
    folders = {key.rpartition("/")[0] for key in copies}
    loose = {f"{folder}/{name}" for folder in folders for name in packs.inner.names(folder)}
    for key, packed in copies.items():
        if len(packed) == 1 and key not in loose:
            continue
        try:
            found = [packs.read_packed(*place)[0] for place in packed]
            found += [packs.inner.read(key)] if key in loose else []
        except FileNotFoundError:
            continue  # packed, unpacked or removed meanwhile
        longest = max(found, key=len)
        if any(not longest.startswith(copy) for copy in found):
            findings.add(
                key,
                "two copies of it, in its folder or in packs, contradict each other; the longer is read",
                "M1",
                remedy="Find out which one its writer wrote; a copy of the store may tell.",
                code=ErrorCode.DIVERGED,
            )


def _digest(packs: PackedStorage, key: str) -> str:
    digest = hashlib.sha256()
    with packs.inner.open(key) as file:
        while block := file.read(_COPY_BYTES):
            digest.update(block)
    return digest.hexdigest()
