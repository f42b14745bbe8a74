"""The commands that write: init, delete, restore, end, seal, merge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Invoke, Place

from localtrack.api.store import Store

LEAVES_CHUNKS = """
import os, sys
from localtrack.api.store import Store
from localtrack.store.background import sealer
sealer.ask = lambda *_: None
store = Store.open(sys.argv[1])
store._site.log_points_bytes = store._site.chunk_bytes = 4_096
run = store.start_run(context=False)
for step in range(2_000):
    run.log_metric("x", step / 7, step=step)
print(run.run_id, flush=True)
os._exit(9)
"""


def test_init_makes_a_store_once(tmp_path: Path, invoke: Invoke) -> None:
    path = tmp_path / "a" / "new store"
    answer = invoke("init", path)
    assert (answer.exit_code, answer.stdout) == (0, f"Made the store {path}\n")
    store_id = Store.open(path, create=False).store_id
    answer = invoke("init", path)
    assert (answer.exit_code, answer.stdout) == (0, f"There is a store at {path}\n")
    document = invoke("init", path, "--json").document
    assert document == {"store": str(path), "store_id": store_id, "created": False}


def test_init_without_a_path_takes_the_option_then_the_environment_then_ltruns(tmp_path: Path, invoke: Invoke) -> None:
    named, set_path = tmp_path / "named", tmp_path / "set"
    assert invoke("init", "--json", env={"LOCALTRACK_TRACKING_URI": str(set_path)}).document["store"] == str(set_path)
    answer = invoke("init", "--store", named, "--json", env={"LOCALTRACK_TRACKING_URI": str(set_path)})
    assert answer.document["store"] == str(named)
    assert invoke("init", "--json").document["store"] == str(Path.cwd() / "ltruns")


def test_init_makes_a_store_here_although_there_is_one_above(tmp_path: Path, invoke: Invoke) -> None:
    Store.open(tmp_path).close()
    assert invoke("env", "--json").document["store"] == str(tmp_path)
    document = invoke("init", "--json").document
    assert (document["store"], document["created"]) == (str(Path.cwd() / "ltruns"), True)
    assert document["store_id"] == Store.open("ltruns", create=False).store_id


def test_init_takes_one_path(tmp_path: Path, invoke: Invoke) -> None:
    answer = invoke("init", tmp_path / "a", "--store", tmp_path / "b")
    assert answer.exit_code == 2
    assert "not both" in answer.stderr
    assert list(tmp_path.glob("[ab]")) == []


def test_delete_and_restore(place: Place, invoke: Invoke) -> None:
    ids = place.ids
    answer = invoke("delete", ids.good, ids.better, ids.deleted, "--store", place.path)
    assert (answer.exit_code, answer.stdout) == (0, "Deleted 2 runs.\n")
    with place.open() as store:
        assert store.get_run(ids.good).info.lifecycle_stage == "deleted"
    answer = invoke("restore", ids.good, "--store", place.path)
    assert answer.stdout == "Restored 1 run.\n"
    answer = invoke("restore", ids.good, ids.better, "--json", "--store", place.path)
    assert answer.documents == [
        {"run_id": ids.good, "lifecycle_stage": "active"},
        {"run_id": ids.better, "lifecycle_stage": "active"},
    ]
    with place.open() as store:
        assert store.get_run(ids.better).info.lifecycle_stage == "active"


@pytest.mark.parametrize("command", ["delete", "end"])
def test_one_wrong_id_leaves_all_as_it_is(place: Place, invoke: Invoke, command: str) -> None:
    answer = invoke(command, place.ids.dead, "ffffff", "--store", place.path)
    assert answer.exit_code == 3
    with place.open() as store:
        info = store.get_run(place.ids.dead).info
    assert (info.lifecycle_stage, info.status) == ("active", "RUNNING")


def test_end_marks_dead_and_silent_runs(place: Place, invoke: Invoke) -> None:
    answer = invoke("end", place.ids.dead, place.ids.silent, "--store", place.path)
    assert (answer.exit_code, answer.stdout) == (0, "Ended 2 runs as KILLED.\n")
    with place.open() as store:
        for run_id in (place.ids.dead, place.ids.silent):
            info = store.get_run(run_id).info
            assert info.status == "KILLED"
            assert info.end_time is not None


def test_end_with_another_status(place: Place, invoke: Invoke) -> None:
    answer = invoke("end", place.ids.dead, "--status", "failed", "--json", "--store", place.path)
    assert answer.documents == [{"run_id": place.ids.dead, "status": "FAILED"}]
    assert invoke("end", place.ids.silent, "--status", "RUNNING", "--store", place.path).exit_code == 2


def test_end_leaves_a_living_run_alone(place: Place, invoke: Invoke) -> None:
    with place.open() as store:
        run = store.start_run(context=False)
        answer = invoke("end", run.run_id, place.ids.dead, "--store", place.path)
        assert answer.exit_code == 5
        assert "is alive" in answer.stderr
        assert store.get_run(run.run_id).info.status == "RUNNING"
        assert store.get_run(place.ids.dead).info.status == "RUNNING"
        assert invoke("end", run.run_id, "--force", "--store", place.path).exit_code == 0
        assert store.get_run(run.run_id).info.status == "KILLED"
        run.end()


def test_end_leaves_an_ended_run_alone(place: Place, invoke: Invoke) -> None:
    answer = invoke("end", place.ids.good, "--store", place.path)
    assert answer.exit_code == 5
    assert "has ended already" in answer.stderr
    assert invoke("end", place.ids.good, "--force", "--status", "FAILED", "--store", place.path).exit_code == 0
    with place.open() as store:
        assert store.get_run(place.ids.good).info.status == "FAILED"


def test_seal_makes_up_for_a_writer_that_died_before(place: Place, invoke: Invoke) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAVES_CHUNKS, str(place.path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 9, done.stderr
    run_id = done.stdout.strip()
    before = invoke("history", run_id, "--json", "--store", place.path).documents
    assert invoke("seal", place.ids.good, "--store", place.path).stdout == "Sealed 0 chunks.\n"
    sealed_count = invoke("seal", run_id, "--json", "--store", place.path).document["sealed_count"]
    assert sealed_count > 1
    assert list(place.path.glob(f"runs/*/{run_id}/*.parquet"))
    assert invoke("history", run_id, "--json", "--store", place.path).documents == before
    assert len(before) == 2_000
    assert invoke("seal", "--store", place.path).stdout == "Sealed 0 chunks.\n"


def test_merge_brings_runs_and_repeats_itself_without_effect(place: Place, tmp_path: Path, invoke: Invoke) -> None:
    other = tmp_path / "other"
    with Store.open(other) as store, store.start_run("elsewhere", context=False) as run:
        pass
    answer = invoke("merge", other, place.path)
    assert answer.exit_code == 0
    assert answer.stdout.startswith(f"{place.path}: 6 runs added, 0 extended, 0 unchanged; 2 experiments added; ")
    with Store.open(other, create=False) as store:
        assert {row.info.run_id for row in store.search_runs(run_view_type=3)} == {*place.ids, run.run_id}
    again = invoke("merge", other, place.path, place.path, "--json").document
    assert again["destination"] == str(other)
    assert [source["source"] for source in again["sources"]] == [str(place.path)] * 2
    for source in again["sources"]:
        assert (source["runs_added"], source["runs_unchanged"], source["bytes_copied"]) == (0, 6, 0)


def test_merge_makes_a_store_only_if_told_to(first_place: Place, tmp_path: Path, invoke: Invoke) -> None:
    new = tmp_path / "new"
    answer = invoke("merge", new, first_place.path)
    assert answer.exit_code == 3
    assert not new.exists()
    assert invoke("merge", "--create", new, first_place.path).exit_code == 0
    assert (new / "localtrack.json").exists()


def test_merge_copies_nothing_if_a_source_is_missing(first_place: Place, tmp_path: Path, invoke: Invoke) -> None:
    new = tmp_path / "new"
    answer = invoke("merge", "--create", new, first_place.path, tmp_path / "nothing")
    assert answer.exit_code == 3
    assert str(tmp_path / "nothing") in answer.stderr
    assert not new.exists()


def test_merge_takes_no_store_option(first_place: Place, tmp_path: Path, invoke: Invoke) -> None:
    answer = invoke("--store", first_place.path, "merge", tmp_path, first_place.path)
    assert answer.exit_code == 2
    assert "leave --store out" in answer.stderr


def test_delete_and_restore_many(place: Place, invoke: Invoke) -> None:
    answer = invoke("delete", "-e", "team/a", "--filter", "metrics.loss > 0.5", "--store", place.path, "--json")
    assert answer.exit_code == 0, answer.stderr
    assert {document["run_id"] for document in answer.documents} == {place.ids.good, place.ids.dead, place.ids.silent}
    answer = invoke("restore", "-e", "team/a", "--since", "2020-01-01", "--max-runs", "1", "--store", place.path)
    assert answer.stdout == "Restored 1 run.\n"
    answer = invoke("restore", "-e", "team/a", "--since", "2020-01-01T00:00+02:00", "--store", place.path)
    assert answer.stdout == "Restored 3 runs.\n"
    answer = invoke("delete", "-e", "team/a", "--until", "1577836800000", "--store", place.path)
    assert answer.stdout == "Deleted 0 runs.\n"


def test_delete_wants_runs_or_an_experiment(place: Place, invoke: Invoke) -> None:
    for arguments in (
        [],
        ["--filter", "metrics.loss > 1"],
        [place.ids.good, "-e", "team/a"],
        [place.ids.good, "--until", "2020-01-01"],
        ["-e", "team/a"],
        ["-e", "team/a", "--until", "soon"],
    ):
        answer = invoke("delete", *arguments, "--store", place.path)
        assert answer.exit_code == 2, arguments
        assert "Error" in answer.stderr


def test_check_says_what_is_damaged_and_repairs(place: Place, invoke: Invoke) -> None:
    answer = invoke("check", "--store", place.path)
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert answer.stdout.endswith(": 0 errors, 0 warnings, 0 repaired.\n")
    document = place.path / "experiments/0.json"
    document.write_bytes(document.read_bytes()[:-3])
    answer = invoke("check", "--store", place.path)
    assert answer.exit_code == 10
    assert "error M7 experiments/0.json: is not JSON" in answer.stdout
    answer = invoke("check", "--repair", "--store", place.path)
    assert answer.exit_code == 0
    assert "repaired M7 experiments/0.json" in answer.stdout
    (place.path / "localtrack.json").unlink()
    answer = invoke("check", "--store", place.path, "--json")
    assert answer.exit_code == 10
    assert [finding["key"] for finding in answer.document["findings"]] == ["localtrack.json"]
    assert invoke("check", "--store", place.path / "runs").exit_code == 3
