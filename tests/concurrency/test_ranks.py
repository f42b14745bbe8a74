"""Many processes and one run: the ranks of a launch, workers, children of forks and spawns."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.independent.reader import read_store

from localtrack.api.rank_runs import plan_rank
from localtrack.api.ranks import find_rank
from localtrack.api.store import Store
from localtrack.errors import InvalidInputError, StateError
from localtrack.storage.process import boot_id

RANK = """
import os, sys
from localtrack.api.store import Store
store = Store.open(sys.argv[1])
run = store.start_run("e", run_name="together", ranks=sys.argv[2], resume=sys.argv[3] or None)
rank = int(os.environ[sys.argv[4]])
with run:
    run.log_param("lr", 0.1)
    for step in range(20):
        run.log_metric("loss", rank + step / 64, step=step)
        if step == int(os.environ.get("KILLED_AT", "-1")):
            print(run.run_id, flush=True)
            os.kill(os.getpid(), 9)
    run.log_metrics({"a": rank + 0.5, "b": rank + 0.25}, step=1)
    if os.environ.get("FAILS") == str(rank):
        raise RuntimeError("it fails")
print(run.run_id)
"""

TORCHRUN = {"RANK": "{rank}", "WORLD_SIZE": "{count}", "LOCAL_WORLD_SIZE": "{count}", "TORCHELASTIC_RUN_ID": "none"}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "{rank}", "OMPI_COMM_WORLD_SIZE": "{count}", "PMIX_NAMESPACE": "prterun-1@1"}
SLURM = {"SLURM_PROCID": "{rank}", "SLURM_NTASKS": "{count}", "SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0"}


def launch(
    root: Path, names: dict[str, str], *, count: int = 3, mode: str = "merge", resume: str = "", **more: str
) -> list[str]:
    """Start all ranks at once, as a launcher does, and return the run ids that they say."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("LOCALTRACK_", "SLURM_"))}
    processes = []
    rank_name = next(iter(names))
    for rank in range(count):
        environ = {key: value.format(rank=rank, count=count) for key, value in names.items()}
        command = [sys.executable, "-c", RANK, str(root), mode, resume, rank_name]
        processes.append(
            subprocess.Popen(
                command, env={**plain, **environ, **more}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    said = [process.communicate(timeout=120) for process in processes]
    failed = [number for number, process in enumerate(processes) if process.returncode]
    wanted = [int(more["FAILS"])] if "FAILS" in more else []
    assert failed == (list(range(count)) if "KILLED_AT" in more else wanted), said
    return [out.strip() for out, _ in said if out.strip()]


@pytest.mark.parametrize("names", [TORCHRUN, OPEN_MPI, SLURM], ids=["torchrun", "mpirun", "srun"])
def test_all_ranks_of_a_launch_log_to_one_run(tmp_path: Path, names: dict[str, str]) -> None:
    ids = launch(tmp_path / "store", names)
    assert len(ids) == 3
    assert len(set(ids)) == 1
    read = read_store(tmp_path / "store")
    run = read["runs"][ids[0]]
    points = Counter((key, step, float(value)) for key, _, step, value in run["points"])
    wanted = Counter(("loss", step, rank + step / 64) for rank in range(3) for step in range(20))
    wanted += Counter((key, 1, rank + value) for rank in range(3) for key, value in (("a", 0.5), ("b", 0.25)))
    assert points == wanted
    assert read["findings"] == []
    assert run["status"] == "FINISHED"
    with Store.open(tmp_path / "store") as store:
        assert store.get_run(ids[0]).info.run_name == "together"
        assert "mlflow.source.name" in store.get_run(ids[0]).data.tags
        assert store.get_run(ids[0]).data.params == {"lr": "0.1"}


def test_each_launch_has_a_run_of_its_own_and_ranks_may_have_keys_of_their_own(tmp_path: Path) -> None:
    first = launch(tmp_path / "store", OPEN_MPI, count=2, mode="prefix")
    second = launch(tmp_path / "store", {**OPEN_MPI, "PMIX_NAMESPACE": "prterun-2@1"}, count=2, mode="prefix")
    assert len({*first, *second}) == 2
    for run_id in (first[0], second[0]):
        keys = {key for key, *_ in read_store(tmp_path / "store")["runs"][run_id]["points"]}
        assert keys == {f"rank{rank}/{key}" for rank in range(2) for key in ("loss", "a", "b")}


def test_a_job_that_was_preempted_and_requeued_goes_on_with_its_run(tmp_path: Path) -> None:
    root = tmp_path / "store"
    first = launch(root, SLURM, count=2, resume="auto", KILLED_AT="9")
    with Store.open(root) as store:
        assert store.get_run(first[0]).info.status == "RUNNING"
    again = launch(root, {**SLURM, "SLURM_RESTART_COUNT": "1"}, count=2, resume="auto")
    fresh = launch(root, {**SLURM, "SLURM_RESTART_COUNT": "1"}, count=2)
    assert len({*first, *again}) == 1
    assert fresh[0] != first[0]
    run = read_store(root)["runs"][first[0]]
    points = Counter((key, step, float(value)) for key, _, step, value in run["points"] if key == "loss")
    # The points of both starts, and nothing else: what was logged before the kill is there.
    both = Counter(("loss", step, rank + step / 64) for rank in range(2) for step in [*range(20), *range(10)])
    assert points == both
    assert run["status"] == "FINISHED"


def test_each_task_of_an_array_has_a_run_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for task, job in (("1", "78"), ("2", "79"), ("1", "78")):  # the first one is requeued
        for name, value in {**SLURM, "SLURM_JOB_ID": job, "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "78")
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", task)
        with Store.open(tmp_path / "store") as store, store.start_run("e", ranks="merge", resume="auto") as run:
            ids.append(run.run_id)
    assert ids[0] == ids[2] != ids[1]


def test_a_rank_that_fails_is_seen(tmp_path: Path) -> None:
    ids = launch(tmp_path / "store", OPEN_MPI, count=2, FAILS="1")
    with Store.open(tmp_path / "store") as store:
        (row,) = store.search_runs()
        assert row.info.run_id == ids[0]
        assert row.info.status in ("FAILED", "FINISHED")  # rank 0 says so if it ends after
    launch(tmp_path / "other", OPEN_MPI, count=2, FAILS="0")
    with Store.open(tmp_path / "other") as store:
        assert [row.info.status for row in store.search_runs()] == ["FAILED"]


@pytest.mark.parametrize(
    ("environ", "rank", "launch_part"),
    [
        ({}, None, ""),
        ({"RANK": "1", "WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "job7"}, (1, 4), "TORCHELASTIC_RUN_ID=job7"),
        ({"RANK": "1", "WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "none"}, (1, 4), ""),
        ({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}, (1, 4), boot_id()),
        ({"RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, (1, 8), ""),
        ({"RANK": "x", "WORLD_SIZE": "8"}, None, ""),
        ({"RANK": "9", "WORLD_SIZE": "8"}, None, ""),
        ({"HOROVOD_RANK": "0", "HOROVOD_SIZE": "2"}, (0, 2), ""),
        ({"PMI_RANK": "3", "PMI_SIZE": "4", "PALS_APID": "a"}, (3, 4), "PALS_APID=a"),
        (
            {"RANK": "5", "WORLD_SIZE": "8", "SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_JOB_ID": "3"}
            | {"SLURM_STEP_ID": "0"},
            (5, 8),
            "slurm:3 step 0 restart 0",
        ),
    ],
)
def test_what_launchers_say(environ: dict[str, str], rank: tuple[int, int] | None, launch_part: str) -> None:
    found = find_rank(environ)
    assert (None if found is None else (found.number, found.count)) == rank
    if found is not None:
        assert found.launch == "" if not launch_part else launch_part in found.launch


def test_a_launch_that_nothing_names_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "8")
    with Store.open(tmp_path / "store") as store:
        with pytest.raises(StateError, match="rank 1 of 8"):
            store.start_run("e", ranks="merge")
        with pytest.raises(InvalidInputError, match="not known"):
            store.start_run("e", ranks="all")
    monkeypatch.setenv("LOCALTRACK_JOB_ID", "mine")
    place = plan_rank("prefix", resume=None, job=None)
    assert place == ("mine", "rank1/", True)


def test_alone_nothing_changes(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store, store.start_run("e", ranks="prefix", context=False) as run:
        run.log_metric("loss", 1.0)
    with Store.open(tmp_path / "store") as store:
        assert set(store.get_run(run.run_id).data.metrics) == {"loss"}


WORKER = """
import sys, localtrack
with localtrack.start_run(run_name="ignored") as run:
    localtrack.log_metric("score", float(sys.argv[1]), step=int(sys.argv[1]))
print(run.run_id)
"""


def test_a_run_is_handed_over_to_other_programs(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        run = store.start_run("e", run_name="parent", context=False)
        ids = []
        for number in range(2):
            environ = {**os.environ, **run.hand_over(f"worker{number}/")}
            command = [sys.executable, "-c", WORKER, str(number)]
            done = subprocess.run(command, env=environ, capture_output=True, text=True, cwd=tmp_path, check=True)
            ids.append(done.stdout.strip())
        assert ids == [run.run_id] * 2
        assert store.get_run(run.run_id).info.status == "RUNNING"  # workers do not end it
        run.end()
        found = store.get_run(run.run_id)
        assert found.data.metrics == {"worker0/score": 0.0, "worker1/score": 1.0}
        assert found.info.run_name == "parent"
    assert not (tmp_path / "ltruns").exists()


def spawned(run: object, number: int) -> None:
    run.log_metric(f"child{number}", float(number))  # type: ignore[attr-defined]


@pytest.fixture(params=["fork", "spawn"])
def context(request: pytest.FixtureRequest) -> Iterator[multiprocessing.context.BaseContext]:
    return multiprocessing.get_context(str(request.param))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("is_spooled", [False, True], ids=["direct", "spooled"])
def test_children_of_multiprocessing_log_to_their_parents_run(
    tmp_path: Path, context: multiprocessing.context.BaseContext, is_spooled: bool
) -> None:
    spool = str(tmp_path / "spool") if is_spooled else ""
    with Store.open(tmp_path / "store", spool=spool) as store, store.start_run("e", context=False) as run:
        start = context.Process  # type: ignore[attr-defined]
        children = [start(target=spawned, args=(run, number)) for number in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
        assert [child.exitcode for child in children] == [0, 0, 0]
        run.log_metric("parent", 1.0)
    run_read = read_store(tmp_path / "store")["runs"][run.run_id]
    assert {key for key, *_ in run_read["points"]} == {"child0", "child1", "child2", "parent"}
    assert run_read["status"] == "FINISHED"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_of_a_pool_as_data_loaders_have(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store, store.start_run("e", context=False) as run:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            pool.starmap(spawned, [(run, number) for number in range(8)])
        assert len(run.data.metrics) == 8


def test_a_pickled_run_is_a_guests_hand_in_it(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", on_error="warn") as store:
        run = store.start_run("e", context=False)
        data = pickle.dumps(run)
        guest = pickle.loads(data)
        assert guest.run_id == run.run_id
        guest.log_metric("m", 1.0)
        guest.end()
        assert store.get_run(run.run_id).info.status == "RUNNING"
        run.end()
    assert json.dumps(str(tmp_path / "store"))[1:-1].encode() in data
