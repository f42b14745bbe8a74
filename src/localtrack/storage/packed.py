"""A store's run folders as they are, whether their files lie there or in packs. FORMAT.md section 19."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, TypeVar

from localtrack import reporting
from localtrack.errors import FormatError, StorageError
from localtrack.format.layout import PACKS, RUNS, is_pack_name
from localtrack.storage.base import Appender, Entry, Storage, StreamFile
from localtrack.storage.capabilities import Capabilities
from localtrack.storage.failures import is_forbidden, is_no_file

if TYPE_CHECKING:
    from localtrack.format.packs import PackMember

_LOOK_S: Final = 30.0
"""Where a look is a request, so long it holds."""
_BELOW_RUNS: Final = f"{RUNS}/"

_T = TypeVar("_T")


class Pack(NamedTuple):
    """What is known of one pack."""

    name: str
    members: tuple[PackMember, ...]
    mtime_ms: int
    problem: str = ""
    """Why its directory cannot be read; then it has no members here."""


class _Directory(NamedTuple):
    """What all packs hold, by where it lay."""

    packs: dict[str, Pack]
    folders: dict[str, dict[str, tuple[str, PackMember]]]
    """Per run folder and name the pack and the member, the longest of several."""
    days: dict[str, dict[str, int]]
    """Per day folder the names of run folders, and when a pack with them last came."""


class PackedStorage:
    """Passes everything on, and adds what lies in packs to what lies in run folders. Of two copies the longer counts.

    Args:
        inner: Where things lie.
        listed: Where packs lie, if not there.

    Concurrency: packs are named by their content and never change, so what was read of one once stays true. Which ones
    there are is looked up after each look at a folder: a file that goes from a folder into a pack is in the pack first.
    """

    def __init__(self, inner: Storage, *, listed: Storage | None = None) -> None:
        self.inner = inner
        self._listed = listed or inner  # where packs are listed and read: a view may see nothing beside the runs
        self.uri = inner.uri
        self.can_append = inner.can_append
        self.is_local = inner.is_local
        self._directory = _Directory({}, {}, {})
        self._looked_s = -math.inf
        self._is_listing_cheap = inner.can_append

    # -- packs

    def packs(self) -> dict[str, Pack]:
        """Return the packs there are now, by name."""
        self.refresh()
        return dict(self._directory.packs)

    def problems(self) -> dict[str, str]:
        """Return per pack whose directory cannot be read why that is so."""
        self._look()
        return {pack.name: pack.problem for pack in self._directory.packs.values() if pack.problem}

    def members_of(self, folder: str) -> dict[str, tuple[str, PackMember]]:
        """Return pack and member by the name of the file, for what packs hold of a run folder."""
        self.refresh()
        return dict(self._directory.folders.get(folder, {}))

    def packed_folders(self) -> Mapping[str, Mapping[str, tuple[str, PackMember]]]:
        """Return the same of all run folders of which packs hold something."""
        self.refresh()
        return self._directory.folders

    def read_packed(self, pack: str, member: PackMember) -> tuple[bytes, bool]:
        """Return the bytes of a file in a pack, and whether they are what was packed."""
        from localtrack.format.packs import read_member

        with self._listed.open(f"{PACKS}/{pack}") as file:
            return read_member(file, member)

    def refresh(self) -> bool:
        """Take note of packs that came or went; return whether any did."""
        self._looked_s = time.monotonic()
        names = {name for name in self._listed.names(PACKS) if is_pack_name(name)}
        known = self._directory.packs
        if names == known.keys():
            return False
        found = {name: pack for name in sorted(names) if (pack := known.get(name) or self._load(name)) is not None}
        directory = _Directory(found, {}, {})
        for pack in found.values():
            for member in pack.members:
                files = directory.folders.setdefault(member.folder, {})
                if member.name not in files or files[member.name][1].size < member.size:
                    files[member.name] = pack.name, member
                day, _, run = member.folder.rpartition("/")
                runs = directory.days.setdefault(day, {})
                runs[run] = max(runs.get(run, 0), pack.mtime_ms)
        self._directory = directory  # at once, for other threads
        return found.keys() != known.keys()

    def _look(self) -> None:
        """Refresh where that is cheap. A look is a request on an object store, where nobody packs: there one does."""
        if self._is_listing_cheap or time.monotonic() - self._looked_s > _LOOK_S:
            self.refresh()

    def _load(self, name: str) -> Pack | None:
        from localtrack.format.packs import read_members  # zipfile, which most stores have no use for

        key = f"{PACKS}/{name}"
        entry = self._listed.stat(key)
        if entry is None:
            return None
        try:
            with self._listed.open(key) as file:
                return Pack(name, tuple(read_members(file)), entry.mtime_ms)
        except FileNotFoundError:
            return None  # written anew since it was listed
        except (FormatError, StorageError) as error:
            if isinstance(error, StorageError) and not is_forbidden(error) and not is_no_file(error):
                raise
            reporting.warn("the runs in %s are missing from all answers: %s", self._listed.path(key), error)
            return Pack(name, (), entry.mtime_ms, str(error))

    def _member(self, key: str) -> tuple[str, PackMember] | None:
        folder, _, name = key.rpartition("/")
        return self._directory.folders.get(folder, {}).get(name)

    def _longest(self, key: str, loose_size: int | None) -> tuple[str, PackMember] | None:
        """Return the packed copy of a file if it counts, given the size of that in the folder."""
        found = self._member(key)
        if found is None and loose_size is None:
            self._look()
            found = self._member(key)
        return found if found is not None and (loose_size is None or found[1].size > loose_size) else None

    # -- reading

    def read(self, key: str) -> bytes:
        """See `Storage.read`."""
        if not key.startswith(_BELOW_RUNS):
            return self.inner.read(key)
        loose = _unless_missing(lambda: self.inner.read(key))
        packed = self._read_longest(key, None if loose is None else len(loose))
        if packed is not None:
            return packed
        if loose is None:
            raise FileNotFoundError(key)
        return loose

    def _read_longest(self, key: str, loose_size: int | None) -> bytes | None:
        for _ in range(2):
            found = self._longest(key, loose_size)
            if found is None:
                return None
            data = _unless_missing(lambda found=found: self.read_packed(*found))  # type: ignore[misc]
            if data is not None:
                return data[0]
            self.refresh()  # the pack was written anew under another name
        return None

    def look(self, keys: Sequence[str]) -> list[tuple[int, int] | None]:
        """See `Storage.look`."""
        found = self.inner.look(keys)
        if not self._directory.packs and None not in found:
            return found
        for place, key in enumerate(keys):
            if (found[place] is None or self._directory.packs) and (entry := self.stat(key)) is not None:
                found[place] = entry.mtime_ms, entry.size
        return found

    def read_from(self, key: str, offset: int) -> bytes:
        """See `Storage.read_from`."""
        if not self._directory.packs or not key.startswith(_BELOW_RUNS) or self._member(key) is None:
            try:
                return self.inner.read_from(key, offset)
            except FileNotFoundError:
                pass  # it may have gone into a pack
        return self.read(key)[offset:]

    def open(self, key: str) -> BinaryIO:
        """See `Storage.open`."""
        if key.startswith(_BELOW_RUNS):
            entry = self.inner.stat(key) if self._member(key) is not None else None
            loose = None if entry is not None else _unless_missing(lambda: self.inner.open(key))
            if loose is not None:
                return loose
            packed = self._read_longest(key, None if entry is None else entry.size)
            if packed is not None:
                return io.BytesIO(packed)
        return self.inner.open(key)

    def exists(self, key: str) -> bool:
        """See `Storage.exists`."""
        if self.inner.exists(key):
            return True
        if not key.startswith(_BELOW_RUNS):
            return False
        self._look()
        return self._packed_entry(key) is not None

    def stat(self, key: str) -> Entry | None:
        """See `Storage.stat`."""
        loose = self.inner.stat(key)
        if not key.startswith(_BELOW_RUNS) or (loose is not None and not self._directory.packs):
            return loose
        if loose is None:
            self._look()
        packed = self._packed_entry(key)
        if packed is None or loose is None:
            return loose or packed
        return max(loose, packed, key=lambda entry: (entry.size, entry.mtime_ms))

    def _packed_entry(self, key: str) -> Entry | None:
        """Return what packs say of a day, a run folder, or a file in one."""
        directory, name = self._directory, key.rpartition("/")[2]
        if key in directory.days:
            return Entry(name, True, 0, max(directory.days[key].values()))
        if key in directory.folders:
            return Entry(name, True, 0, directory.days[key.rpartition("/")[0]][name])
        found = self._member(key)
        return None if found is None else Entry(name, False, found[1].size, found[1].mtime_ms)

    def entries(self, key: str) -> list[Entry]:
        """See `Storage.entries`."""
        found = self.inner.entries(key)
        if key == RUNS or key.startswith(_BELOW_RUNS):
            self._look()
            if self._directory.packs:
                return self._with_packed(key, found)
        elif not key and not any(entry.name == RUNS for entry in found) and self.names(RUNS):
            found = [*found, Entry(RUNS, True, 0, 0)]
        return found

    def _with_packed(self, key: str, found: list[Entry]) -> list[Entry]:
        by_name = {entry.name: entry for entry in found}
        for name in self._packed_names(key):
            packed = self._packed_entry(f"{key}/{name}")
            loose = by_name.get(name)
            if packed is not None and (loose is None or (not packed.is_folder and packed.size > loose.size)):
                by_name[name] = packed
        return list(by_name.values())

    def names(self, key: str) -> list[str]:
        """See `Storage.names`."""
        found = self.inner.names(key)
        if key != RUNS and not key.startswith(_BELOW_RUNS):
            return found
        self._look()
        if not self._directory.packs:
            return found
        there = set(found)
        return found + [name for name in self._packed_names(key) if name not in there]

    def _packed_names(self, key: str) -> list[str]:
        directory = self._directory
        if key == RUNS:
            return [day.rpartition("/")[2] for day in directory.days]
        return list(directory.days.get(key) or directory.folders.get(key) or ())

    def make_durable(self, key: str) -> None:
        """See `Storage.make_durable`. What lies in a pack is durable."""
        if self._member(key) is None or self.inner.exists(key):
            self.inner.make_durable(key)

    def view(self, key: str) -> Storage:
        """See `Storage.view`. What packs hold is part of it."""
        inner = self.inner.view(key)
        if inner is self.inner:
            return self
        self._look()
        seen = PackedStorage(inner, listed=self.inner)
        seen._directory, seen._looked_s, seen._is_listing_cheap = self._directory, math.inf, False
        return seen

    def load(self, folders: Sequence[str]) -> None:
        """See `Storage.load`."""
        self.inner.load(folders)

    # -- passed on

    @property
    def capabilities(self) -> Capabilities:
        """See `Storage.capabilities`."""
        return self.inner.capabilities

    @property
    def can_watch(self) -> bool:
        """See `Storage.can_watch`. A pack that comes is none of the files that are part of its runs then."""
        return self.inner.can_watch and not self._directory.packs

    def path(self, key: str) -> str:
        """See `Storage.path`. Nothing need be there for what lies in a pack."""
        return self.inner.path(key)

    def is_log_locked(self, key: str) -> bool | None:
        """See `Storage.is_log_locked`."""
        return self.inner.is_log_locked(key)

    def make_folder(self, key: str) -> None:
        """See `Storage.make_folder`."""
        self.inner.make_folder(key)

    def write(self, key: str, data: bytes) -> None:
        """See `Storage.write`."""
        self.inner.write(key, data)

    def write_new(self, key: str, data: bytes) -> bool:
        """See `Storage.write_new`."""
        return self.inner.write_new(key, data)

    def write_stream(self, folder: str) -> StreamFile:
        """See `Storage.write_stream`."""
        return self.inner.write_stream(folder)

    def create_log(self, key: str, lock: Lock, *, in_new_folder: bool = False) -> Appender:
        """See `Storage.create_log`."""
        return self.inner.create_log(key, lock, in_new_folder=in_new_folder)

    def remove(self, key: str) -> None:
        """See `Storage.remove`. What lies in a pack stays: whoever removes a run has its pack written anew."""
        self.inner.remove(key)

    def remove_folder(self, key: str) -> bool:
        """See `Storage.remove_folder`."""
        return self.inner.remove_folder(key)


def _unless_missing(read: Callable[[], _T]) -> _T | None:
    try:
        return read()
    except FileNotFoundError:
        return None
