"""Damaged stores in which a file is missing, cut, or not what its name says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from tests.independent.damage_lines import DAY, FOLDER, LOG, RUN, begun, bystander, ended, the_run
from tests.independent.expected import Json, a_run, a_store, an_experiment
from tests.independent.golden_points import (
    FOLDER as LONG_FOLDER,
)
from tests.independent.golden_points import (
    RUN as LONG_RUN,
)
from tests.independent.golden_points import (
    long_chunk,
    long_folds,
    long_log,
    long_rows,
    long_run,
    put_chunk,
    put_segment,
    unsealed,
)
from tests.independent.hand import (
    EDITOR,
    NOON_MS,
    A,
    B,
    C,
    HandLog,
    HandStore,
    created,
    edit_runs,
    experiment_id,
    run_id,
    run_log,
    segment,
)

T = NOON_MS


def _unsealed_without(numbers: tuple[int, ...], kind: str, reported: str) -> tuple[HandStore, Json]:
    """A closed run of three chunks that reads as if it had only these."""
    store, expected = unsealed(has_fold=False)
    read = long_run(*numbers, status="FINISHED", end_ms=T + 90_000)
    expected["runs"] = bystander(store) | {LONG_RUN: read}
    expected["findings"] = [[f"{LONG_FOLDER}/{reported}", kind]]
    return store, expected


def log_emptied() -> tuple[HandStore, Json]:
    """The log of a writer is empty, its chunk is there: the first points are missing, and the run's state is."""
    store = HandStore()
    runs = bystander(store)
    store.log(LONG_FOLDER, long_log(B))
    key = store.put(f"{LONG_FOLDER}/{A}.jsonl", b"")
    put_chunk(store, 0)
    return store, a_store(runs | {LONG_RUN: long_run(0)}, findings=[(key, "gap")])


def point_given_twice_before_chunks() -> tuple[HandStore, Json]:
    """A line of the log is there twice: the numbers of its points are those of points in the chunk."""
    store = HandStore()
    runs = bystander(store)
    key = store.log(LONG_FOLDER, long_log().add([0, 0, 0, 1.0, 0.0]))
    put_chunk(store, 0)
    return store, a_store(runs | {LONG_RUN: long_run(0)}, findings=[(key, "gap")])


def chunk_missing() -> tuple[HandStore, Json]:
    store, expected = _unsealed_without((0, 2), "gap", f"{A}.jsonl")
    del store.files[f"{LONG_FOLDER}/{A}.1.points.jsonl"]
    return store, expected


def last_chunk_missing() -> tuple[HandStore, Json]:
    store, expected = _unsealed_without((0, 1), "gap", f"{A}.jsonl")
    del store.files[f"{LONG_FOLDER}/{A}.2.points.jsonl"]
    return store, expected


def closed_chunk_cut() -> tuple[HandStore, Json]:
    """The middle one of three lost its last lines; only the highest may be open."""
    name = f"{A}.1.points.jsonl"
    store, expected = _unsealed_without((0, 1, 2), "gap", name)
    data = store.files[f"{LONG_FOLDER}/{name}"]
    store.files[f"{LONG_FOLDER}/{name}"] = data[: data.index(b'["k",1') + 5]
    run = expected["runs"][LONG_RUN]
    run["points"] = [row for row in run["points"] if row[1:3] != [T + 1_003, 13]]
    return store, expected


def chunk_of_another_run() -> tuple[HandStore, Json]:
    name = f"{A}.1.points.jsonl"
    store, expected = _unsealed_without((0, 2), "name", name)
    log = HandLog("Points", A, run=run_id(77), chunk=1, first=6).add(["k", 0, ["loss"]], [0, 1, 1, 0.5])
    store.put(f"{LONG_FOLDER}/{name}", log.data)
    return store, expected


def _chunk_refused(log: HandLog, kind: str) -> tuple[HandStore, Json]:
    """A run whose chunk 0 this reader must not read: its points are missing, those of the log and chunk 1 are not."""
    store = HandStore()
    runs = bystander(store)
    store.log(LONG_FOLDER, long_log())
    key = store.chunk(LONG_FOLDER, 0, log)
    put_chunk(store, 1)
    return store, a_store(runs | {LONG_RUN: long_run(1)}, findings=[(key, kind)])


def chunk_of_newer_format() -> tuple[HandStore, Json]:
    log = HandLog("Points", A, format=2, run=LONG_RUN, chunk=0, first=2)
    return _chunk_refused(log.add(["k", 0, ["loss"]], [0, 1, 1, 0.5]).close(T, points=1), "newer")


