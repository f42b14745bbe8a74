"""Writes the runs as a store: real run folders, or an index over folders that are empty."""

from __future__ import annotations

import itertools
import os
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

from tools.make_store.shapes import FIRST_DAY_MS, Shape, iter_runs

from localtrack.format.documents import ExperimentDocument
from localtrack.format.headers import WriterIdentity, encode_closed, encode_header
from localtrack.format.jsonlines import encode_record, encode_value
from localtrack.format.layout import INDEX, run_folder
from localtrack.format.lines import INBOX, LOG
from localtrack.format.metric_fold import Folds, encode_folds
from localtrack.format.run_fold import RunState
from localtrack.storage.local import LocalStorage
from localtrack.store.index.compaction import mark_inbox
from localtrack.store.index.home import MemoryHome, StorageHome
from localtrack.store.index.manifest import MANIFEST, Manifest, SegmentEntry, encode_manifest
from localtrack.store.index.segment import Segment
from localtrack.store.index.segment_content import content_of_runs, content_of_segments
from localtrack.store.index.segment_write import put_file, write_segment
from localtrack.store.site import Site, ensure_experiment_file, open_site

NOBODY = WriterIdentity("", "", "", 0, "", "tools.make_store")
BATCH_RUNS_COUNT = 25_000

Progress = Callable[[int], None]


def write_store(root: Path, shape: Shape, *, active_count: int, inbox_files_count: int, progress: Progress) -> None:
    """Write a store of real run folders.

    Args:
        root: Where; a new folder.
        shape: What runs.
        active_count: So many runs at the end have not ended, and their logs are open.
        inbox_files_count: The last ended runs leave so many inbox files, one a run, as short jobs do.
        progress: Told how many runs are written.
    """
    site = open_site(LocalStorage(str(root)), create=True)
    random = Random(shape.seed + 1)
    known: set[str] = set()
    first_active = shape.runs_count - active_count
    notices: list[tuple[str, str, str, int]] = []
    for number, (state, folds) in enumerate(iter_runs(shape)):
        _ensure_experiment(site, state, known)
        writer = random.randbytes(10).hex()
        is_active = number >= first_active
        data = encode_run_log(state, folds, writer=writer, is_closed=not is_active)
        folder = root / run_folder(state.run_id)
        folder.mkdir(parents=True)
        (folder / f"{writer}.jsonl").write_bytes(data)
        if not is_active:  # as old as it says, or searches would take it for one that is being copied in
            for path in (folder / f"{writer}.jsonl", folder):
                os.utime(path, (state.start_ms / 1000, state.start_ms / 1000))
        if is_active or number >= first_active - inbox_files_count:
            notices.append((state.run_id, state.experiment_id, "" if is_active else writer, len(data)))
        progress(number + 1)
    (root / "inbox").mkdir(exist_ok=True)
    active = [notice for notice in notices if not notice[2]]
    if active:
        _write_inbox(root, random.randbytes(10).hex(), active)
    for notice in (notice for notice in notices if notice[2]):
        _write_inbox(root, random.randbytes(10).hex(), [notice])


def write_index_only(root: Path, shape: Shape, *, progress: Progress) -> None:
    """Write a store whose index has all runs, while the folders of its days are empty: for measuring searches only."""
    site = open_site(LocalStorage(str(root)), create=True)
    home, memory = StorageHome(site.storage, INDEX), MemoryHome()
    known: set[str] = set()
    days: set[str] = set()
    segments: list[Segment] = []
    runs = iter_runs(shape)
    done = 0
    while batch := list(itertools.islice(runs, BATCH_RUNS_COUNT)):
        for state, _ in batch:
            _ensure_experiment(site, state, known)
            days.add(run_folder(state.run_id).split("/")[1])
        written = write_segment(memory, content_of_runs(batch, {}))
        segments.append(Segment(memory, written.name, directory_crc=written.directory_crc))
        done += len(batch)
        progress(done)
    base = write_segment(home, content_of_segments(segments, [frozenset()] * len(segments)))
    changed_ms: dict[str, int] = {}
    for day in sorted(days):
        folder = root / "runs" / day
        folder.mkdir(parents=True)
        os.utime(folder, (FIRST_DAY_MS // 1000, FIRST_DAY_MS // 1000))
        changed_ms[day] = FIRST_DAY_MS
    manifest = Manifest(
        site.document.store_id,
        token=Random(shape.seed).randbytes(8).hex(),
        segments=[SegmentEntry(base.name, base.rows_count, base.bytes_count, base.directory_crc)],
        days=changed_ms,
    )
    mark_inbox(site.storage, manifest.token)
    put_file(home, MANIFEST, encode_manifest(manifest))


def encode_run_log(state: RunState, folds: Folds, *, writer: str, is_closed: bool) -> bytes:
    """Return the log of a run that has one point of each metric."""
    stamp = itertools.count(state.start_ms)
    header = encode_header(
        LOG,
        NOBODY,
        writer=writer,
        base_ms=state.start_ms,
        stamp=next(stamp),
        flock=False,
        more={
            "run": state.run_id,
            "experiment_id": state.experiment_id,
            "experiment_name": state.experiment_name,
            "generation": state.generation,
        },
    )
    creation = {"start_ms": state.start_ms, "status": "RUNNING", "user": state.user}
    lines = [
        header,
        encode_record(["run", next(stamp), creation]),
        encode_record(["tag", next(stamp), state.tags]),
        encode_record(["param", next(stamp), state.params]),
    ]
    for number, (key, fold) in enumerate(folds.items()):
        lines.append(encode_record(["k", number, [key]]))
        point = [number, fold.last_timestamp_ms - state.start_ms, fold.last_step, encode_value(fold.last_value)]
        lines.append(encode_record(point))
    if is_closed:
        lines.append(encode_record(["info", next(stamp), {"end_ms": state.end_ms, "status": state.status}]))
        lines.append(encode_record(["fold", encode_folds(folds)]))
        data = b"".join(lines)
        more = {"chunks": 0, "points_all": len(folds)}
        lines.append(
            encode_closed(next(stamp), bytes_count=len(data), crc=zlib.crc32(data), points=len(folds), more=more)
        )
    return b"".join(lines)


def _ensure_experiment(site: Site, state: RunState, known: set[str]) -> None:
    if state.experiment_id not in known:
        known.add(state.experiment_id)
        ensure_experiment_file(
            site.storage, ExperimentDocument(state.experiment_id, state.experiment_name, state.generation)
        )


def _write_inbox(root: Path, writer: str, notices: Iterable[tuple[str, str, str, int]]) -> None:
    """Write the notices of one process: of runs with a writer also that it closed them; goodbye if it closed all."""
    now_ms = time.time_ns() // 1_000_000
    lines = [encode_header(INBOX, NOBODY, writer=writer, base_ms=now_ms, stamp=now_ms, flock=False)]
    is_done = True
    for run_id, experiment_id, run_writer, size in notices:
        lines.append(encode_record(["open", run_id, experiment_id]))
        if run_writer:
            lines.append(encode_record(["close", run_id, run_writer, size, None]))
        is_done &= bool(run_writer)
    if is_done:
        lines.append(encode_record(["bye", 0]))
    (root / "inbox" / f"{writer}.jsonl").write_bytes(b"".join(lines))
