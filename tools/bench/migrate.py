"""What MLflow tracked, brought into a store: 1,000 runs with a thousand points each."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tools.bench import mlflow_peer
from tools.bench.harness import Setting, Side, run_in_turns, time_once
from tools.bench.results import Bound, Result

NAME = "migrate"
SUMMARY = "1,000 runs with 1,000,000 points from an mlruns folder and from MLflow's SQLite"
AGAIN_BOUND = Bound(2.0)
"""It reads the source as the first did, and the store, and writes nothing."""
KEYS = ("loss", "val/loss", "accuracy", "lr")
EXPERIMENT_ID = 123456789012345678
START_MS = 1_700_000_000_000

_SCHEMA = """
    CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name, artifact_location, lifecycle_stage,
        creation_time, last_update_time);
    CREATE TABLE experiment_tags (key, value, experiment_id);
    CREATE TABLE runs (run_uuid PRIMARY KEY, name, user_id, status, start_time, end_time, deleted_time, lifecycle_stage,
        artifact_uri, experiment_id);
    CREATE TABLE params (key, value, run_uuid, PRIMARY KEY (key, run_uuid));
    CREATE TABLE tags (key, value, run_uuid, PRIMARY KEY (key, run_uuid));
    CREATE TABLE metrics (key, value FLOAT, timestamp, run_uuid, step, is_nan,
        PRIMARY KEY (key, timestamp, step, run_uuid, value, is_nan));
    CREATE INDEX index_params_run_uuid ON params (run_uuid);
    CREATE INDEX index_tags_run_uuid ON tags (run_uuid);
    CREATE INDEX index_metrics_run_uuid ON metrics (run_uuid);
"""
"""What an import reads of MLflow's tables, with the keys and indices that they have there."""


