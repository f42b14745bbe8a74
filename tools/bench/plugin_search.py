"""`mlflow.search_runs` over 10,000 runs, through the plugin and on SQLite, with the same runs in both."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

from tools.bench import mlflow_peer
from tools.bench.harness import Setting, Side, run_in_turns, time_once
from tools.bench.plugin_calls import _let_go
from tools.bench.results import Bound, Result
from tools.make_store.shapes import Shape
from tools.make_store.store_writer import write_store

NAME = "plugin-search"
SUMMARY = "mlflow.search_runs over 10,000 runs, through the plugin and on SQLite"
BOUND = Bound(0.05)
FRAME_BOUND = Bound(1.3)
FILTER = "metrics.metric0 > 0.2 AND params.param0 != 'x'"
ORDER = ["metrics.metric1 DESC"]


def run(setting: Setting) -> Result:
    """Measure the first fifty that match, all as a list, and all as a frame beside what MLflow itself takes."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    result = Result(NAME, SUMMARY)
    count = setting.choose(10_000, 30)
    store = setting.folder / "store"
    write_store(store, Shape(count), active_count=0, inbox_files_count=0, progress=lambda _: None)
    uris = {"localtrack": f"localtrack://{store}"}
    if mlflow_peer.use_mlflow(setting, result):
        mlflow_peer.open_client(setting.folder / "mlflow")
        copy_runs(store, setting.folder / "mlflow" / "mlflow.db")
        uris["sqlite"] = f"sqlite:///{setting.folder}/mlflow/mlflow.db"
    first = [Side(name, _timed(uri, 50, count)) for name, uri in uris.items()]
    listed = [Side(name, _timed(uri, None, count, output_format="list")) for name, uri in uris.items()]
    whole = [Side(name, _timed(uri, None, count)) for name, uri in uris.items()]
    whole.append(Side("floor", _timed_loop(uris["localtrack"], count)))
    for side in first:
        side.turn()  # loads modules, and builds the index
    turns = run_in_turns(first, setting.round_count(9))
    result.add_turns("the first 50 that match", "s", turns)
    result.add_ratio("the first 50 that match", turns, "localtrack", "sqlite", BOUND)
    rounds = setting.rounds or setting.choose(3, 1)
    turns = run_in_turns(listed, rounds)
    result.add_turns("all as a list", "s", turns)
    result.add_ratio("all as a list", turns, "localtrack", "sqlite", BOUND)
    turns = run_in_turns(whole, rounds)
    result.add_turns("all as a data frame", "s", turns)
    result.add_ratio("all as a data frame", turns, "localtrack", "sqlite")
    result.add_ratio("all as a data frame", turns, "floor", "sqlite")
    result.add_ratio("all as a data frame", turns, "localtrack", "floor", FRAME_BOUND)
    result.notes.append(
        "the floor is mlflow.search_runs over runs that are there already: MLflow's own loop, which calls "
        "pandas.to_datetime twice a run; no store can be faster than that"
    )
    _let_go()
    return result


def _timed(uri: str, max_results: int | None, count: int, *, output_format: str = "pandas") -> Callable[[], float]:
    def search() -> None:
        import mlflow

        experiment_ids = [e.experiment_id for e in mlflow.search_experiments()]
        if max_results is None:
            assert len(mlflow.search_runs(experiment_ids, output_format=output_format)) == count
            return
        found = mlflow.search_runs(
            experiment_ids, FILTER, max_results=max_results, order_by=ORDER, output_format="list"
        )
        assert 0 < len(found) <= max_results

    def turn() -> float:
        import mlflow

        mlflow.set_tracking_uri(uri)
        return time_once(search)

    return turn


def _timed_loop(uri: str, count: int) -> Callable[[], float]:
    """Return what measures MLflow's making of a frame of runs that were found before."""

    def turn() -> float:
        import mlflow
        from mlflow.store.entities import PagedList

        mlflow.set_tracking_uri(uri)
        experiment_ids = [e.experiment_id for e in mlflow.search_experiments()]
        runs = PagedList(mlflow.search_runs(experiment_ids, output_format="list"), None)
        assert len(runs) == count
        with patch.object(mlflow.MlflowClient, "search_runs", lambda *_: runs):
            return time_once(lambda: mlflow.search_runs(experiment_ids))

    return turn


def copy_runs(folder: Path, database: Path) -> None:
    """Write the runs of a store into MLflow's tables, with one statement for each: its calls would take an hour."""
    from localtrack import Store

    with Store.open(folder, create=False) as store, closing(sqlite3.connect(database)) as connection:
        names = {e.experiment_id: e.name for e in store.list_experiments()}
        rows = store.search_runs(max_results=None)
        numbers = {
            experiment_id: 100 + n for n, experiment_id in enumerate(sorted({r.info.experiment_id for r in rows}))
        }
        _insert(
            connection,
            "experiments (experiment_id, name, lifecycle_stage, artifact_location, creation_time, last_update_time, "
            "workspace)",
            ((number, names[eid], "active", "/x", 1, 1, "default") for eid, number in numbers.items()),
        )
        _insert(
            connection,
            "runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, "
            "source_version, lifecycle_stage, artifact_uri, experiment_id)",
            (
                (
                    *(r.info.run_id, r.info.run_name, "UNKNOWN", "", "", r.info.user_id, r.info.status),
                    *(r.info.start_time, r.info.end_time, "", "active", "/x", numbers[r.info.experiment_id]),
                )
                for r in rows
            ),
        )
        for table in ("params", "tags"):
            _insert(
                connection,
                f"{table} (run_uuid, key, value)",
                ((r.info.run_id, *item) for r in rows for item in getattr(r, table).items()),
            )
        for table in ("metrics", "latest_metrics"):
            _insert(
                connection,
                f"{table} (run_uuid, key, value, timestamp, step, is_nan)",
                ((r.info.run_id, key, m.value, m.timestamp, m.step, 0) for r in rows for key, m in r.metrics.items()),
            )
        connection.commit()


def _insert(connection: sqlite3.Connection, columns: str, rows: Iterable[tuple[object, ...]]) -> None:
    places = ", ".join("?" * (columns.count(",") + 1))
    connection.executemany(f"INSERT INTO {columns.replace('(', ' (')} VALUES ({places})", rows)
