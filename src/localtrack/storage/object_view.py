"""An object store as one search sees it: listed in few requests, and read in many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from localtrack.format.layout import parse_run_file
from localtrack.storage.base import Entry
from localtrack.storage.objects import ObjectStorage

_LOADED_BYTES: Final = 256 * 1024
"""Larger objects are read one by one, when they are asked for."""


class ObjectView(ObjectStorage):
    """What lay below one key when the view was made. Everything else is passed on.

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
        folders: dict[str, dict[str, Entry]] = {base: {}}
        for key, entry in storage.find(base).items():
            folder = key.rpartition("/")[0]
            folders.setdefault(folder, {})[entry.name] = entry
            while folder != base:  # the folders above: an object store lists none
                above, _, own = folder.rpartition("/")
                siblings = folders.setdefault(above, {})
                if own in siblings:
                    break
                siblings[own] = Entry(own, True, 0, 0)
                folder = above
        self._folders = {folder: list(entries.values()) for folder, entries in folders.items()}

    def entries(self, key: str) -> list[Entry]:
        """See `Storage.entries`: as of the moment of the view."""
        if key in self._folders:
            return self._folders[key]
        return [] if key.startswith(f"{self._base}/") and key not in self._gone else super().entries(key)

    def load(self, folders: Sequence[str]) -> None:
        """See `Storage.load`."""
        wanted = [
            f"{folder}/{entry.name}"
            for folder in folders
            for entry in self._folders.get(folder, ())
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

    def _forget(self, folder: str) -> None:
        """List a folder anew from now on: something in it was sealed or removed since."""
        self._folders.pop(folder, None)
        self._gone.add(folder)


def _is_log(name: str) -> bool:
    file = parse_run_file(name)
    return file is not None and file.kind != "segment"
