"""Whether a target has all of a run: what may be removed here, because it is safe there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from localtrack.errors import InvalidInputError, LocaltrackError
from localtrack.storage.opening import open_storage
from localtrack.store.artifact_merging import read_content
from localtrack.store.artifacts import iter_files
from localtrack.store.run_reading import RunReading, read_run
from localtrack.store.site import Site, open_site
from localtrack.sync.ledger_file import LedgerFile
from localtrack.sync.options import Thinning
from localtrack.sync.target import resolve_target, target_kind

Positions = Mapping[str, tuple[int, int]]
WhyMissing = Callable[[str, Positions], str]
"""From a run's id and its positions: what the target lacks of it, in words; "" if it has everything."""


def open_holding(site: Site, to: str) -> WhyMissing:
    """Return what tells whether a target has all of a run, artifacts included.

    Another store is read and compared, byte for byte where it matters. Of a server the ledger is asked: it says of a
    run that it is there only after the server was read and compared.

    Args:
        site: The store.
        to: `http(s)://…`, `databricks`, `databricks://profile`, or the path of a store.

    Raises:
        InvalidInputError: It names no target, or the store itself.
        NotFoundError: There is no store at that path.
    """
    if target_kind(to) == "store":
        other = open_site(open_storage(to), create=False)
        if other.storage.uri == site.storage.uri:
            raise InvalidInputError("The target is the store itself.", hint="Give another store, or a server.")
        return lambda run_id, positions: _missing_in_store(site, other, run_id, positions)
    ledger = LedgerFile(site, resolve_target(to).key)
    return lambda run_id, positions: _missing_in_ledger(site, ledger, run_id, positions)


def _missing_in_store(site: Site, other: Site, run_id: str, positions: Positions) -> str:
    try:
        there, here = read_run(other.storage, run_id), read_run(site.storage, run_id)
        if there is None or here is None or not there.is_run:
            return "the target has no such run"
        there.look_closely()
        if any(finding.key != there.folder for finding in there.findings):
            return "what the target has of it is damaged"
        if not _covers(there.positions, positions):
            return "the target has less of it"
        for path, _, _ in iter_files(site.storage, here.folder):
            if read_content(site.storage, here.folder, path) != read_content(other.storage, there.folder, path):
                return f"the target has another artifact {path!r}"
    except LocaltrackError as error:
        return f"what the target has of it cannot be read: {error}"
    return ""


def _missing_in_ledger(site: Site, ledger: LedgerFile, run_id: str, positions: Positions) -> str:
    entry = ledger.state.runs.get(run_id)
    if entry is None or not entry.done or entry.is_claimed or ledger.state.is_damaged:
        return "it was not pushed to the target, or the push was cut short"
    done = entry.done
    if done.get("deleted"):
        return "it is deleted at the target, which may remove it"
    if done.get("thin") != Thinning().fingerprint:
        return "points were left out when it was pushed"
    if not _covers({writer: (place[0], place[1]) for writer, place in done["positions"].items()}, positions):
        return "it has grown since it was pushed"
    here = read_run(site.storage, run_id)
    missing = [] if here is None else _unsent_artifacts(site, here, done.get("artifacts", {}))
    return f"the artifact {missing[0]!r} was not pushed" if missing else ""


def _unsent_artifacts(site: Site, here: RunReading, sent: Mapping[str, list[object]]) -> list[str]:
    return [
        path
        for path, _, _ in iter_files(site.storage, here.folder)
        if tuple(sent.get(path, ())) != read_content(site.storage, here.folder, path)
    ]


def _covers(there: Positions, here: Positions) -> bool:
    return all(
        there.get(writer, (0, 0))[0] >= bytes_count and there.get(writer, (0, 0))[1] >= points
        for writer, (bytes_count, points) in here.items()
    )
