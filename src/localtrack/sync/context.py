"""What all parts of one push share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from localtrack.errors import StoppedError
from localtrack.sync.ledger_file import LedgerFile
from localtrack.sync.limits import Limits
from localtrack.sync.options import PushOptions
from localtrack.sync.source import Source
from localtrack.sync.tracking import Tracking


@dataclass(slots=True)
class PushContext:
    """One push while it goes on. Thread-safe as far as threads change it: dicts by single assignments."""

    source: Source
    tracking: Tracking
    ledger: LedgerFile
    limits: Limits
    options: PushOptions
    store_id: str
    base_url: str = ""
    claim_key: str = ""
    """The tag by which this copy of the store says that it sends the points of a run."""
    experiments: dict[str, str] = field(default_factory=dict)
    """Local experiment id → remote one."""
    remote_ids: dict[str, str] = field(default_factory=dict)
    """Local run id → remote one, as far as it is known."""
    model_ids: dict[str, str] = field(default_factory=dict)
    """Local model id → remote one, as far as it is known."""
    models_lock: threading.Lock = field(default_factory=threading.Lock)
    notes: list[str] = field(default_factory=list)
    """What the report should say besides."""
    stop: threading.Event = field(default_factory=threading.Event)

    def require_going(self) -> None:
        """Raise `StoppedError` if the push was asked to stop."""
        if self.stop.is_set():
            raise StoppedError("The push was asked to stop.", hint="Push again: nothing is sent twice.")
