"""Reads the inbox: which runs somebody was about to change, and which of them he is done with. FORMAT.md section 10."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from localtrack.format.jsonlines import decode_json
from localtrack.format.layout import INBOX as INBOX_FOLDER
from localtrack.format.layout import parse_run_file
from localtrack.format.lines import INBOX
from localtrack.storage.base import Storage
from localtrack.store.logparts import count_parts, gather_logs


class InboxListing(NamedTuple):
    """What is in the inbox."""

    names: set[str]
    sizes: dict[str, int]
    """Of the files of notices, the parts of one taken together."""
    parts: dict[str, int]
    """How many parts there are of those that are in parts."""


@dataclass(slots=True)
class InboxFile:
    """The notices of one process, as far as they were read."""

    offset: int = 0
    opened: Counter[str] = field(default_factory=Counter)
    """How often each run was opened and not closed since."""
    recent: list[tuple[int, str]] = field(default_factory=list)
    """Where each notice ends, and the run that it is about."""
    header: dict[str, Any] | None = None
    has_ended: bool = False
    """The process said goodbye."""
    is_complete: bool = False
    """The goodbye was read: nothing follows."""
    is_damaged: bool = False
    """A notice may be missing."""

    def feed(self, data: bytes) -> list[str]:
        """Take what was appended and return the runs that it is about, in order. A part of a line waits for its end."""
        touched: list[str] = []
        end = data.rfind(b"\n") + 1
        offset = self.offset
        is_after_torn_line = False
        for line in data[:end].split(b"\n")[:-1]:
            offset += len(line) + 1
            try:
                record = decode_json(line)
                kind, first = record[0], record[1]
            except (ValueError, TypeError, LookupError):
                # Torn, as the next line will say: the notice was refused, and what it announced did not happen.
                is_after_torn_line = True
                continue
            if kind == "torn":
                is_after_torn_line = False
            elif kind in ("open", "close") and type(first) is str:
                self.opened[first] += 1 if kind == "open" else -1
                if self.opened[first] <= 0:
                    del self.opened[first]
                self.recent.append((offset, first))
                touched.append(first)
            elif kind == "bye":
                self.has_ended = self.is_complete = True
                self.opened.clear()
            elif kind == INBOX and type(first) is dict:
                self.header = first
            self.is_damaged |= is_after_torn_line
        self.offset += end
        return touched

    def forget_until(self, offset: int) -> None:
        """Drop what a segment covers."""
        self.recent = [(end, run_id) for end, run_id in self.recent if end > offset]


def list_inbox(storage: Storage, files: Mapping[str, InboxFile]) -> InboxListing:
    """Return what is in the inbox now. Where each file is looked at for itself, a complete one is not looked at again.

    Args:
        storage: The store's bytes.
        files: What is known of the files.
    """
    if storage.can_append and storage.is_local:
        names = set(storage.names(INBOX_FOLDER))
        sizes = {name: files[name].offset for name in names & files.keys() if files[name].is_complete}
        others = [name for name in names - sizes.keys() if name in files or parse_run_file(name) is not None]
        if not any(".part" in name for name in names):  # as in a copy of a store from a medium that keeps logs in parts
            seen = storage.look([f"{INBOX_FOLDER}/{name}" for name in others])
            sizes |= {name: found[1] for name, found in zip(others, seen, strict=True) if found is not None}
            return InboxListing(names, sizes, {})
    entries = storage.entries(INBOX_FOLDER)
    return InboxListing({entry.name for entry in entries}, gather_logs(entries), count_parts(entries))
