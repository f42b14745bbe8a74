"""An object store as one search sees it: listed in few requests, and read in many at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from localtrack.format.layout import parse_run_file
from localtrack.storage.base import Entry
from localtrack.storage.objects import ObjectStorage

_LOADED_BYTES: Final = 256 * 1024
"""Larger objects are read one by one, when they are asked for."""


class ObjectView(ObjectStorage):
    """What lay below one key when the view was made. Everything else is passed on.

    An object store lists all of it in few requests. A server of files lists a folder at a time: there each is listed
    when it is first asked about, so that runs which nobody asks about take no request.

    Args:
        storage: The object store.
        base: The key; listings of folders from there on are those of one moment.
    """

    def __init__(self, storage: ObjectStorage, base: str) -> None:
        super().__init__(storage._fs, storage._root, storage.uri)
        self._cache = storage._cache
        self._base = base
        self._loaded: dict[str, bytes] = {}
        self._gone: set[str] = set()  # folders that have changed since
        self._folders: dict[str, dict[str, Entry]] = {}
        if not self.capabilities.has_folders:
            self._folders = _by_folder(storage.find(base), base)

    def entries(self, key: str) -> list[Entry]:
        """See `Storage.entries`: as of the moment of the view."""
        listing = self._listing(key)
        return list(listing.values()) if listing is not None else super().entries(key)

    def stat(self, key: str) -> Entry | None:
        """See `Storage.stat`: as of the moment of the view."""
        folder, _, name = key.rpartition("/")
        listing = self._listing(folder)
        return listing.get(name) if listing is not None else super().stat(key)

    def exists(self, key: str) -> bool:
        """See `Storage.exists`: as of the moment of the view."""
        return self.stat(key) is not None

    def load(self, folders: Sequence[str]) -> None:
        """See `Storage.load`."""
        wanted = [
            f"{folder}/{entry.name}"
            for folder in folders
            for entry in (self._listing(folder) or {}).values()
            if entry.size <= _LOADED_BYTES
            and (file := parse_run_file(entry.name)) is not None
            and file.kind != "segment"
        ]
        self._loaded = self.read_many(wanted)

    def read(self, key: str) -> bytes:
        """See `Storage.read`."""
        data = self._loaded.pop(key, None)
        if data is not None:
            return data
        try:
            return super().read(key)
        except FileNotFoundError:
            self._forget(key.rpartition("/")[0])
            raise

    def _listing(self, folder: str) -> dict[str, Entry] | None:
        """Return what a folder of the view holds, by name; None if that has to be asked each time."""
        is_inside = (folder == self._base or folder.startswith(f"{self._base}/")) and folder not in self._gone
        if not is_inside:
            return None
        if folder not in self._folders and self.capabilities.has_folders:
            self._folders[folder] = {entry.name: entry for entry in super().entries(folder)}
        return self._folders.get(folder, {})

    def _forget(self, folder: str) -> None:
        """List a folder anew from now on: something in it was sealed or removed since."""
        self._folders.pop(folder, None)
        self._gone.add(folder)


def _by_folder(found: Mapping[str, Entry], base: str) -> dict[str, dict[str, Entry]]:
    """Return what each folder holds from one flat listing, which names no folders."""
    folders: dict[str, dict[str, Entry]] = {base: {}}
    for key, entry in found.items():
        folder = key.rpartition("/")[0]
        folders.setdefault(folder, {})[entry.name] = entry
        while folder != base:
            above, _, own = folder.rpartition("/")
            siblings = folders.setdefault(above, {})
            if own in siblings:
                break
            siblings[own] = Entry(own, True, 0, 0)
            folder = above
    return folders
