"""Packing, unpacking and removal for good while processes read and write: nothing that should stay is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.conformance.library_reading import assert_agreement

from localtrack.api.store import Store
from localtrack.errors import LockedError
from localtrack.types import ViewType

WRITES = """
import json, sys, time
from localtrack.api.store import Store
root, name, until_s = sys.argv[1], sys.argv[2], time.time() + float(sys.argv[3])
store = Store.open(root)
done = []
while time.time() < until_s:
    with store.start_run(f"e{name}", context=False) as run:
        for step in range(20):
            run.log_metric("loss", step + 0.5, step)
        run.log_text(name, "a.txt")
    done.append(run.run_id)
    if len(done) % 3 == 0:
        with store.start_run(run_id=done[0]) as again:
            again.log_metric("again", float(len(done)), len(done))
store.close()
print(json.dumps(done))
"""
READS = """
import json, sys, time
from localtrack.api.store import Store
from localtrack.types import ViewType
root, until_s = sys.argv[1], time.time() + float(sys.argv[2])
kept = json.loads(sys.argv[3])
store = Store.open(root)
looks = 0
while time.time() < until_s:
    page = store.search_runs(run_view_type=ViewType.ALL, max_results=None)
    found = {row.info.run_id: row for row in page}
    assert set(kept) <= found.keys(), "a run is missing from a search"
    assert not page.findings, page.findings
    for run_id in kept:
        assert found[run_id].metrics["loss"].count == 30, "points are missing"
        assert store.metric_history(run_id, "loss").num_rows == 30
        assert [file.path for file in store.list_artifacts(run_id)] == ["a.txt"]
    looks += 1
assert looks
"""


def start(source: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", source, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def look_after(store: Store, victims: list[str]) -> None:
    for deed in (
        lambda: store.pack(older_than="3s"),
        store.unpack,
        lambda: store.delete_run(*victims),
        lambda: store.gc(dry_run=False, older_than="0s"),
    ):
        try:
            deed()
        except LockedError:
            continue


def test_readers_and_writers_go_on_while_a_store_is_looked_after(
    tmp_path: Path, rounds: Callable[[int, int], int]
) -> None:
    root, seconds = tmp_path / "store", rounds(5, 60)
    with Store.open(root) as store:
        kept, gone = [], []
        for number in range(12):
            with store.start_run("e", context=False) as run:
                for step in range(30):
                    run.log_metric("loss", 1.0 / (step + 1), step)
                run.log_text("kept", "a.txt")
            (kept if number % 2 else gone).append(run.run_id)
        store.flush()
        readers = [start(READS, root, seconds, json.dumps(kept)) for _ in range(2)]
        writers = [start(WRITES, root, name, seconds) for name in "ab"]
        deadline_s, turns = time.time() + seconds + 1, 0
        while time.time() < deadline_s:
            look_after(store, gone[:1])
            gone = gone[1:]
            turns += 1
        written = []
        for process in (*readers, *writers):
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            written += json.loads(out) if out else []
        assert turns >= 1
        store.pack(older_than="0s")
        rows = {row.info.run_id: row for row in store.search_runs(run_view_type=ViewType.ALL, max_results=None)}
        assert rows.keys() == {*kept, *gone, *written}
        for run_id in written:
            assert rows[run_id].metrics["loss"].count >= 20
            assert store.metric_history(run_id, "loss").num_rows == 20
        assert [f for f in store.check().findings if f.severity != "info"] == []
    assert_agreement(root)
