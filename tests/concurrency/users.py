"""Acts as another user of the machine, in a process that has everything loaded: modules may not be readable to it."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import tempfile
from pathlib import Path

import localtrack
from localtrack.api.store import Store
from localtrack.errors import LocaltrackError

_NOT_NEEDED = (
    "localtrack.mlflow_plugin",
    "localtrack.ui",
    "localtrack.spark",
    "localtrack.__main__",
    "localtrack.sync",
)


def _load_everything() -> None:
    for module in pkgutil.walk_packages(localtrack.__path__, "localtrack."):
        if not module.name.startswith(_NOT_NEEDED):
            importlib.import_module(module.name)
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "store") as store:
        store._site.log_points_bytes = store._site.chunk_bytes = 500
        with store.start_run("e", context=False) as run:
            for step in range(50):
                run.log_metric("loss", float(step), step=step)
            run.log_text("x", "x.txt")
        store.search_runs(filter_string="metrics.loss > 1", order_by=["start_time ASC"])
        store.metric_history(run.run_id)
        store.describe_run(run.run_id)
        store.delete_run(run.run_id)


_load_everything()


def act(uid: int, groups: list[int], umask: int, code: str, answer_path: str) -> None:
    """Run code as a user, and leave its `answer`."""
    with open(answer_path, "w") as file:  # as root: the user may not write there
        os.setgroups(groups)
        os.setgid(uid)
        os.setuid(uid)
        os.umask(umask)
        answer: dict[str, object] = {}
        exec(code, {"answer": answer, "Store": Store, "LocaltrackError": LocaltrackError})
        json.dump(answer, file)
