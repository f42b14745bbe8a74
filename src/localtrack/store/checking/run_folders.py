"""Looks at everything in one run folder. FORMAT.md sections 6 to 8, 11 to 13 and 17."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from localtrack.errors import ErrorCode, InvalidInputError, LocaltrackError, NotFoundError
from localtrack.format.edits import EditsState
from localtrack.format.layout import (
    ARTIFACTS,
    TEMPORARY_PREFIX,
    RunFile,
    chunk_name,
    log_name,
    parse_run_file,
    part_name,
    run_folder,
)
from localtrack.format.runlog import RunLog, read_run_log
from localtrack.storage.base import Entry, Storage
from localtrack.store.artifacts import COPY_BYTES, open_artifact
from localtrack.store.checking.report import Findings
from localtrack.store.folder_reading import FolderReading
from localtrack.store.run_reading import RunReading
from localtrack.store.sealing import read_chunk
from localtrack.types import TERMINAL_STATUSES

DAY_MS: Final = 86_400_000
_TRIES: Final = 10
_FROM_COPY: Final = "Merge a sound copy of the store, if there is one; what can be read of the file still counts."


AnyReading = TypeVar("AnyReading", bound=FolderReading[Any, Any])


@dataclass(slots=True)
class FolderCheck(Generic[AnyReading]):
    """One folder of a run or a logged model as it is looked at."""

    storage: Storage
    folder: str
    entries: list[Entry]
    reading: AnyReading
    findings: Findings
    damaged_writers: set[str] = field(default_factory=set)
    lacking_parts: set[str] = field(default_factory=set)
    """Names of logs of which a part is missing, and what comes behind it with it."""

    def note(self, name: str, what: str, invariant: str = "", *, remedy: str = _FROM_COPY) -> None:
        """Report that something is wrong with a file of the folder."""
        self.findings.add(f"{self.folder}/{name}", what, invariant, remedy=remedy)
        self.damaged_writers.add(name.partition(".")[0])


def check_folder(
    storage: Storage,
    folder: str,
    edits: EditsState,
    findings: Findings,
    *,
    closed_bytes: Mapping[tuple[str, str], int],
    now_ms: int,
    sizes_only: bool,
) -> RunReading | None:
    """Look at a run folder; return the run, or None if it holds none that is shown.

    Args:
        storage: The store's bytes.
        folder: Key of the folder.
        edits: What the store's edits say.
        findings: Where to add what is wrong.
        closed_bytes: Per (run, writer) how long the notices say that a closed log is.
        now_ms: Milliseconds since 1970, UTC.
        sizes_only: Do not read artifacts to compare their digests.
    """
    for _ in range(_TRIES):
        entries = storage.entries(folder)
        mine = Findings()
        try:
            reading = RunReading(storage, folder, entries)
            check = FolderCheck(storage, folder, entries, reading, mine)
            is_shown = _check(check, edits, closed_bytes, now_ms=now_ms, sizes_only=sizes_only)
        except FileNotFoundError:
            continue  # sealed, packed or removed since the folder was listed
        for finding in mine.merged():
            findings.add(
                finding.key,
                finding.what,
                finding.invariant,
                severity=finding.severity,
                remedy=finding.remedy,
                is_repairable=finding.is_repairable,
                code=finding.code,
            )
        return reading if is_shown else None
    findings.add(folder, "it changes faster than it can be read", severity="info", remedy="Check again later.")
    return None


def _check(
    check: FolderCheck[RunReading],
    edits: EditsState,
    closed_bytes: Mapping[tuple[str, str], int],
    *,
    now_ms: int,
    sizes_only: bool,
) -> bool:
    reading, findings, folder = check.reading, check.findings, check.folder
    check_names(check, now_ms=now_ms)
    if not reading.writers:
        if any(entry.is_folder for entry in check.entries):
            findings.add(
                folder, "it holds artifacts and no run", "S3", severity="info", remedy="`localtrack gc` removes them."
            )
        elif not any(entry.name.startswith(TEMPORARY_PREFIX) for entry in check.entries):
            findings.add(folder, "the run folder is empty", "S3", severity="info", remedy="It harms nothing.")
        return False
    if reading.is_run:
        run_id = reading.state.run_id
        if run_id in edits.tombstones and edits.is_removed(run_id, reading.positions):
            findings.add(
                folder,
                "the run was removed for good, and some of its files are still there",
                "S3",
                severity="info",
                remedy="`localtrack gc` removes them.",
            )
            return False
    if not reading.is_run and (homes := _homes(check)):
        is_certain = len(homes) == 1 and not check.damaged_writers
        if is_certain:
            remedy = "`localtrack check --repair` brings it there."
            findings.add(folder, f"the run in it belongs into {homes.pop()}", "M7", remedy=remedy, is_repairable=True)
        return False
    take_log_problems(check)
    for writer in reading.writers:
        _check_points(check, writer)
        _check_end(check, writer, closed_bytes)
    if not reading.is_run and not check.damaged_writers:
        findings.add(folder, "no log in it has a whole first line", "S3", severity="info", remedy="It harms nothing.")
    if reading.is_run:
        check_state(check)
        check_artifacts(check, sizes_only=sizes_only)
    return reading.is_run and not reading.is_newer


def _homes(check: FolderCheck[RunReading]) -> set[str]:
    """Return where the logs in a folder without a run say that they belong; logs that are damaged are reported."""
    homes: set[str] = set()
    for writer, files in check.reading.writers.items():
        data = None if files.log_name is None else check.reading._read_permitted(files.log_name)
        if data is None or files.log_name is None:
            continue
        log = read_run_log(data, writer=writer)
        if not isinstance(log, RunLog) or log.lines.newer:
            continue
        home = run_folder(log.header["run"])
        is_moved = home.rpartition("/")[2] == check.folder.rpartition("/")[2] or log.lines.closed is not None
        if log.problems or not is_moved:
            # A digit of the header may have changed as well as the place of the folder.
            check.note(files.log_name, (log.problems or [f"it belongs into {home}"])[0])
        homes.add(home)
    return homes


def check_names(check: FolderCheck[Any], *, now_ms: int) -> None:
    """Look for names that no rule gives, files that a dead writer left, and parts of logs that are missing."""
    for entry in check.entries:
        if entry.name.startswith(TEMPORARY_PREFIX):
            if now_ms - entry.mtime_ms > DAY_MS:
                check.findings.add(
                    f"{check.folder}/{entry.name}",
                    "a writer that died has left it, unfinished",
                    "S1",
                    severity="info",
                    remedy="`localtrack gc` removes it.",
                )
        elif entry.name != ARTIFACTS and parse_run_file(entry.name) is None:
            check.findings.add(
                f"{check.folder}/{entry.name}",
                "no rule of the format gives this name; nobody reads it",
                "M7",
                severity="info",
                remedy="Move it out of the store.",
            )
    parts: dict[str, set[int]] = {}
    for entry in check.entries:
        file = parse_run_file(entry.name)
        if file is not None and file.part is not None:
            parts.setdefault(entry.name.rpartition(".part")[0], set()).add(file.part)
    for name, numbers in parts.items():
        missing = set(range(max(numbers))) - numbers
        if missing:
            what = "this part of the log is missing, and what stands in later ones is not read"
            check.note(part_name(name, min(missing)), what, "M2")
            check.lacking_parts.add(name)


def take_log_problems(check: FolderCheck[Any]) -> None:
    """Add what was found wrong in the logs as they were read."""
    for finding in check.reading.findings:
        if finding.key == check.folder:
            continue  # of the run as a whole: told below
        name = finding.key.rpartition("/")[2]
        if "the log is missing" in finding.what:
            continue  # told with the points that are there
        check.findings.take([finding], remedy=_FROM_COPY)
        check.damaged_writers.add(name.partition(".")[0])


def _check_points(check: FolderCheck[RunReading], writer: str) -> None:
    """Look whether the points of a writer are all there (M4), in files that are what their names say (M6, M7)."""
    reading = check.reading
    files, log = reading.writers[writer], reading.logs.get(writer)
    _check_digests(check, files.segments)
    before = len(reading.findings)
    sound = reading.sound_segments(writer)
    for finding in reading.findings[before:]:
        check.note(finding.key.rpartition("/")[2], finding.what, "M6")
    covered = {n for _, info in sound for n in range(info.chunks[0], info.chunks[1] + 1)}
    closed = log.lines.closed if log is not None else None
    begun = 0
    if closed is not None:
        if type(closed.get("chunks")) is not int or type(closed.get("points_all")) is not int:
            check.note(log_name(writer), "the record that closes the log does not count its chunks and points", "M5")
        else:
            begun = closed["chunks"]
    by_name = {n for file in files.segments for n in range(file.first, file.last + 1)}
    wanted = max([begun, *(n + 1 for n in (*by_name, *files.chunks))])
    if closed is not None and wanted > begun and writer not in check.damaged_writers:
        check.note(log_name(writer), f"its end counts {begun} chunks, and there are {wanted}", "M5")
    # One without points, of a chunk whose first point was refused, has no first number.
    spans = [(info.first, info.first + info.points) for _, info in sound if info.points]
    for number, name in sorted(files.chunks.items()):
        if number in covered:
            check.findings.add(
                f"{check.folder}/{name}",
                "a segment holds all that is in it",
                "S2",
                severity="info",
                remedy="`localtrack seal` removes it.",
                is_repairable=True,
            )
            continue
        first_behind = _check_chunk(check, name, number, must_be_closed=number + 1 < wanted or closed is not None)
        if first_behind is not None:
            spans.append(first_behind)
    missing = set(range(wanted)) - by_name - set(files.chunks)
    if missing and log is not None and writer not in check.damaged_writers and _has_all_points(log, spans):
        # A chunk is begun with a point: there was none.
        check.note(
            log_name(writer),
            f"its end counts {begun} chunks, and all points are there without {len(missing)} of them",
            "M5",
        )
        missing.clear()
    for first, last in _ranges(missing):
        name = chunk_name(writer, first) if first == last else f"{writer}.{first}-{last}.parquet"
        what = "the chunk, or the segment that held it, is missing, and its points with it"
        check.note(name, what if first == last else f"the chunks {first} to {last} are missing, with their points")
    if writer not in check.damaged_writers:
        _check_numbers(check, writer, sorted(spans))


def _has_all_points(log: RunLog, spans: list[tuple[int, int]]) -> bool:
    """Return whether as many points are there, without a gap, as the end of a log counts."""
    end = len(log.points)
    for first, behind in sorted(spans):
        if first > end:
            return False
        end = max(end, behind)
    return log.lines.closed is not None and end == log.lines.closed.get("points_all")


def _check_digests(check: FolderCheck[RunReading], segments: list[RunFile]) -> None:
    for file in segments:
        digest = hashlib.sha256()
        with check.storage.open(f"{check.folder}/{file.name}") as source:
            while block := source.read(COPY_BYTES):
                digest.update(block)
        if not digest.hexdigest().startswith(file.digest):
            check.reading.unsound.add(file.name)
            chunks = set(range(file.first, file.last + 1))
            has_chunks = chunks <= set(check.reading.writers[file.writer].chunks)
            check.note(file.name, "its content is not what its name says", "M6")
            if has_chunks:
                check.findings.add(
                    f"{check.folder}/{file.name}",
                    "all its chunks are still there",
                    "M6",
                    remedy="`localtrack check --repair` sets it aside and seals them anew.",
                    is_repairable=True,
                )


def _check_chunk(
    check: FolderCheck[RunReading], name: str, number: int, *, must_be_closed: bool
) -> tuple[int, int] | None:
    """Look at a chunk, and return the numbers of its first point and of the one behind its last."""
    file = parse_run_file(name)
    assert file is not None
    run_id = check.reading._run_id(file.writer)
    data = check.reading._read_permitted(name)
    if data is None:
        return None
    points, lines, _ = read_chunk(data, file, run_id=run_id)
    for problem in lines.problems:
        check.note(name, problem)
    if must_be_closed and lines.closed is None and not lines.problems and name not in check.lacking_parts:
        check.note(name, "its end is missing: a later file of its writer was begun, or closed", "M4")
    if lines.header is None or lines.newer:
        return None
    return lines.header["first"], lines.header["first"] + len(points)


def _check_numbers(check: FolderCheck[RunReading], writer: str, spans: list[tuple[int, int]]) -> None:
    log = check.reading.logs.get(writer)
    name = log_name(writer)
    if log is None and (spans or writer not in check.reading.log_bytes):
        check.note(name, "the log is missing, or has no whole first line; points of its writer are there", "M2")
        return
    end = len(log.points) if log is not None else 0
    if spans and spans[0][0] < end:
        check.note(name, f"it holds {end} points where its chunks begin with number {spans[0][0]}", "M4")
        return
    closed = log.lines.closed if log is not None else None
    if closed is not None:
        spans = [*spans, (closed["points_all"], closed["points_all"])]
    for first, behind in spans:
        if first > end:
            check.note(name, f"the points {end} to {first - 1} of its writer are missing", "M4")
            return
        end = max(end, behind)
    if closed is not None and end > closed["points_all"]:
        check.note(name, f"its end counts {closed['points_all']} points, and there are {end}", "M5")


def _check_end(check: FolderCheck[RunReading], writer: str, closed_bytes: Mapping[tuple[str, str], int]) -> None:
    """Look whether a log is as long as a notice says that it was, and closed if its run has ended (S7)."""
    reading, name = check.reading, log_name(writer)
    log = reading.logs.get(writer)
    if log is None or reading.is_newer:
        return
    told_bytes = closed_bytes.get((log.header["run"], writer), 0)
    if told_bytes > reading.log_bytes[writer]:
        check.note(name, f"it was closed with {told_bytes} bytes, and has {reading.log_bytes[writer]}", "M2")
    elif log.lines.closed is None and reading.state.status in TERMINAL_STATUSES:
        if check.storage.is_log_locked(f"{check.folder}/{name}"):
            return
        check.findings.add(
            f"{check.folder}/{name}",
            "the run has ended, and the log was not closed: its process died, or its end is cut off",
            "S7",
            severity="info",
            remedy="It reads as well.",
        )


def check_state(check: FolderCheck[Any]) -> None:
    """Look for a record of creation that is missing, and for params with two values (M10)."""
    for problem in check.reading.state.problems:
        if "creation is missing" in problem:
            if not check.damaged_writers:  # else the damage is why
                check.findings.add(
                    check.folder,
                    problem,
                    "M2",
                    severity="warning",
                    remedy="Its process died as it began; delete it if it is of no use.",
                )
        elif not check.damaged_writers:
            remedy = "Two processes logged it, each unaware of the other; keep the other value as a tag if you need it."
            check.findings.add(check.folder, problem, "M10", severity="warning", remedy=remedy)


def check_artifacts(check: FolderCheck[Any], *, sizes_only: bool) -> None:
    """Look whether every artifact with a record is there, and is what the record says (S6)."""
    changes = [change for log in check.reading.logs.values() for change in log.changes if change.kind == "artifact"]
    highest = {change.payload["path"]: change for change in sorted(changes, key=lambda change: change[:3])}
    for path, (_, writer, _, _, record) in highest.items():
        if writer in check.damaged_writers:
            continue  # what its log says may be wrong
        problem = _artifact_problem(check, path, record["bytes"], "" if sizes_only else record["sha256"])
        if problem:
            check.findings.add(
                f"{check.folder}/{ARTIFACTS}/{path}",
                problem,
                "S6",
                severity="warning",
                remedy="Merge a sound copy of the store, or log the artifact again.",
                code=ErrorCode.ARTIFACT_NOT_FOUND if "is not there" in problem else ErrorCode.DAMAGED,
            )


def _artifact_problem(check: FolderCheck[Any], path: str, bytes_count: int, sha256: str) -> str:
    try:
        with open_artifact(check.storage, check.folder, path) as file:
            size = file.seek(0, 2)
            if size != bytes_count:
                return f"it has {size} bytes where its record says {bytes_count}"
            file.seek(0)
            digest = hashlib.sha256()
            while sha256 and (block := file.read(COPY_BYTES)):
                digest.update(block)
    except NotFoundError:
        return "the artifact is not there"
    except InvalidInputError as error:
        return str(error)
    except LocaltrackError as error:
        return f"it cannot be read: {error}"
    return "its content is not what its record says" if sha256 and digest.hexdigest() != sha256 else ""


def _ranges(numbers: set[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return found
