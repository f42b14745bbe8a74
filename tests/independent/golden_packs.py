"""Golden stores with packs (18)."""

from __future__ import annotations

import hashlib
import io
import zipfile

from tests.independent.expected import Json, a_run, a_store, an_experiment
from tests.independent.hand import DAY, NOON_MS, A, B, HandLog, HandStore, edit_runs, run_id, run_log

T = NOON_MS


def pack(files: dict[str, bytes]) -> tuple[str, bytes]:
    """Return key and bytes of a pack. Members are stored, so that its bytes do not depend on a version of zlib."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for key, data in sorted(files.items()):
            info = zipfile.ZipInfo(key, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o644 << 16
            info.comment = str(T + 60_000).encode()
            archive.writestr(info, data)
    return f"packs/{hashlib.sha256(sink.getvalue()).hexdigest()}.zip", sink.getvalue()


def _finished(number: int, *, tags: dict[str, str] | None = None) -> HandLog:
    log = run_log(run_id(number)).add(["run", T, {"start_ms": T, "status": "RUNNING", "user": "ada"}])
    log.add(["tag", T + 1, {"n": str(number)} | (tags or {})], ["k", 0, ["loss"]], [0, 1, 1, 0.5])
    log.add(["info", T + 9, {"end_ms": T + 9, "status": "FINISHED"}])
    return log.close(T + 10, points=1, points_all=1, chunks=0)


def _reads(number: int, **other: object) -> Json:
    points = [["loss", T + 1, 1, 0.5]]
    last = {"loss": [0.5, 1, T + 1]}
    return a_run(
        **{"tags": {"n": str(number)}, "status": "FINISHED", "end_ms": T + 9, "points": points, "last": last} | other
    )


def _key(number: int, writer: str = A) -> str:
    return f"runs/{DAY}/{run_id(number)}/{writer}.jsonl"


def packed() -> tuple[HandStore, Json]:
    """Runs in packs: alone, with an edit that came later, longer or shorter beside it, twice, and removed for good."""
    store = HandStore()
    alone, edited, longer_loose, shorter_loose, twice, removed = range(1, 7)
    whole = {number: _finished(number).data for number in range(1, 7)}
    begun = {number: data[: data.index(b'["info"')] for number, data in whole.items()}
    files = {_key(number): whole[number] for number in (alone, edited, shorter_loose, removed)}
    files[_key(longer_loose)] = begun[longer_loose]
    files[_key(twice)] = begun[twice]
    store.put(*pack(files))
    store.put(*pack({_key(twice): whole[twice]}))
    store.put(_key(longer_loose), whole[longer_loose])
    store.put(_key(shorter_loose), begun[shorter_loose])
    later = run_log(run_id(edited), B, stamp=T + 20).add(["tag", T + 20, {"later": "yes"}])
    store.log(f"runs/{DAY}/{run_id(edited)}", later.close(T + 21, points=0, points_all=0, chunks=0))
    store.put(f"runs/{DAY}/{run_id(alone)}/artifacts/a.txt", b"not packed")
    tombstone = {"run": run_id(removed), "positions": {A: [len(whole[removed]), 1]}, "time_ms": T + 31, "user": "ada"}
    store.edits(edit_runs(T + 30, "deleted", run_id(removed)), ["tombstone", T + 31, tombstone])
    runs = {run_id(number): _reads(number) for number in (longer_loose, shorter_loose, twice)}
    runs[run_id(alone)] = _reads(alone, artifacts={"a.txt": 10})
    runs[run_id(edited)] = _reads(edited, tags={"later": "yes", "n": str(edited)})
    return store, a_store(dict(sorted(runs.items())))


def restored_after_removal() -> tuple[HandStore, Json]:
    """A copy whose owner restored a run after it was removed elsewhere (12.7): shown, as long as nobody removes it."""
    store = HandStore()
    restored, removed_again, by_experiment = range(1, 4)
    sizes = {}
    for number in (restored, removed_again, by_experiment):
        log = _finished(number)
        sizes[number] = len(log.data)
        store.log(f"runs/{DAY}/{run_id(number)}", log)

    def tombstone(stamp: int, number: int) -> list[object]:
        positions = {A: [sizes[number], 1]}
        return ["tombstone", stamp, {"run": run_id(number), "positions": positions, "time_ms": stamp, "user": "ada"}]

    store.edits(
        tombstone(T + 20, restored),
        tombstone(T + 21, removed_again),
        tombstone(T + 22, by_experiment),
        edit_runs(T + 30, "restored", run_id(restored), run_id(removed_again)),
        edit_runs(T + 31, "deleted", run_id(restored)),
        tombstone(T + 32, removed_again),
        ["experiment", T + 33, {"id": "0", "op": "deleted", "time_ms": T + 33, "user": "ada"}],
        ["experiment", T + 34, {"id": "0", "op": "restored", "time_ms": T + 34, "user": "ada"}],
    )
    default = {"0": an_experiment("Default", T, T + 34)}
    return store, a_store({run_id(restored): _reads(restored)}, default)
