"""An opened store: where it lies, and how this process writes to it."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from localtrack.errors import ErrorCode, FormatError, NotFoundError, StateError, StorageError
from localtrack.format.documents import ExperimentDocument, StoreDocument, encode_experiment, encode_store, parse_store
from localtrack.format.headers import WriterIdentity
from localtrack.format.ids import WRITER_RANDOM_BYTES
from localtrack.format.layout import STORE_FILE, experiment_key
from localtrack.storage.base import Appender, Storage
from localtrack.storage.local import LocalStorage
from localtrack.storage.packed import PackedStorage
from localtrack.storage.process import this_process
from localtrack.storage.syncer import syncer
from localtrack.types import DEFAULT_EXPERIMENT_ID, DEFAULT_EXPERIMENT_NAME
from localtrack.version import VERSION

Durability = Literal["process", "call"]

BY: Final = f"localtrack {VERSION}"
LOG_POINTS_BYTES: Final = 64 * 1024
"""Points stay in the run log until it has this size: a short run is one file."""
CHUNK_BYTES: Final = 8 * 1024 * 1024
"""Size of a chunk: some 250,000 points, sealed in well under a second."""
STILL_THERE_MS: Final = 60_000
"""A writer silent for this long looks whether its file is still there. FORMAT.md section 13."""
NOTICE_AGAIN_MS: Final = 3_600_000
"""A writer silent for this long says again that it is about to write. FORMAT.md section 10."""
_CLAIM_PATIENCE_S: Final = 5.0


class Clock(Protocol):
    """Gives the time in milliseconds since 1970, UTC."""

    def __call__(self) -> int:
        """Return the time."""
        ...


def wall_clock_ms() -> int:
    """Return the machine's time in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Site:
    """An opened store."""

    storage: Storage
    """With what lies in packs."""
    document: StoreDocument
    durability: Durability = "process"
    truncate_long_values: bool = True
    clock: Clock = wall_clock_ms
    log_points_bytes: int = LOG_POINTS_BYTES
    chunk_bytes: int = CHUNK_BYTES
    is_closed: bool = False
    packs: PackedStorage = field(init=False)
    """The same as `storage`, for whoever cares where things lie."""

    def __post_init__(self) -> None:
        self.packs = self.storage if isinstance(self.storage, PackedStorage) else PackedStorage(self.storage)
        self.storage = self.packs

    def require_open(self) -> None:
        """Raise `StateError` if the store was closed."""
        if self.is_closed:
            raise StateError(
                f"The store {self.storage.uri} was closed.", code=ErrorCode.STORE_CLOSED, hint="Open it again."
            )

    def sync(self) -> list[StorageError]:
        """Sync what this process has appended to the store; return what failed for good."""
        syncer.sync_all(store=self.storage.uri)
        return syncer.sync_all(store=self.storage.uri)  # what had to be written to another file is there now


def this_writer() -> WriterIdentity:
    """Return the calling process as the headers of its logs name it."""
    process = this_process()
    return WriterIdentity(process.host, process.boot, process.pidns, process.pid, process.start, BY)


def new_writer_id() -> str:
    """Return a writer id that no other process has: 80 random bits."""
    return os.urandom(WRITER_RANDOM_BYTES).hex()


def open_site(storage: Storage, *, create: bool, **options: Any) -> Site:
    """Open the store below a storage's root.

    Args:
        storage: Where.
        create: Make the store if there is none.
        options: Fields of `Site`.

    Raises:
        NotFoundError: There is no store, and `create` is False.
        FormatError: It is damaged, or of a newer format.
    """
    try:
        data = storage.read(STORE_FILE)
    except FileNotFoundError:
        if not create:
            raise NotFoundError(
                f"There is no localtrack store at {storage.uri}.",
                code=ErrorCode.STORE_NOT_FOUND,
                hint="Make one with `localtrack init`, or check the path.",
            ) from None
        site = _create(storage, **options)
        _expect_store(storage)
        return site
    _expect_store(storage)
    return Site(storage, parse_store(data or _read_claimed(storage), where=storage.path(STORE_FILE)), **options)


def ensure_experiment_file(storage: Storage, document: ExperimentDocument) -> None:
    """Write an experiment's document where it is missing. Whoever writes it writes the same bytes."""
    key = experiment_key(document.experiment_id)
    if not storage.exists(key):
        storage.write(key, encode_experiment(document))


def _expect_store(storage: Storage) -> None:
    """Have nothing written where the store was and is not any more: a drive that is away leaves an empty folder."""
    if isinstance(storage, LocalStorage):
        storage.must_be_there = True


def _create(storage: Storage, **options: Any) -> Site:
    clock: Clock = options.get("clock", wall_clock_ms)
    document = StoreDocument(os.urandom(16).hex(), clock(), BY)
    ensure_experiment_file(storage, ExperimentDocument(DEFAULT_EXPERIMENT_ID, DEFAULT_EXPERIMENT_NAME))
    if not storage.write_new(STORE_FILE, encode_store(document)):
        document = parse_store(_read_claimed(storage), where=storage.path(STORE_FILE))
    return Site(storage, document, **options)


def _read_claimed(storage: Storage) -> bytes:
    """Return the store's document, waiting for whoever has claimed its name on a medium without hard links."""
    deadline = time.monotonic() + _CLAIM_PATIENCE_S
    while True:
        data = storage.read(STORE_FILE)
        if data:
            return data
        if time.monotonic() > deadline:
            raise FormatError(
                f"{storage.path(STORE_FILE)} is empty.",
                hint="If no other process is starting, remove it and try again.",
            )
        time.sleep(0.02)


def discard_log(site: Site, log: Appender) -> None:
    """Remove a log that could not be begun. One that cannot be removed either stays, and readers see nothing in it."""
    with contextlib.suppress(StorageError):
        log.close()
    with contextlib.suppress(StorageError):
        site.storage.remove(log.key)


def retire_log(log: Appender) -> None:
    """Let go of a log that its owner is done with, and sync it in the background once more."""
    try:
        log.close()
    except StorageError:
        syncer.hurry()  # its sync fails too, so that its owner writes again what may be lost
    syncer.retire(log)
