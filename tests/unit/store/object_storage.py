"""A `Storage` in memory that behaves as an object store: folders are what names have in common, and nothing more."""

from __future__ import annotations

import io
from typing import BinaryIO

from localtrack.storage.base import Entry


class _Upload:
    def __init__(self, objects: dict[str, bytes], folder: str) -> None:
        self.sink: BinaryIO = io.BytesIO()
        self._objects, self._folder = objects, folder

    def commit(self, key: str) -> None:
        assert key.rpartition("/")[0] == self._folder
        self._objects[key] = self.sink.getvalue()  # type: ignore[attr-defined]

    def discard(self) -> None:
        pass


class ObjectStorage:
    """The part of `Storage` that artifacts use."""

    can_append = False
    is_local = False

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def path(self, key: str) -> str:
        return f"memory://{key}"

    def open(self, key: str) -> BinaryIO:
        if key not in self.objects:
            raise FileNotFoundError(key)
        return io.BytesIO(self.objects[key])

    def entries(self, key: str) -> list[Entry]:
        found: dict[str, Entry] = {}
        for name, data in self.objects.items():
            if name.startswith(f"{key}/"):
                first, _, rest = name[len(key) + 1 :].partition("/")
                found[first] = Entry(first, bool(rest), 0 if rest else len(data), 0)
        return list(found.values())

    def write_stream(self, folder: str) -> _Upload:
        return _Upload(self.objects, folder)
