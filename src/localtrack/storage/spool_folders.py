"""Folders on a disk of this machine in which things wait for their store.

A *spool* is a folder on a disk of this machine; in it lies, for each destination and user, a *spooled store*: a store
by FORMAT.md like any other, of which `store.spooling` makes one with the destination's.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from dataclasses import dataclass
from typing import Any, Final

from localtrack.errors import ErrorCode, FormatError, StorageError
from localtrack.storage.failures import absolute_path, mapped_errors, show_path
from localtrack.storage.local import LocalStorage

SPOOL_FILE: Final = "spool.json"
STORE_FOLDER: Final = "store"
LOCK_FILE: Final = "drain.lock"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Spool:
    """The part of a spool that is for one destination, of one user."""

    path: str
    destination: str
    """Path or URL of the store that it is for."""
    store_id: str = ""
    """The id of the destination's store, once it has been seen."""

    @property
    def storage(self) -> LocalStorage:
        """Where the spooled store lies."""
        return LocalStorage(os.path.join(self.path, STORE_FOLDER))

    @property
    def lock_path(self) -> str:
        """The lock of whoever moves its files."""
        return os.path.join(self.path, LOCK_FILE)


def default_spool_root() -> str:
    """Return where things are spooled that nobody named a spool for: a folder of the user's in the temporary one."""
    return os.path.join(tempfile.gettempdir(), f"localtrack-spool-{os.getuid() if hasattr(os, 'getuid') else 0}")


def ensure_default_root() -> str:
    """Make the folder of `default_spool_root`, for this user alone.

    Raises:
        StorageError: Somebody else has made it.
    """
    root = default_spool_root()
    with mapped_errors(f"Making the spool {show_path(root)}"):
        os.makedirs(root, mode=0o700, exist_ok=True)
        # Anybody may make folders there: what is spooled must not land in one of somebody else's.
        status = os.lstat(root)
    is_own = stat.S_ISDIR(status.st_mode) and (not hasattr(os, "getuid") or status.st_uid == os.getuid())
    if not is_own:
        raise StorageError(f"{root} belongs to somebody else.", hint="Name another spool: LOCALTRACK_SPOOL.")
    return root


def ensure_spool(root: str, destination: str) -> Spool:
    """Return the spool for a destination below a folder, making it if there is none.

    Raises:
        StorageError: It cannot be made.
    """
    root = absolute_path(os.path.expanduser(root))
    # By user: what one user spools another one may be unable to read or remove.
    name = f"{hashlib.sha256(destination.encode()).hexdigest()[:16]}-{os.getuid() if hasattr(os, 'getuid') else 0}"
    path = os.path.join(root, name)
    with mapped_errors(f"Making the spool {show_path(path)}"):
        os.makedirs(os.path.join(path, STORE_FOLDER), exist_ok=True)
    storage = LocalStorage(path)
    if not storage.write_new(SPOOL_FILE, _encode(destination, "")):
        return read_spool(path)
    return Spool(path, destination)


def read_spool(path: str) -> Spool:
    """Return the spool in a folder.

    Raises:
        FormatError: `spool.json` is not what it must be.
        FileNotFoundError: There is none.
    """
    data = LocalStorage(path).read(SPOOL_FILE)
    try:
        record: Any = json.loads(data)
    except ValueError:
        record = None
    if not isinstance(record, dict) or not isinstance(record.get("destination"), str):
        raise FormatError(f"{show_path(path)}/{SPOOL_FILE} does not say where its runs belong.")
    if record.get("format") != FORMAT:
        raise FormatError(
            f"{show_path(path)} was written by a newer version of localtrack.",
            code=ErrorCode.NEWER_FORMAT,
            hint="Update localtrack.",
        )
    store_id = record.get("store", "")
    return Spool(path, record["destination"], store_id if isinstance(store_id, str) else "")


def list_spools(root: str) -> list[Spool]:
    """Return the spools below a folder, by path; nothing if it is not there."""
    root = absolute_path(os.path.expanduser(root))
    found: list[Spool] = []
    for entry in sorted(LocalStorage(root).entries("")):
        path = os.path.join(root, entry.name)
        if entry.is_folder and os.path.isfile(os.path.join(path, SPOOL_FILE)):
            found.append(read_spool(path))
    return found


def confirm_store(spool: Spool, store_id: str) -> Spool:
    """Remember which store the destination holds: a folder without it is then a drive that is away."""
    if spool.store_id != store_id:
        LocalStorage(spool.path).write(SPOOL_FILE, _encode(spool.destination, store_id))
    return Spool(spool.path, spool.destination, store_id)


def _encode(destination: str, store_id: str) -> bytes:
    record = {"destination": destination, "format": FORMAT, "store": store_id}
    return json.dumps(record, sort_keys=True, ensure_ascii=False).encode() + b"\n"
