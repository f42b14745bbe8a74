"""Golden stores about where points lie: chunks, segments, parts, and what was torn."""

from __future__ import annotations

from typing import Any

from tests.independent.expected import Json, a_run, a_store
from tests.independent.hand import DAY, NOON_MS, A, B, C, HandLog, HandStore, Row, chunk, run_id, run_log, segment

T = NOON_MS
RUN = run_id(20)
FOLDER = f"runs/{DAY}/{RUN}"


def long_log(writer: str = A) -> HandLog:
    """Points 0 and 1 of a writer: `loss` and `acc` at step 0."""
    log = run_log(RUN, writer).add(["run", T, {"start_ms": T, "status": "RUNNING", "user": "ada"}])
    return log.add(["k", 0, ["loss", "acc"]], [0, 0, 0, 1.0, 0.0])


def long_chunk(number: int, writer: str = A) -> HandLog:
    """Points 2 + 4n … 5 + 4n: `loss` at the steps 10 n + 1 … 10 n + 3, and `acc` at the last."""
    start = 10 * number
    log = chunk(RUN, number, 2 + 4 * number, writer, base_ms=T + 1_000 * number)
    log.add(["k", 0, ["loss"]], [0, 1, start + 1, 0.5], ["p", [[0, 2, start + 2, 0.25]]])
    return log.add(["k", 1, ["acc", "loss"]], [1, 3, start + 3, "NaN", 0.125])


def long_rows(*numbers: int) -> list[Row]:
    """What `long_chunk` logs for these chunks, as rows of a segment."""
    nan = float("nan")
    rows: list[Row] = []
    for n in numbers:
        at_ms, first, step = T + 1_000 * n, 2 + 4 * n, 10 * n
        rows += [
            ("acc", first + 2, step + 3, at_ms + 3, nan),
            ("loss", first, step + 1, at_ms + 1, 0.5),
            ("loss", first + 1, step + 2, at_ms + 2, 0.25),
            ("loss", first + 3, step + 3, at_ms + 3, 0.125),
        ]
    return sorted(rows, key=lambda row: row[:2])


def long_folds(*numbers: int) -> dict[str, Any]:
    """The fold of these chunks."""
    last = max(numbers)
    step, at_ms = 10 * last + 3, T + 1_000 * last + 3
    return {
        "acc": [len(numbers), "NaN", step, at_ms, "NaN", "NaN"],
        "loss": [3 * len(numbers), 0.125, step, at_ms, 0.125, 0.5],
    }


def long_run(*numbers: int, **other: Any) -> Json:
    """The run with the points of its log and these chunks."""
    rows = [("acc", T, 0, 0.0), *(("acc", T + 1_000 * n + 3, 10 * n + 3, "NaN") for n in numbers), ("loss", T, 0, 1.0)]
    for n in numbers:
        rows += [("loss", T + 1_000 * n + i, 10 * n + i, 0.5**i) for i in (1, 2, 3)]
    step, at_ms = 10 * max(numbers) + 3, T + 1_000 * max(numbers) + 3
    last = {"acc": ["NaN", step, at_ms], "loss": [0.125, step, at_ms]}
    return a_run(points=[list(row) for row in rows], last=last) | other


def put_segment(store: HandStore, first: int, last: int, writer: str = A) -> str:
    numbers = range(first, last + 1)
    data = segment(long_rows(*numbers), run=RUN, writer=writer, chunks=(first, last), keys=long_folds(*numbers))
    return store.segment(FOLDER, writer, (first, last), data)


def put_chunk(store: HandStore, number: int, writer: str = A) -> str:
    """Add a closed chunk."""
    return store.chunk(FOLDER, number, long_chunk(number, writer).close(T + 1_000 * number + 900, points=4))


def ended(log: HandLog, *numbers: int, fold: dict[str, Any] | None = None) -> HandLog:
    """End and close the log of a writer with these chunks."""
    points = 2 + 4 * len(numbers)
    log.add(["info", T + 90_000, {"end_ms": T + 90_000, "status": "FINISHED"}])
    return log.close(T + 90_001, points=2, points_all=points, chunks=len(numbers), fold=fold)


def unsealed(*, has_fold: bool = True) -> tuple[HandStore, Json]:
    """A long run that has ended and was not sealed."""
    store = HandStore()
    fold = {"acc": [4, "NaN", 23, T + 2_003, 0.0, 0.0], "loss": [10, 0.125, 23, T + 2_003, 0.125, 1.0]}
    store.log(FOLDER, ended(long_log(), 0, 1, 2, fold=fold if has_fold else None))
    for number in (0, 1, 2):
        put_chunk(store, number)
    return store, a_store({RUN: long_run(0, 1, 2, status="FINISHED", end_ms=T + 90_000)})