def run(setting: Setting) -> Result:
    """Measure whole imports, each into a store of its own."""
    result = Result(NAME, SUMMARY)
    run_count, step_count = setting.choose(1_000, 8), setting.choose(1_000 // len(KEYS), 5)
    points_count = run_count * step_count * len(KEYS)
    mlruns, database = setting.folder / "mlruns", setting.folder / "mlflow.db"
    write_sources(mlruns, database, run_count, step_count)
    _import_into(setting.folder / "there", mlruns, points_count)
    there = setting.folder / "there"
    sides = [
        Side("floor", _in_new_folder(setting, "floor", points_count, lambda folder: copy_points(mlruns, folder))),
        Side("mlruns", _in_new_folder(setting, "a", points_count, _importing(mlruns, points_count))),
        Side("sqlite", _in_new_folder(setting, "b", points_count, _importing(database, points_count))),
        Side("mlruns again", lambda: points_count / time_once(lambda: _import_into(there, mlruns, 0))),
    ]
    if mlflow_peer.use_mlflow(setting, result):
        sides.append(Side("mlflow migrate-filestore", _in_new_folder(setting, "c", points_count, _migrating(mlruns))))
    rates = run_in_turns(sides, setting.round_count(3))
    result.add_turns("points", "1/s", rates)
    for side in ("mlruns", "sqlite"):
        result.add_ratio("points a second", rates, side, "floor")
        result.add_ratio("points a second", rates, side, "mlflow migrate-filestore")
    times = {side: {number: 1 / rate for number, rate in by_round.items()} for side, by_round in rates.items()}
    result.add_ratio("time", times, "mlruns again", "mlruns", AGAIN_BOUND)
    result.notes.append("floor: plain Python that reads the files of points and writes the points to one file")
    return result


def write_sources(mlruns: Path, database: Path, run_count: int, step_count: int) -> None:
    """Write the same runs as MLflow's file backend and as its SQLite store have them."""
    experiment = mlruns / str(EXPERIMENT_ID)
    for part in ("metrics", "params", "tags", "artifacts"):
        (experiment / "template" / part).mkdir(parents=True)
    (mlruns / ".trash").mkdir()
    fields = f"creation_time: {START_MS}\nlast_update_time: {START_MS}\nlifecycle_stage: active\nname: bench\n"
    place = f"artifact_location: {experiment}\nexperiment_id: '{EXPERIMENT_ID}'\n"
    (experiment / "meta.yaml").write_text(fields + place)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(_SCHEMA)
        row = (EXPERIMENT_ID, "bench", str(experiment), "active", START_MS, START_MS)
        connection.execute("INSERT INTO experiments VALUES (?, ?, ?, ?, ?, ?)", row)
        for number in range(run_count):
            _write_run(experiment, connection, number, step_count)
    shutil.rmtree(experiment / "template")


def _write_run(experiment: Path, connection: sqlite3.Connection, number: int, step_count: int) -> None:
    run_id = f"{number:016x}{0xBE7C:016x}"
    folder, start_ms = experiment / run_id, START_MS + number * 1_000
    shutil.copytree(experiment / "template", folder)
    (folder / "metrics" / "val").mkdir()
    (folder / "meta.yaml").write_text(
        f"artifact_uri: {folder}/artifacts\nend_time: {start_ms + 999}\nentry_point_name: ''\n"
        f"experiment_id: '{EXPERIMENT_ID}'\nlifecycle_stage: active\nrun_id: {run_id}\nrun_name: run {number}\n"
        f"source_name: ''\nsource_type: 4\nsource_version: ''\nstart_time: {start_ms}\nstatus: 3\ntags: []\n"
        "user_id: ada\n"
    )
    row = (
        run_id,
        f"run {number}",
        "ada",
        "FINISHED",
        start_ms,
        start_ms + 999,
        None,
        "active",
        str(folder / "artifacts"),
        EXPERIMENT_ID,
    )
    connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    for key, value in {"lr": f"{0.1 / (number + 1)}", "layers": str(number % 7)}.items():
        (folder / "params" / key).write_text(value)
        connection.execute("INSERT INTO params VALUES (?, ?, ?)", (key, value, run_id))
    (folder / "tags" / "mlflow.runName").write_text(f"run {number}")
    connection.execute("INSERT INTO tags VALUES (?, ?, ?)", ("mlflow.runName", f"run {number}", run_id))
    for place, key in enumerate(KEYS):
        points = [(start_ms + step, (place + 1) / (step + number % 13 + 1), step) for step in range(step_count)]
        text = "".join(f"{time_ms} {value} {step}\n" for time_ms, value, step in points)
        (folder / "metrics" / key).write_text(text)
        rows = [(key, value, time_ms, run_id, step, 0) for time_ms, value, step in points]
        connection.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", rows)


def copy_points(mlruns: Path, folder: Path) -> None:
    """Read all files of points, and write the points to one file: the floor."""
    folder.mkdir()
    with open(folder / "points.jsonl", "w", encoding="utf-8") as sink:
        for path in sorted(mlruns.glob("*/*/metrics/**/*")):
            if path.is_dir():
                continue
            key = "/".join(path.parts[path.parts.index("metrics") + 1 :])
            for line in path.read_text(encoding="utf-8").splitlines():
                time_ms, value, step = line.split(" ")
                point = {"key": key, "value": float(value), "step": int(step), "timestamp": int(time_ms)}
                sink.write(json.dumps(point) + "\n")


def _in_new_folder(
    setting: Setting, name: str, points_count: int, action: Callable[[Path], None]
) -> Callable[[], float]:
    """Return a turn that does something in a folder that is not there yet, and gives points a second."""

    def turn() -> float:
        folder = setting.folder / name
        duration_s = time_once(lambda: action(folder))
        shutil.rmtree(folder)
        return points_count / duration_s

    return turn


def _importing(source: Path, points_count: int) -> Callable[[Path], None]:
    return lambda folder: _import_into(folder, source, points_count)


def _import_into(folder: Path, source: Path, points_count: int) -> None:
    from localtrack import Store

    with Store.open(folder) as store:
        report = store.import_from(source)
    if report.points_added != points_count or (report.findings and not report.is_complete):
        raise RuntimeError(f"the import brought {report.points_added} points, not {points_count}: {report.findings}")


def _migrating(mlruns: Path) -> Callable[[Path], None]:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.store.fs2db import migrate

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)

    def action(folder: Path) -> None:
        folder.mkdir()
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a summary
            migrate(mlruns, f"sqlite:///{folder / 'mlflow.db'}", progress=False)

    return action
