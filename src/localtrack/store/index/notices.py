"""Reads the inbox: which runs somebody was about to change, and which of them he is done with. FORMAT.md section 10."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from localtrack.format.jsonlines import decode_json
from localtrack.format.lines import INBOX


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
                self.has_ended = True
                self.opened.clear()
            elif kind == INBOX and type(first) is dict:
                self.header = first
            self.is_damaged |= is_after_torn_line
        self.offset += end
        return touched

    def forget_until(self, offset: int) -> None:
        """Drop what a segment covers."""
        self.recent = [(end, run_id) for end, run_id in self.recent if end > offset]
