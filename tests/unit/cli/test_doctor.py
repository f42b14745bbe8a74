"""`localtrack doctor`, `localtrack unlock` and `localtrack drain`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.unit.cli.conftest import Invoke, Place

from localtrack.cli.documents import FIELDS
from localtrack.storage.locks import maintenance_lock


def test_doctor_says_what_a_place_is_and_what_is_safe(place: Place, invoke: Invoke) -> None:
    answer = invoke("doctor", "--store", place.path)
    assert answer.exit_code == 0
    assert answer.stdout.splitlines()[0].startswith(f"{place.path} is on ")
    assert "exclusive create" in answer.stdout
    assert answer.stdout.splitlines()[-1].startswith("Safe: ") or "Other hosts may see" in answer.stdout


def test_doctor_wants_one_place(place: Place, invoke: Invoke) -> None:
    assert invoke("doctor", place.path, "--store", place.path).exit_code == 2


def test_nobody_holds_a_lock(place: Place, invoke: Invoke) -> None:
    assert invoke("unlock", "--store", place.path).stdout == "Nobody holds a lock.\n"
    assert invoke("unlock", "--store", place.path, "--json").documents == []


def test_a_lock_that_is_held_is_shown_and_stays(place: Place, invoke: Invoke) -> None:
    with place.open() as store, maintenance_lock(store.storage, "merge"):
        answer = invoke("unlock", "--store", place.path, "--yes")
        assert "It goes when that process ends." in answer.stdout
        (document,) = invoke("unlock", "--store", place.path, "--yes", "--json").documents
        assert list(document) == FIELDS["unlock"].split(", ")
        assert (document["state"], document["removed"]) == ("alive", False)


def leave_lock(place: Place, **changes: object) -> None:
    record = {"host": "node7", "boot": "b", "pidns": "1", "pid": 7, "start": "8", "since_ms": 1_790_000_000_000}
    (place.path / "locks").mkdir(exist_ok=True)
    (place.path / "locks" / "merge.held.json").write_text(json.dumps({**record, **changes}))


def test_a_lock_of_somebody_unknown_goes_only_when_that_is_agreed_to(place: Place, invoke: Invoke) -> None:
    leave_lock(place)
    refused = invoke("unlock", "--store", place.path)  # nothing comes from standard input
    assert "process 7 on node7, since 2026-09-21 14:13:20 UTC" in refused.stdout
    assert "nobody can tell" in refused.stdout
    assert (place.path / "locks" / "merge.held.json").exists()
    (document,) = invoke("unlock", "--store", place.path, "--json").documents
    assert (document["state"], document["removed"]) == ("unknown", False)
    removed = invoke("unlock", "merge", "--yes", "--store", place.path)
    assert removed.exit_code == 0
    assert "Removed the lock merge." in removed.stdout
    assert not (place.path / "locks" / "merge.held.json").exists()


def test_a_lock_that_nobody_holds_cannot_be_named(place: Place, invoke: Invoke) -> None:
    assert invoke("unlock", "compact", "--store", place.path).exit_code == 2


LEAVES = """
import os, sys
from localtrack.api.store import Store
from localtrack.store import spool_thread
spool_thread.INTERVAL_S = 3600
Store.open(sys.argv[1], spool=sys.argv[2]).start_run("e", context=False).log_metric("loss", 1.0)
os._exit(9)
"""


def leave_spool(place: Place, tmp_path: Path) -> Path:
    spool = tmp_path / "spool"
    done = subprocess.run([sys.executable, "-c", LEAVES, str(place.path), str(spool)], check=False)
    assert done.returncode == 9
    return spool


def test_drain_moves_what_a_dead_process_left(place: Place, invoke: Invoke, tmp_path: Path) -> None:
    spool = leave_spool(place, tmp_path)
    before = len(invoke("runs", "--store", place.path, "--json").documents)
    listed = invoke("drain", spool, "--list")
    assert "files of 1 run, " in listed.stdout
    assert len(invoke("runs", "--store", place.path, "--json").documents) == before
    moved = invoke("drain", env={"LOCALTRACK_SPOOL": str(spool)})
    assert moved.exit_code == 0
    assert f"for {place.path}: " in moved.stdout
    assert " moved\n" in moved.stdout
    assert len(invoke("runs", "--store", place.path, "--json").documents) == before + 1
    (document,) = invoke("drain", spool, "--json").documents
    assert (document["files_waiting"], document["files_moved"], document["error"]) == (0, 0, None)


def test_drain_says_that_a_drive_is_away(place: Place, invoke: Invoke, tmp_path: Path) -> None:
    spool = leave_spool(place, tmp_path)
    place.path.rename(tmp_path / "unplugged")
    answer = invoke("drain", spool)
    assert answer.exit_code == 8
    assert "not mounted" in answer.stderr
    (document,) = invoke("drain", spool, "--json").documents
    assert document["files_waiting"] > 0
    assert not place.path.exists()


def test_only_what_belongs_to_a_store_is_moved(place: Place, invoke: Invoke, tmp_path: Path) -> None:
    spool = leave_spool(place, tmp_path)
    assert invoke("drain", spool, "--store", tmp_path / "other").stdout == f"Nothing is spooled in {spool}.\n"
