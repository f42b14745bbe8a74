"""Tests a place for a store for real, with a second process, and says what is safe there."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final, Literal

from localtrack.errors import LocaltrackError, StorageError
from localtrack.format.layout import TEMPORARY_PREFIX
from localtrack.storage.base import Appender, Storage
from localtrack.storage.capabilities import Capabilities
from localtrack.storage.credentials import with_password
from localtrack.storage.doctor_peer import LINE, appended, replaced
from localtrack.storage.mounts import Mount, find_mount

Verdict = Literal["ok", "note", "bad"]

APPENDS_COUNT: Final = 20
NAMES_COUNT: Final = 40
REPLACES_COUNT: Final = 60
SPEED_COUNT: Final = 20
VISIBLE_PATIENCE_S: Final = 5.0
SKEW_LIMIT_MS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Check:
    """What one test found."""

    name: str
    verdict: Verdict
    """`ok`; `note`: safe, but worth knowing; `bad`: a store here loses something."""
    text: str
    """In plain words."""
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was found out about a place."""

    place: str
    capabilities: Capabilities
    mount: Mount | None
    checks: tuple[Check, ...]

    @property
    def is_safe(self) -> bool:
        """Whether a store can lie here."""
        return all(check.verdict != "bad" for check in self.checks)


def diagnose(storage: Storage) -> Diagnosis:
    """Test a place with this process and another one, in a folder of its own that is removed afterwards.

    Args:
        storage: The place; a folder that is not there is made.

    Raises:
        StorageError: Nothing can be written there.
    """
    if storage.capabilities.medium == "memory":
        text = "What lies here is seen by this process only, and ends with it: for tests."
        return Diagnosis(storage.uri, storage.capabilities, None, (Check("memory", "note", text),))
    mount = find_mount(storage.path("")) if storage.is_local else None
    folder = f"{TEMPORARY_PREFIX}doctor-{os.urandom(6).hex()}"
    storage.make_folder(folder)
    checks: list[Check] = []
    try:
        with _peer(storage) as peer:
            for test in _TESTS if storage.can_append else _OBJECT_TESTS:
                try:
                    checks.append(test(storage, folder, peer))
                except (LocaltrackError, OSError) as error:  # some tests ask the system by themselves
                    checks.append(Check(test.__name__.strip("_").replace("_", " "), "bad", f"The test failed: {error}"))
    finally:
        try:
            _remove_all(storage, folder)
        except LocaltrackError as error:  # of a place that fails, too, there is something to say
            text = f"What the tests wrote could not be removed again, and lies in {storage.path(folder)}: {error}"
            checks.append(Check("removal", "bad", text))
    return Diagnosis(storage.uri, storage.capabilities, mount, tuple(checks))


