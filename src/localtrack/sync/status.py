"""What a store's ledgers say: which targets there are, and how far each is."""

from __future__ import annotations

from dataclasses import dataclass

from localtrack.format.layout import parse_run_file
from localtrack.storage.base import Storage
from localtrack.storage.local import LocalStorage
from localtrack.store.site import Site
from localtrack.sync.environment import state_folder
from localtrack.sync.ledger_file import FOLDER, LedgerFile


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """One target of a store."""

    key: str
    """Name of its ledger's folder: the host, and a digest."""
    target: str
    """Host and path, as the last push showed them; `key` if no log of a push can be read."""
    runs_count: int
    """Runs that are there whole, as of their last push."""
    running_count: int
    """… of which that had not ended then."""
    cut_short_count: int
    """Runs whose push was cut short: the next push asks the target what it has."""
    models_count: int
    last_push_ms: int
    """Milliseconds since 1970, UTC; 0 if it is not known."""


def list_targets(site: Site) -> list[TargetStatus]:
    """Return every target that the store was pushed to, by name."""
    places: list[Storage] = [LocalStorage(str(state_folder() / site.document.store_id))]
    if site.storage.is_local:
        places.append(site.storage)
    changed_ms: dict[str, int] = {}
    for place in places:
        for folder in place.entries(FOLDER):
            for entry in place.entries(f"{FOLDER}/{folder.name}") if folder.is_folder else []:
                if parse_run_file(entry.name) is not None:
                    changed_ms[folder.name] = max(changed_ms.get(folder.name, 0), entry.mtime_ms)
    return [_read(site, key, changed_ms[key]) for key in sorted(changed_ms)]


def _read(site: Site, key: str, changed_ms: int) -> TargetStatus:
    ledger = LedgerFile(site, key)
    state, log = ledger.state, ledger.read_last_log() or {}
    entries = state.runs.values()
    done = [entry for entry in entries if entry.done and not entry.is_claimed]
    return TargetStatus(
        key,
        target=str(log.get("target", key)),
        runs_count=len(done),
        running_count=sum(entry.done["status"] not in ("FINISHED", "FAILED", "KILLED") for entry in done),
        cut_short_count=sum(entry.is_claimed for entry in entries),
        models_count=sum(bool(model.get("signature")) for model in state.models.values()),
        last_push_ms=changed_ms,
    )
