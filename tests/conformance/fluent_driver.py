"""Runs fluent programs under one of both libraries, each in a process of its own, and writes down what they leave.

`python fluent_driver.py mlflow|localtrack FOLDER`: FOLDER/programs.json holds {name: source}; for each, FOLDER/<name>/
is its current folder, and FOLDER/<name>.json what it showed and left. The library is imported once and each program is
run in a fork, which ends as an interpreter does: with its exit handlers.
"""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

DELETED_AND_ACTIVE = 3
KEPT_TAGS = ("mlflow.runName", "mlflow.parentRunId", "mlflow.note.content")
# What MLflow would import in each fork.
LOADED_ONCE = ("alembic.command", "git", "mlflow.store.db.utils", "mlflow.store.tracking.sqlalchemy_store", "pandas")
NOW_MS = 10**12
"""Times after this are those of the clock: no program gives so late a time."""


def main() -> None:
    library, folder = sys.argv[1], Path(sys.argv[2])
    programs: dict[str, str] = json.loads((folder / "programs.json").read_text())
    tracking = importlib.import_module(library)
    if library == "mlflow":
        for module in LOADED_ONCE:
            importlib.import_module(module)
        # The first call makes the database, which takes longer than all programs; they get a copy.
        in_child(folder, tracking.search_experiments)
    for name, source in programs.items():
        place = folder / name
        place.mkdir()
        if library == "mlflow":
            (place / "mlflow.db").write_bytes((folder / "mlflow.db").read_bytes())
        in_child(place, lambda source=source, place=place: run(tracking, source, place))
    read = read_mlflow if library == "mlflow" else read_localtrack
    for name in programs:
        shown = folder / f"{name}.shown.json"
        state = {"shown": json.loads(shown.read_text()) if shown.exists() else [], **read(folder / name)}
        (folder / f"{name}.json").write_text(json.dumps(state))


def in_child(folder: Path, work: Callable[[], object]) -> None:
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        work()
        sys.exit()  # not os._exit: exit handlers are part of what is compared
    os.waitpid(pid, 0)


def run(tracking: Any, source: str, place: Path) -> None:
    shown: list[Any] = []

    def show(value: Any) -> None:
        shown.append(value)
        place.with_suffix(".shown.json").write_text(json.dumps(shown))

    def attempt(call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            show(f"error {getattr(error, 'error_code', 'NONE')}")
        else:
            show("no error")

    names = {"mlflow": tracking, "show": show, "attempt": attempt, "__name__": "__main__"}
    exec(compile(source, place.name, "exec"), names)


def read_localtrack(place: Path) -> dict[str, Any]:
    from localtrack import Store

    with Store.open(place / "ltruns") as store:
        experiments = store.list_experiments(DELETED_AND_ACTIVE)
        runs = []
        for row in store.search_runs(run_view_type=DELETED_AND_ACTIVE, max_results=None):
            points = store.metric_history(row.info.run_id).to_pylist()
            runs.append(
                {
                    "id": row.info.run_id,
                    "name": row.info.run_name,
                    "experiment": next(e.name for e in experiments if e.experiment_id == row.info.experiment_id),
                    "status": row.info.status,
                    "stage": row.info.lifecycle_stage,
                    "is_over": row.info.end_time is not None,
                    "params": dict(row.params),
                    "tags": dict(row.tags),
                    "last": {key: show_value(metric.value) for key, metric in row.metrics.items()},
                    "points": [
                        [p["key"], p["step"], show_time(p["timestamp_ms"]), show_value(p["value"])] for p in points
                    ],
                }
            )
    return {"experiments": sorted([e.name, e.lifecycle_stage, dict(e.tags)] for e in experiments), "runs": tidy(runs)}


def read_mlflow(place: Path) -> dict[str, Any]:
    # From its tables: MLflow's own store takes a second to open, for each program.
    database = sqlite3.connect(place / "mlflow.db")

    def pairs(table: str, owner: str) -> dict[Any, dict[str, str]]:
        found: dict[Any, dict[str, str]] = defaultdict(dict)
        for key, value, who in database.execute(f"SELECT key, value, {owner} FROM {table}"):
            found[who][key] = value
        return found

    def points(table: str) -> dict[str, list[list[Any]]]:
        found: dict[str, list[list[Any]]] = defaultdict(list)
        for who, key, step, time_ms, value, is_nan in database.execute(
            f"SELECT run_uuid, key, step, timestamp, value, is_nan FROM {table}"
        ):
            found[who].append([key, step, show_time(time_ms), "nan" if is_nan else show_value(value)])
        return found

    experiments = database.execute("SELECT experiment_id, name, lifecycle_stage FROM experiments").fetchall()
    experiment_tags, tags, params = (
        pairs("experiment_tags", "experiment_id"),
        pairs("tags", "run_uuid"),
        pairs("params", "run_uuid"),
    )
    history, last = points("metrics"), points("latest_metrics")
    runs = [
        {
            "id": run_id,
            "name": name,
            "experiment": next(e[1] for e in experiments if e[0] == experiment_id),
            "status": status,
            "stage": stage,
            "is_over": end_ms is not None,
            "params": params[run_id],
            "tags": tags[run_id],
            "last": {key: value for key, _, _, value in last[run_id]},
            "points": history[run_id],
        }
        for run_id, name, experiment_id, status, stage, end_ms in database.execute(
            "SELECT run_uuid, name, experiment_id, status, lifecycle_stage, end_time FROM runs"
        )
    ]
    database.close()
    return {
        "experiments": sorted([name, stage, experiment_tags[number]] for number, name, stage in experiments),
        "runs": tidy(runs),
    }


def tidy(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Names instead of ids, no tags of the context, and an order that does not depend on clock or chance."""
    names = {run.pop("id"): run["name"] for run in runs}
    for run in runs:
        run["tags"] = {
            key: names.get(value, value)
            for key, value in run["tags"].items()
            if key in KEPT_TAGS or not key.startswith(("mlflow.", "localtrack."))
        }
        run["points"].sort()
    return sorted(runs, key=lambda run: json.dumps(run, sort_keys=True))


def show_value(value: float) -> str:
    return repr(value or 0.0)  # SQLite does not keep the sign of zero; localtrack does


def show_time(time_ms: int) -> int | str:
    return time_ms if time_ms < NOW_MS else "now"


if __name__ == "__main__":
    main()