def chunk_with_unknown_upper_case_type() -> tuple[HandStore, Json]:
    return _chunk_refused(long_chunk(0).add(["Packed", "something"]).close(T, points=4), "unknown_type")


def chunk_with_state() -> tuple[HandStore, Json]:
    """Types of a run log in a chunk: damaged, and no reason not to read the points."""
    store = HandStore()
    runs = bystander(store)
    store.log(LONG_FOLDER, long_log())
    log = long_chunk(0).add(["tag", T + 5, {"a": "1"}], ["fold", {}])
    key = store.chunk(LONG_FOLDER, 0, log)
    return store, a_store(runs | {LONG_RUN: long_run(0)}, findings=[(key, "damaged")])


def writer_in_header_of_chunk() -> tuple[HandStore, Json]:
    """The chunk says that it is of another writer: its points count, as those of the writer in its name."""
    store = HandStore()
    runs = bystander(store)
    store.log(LONG_FOLDER, long_log())
    key = store.put(f"{LONG_FOLDER}/{A}.0.points.jsonl", long_chunk(0, B).data)
    return store, a_store(runs | {LONG_RUN: long_run(0)}, findings=[(key, "name")])


def _sealed(first: int, last: int, data: bytes, *chunks: int) -> tuple[HandStore, Json]:
    """An open run with a segment that is not sound, and these chunks beside it."""
    store = HandStore()
    runs = bystander(store)
    store.log(LONG_FOLDER, long_log())
    key = store.segment(LONG_FOLDER, A, (first, last), data)
    for number in chunks:
        put_chunk(store, number)
    points = [["acc", T, 0, 0.0], ["loss", T, 0, 1.0]]
    alone = a_run(points=points, last={"acc": [0.0, 0, T], "loss": [1.0, 0, T]})
    runs[LONG_RUN] = long_run(*chunks) if chunks else alone
    return store, a_store(runs, findings=[(key, "segment")])


def _sound_segment(**other: object) -> bytes:
    fields = {"run": LONG_RUN, "writer": A, "chunks": (0, 1)} | other
    return segment(long_rows(0, 1), keys=long_folds(0, 1), **fields)


def segment_cut() -> tuple[HandStore, Json]:
    store, expected = _sealed(0, 1, _sound_segment())
    key = expected["findings"][0][0]
    store.files[key] = store.files[key][:-60]
    return store, expected


def segment_cut_beside_its_chunks() -> tuple[HandStore, Json]:
    """A segment should never be there in part, as it was synced before it was renamed. Its chunks count."""
    store, expected = _sealed(0, 1, _sound_segment(), 0, 1)
    key = expected["findings"][0][0]
    store.files[key] = store.files[key][:100]
    return store, expected


def segment_with_a_flipped_byte() -> tuple[HandStore, Json]:
    store, expected = _sealed(0, 1, _sound_segment(), 0, 1)
    key = expected["findings"][0][0]
    data = bytearray(store.files[key])
    data[data.index(b"loss", 4)] ^= 1
    store.files[key] = bytes(data)
    return store, expected


def segment_of_another_run() -> tuple[HandStore, Json]:
    return _sealed(0, 1, _sound_segment(run=run_id(77)), 0, 1)


def segment_of_another_range() -> tuple[HandStore, Json]:
    return _sealed(0, 2, _sound_segment(), 0, 1, 2)


def segment_that_is_no_parquet() -> tuple[HandStore, Json]:
    return _sealed(0, 0, b"not Parquet", 0)


def narrower_segment_steps_in() -> tuple[HandStore, Json]:
    """The widest is not sound: what lies inside its range counts."""
    store, expected = _sealed(0, 1, _sound_segment())
    key = expected["findings"][0][0]
    store.files[key] = store.files[key][:-9]
    put_segment(store, 0, 0)
    store.chunk(LONG_FOLDER, 1, long_chunk(1))
    expected["runs"][LONG_RUN] = long_run(0, 1)
    return store, expected


def run_under_another_day() -> tuple[HandStore, Json]:
    store = HandStore()
    runs = bystander(store)
    folder = f"runs/2026-09-22/{RUN}"
    store.log(folder, begun())
    return store, a_store(runs, findings=[(folder, "misplaced")])


def run_under_another_id() -> tuple[HandStore, Json]:
    store = HandStore()
    runs = bystander(store)
    folder = f"runs/{DAY}/{run_id(3)}"
    store.log(folder, begun())
    return store, a_store(runs, findings=[(folder, "misplaced")])


