"""Fifty processes that begin at once with MLflow on an empty store: each makes the experiment or finds it, and logs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from localtrack import Store

PROCESS_COUNT = 50

# The parent imports, and each child is a fork of it that was told nothing but its number: all meet the empty store at
# the same moment, which fifty interpreters that import for seconds would not.
PARENT = """
import atexit, os, sys, traceback
import git, mlflow, mlflow.sklearn
from sklearn.linear_model import LinearRegression
import localtrack.mlflow_plugin.tracking_store

# Patches every estimator, which takes longer than all that follows; the first store is opened by the children.
mlflow.sklearn.autolog(log_models=False, log_datasets=False, silent=True)
uri, count = sys.argv[1], int(sys.argv[2])
gate_out, gate_in = os.pipe()
children = []
for number in range(count):
    pid = os.fork()
    if pid == 0:
        try:
            os.close(gate_in)
            os.read(gate_out, 1)  # until the parent closes its end
            mlflow.set_tracking_uri(uri)
            mlflow.set_experiment("all at once")
            with mlflow.start_run(run_name=f"process {number}"):
                LinearRegression().fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])
                mlflow.log_metric("number", number)
            atexit._run_exitfuncs()  # and not the rest of an interpreter's end, which takes ten times longer
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    children.append(pid)
os.close(gate_out)
os.close(gate_in)
sys.exit(sum(os.waitpid(pid, 0)[1] != 0 for pid in children))
"""


def test_all_of_them_succeed(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", PARENT, f"localtrack://{folder}", str(PROCESS_COUNT)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-5000:]
    with Store.open(folder, create=False) as store:
        names = [experiment.name for experiment in store.list_experiments()]
        runs = store.search_runs(experiment_names=["all at once"])
        assert sorted(names) == ["Default", "all at once"]
        assert len(runs) == PROCESS_COUNT
        assert {row.info.status for row in runs} == {"FINISHED"}
        assert sorted(row.metrics["number"].value for row in runs) == list(range(PROCESS_COUNT))
        assert all("training_score" in row.metrics and row.params["fit_intercept"] == "True" for row in runs)
        assert [finding for row in runs for finding in store.describe_run(row.info.run_id).findings] == []
