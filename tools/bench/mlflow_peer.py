"""MLflow on SQLite, the peer that every workload may leave out."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
from pathlib import Path
from typing import Any

from tools.bench.harness import Setting
from tools.bench.results import Result


def use_mlflow(setting: Setting, result: Result) -> bool:
    """Return whether MLflow takes part; if not, the result says why."""
    if not setting.with_mlflow:
        result.notes.append("without MLflow, as asked")
    elif importlib.util.find_spec("mlflow") is None:
        result.notes.append("MLflow is not installed: its side is left out")
    else:
        return True
    return False


def open_client(folder: Path) -> Any:
    """Return an `MlflowClient` on a fresh SQLite file; makes the tables, which takes seconds."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):  # MLflow puts ./mlruns where the process stands
        client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
        client.search_experiments()
    return client


def start_run(client: Any) -> str:
    """Start a run in a new experiment and return its id."""
    experiment_id = client.create_experiment("bench")
    return str(client.create_run(experiment_id).info.run_id)
