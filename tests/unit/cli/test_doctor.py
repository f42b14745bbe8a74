"""`localtrack doctor` and `localtrack unlock`."""

from __future__ import annotations

import json

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