def sealed() -> tuple[HandStore, Json]:
    """A long run as it is at rest: its log and one segment."""
    store = HandStore()
    store.log(FOLDER, ended(long_log(), 0, 1, 2))
    put_segment(store, 0, 2)
    return store, a_store({RUN: long_run(0, 1, 2, status="FINISHED", end_ms=T + 90_000)})


def going_on() -> tuple[HandStore, Json]:
    """A long run that goes on: a segment, a closed chunk, an open one whose last line is torn."""
    store = HandStore()
    store.log(FOLDER, long_log().check())
    put_segment(store, 0, 1)
    put_chunk(store, 2)
    store.chunk(FOLDER, 3, long_chunk(3).check().raw(b'[1,4,34,"Na'))
    return store, a_store({RUN: long_run(0, 1, 2, 3)})


def sealing_cut_short() -> tuple[HandStore, Json]:
    """A crash while chunks and narrower segments were being removed (S2): every point is there twice or thrice."""
    store = HandStore()
    store.log(FOLDER, long_log())
    put_segment(store, 0, 2)
    put_segment(store, 0, 0)
    put_segment(store, 1, 2)
    for number in (1, 2):
        put_chunk(store, number)
    store.put(f"{FOLDER}/.tmp-0f0f.parquet", b"PAR1 half of it")
    return store, a_store({RUN: long_run(0, 1, 2)})


def overlapping_segments() -> tuple[HandStore, Json]:
    """Two stores sealed the same chunks in other ranges, then were merged; a third range lies inside."""
    store = HandStore()
    store.log(FOLDER, long_log())
    put_segment(store, 0, 2)
    put_segment(store, 1, 3)
    put_segment(store, 2, 3)
    put_chunk(store, 0)
    put_chunk(store, 3)
    put_chunk(store, 4)
    return store, a_store({RUN: long_run(0, 1, 2, 3, 4)})


def long_of_two_writers() -> tuple[HandStore, Json]:
    """Two writers whose points are equal: one set."""
    store = HandStore()
    for writer in (A, B):
        store.log(FOLDER, long_log(writer))
    put_segment(store, 0, 1, writer=A)
    put_chunk(store, 0, writer=B)
    store.chunk(FOLDER, 1, long_chunk(1, B))
    return store, a_store({RUN: long_run(0, 1)})


def torn() -> tuple[HandStore, Json]:
    """What failed writes and deaths leave in logs: nothing of it was acknowledged, and nothing is reported."""
    store = HandStore()
    log = long_log()
    log.torn(b'["tag",17900000').add(["tag", T + 1, {"a": "1"}])
    log.torn(b'["tag",1790000000002,{"a":"whole, but not acknowledged"}]').add(["tag", T + 2, {"b": "2"}])
    log.torn(b"[0,5,1,0.5,0.").torn(b"\xf0\x9f").add([0, 5, 1, 0.5, 0.25])
    log.torn(b'["tag",179\n["to').add(["tag", T + 3, {"c": "3"}])  # the marker was torn, too
    log.raw(b'["tag",1790000000003,{"a":"died here"}]')
    store.log(FOLDER, log)
    store.put(f"{FOLDER}/{B}.jsonl", b"")
    store.put(f"{FOLDER}/{C}.jsonl", b'["Log",{"base_ms":17900')
    store.put(f"{FOLDER}/{A}.0.points.jsonl", b'["Poi')
    points = [["acc", T, 0, 0.0], ["acc", T + 5, 1, 0.25], ["loss", T, 0, 1.0], ["loss", T + 5, 1, 0.5]]
    last = {"acc": [0.25, 1, T + 5], "loss": [0.5, 1, T + 5]}
    return store, a_store({RUN: a_run(tags={"a": "1", "b": "2", "c": "3"}, points=points, last=last)})


def in_parts() -> tuple[HandStore, Json]:
    """Logs on a medium without append (5.4): numbered parts, each of whole lines."""
    store = HandStore()
    for key, log in {
        f"{FOLDER}/{A}.jsonl": ended(long_log(), 0, 1),
        f"{FOLDER}/{A}.0.points.jsonl": long_chunk(0).close(T + 900, points=4),
        f"{FOLDER}/{A}.1.points.jsonl": long_chunk(1).close(T + 1_900, points=4),
    }.items():
        lines = log.data.splitlines(keepends=True)
        cuts = [0, 1, len(lines) - 2, len(lines)]
        for number in range(3):
            store.put(f"{key}.part{number:08d}", b"".join(lines[cuts[number] : cuts[number + 1]]))
    return store, a_store({RUN: long_run(0, 1, status="FINISHED", end_ms=T + 90_000)})
