"""Notices at a destination of what a spool brings there. FORMAT.md section 10."""

from __future__ import annotations

from typing import Any

from localtrack.format.headers import encode_header
from localtrack.format.jsonlines import encode_record
from localtrack.format.layout import inbox_key, part_name
from localtrack.format.lines import INBOX as INBOX_HEADER
from localtrack.storage.base import Storage
from localtrack.store.folder_reading import FolderReading
from localtrack.store.run_reading import RunReading
from localtrack.store.site import new_writer_id, this_writer, wall_clock_ms


class SpoolNotices:
    """The mover's inbox log at the destination: few lines, put whole, so that no other thread waits for a drive."""

    def __init__(self, back: Storage) -> None:
        self._back = back
        self._key = ""
        self._lines: list[bytes] = []
        self._said: set[str] = set()

    def notice_open(self, run_id: str, experiment_id: str) -> None:
        """Say that a run is about to change there; once is enough."""
        if run_id not in self._said:
            self._add(["open", run_id, experiment_id])
            self._said.add(run_id)

    def end(self) -> None:
        """Say goodbye, if anything was said."""
        if self._lines:
            self._add(["bye", 0])
            self._key, self._lines, self._said = "", [], set()

    def _add(self, record: list[Any]) -> None:
        lines = [encode_record(record)]
        if not self._lines:
            writer, now_ms = new_writer_id(), wall_clock_ms()
            self._key = inbox_key(writer)
            header = encode_header(
                INBOX_HEADER, this_writer(), writer=writer, base_ms=now_ms, stamp=now_ms, flock=False
            )
            lines.insert(0, header)
        if self._back.can_append:
            self._back.write(self._key, b"".join([*self._lines, *lines]))
        else:
            self._back.write(part_name(self._key, len(self._lines)), b"".join(lines))
        self._lines.append(b"".join(lines))


class RunNotice:
    """Tells the destination's index that one run changes, before it does."""

    def __init__(self, notices: SpoolNotices, reading: FolderReading[Any, Any]) -> None:
        self._notices = notices
        self._reading = reading

    def __call__(self) -> None:
        """Tell it, if it was not told yet."""
        if isinstance(self._reading, RunReading) and self._reading.has_logs:
            state = self._reading.state
            self._notices.notice_open(state.run_id, state.experiment_id)