class Peer:
    """The other process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, **question: Any) -> Any:
        """Have it do something, and return what it answers."""
        self.tell(**question)
        return self.answer()

    def tell(self, **question: Any) -> None:
        """Have it begin something."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise StorageError("The second process of the test has ended.") from error

    def answer(self) -> Any:
        """Return what it has to say."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise StorageError("The second process of the test has ended.")
        answer = json.loads(line)
        if "failed" in answer:
            raise StorageError(f"The second process met: {answer['failed']}.")
        return answer["answer"]


@contextmanager
def _peer(storage: Storage) -> Iterator[Peer]:
    command = [sys.executable, "-m", "localtrack.storage.doctor_peer"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            peer = Peer(process)
            # Not as an argument, which everybody on the machine could read: there may be a password in it.
            peer.tell(place=with_password(storage.uri))
            yield peer
        finally:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:  # it hangs in the file system
                process.kill()


def _append_visibility(storage: Storage, folder: str, peer: Peer) -> Check:
    key = f"{folder}/append"
    log = storage.create_log(key, Lock())
    delays: list[float] = []
    is_late = False
    try:
        for number in range(APPENDS_COUNT):
            log.append(LINE)
            began = time.perf_counter()
            want = (number + 1) * len(LINE)
            seen = peer.ask(do="wait size", key=key, size=want, patience_s=VISIBLE_PATIENCE_S / APPENDS_COUNT)
            if not seen:
                is_late = True
                log.sync()
                if not peer.ask(do="wait size", key=key, size=want, patience_s=VISIBLE_PATIENCE_S):
                    return Check(
                        "append",
                        "bad",
                        "What one process appends is not seen by another one, even after a flush: search would miss "
                        "runs that go on.",
                    )
            delays.append((time.perf_counter() - began) * 1000)
        if peer.ask(do="read", key=key) != appended(APPENDS_COUNT):
            return Check("append", "bad", "What one process appends is read by another one with other bytes.")
    finally:
        log.abandon()
    figures = {"delay_ms": round(statistics.median(delays), 2), "delay_max_ms": round(max(delays), 2)}
    if is_late:
        return Check("append", "note", "What is appended is seen by others once it is flushed (every 5 s).", figures)
    return Check("append", "ok", "What one process appends another one on this host sees at once.", figures)


def _exclusive_create(storage: Storage, folder: str, peer: Peer) -> Check:
    peer.tell(do="create", folder=folder, count=NAMES_COUNT)
    mine = _create_names(storage, folder)
    theirs = set(peer.answer())
    both, none = mine & theirs, set(range(NAMES_COUNT)) - mine - theirs
    figures = {"names": NAMES_COUNT, "won_by_both": len(both), "won_by_none": len(none)}
    if both or none:
        return Check(
            "exclusive create",
            "bad",
            "Two processes that create one file at the same moment do not agree who did: maintenance (merge, "
            "compaction) must not run on two hosts at once.",
            figures,
        )
    return Check("exclusive create", "ok", "Of two processes that create one file exactly one succeeds.", figures)


def _create_names(storage: Storage, folder: str) -> set[int]:
    won: set[int] = set()
    for number in range(NAMES_COUNT):
        if storage.write_new(f"{folder}/name{number}", b"main"):
            won.add(number)
    return won


def _rename(storage: Storage, folder: str, peer: Peer) -> Check:
    key = f"{folder}/replaced"
    storage.write(key, replaced(0))
    peer.tell(do="watch replaced", key=key, until=REPLACES_COUNT)
    for number in range(1, REPLACES_COUNT + 1):
        storage.write(key, replaced(number))
    seen = peer.answer()
    figures = {"reads": seen["reads"], "torn": seen["torn"], "missing": seen["missing"]}
    if seen["torn"]:
        return Check("rename", "bad", "While a file is replaced, a reader sees a mixture of old and new.", figures)
    if seen["missing"]:
        return Check("rename", "note", "While a file is replaced, it is missing for a moment; readers retry.", figures)
    return Check("rename", "ok", "While a file is replaced, a reader sees the old or the new one, whole.", figures)


def _locks(storage: Storage, folder: str, peer: Peer) -> Check:
    import filelock

    path = storage.path(f"{folder}/lock")
    reach = storage.capabilities.locks
    try:
        with filelock.FileLock(path, timeout=5):
            is_kept_out = peer.ask(do="try lock", path=path) == "held"
        is_let_in = peer.ask(do="try lock", path=path) == "taken"
    except (OSError, filelock.Timeout) as error:
        return Check("locks", "note", f"There are no locks here ({error}): a lock file with its owner stands for them.")
    if not is_kept_out or not is_let_in:
        return Check("locks", "note", "Locks do not keep others out here: a lock file with its owner stands for them.")
    if reach == "this mount" and storage.capabilities.is_shared:
        text = (
            "Locks work on this mount, but other hosts do not see them: maintenance uses a lock file with its owner, "
            "and whether a writer lives is told by its process."
        )
        return Check("locks", "note", text)
    return Check("locks", "ok", "A lock that one process holds keeps another one out, and goes with it.")


def _hard_links(storage: Storage, folder: str, peer: Peer) -> Check:
    del peer
    source, target = storage.path(f"{folder}/linked"), storage.path(f"{folder}/link")
    storage.write(f"{folder}/linked", b"x")
    try:
        os.link(source, target)
    except OSError as error:
        text = f"No hard links ({error.strerror}): new files are claimed by creating them, which is as safe."
        return Check("hard links", "note", text)
    return Check("hard links", "ok", "Hard links work.")


def _permissions(storage: Storage, folder: str, peer: Peer) -> Check:
    del peer
    path = storage.path(folder)
    status, above = os.stat(path), os.stat(storage.path(""))
    is_group_kept = status.st_gid == above.st_gid
    can_group_write = bool(status.st_mode & 0o020)
    if can_group_write and is_group_kept:
        return Check("permissions", "ok", "What is made here belongs to the folder's group, which can write.")
    missing = [] if is_group_kept else ["the folder passes its group on (chmod g+s)"]
    missing += [] if can_group_write else ["the umask lets the group write (umask 002)"]
    text = f"Others of the group can write to what is made here only when {' and '.join(missing)}."
    return Check("permissions", "note", text)


def _clock(storage: Storage, folder: str, peer: Peer) -> Check:
    del peer
    before_ms = time.time_ns() // 1_000_000
    storage.write(f"{folder}/clock", b"x")
    after_ms = time.time_ns() // 1_000_000
    entry = next((entry for entry in storage.entries(folder) if entry.name == "clock"), None)
    if entry is None:
        return Check("clock", "bad", "A file that was just written is not listed.")
    if not entry.mtime_ms:
        return Check("clock", "note", "The medium does not tell when a file was changed.")
    # Object stores keep whole seconds.
    skew_ms = 0 if before_ms - 1_000 <= entry.mtime_ms <= after_ms + 1_000 else entry.mtime_ms - after_ms
    figures = {"skew_ms": float(skew_ms)}
    if abs(skew_ms) > SKEW_LIMIT_MS:
        text = (
            f"The clocks of this host and of the place differ by {abs(skew_ms) / 1000:.1f} s: nothing is lost by it, "
            "but of two hosts that set the same tag the one with the faster clock wins. Let hosts keep time by NTP."
        )
        return Check("clock", "note", text, figures)
    return Check("clock", "ok", "This host and the place have the same time.", figures)


def _speed(storage: Storage, folder: str, peer: Peer) -> Check:
    del peer
    log = storage.create_log(f"{folder}/speed", Lock())
    try:
        figures = {
            "append_us": _median_us(lambda: log.append(LINE)),
            "flush_ms": _median_us(lambda: _flush(log), SPEED_COUNT // 2) / 1000,
        }
    finally:
        log.abandon()
    numbers = iter(range(SPEED_COUNT))
    figures["new_file_ms"] = _median_us(lambda: storage.write(f"{folder}/new{next(numbers)}", b"x")) / 1000
    figures["list_ms"] = _median_us(lambda: storage.names(folder)) / 1000
    figures = {name: round(value, 2) for name, value in figures.items()}
    text = (
        f"A logging call takes about {figures['append_us']:.0f} µs, a flush {figures['flush_ms']:.1f} ms, a new file "
        f"{figures['new_file_ms']:.1f} ms."
    )
    if figures["append_us"] > 5_000:
        return Check("speed", "note", f'{text} Log to a local disk first: Store.open(…, spool="…").', figures)
    return Check("speed", "ok", text, figures)


def _flush(log: Appender) -> None:
    log.append(LINE)
    log.sync()


def _median_us(call: Callable[[], object], count: int = SPEED_COUNT) -> float:
    times: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1e6)
    return statistics.median(times)


def _conditional_put(storage: Storage, folder: str, peer: Peer) -> Check:
    if not storage.capabilities.can_put_if_absent:
        text = "Conditional puts are not used here: let one host at a time merge, compact or collect garbage."
        return Check("conditional put", "note", text)
    check = _exclusive_create(storage, folder, peer)
    return Check("conditional put", check.verdict, check.text.replace("one file", "one object"), check.figures)


def _list_after_write(storage: Storage, folder: str, peer: Peer) -> Check:
    missed = 0
    for number in range(APPENDS_COUNT):
        storage.write(f"{folder}/listed/{number}", b"x")
        missed += f"{number}" not in peer.ask(do="names", key=f"{folder}/listed")
    figures = {"writes": APPENDS_COUNT, "missed": missed}
    if missed:
        return Check("list after write", "note", "What was just written may be missing in a listing.", figures)
    return Check("list after write", "ok", "What one process has written another one finds listed at once.", figures)


def _whole_objects(storage: Storage, folder: str, peer: Peer) -> Check:
    check = _rename(storage, folder, peer)
    return Check("whole objects", check.verdict, check.text, check.figures)


def _object_speed(storage: Storage, folder: str, peer: Peer) -> Check:
    del peer
    numbers = iter(range(SPEED_COUNT))
    figures = {
        "put_ms": _median_us(lambda: storage.write(f"{folder}/put{next(numbers)}", LINE)) / 1000,
        "get_ms": _median_us(lambda: storage.read(f"{folder}/put0")) / 1000,
        "list_ms": _median_us(lambda: storage.names(folder)) / 1000,
    }
    figures = {name: round(value, 2) for name, value in figures.items()}
    text = (
        f"A put takes {figures['put_ms']:.1f} ms, a get {figures['get_ms']:.1f} ms, a listing "
        f"{figures['list_ms']:.1f} ms. Logging waits for none of them; flush() and the end of a run do."
    )
    return Check("speed", "ok", text, figures)


def _remove_all(storage: Storage, folder: str) -> None:
    for entry in storage.entries(folder):
        if entry.is_folder:
            _remove_all(storage, f"{folder}/{entry.name}")
        else:
            storage.remove(f"{folder}/{entry.name}")
    storage.remove_folder(folder)


_Test = Callable[[Storage, str, Peer], Check]
_TESTS: Final[tuple[_Test, ...]] = (
    _append_visibility,
    _exclusive_create,
    _rename,
    _locks,
    _hard_links,
    _permissions,
    _clock,
    _speed,
)
_OBJECT_TESTS: Final[tuple[_Test, ...]] = (_conditional_put, _list_after_write, _whole_objects, _clock, _object_speed)