def log_of_another_run() -> tuple[HandStore, Json]:
    store = HandStore()
    runs = bystander(store)
    store.log(FOLDER, begun())
    key = store.log(FOLDER, run_log(run_id(9), B).add(["tag", T + 20, {"a": "of another run"}]))
    return store, a_store(runs | {RUN: the_run()}, findings=[(key, "name")])


def writer_in_header() -> tuple[HandStore, Json]:
    """The log says that it is of another writer: what it says counts, as that of the writer in its name."""
    store = HandStore()
    runs = bystander(store)
    store.put(LOG, begun().data.replace(A.encode(), B.encode()))
    return store, a_store(runs | {RUN: the_run()}, findings=[(LOG, "name")])


def only_an_empty_log() -> tuple[HandStore, Json]:
    """What a death between creating the log and its first write leaves."""
    store = HandStore()
    runs = bystander(store)
    store.put(LOG, b"")
    return store, a_store(runs, findings=[(FOLDER, "empty")])


def names_of_no_rule() -> tuple[HandStore, Json]:
    store = HandStore()
    runs = bystander(store)
    store.log(FOLDER, begun())
    odd = ["notes.txt", f"{FOLDER}/model.pkl", f"{FOLDER}/{A}.jsonl~", f"runs/{DAY}/x.zip", "runs/list.txt"]
    odd += ["experiments/readme.md", "edits/old.jsonl"]
    for key in odd:
        store.put(key, b"what is this?\n")
    return store, a_store(runs | {RUN: the_run()}, findings=[(key, "other") for key in odd])


def part_missing() -> tuple[HandStore, Json]:
    """Parts count up to the first number that is missing (5.4)."""
    store = HandStore()
    runs = bystander(store)
    lines = begun().data.splitlines(keepends=True)
    store.put(f"{LOG}.part00000000", b"".join(lines[:-1]))
    key = store.put(f"{LOG}.part00000002", lines[-1])
    return store, a_store(runs | {RUN: the_run(values=(0.5,))}, findings=[(key, "other")])


def writer_in_header_of_edits() -> tuple[HandStore, Json]:
    """The edits say that they are of another writer: they count, as those of the writer in their name.

    They tie with those of another log, and are the higher ones by their name alone.
    """
    store = HandStore()
    runs = bystander(store)
    store.edits(edit_runs(T + 21, "restored", run_id(1)), writer=B)
    log = HandLog("Edits", A).add(edit_runs(T + 21, "deleted", run_id(1)))
    key = store.put(f"edits/{EDITOR}.jsonl", log.data)
    runs[run_id(1)]["lifecycle"] = "deleted"
    return store, a_store(runs, findings=[(key, "name")])


def inbox_of_newer_format() -> tuple[HandStore, Json]:
    """Notices change no answer: whatever they are, they are ignored."""
    store = HandStore()
    runs = bystander(store)
    store.put(f"inbox/{B}.jsonl", HandLog("Inbox", B, format=2).data)
    store.put(f"inbox/{C}.jsonl", HandLog("Inbox", C).add(["Hello", "later"]).raw(b"[?]\n").data)
    return store, a_store(runs)


def edit_damaged() -> tuple[HandStore, Json]:
    store = HandStore()
    runs = bystander(store)
    store.log(FOLDER, begun())
    log = HandLog("Edits", EDITOR).add(edit_runs(T + 20, "deleted", RUN), edit_runs(T + 21, "deleted", run_id(1)))
    key = store.put(f"edits/{EDITOR}.jsonl", log.data.replace(b'["runs",1790000000021', b'["runs",1790000000021;'))
    return store, a_store(runs | {RUN: the_run(lifecycle="deleted")}, findings=[(key, "damaged")])


def edits_with_second_header() -> tuple[HandStore, Json]:
    """A type that is known, where it cannot stand: damage, and no reason to refuse the store."""
    store = HandStore()
    runs = bystander(store)
    log = HandLog("Edits", EDITOR)
    log.raw(log.data).add(edit_runs(T + 21, "deleted", run_id(1)))
    key = store.put(f"edits/{EDITOR}.jsonl", log.data)
    runs[run_id(1)]["lifecycle"] = "deleted"
    return store, a_store(runs, findings=[(key, "damaged")])


def edits_header() -> tuple[HandStore, Json]:
    """A log of edits whose first line cannot be read is left out."""
    store = HandStore()
    runs = bystander(store)
    log = HandLog("Edits", EDITOR).add(edit_runs(T + 21, "deleted", run_id(1)))
    key = store.put(f"edits/{EDITOR}.jsonl", b"{" + log.data[1:])
    return store, a_store(runs, findings=[(key, "damaged")])


