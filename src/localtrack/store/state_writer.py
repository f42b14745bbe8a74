"""What this process says of a run or a logged model besides points: params, tags, status, artifacts.

FORMAT.md sections 6.2 and 6.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.format.jsonlines import encode_record
from localtrack.format.state_records import FolderState
from localtrack.store.log_files import LogFiles
from localtrack.store.site import Site
from localtrack.store.subject import Subject


class StateWriter(LogFiles):
    """Appends state records to a folder's logs. Thread-safe; the child of a fork gets logs of its own.

    Args:
        site: The store.
        subject: The run or logged model.
        known: What the other logs of it say, if it exists.
    """

    def __init__(self, site: Site, subject: Subject, known: FolderState | None = None) -> None:
        super().__init__(site, subject, stamp=known.greatest_stamp if known else 0)
        self.params: dict[str, str] = dict(known.params) if known else {}
        self.tags: dict[str, str] = dict(known.tags) if known else {}
        self.is_alone = self._is_in_new_folder = known is None

    def begin(self, *records: list[Any]) -> None:
        """Create the log and write its header and first records, in one write.

        Args:
            records: State records without their stamps: `[kind, payload]`.
        """
        with self._lock:
            self._begin_log(records)
            self._sync_if_asked()

    def set_info(self, info: Mapping[str, Any]) -> None:
        """Append an `info` record."""
        with self._lock:
            self._append_state(["info", info])
            self._sync_if_asked()

    def note_artifact(self, path: str, bytes_count: int, sha256: str) -> None:
        """Append the record of an artifact that is in place."""
        with self._lock:
            self._append_state(["artifact", {"path": path, "bytes": bytes_count, "sha256": sha256}])
            self._sync_if_asked()

    def _append_state(self, *records: list[Any]) -> None:
        if not records:
            return
        now_ms = self._clock()
        if self._log is None or self._is_paused(now_ms):
            self._prepare(now_ms, for_points=False)
        self._last_ms = now_ms
        assert self._log is not None
        data = b"".join(encode_record([kind, self._next_stamp(now_ms), payload]) for kind, payload in records)
        if self._log.file.append(data) or self._is_careful:
            self._look_at_size()

    def _new_params(self, params: Mapping[str, str]) -> dict[str, str]:
        known = self.params
        fresh: dict[str, str] = {}
        for key, value in params.items():
            old = known.get(key)
            if old is None:
                fresh[key] = value
            elif old != value:
                raise InvalidInputError(
                    f"Param {key!r} of {self.subject.noun} {self.subject.id} is {_shortened(old)!r} and cannot be "
                    f"changed to {_shortened(value)!r}.",
                    code=ErrorCode.PARAM_CHANGED,
                    hint="Changing param values is not allowed; log it under another key, or as a tag.",
                )
        return fresh

    def _remember(self, params: Mapping[str, str], tags: Mapping[str, str | None]) -> None:
        """Keep in mind what was written."""
        self.params.update(params)
        for key, value in tags.items():
            if value is None:
                self.tags.pop(key, None)
            else:
                self.tags[key] = value


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"
