"""Stores to push: small ones with something of everything, and what changes in them later."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from localtrack import Store
from localtrack.sync.http import Patience
from localtrack.types import Dataset, DatasetInput, InputTag, LoggedModelInput, LoggedModelOutput

HASTE = Patience(tries_count=5, first_pause_s=0.01, settle_s=0.05, timeout_s=0.5, throttled_s=20.0)
"""For servers in the same process."""
START_MS = 1_700_000_000_000


def make_store(path: Path, *, points: int = 1100, artifacts: bool = False) -> Store:
    """Return a store with a parent, two children and a run elsewhere: long, short, odd, empty."""
    store = Store.open(path)
    with store.start_run("team/ä", run_name="Mutter & Söhne", start_time=START_MS, context=False) as parent:
        parent.log_params({"lr": 0.1, "näme": "wért 💡", "long": "x" * 6000, "empty": ""})
        parent.set_tags({"team": "a", "mlflow.note.content": "# Note\nwith *lines*", "mlflow.user": "ada"})
        for step in range(points):
            parent.log_metric("loss", 1 / (step + 1), step=step, timestamp=START_MS + step)
        for step, value in enumerate(
            [math.nan, math.inf, -math.inf, -0.0, 0.0, 1e-320, math.nan, 1.7976931348623157e308]
        ):
            parent.log_metric("odd", value, step=step % 3 - 1, timestamp=START_MS)
        for _ in range(3):
            parent.log_metric("repeated", 2.5, step=1, timestamp=START_MS)
        for step in (5, 3, 4, 3, 5, 0):
            parent.log_metric("zigzag", float(step), step=step, timestamp=START_MS + 10 - step)
        parent.log_metric("far", 1.0, step=-(2**62), timestamp=0)
        if artifacts:
            parent.log_text("Grüße", "notes/näme with spaces.txt")
            parent.log_text("", "empty.txt")
            parent.log_text("x" * 3_000_000, "deep/er/big.bin")
        for number in range(2):
            with store.start_run(
                "team/ä", run_name=f"child {number}", parent_run_id=parent.run_id, start_time=START_MS, context=False
            ) as child:
                child.log_param("number", number)
                child.log_metrics({"loss": 0.5, "acc/val": number}, step=1, timestamp=START_MS)
    with store.start_run("elsewhere", run_name="failed", start_time=START_MS, context=False) as run:
        run.end("FAILED")
    return store


def add_entities(store: Store) -> None:
    """Add runs with data sets, and logged models that they made, read and measured."""
    data = Dataset("näme", "d1", "local", '{"uri": "x.csv"}', schema='{"mlflow_colspec": []}', profile='{"rows": 3}')
    with store.start_run("models", run_name="maker", start_time=START_MS, context=False) as maker:
        maker.log_inputs(
            [
                DatasetInput(data, (InputTag("mlflow.data.context", "training"),)),
                DatasetInput(Dataset("b", "2", "s", "t")),
            ]
        )
        experiment_id = store.get_run(maker.run_id).info.experiment_id
        model = store.create_logged_model(
            experiment_id,
            "tree",
            maker.run_id,
            {"stage": "ä"},
            {f"p{number}": str(number) for number in range(130)},
            "sklearn",
        )
        maker.log_outputs([LoggedModelOutput(model.model_id, 3)])
        maker.log_metric("plain", 1.0, step=1, timestamp=START_MS)
        maker.log_batch(
            metrics=[
                ModelPoint("acc", 0.5, START_MS, 1, model.model_id, "näme", "d1"),
                ModelPoint("acc", 0.75, START_MS + 1, 2, model.model_id, None, None),
            ]
        )
    store.finalize_logged_model(model.model_id, "READY")
    with store.start_run("models", run_name="user", start_time=START_MS - 5, context=False) as user:
        user.log_inputs(models=[LoggedModelInput(model.model_id)])
    store.create_logged_model(experiment_id, "pending")


class ModelPoint(NamedTuple):
    key: str
    value: float
    timestamp: int
    step: int
    model_id: str
    dataset_name: str | None
    dataset_digest: str | None


def add_to_store(store: Store) -> None:
    """Add points, params and tags to a run that was there, from another writer, and a run."""
    (parent,) = (row for row in store.search_runs() if row.info.run_name == "Mutter & Söhne")
    with store.start_run(run_id=parent.info.run_id) as run:
        run.log_param("late", "yes")
        run.set_tags({"team": "b"})
        for step in range(50):
            run.log_metric("loss", 2.0 + step, step=2000 + step, timestamp=START_MS + 5000 + step)
        run.log_metric("loss", 1.0, step=0, timestamp=START_MS)  # is there already
        run.log_metric("new", 3.0, step=0, timestamp=START_MS)
    store.delete_run_tag(parent.info.run_id, "mlflow.note.content")
    with store.start_run("team/ä", run_name="later", start_time=START_MS + 1, context=False) as run:
        run.log_metric("loss", 4.0, step=1, timestamp=START_MS)
