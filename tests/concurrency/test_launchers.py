"""Real launchers, where they are installed: torchrun, mpirun, Ray, Spark, and the workers of a DataLoader.

CI has none of them. With `pip install torch ray pyspark mpi4py` in an environment of its own, and Debian's openmpi-bin
and a Java: `pytest tests/concurrency/test_launchers.py`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.crash.forks import REPOSITORY
from tests.independent.reader import read_store

from localtrack.api.store import Store

STEPS_COUNT = 20
PROGRAM = Path(__file__).with_name("launched.py")


def needs(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed")


def launch(command: list[str], tmp_path: Path, **more: str) -> list[str]:
    """Run a launcher to its end, and return what the ranks said of their run."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("LOCALTRACK_", "SLURM_"))}
    environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
    done = subprocess.run(
        command, env={**environ, **more}, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return re.findall(r"rank \d+ of \d+: ([0-9a-f]{32})", done.stdout)


def read_points(root: Path, run_id: str) -> Counter[tuple[str, int, float]]:
    read = read_store(root)
    assert read["findings"] == []
    return Counter((key, step, float(value)) for key, _, step, value in read["runs"][run_id]["points"])


def wanted(ranks_count: int, steps_count: int = STEPS_COUNT) -> Counter[tuple[str, int, float]]:
    return Counter(("loss", step, rank + step / 64) for rank in range(ranks_count) for step in range(steps_count))


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "3"]


@needs("torch")
@pytest.mark.parametrize("options", [["--standalone"], ["--master-port", "29517"], ["--rdzv-id", "job7"]])
def test_torchrun(tmp_path: Path, options: list[str]) -> None:
    root = tmp_path / "store"
    command = [*TORCHRUN, *options, str(PROGRAM), str(root), "merge", "--gloo"]
    ids = launch(command, tmp_path)
    assert len(ids) == 3
    assert len(set(ids)) == 1
    assert read_points(root, ids[0]) == wanted(3)
    with Store.open(root) as store:
        assert [row.info.status for row in store.search_runs()] == ["FINISHED"]


@needs("torch")
def test_torchrun_starts_workers_again_that_failed(tmp_path: Path) -> None:
    root = tmp_path / "store"
    command = [*TORCHRUN, "--standalone", "--max-restarts", "1", str(PROGRAM), str(root), "merge"]
    ids = launch([*command, "--fails-at-first", "1", str(tmp_path / "flag")], tmp_path)
    assert len(set(ids)) == 1
    assert read_points(root, ids[0]) == wanted(3, 2 * STEPS_COUNT)
    with Store.open(root) as store:
        assert [row.info.status for row in store.search_runs()] == ["FINISHED"]


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="mpirun is not installed")
@pytest.mark.parametrize("by", ["environment", pytest.param("mpi4py", marks=needs("mpi4py"))])
def test_mpirun(tmp_path: Path, by: str) -> None:
    root = tmp_path / "store"
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "3", sys.executable, str(PROGRAM), str(root)]
    found = []
    for mode in ("merge", "prefix"):
        ids = launch([*command, mode, *(["--mpi"] if by == "mpi4py" else [])], tmp_path)
        assert len(ids) == 3
        assert len(set(ids)) == 1
        found.append(ids[0])
    assert found[0] != found[1]  # each launch is a run of its own
    assert read_points(root, found[0]) == wanted(3)
    assert {key for key, _, _ in read_points(root, found[1])} == {f"rank{rank}/loss" for rank in range(3)}


RAY = """
import sys, ray
from localtrack.api.store import Store

@ray.remote
def work(number):
    import localtrack
    with localtrack.start_run() as run:
        for step in range(20):
            localtrack.log_metric("loss", number + step / 64, step=step)
    return run.run_id

@ray.remote
class Actor:
    def __init__(self):
        import localtrack
        self.run = localtrack.start_run()
    def work(self):
        self.run.log_metric("actor", 1.0)
        return self.run.run_id
    def end(self):
        self.run.end()

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
with Store.open(sys.argv[1]) as store, store.start_run("e", context=False) as run:
    ids = ray.get([work.options(runtime_env={"env_vars": run.hand_over(f"worker{n}/")}).remote(n) for n in range(3)])
    actor = Actor.options(runtime_env={"env_vars": run.hand_over()}).remote()
    ids.append(ray.get(actor.work.remote()))
    ray.get(actor.end.remote())
    assert set(ids) == {run.run_id}, ids
    run.log_metric("driver", 1.0)
    print("rank 0 of 1:", run.run_id)
ray.shutdown()
"""


@needs("ray")
def test_ray(tmp_path: Path) -> None:
    root = tmp_path / "store"
    (run_id,) = launch([sys.executable, "-c", RAY, str(root)], tmp_path)
    points = read_points(root, run_id)
    by_worker = Counter((f"worker{n}/loss", step, n + step / 64) for n in range(3) for step in range(STEPS_COUNT))
    assert points == by_worker + Counter([("actor", 0, 1.0), ("driver", 0, 1.0)])


SPARK = """
import sys
from pyspark.sql import SparkSession
from localtrack.api.store import Store

def work(number, rows):
    import localtrack
    with localtrack.start_run() as run:
        for step in rows:
            localtrack.log_metric(f"part{number}", step / 64, step=step)
    yield run.run_id

with Store.open(sys.argv[1]) as store, store.start_run("e", context=False) as run:
    builder = SparkSession.builder.master(sys.argv[2]).config("spark.ui.enabled", "false")
    for name, value in run.hand_over().items():
        builder = builder.config(f"spark.executorEnv.{name}", value)
    spark = builder.getOrCreate()
    ids = spark.sparkContext.parallelize(range(80), 4).mapPartitionsWithIndex(work).collect()
    assert set(ids) == {run.run_id}, ids
    spark.stop()
    print("rank 0 of 1:", run.run_id)
"""


@needs("pyspark")
@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs a Java")
@pytest.mark.parametrize("master", ["local[2]", "local-cluster[2,1,1024]"])
def test_spark(tmp_path: Path, master: str) -> None:
    root = tmp_path / "store"
    more = {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    (run_id,) = launch([sys.executable, "-c", SPARK, str(root), master], tmp_path, **more)
    want = Counter((f"part{step // 20}", step, step / 64) for step in range(80))
    assert read_points(root, run_id) == want


LOADER = """
import sys
from torch.utils.data import DataLoader, Dataset, get_worker_info
from localtrack.api.store import Store

class Squares(Dataset):
    def __init__(self, run):
        self.run = run
    def __len__(self):
        return 40
    def __getitem__(self, index):
        self.run.log_metric(f"worker{get_worker_info().id}", index / 64, step=index)
        return index * index

if __name__ == "__main__":
    with Store.open(sys.argv[1]) as store, store.start_run("e", context=False) as run:
        loader = DataLoader(Squares(run), batch_size=4, num_workers=2, multiprocessing_context=sys.argv[2])
        for step, batch in enumerate(loader):
            run.log_metric("sum", float(batch.sum()), step=step)
        print("rank 0 of 1:", run.run_id)
"""


@needs("torch")
@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_workers_of_a_data_loader(tmp_path: Path, context: str) -> None:
    root = tmp_path / "store"
    (tmp_path / "loader.py").write_text(LOADER)
    (run_id,) = launch([sys.executable, "loader.py", str(root), context], tmp_path)
    points = read_points(root, run_id)
    want: Counter[Any] = Counter((f"worker{(i // 4) % 2}", i, i / 64) for i in range(40))
    want += Counter(("sum", step, float(sum(i * i for i in range(4 * step, 4 * step + 4)))) for step in range(10))
    assert points == want