def experiment_file_damaged() -> tuple[HandStore, Json]:
    """Its name is known from its first edit."""
    store = HandStore()
    runs = bystander(store)
    id_ = store.experiment("lab")
    store.edits(created(T, "lab"))
    store.files[f"experiments/{id_}.json"] = store.files[f"experiments/{id_}.json"][:-3]
    return store, a_store(runs, {id_: an_experiment("lab", T)}, [(f"experiments/{id_}.json", "damaged")])


def experiment_file_of_another() -> tuple[HandStore, Json]:
    store = HandStore()
    runs = bystander(store)
    id_ = experiment_id("lab")
    store.put(f"experiments/{id_}.json", store.files["experiments/0.json"])
    return store, a_store(runs, findings=[(f"experiments/{id_}.json", "name")])


def artifact_missing() -> tuple[HandStore, Json]:
    store = HandStore()
    runs = bystander(store)
    digest = hashlib.sha256(b"hello").hexdigest()
    store.log(FOLDER, begun().add(["artifact", T + 3, {"path": "a/b.txt", "bytes": 5, "sha256": digest}]))
    return store, a_store(runs | {RUN: the_run()}, findings=[(f"{FOLDER}/artifacts/a/b.txt", "artifact")])


def artifact_changed() -> tuple[HandStore, Json]:
    store, expected = artifact_missing()
    store.put(f"{FOLDER}/artifacts/a/b.txt", b"hallo")
    expected["runs"][RUN]["artifacts"] = {"a/b.txt": 5}
    return store, expected


def _refused(store: HandStore, key: str, kind: str) -> tuple[HandStore, Json]:
    bystander(store)
    return store, {"refused": [key, kind]}


def newer_store() -> tuple[HandStore, Json]:
    return _refused(HandStore(format_=2), "localtrack.json", "newer")


def store_document_cut() -> tuple[HandStore, Json]:
    store = HandStore()
    store.files["localtrack.json"] = store.files["localtrack.json"][:12]
    return _refused(store, "localtrack.json", "damaged")


def store_document_missing() -> tuple[HandStore, Json]:
    store = HandStore()
    del store.files["localtrack.json"]
    return _refused(store, "localtrack.json", "missing")


def unknown_upper_case_edit() -> tuple[HandStore, Json]:
    store = HandStore()
    key = store.edits(created(T, "lab"), ["Grant", T + 1, {"to": "bob"}])
    return _refused(store, key, "unknown_type")


def closed_log_of_two_writers_cut() -> tuple[HandStore, Json]:
    """One of two closed logs lost its second half between lines: a shorter log, as a copy cut short leaves it."""
    store = HandStore()
    runs = bystander(store)
    store.log(FOLDER, ended(begun()))
    log = run_log(RUN, B, stamp=T + 20).add(["tag", T + 20, {"b": "1"}])
    kept = len(log.data)
    log.add(["tag", T + 21, {"b": "2"}]).close(T + 22, points=0, points_all=0, chunks=0)
    store.put(f"{FOLDER}/{B}.jsonl", log.data[:kept])
    read = the_run(status="FINISHED", end_ms=T + 9, tags={"a": "1", "b": "1"})
    return store, a_store(runs | {RUN: read})


FILE_DAMAGES: tuple[Callable[[], tuple[HandStore, Json]], ...] = (
    log_emptied,
    point_given_twice_before_chunks,
    chunk_missing,
    last_chunk_missing,
    closed_chunk_cut,
    chunk_of_another_run,
    chunk_of_newer_format,
    chunk_with_unknown_upper_case_type,
    chunk_with_state,
    writer_in_header_of_chunk,
    segment_cut,
    segment_cut_beside_its_chunks,
    segment_with_a_flipped_byte,
    segment_of_another_run,
    segment_of_another_range,
    segment_that_is_no_parquet,
    narrower_segment_steps_in,
    run_under_another_day,
    run_under_another_id,
    log_of_another_run,
    writer_in_header,
    only_an_empty_log,
    names_of_no_rule,
    part_missing,
    writer_in_header_of_edits,
    inbox_of_newer_format,
    edit_damaged,
    edits_header,
    edits_with_second_header,
    experiment_file_damaged,
    experiment_file_of_another,
    artifact_missing,
    artifact_changed,
    newer_store,
    store_document_cut,
    store_document_missing,
    unknown_upper_case_edit,
    closed_log_of_two_writers_cut,
)
