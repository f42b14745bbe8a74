"""MLflow's SQLite database as a source, of whichever version of MLflow: what columns are there are read.

Source: `mlflow/store/tracking/dbmodels/models.py` of MLflow 3.17, and its migrations.
"""

from __future__ import annotations

import os
import sqlite3
from array import array
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from localtrack.errors import ErrorCode, FormatError, InvalidInputError, NotFoundError
from localtrack.format.names import validate_key
from localtrack.format.run_fold import RUN_NAME_TAG
from localtrack.importing.database_models import list_models, read_inputs, read_model, restore_infinity
from localtrack.importing.report import Findings
from localtrack.importing.source import (
    SourceExperiment,
    SourceModel,
    SourcePoints,
    SourceRun,
    add_old_source_tags,
    to_status,
    to_time_ms,
)
from localtrack.storage.failures import show_path

_BLOCK_ROWS: Final = 100_000
_LOCK_PATIENCE_S: Final = 30.0
_DEFAULT_WORKSPACE: Final = "default"
_RUN_COLUMNS: Final = (
    "name",
    "source_type",
    "source_name",
    "source_version",
    "entry_point_name",
    "user_id",
    "status",
    "start_time",
    "end_time",
    "deleted_time",
    "lifecycle_stage",
    "artifact_uri",
    "experiment_id",
)


class Database:
    """A SQLite database that MLflow wrote. See `Source`.

    Concurrency: it is opened to read only, and read in short transactions, so that a server may go on writing to it.
    """

    def __init__(self, path: str) -> None:
        """Open a database.

        Raises:
            NotFoundError: There is no such file.
            FormatError: It is no database of MLflow.
        """
        self.path = os.path.abspath(path)
        self.uri = f"sqlite:///{self.path}"
        self.findings = Findings("")
        folder = os.path.dirname(self.path)
        self.base_folders = [folder, os.getcwd()]
        if not os.path.isfile(self.path):
            raise NotFoundError(
                f"There is no file {show_path(self.path)}.",
                code=ErrorCode.STORE_NOT_FOUND,
                hint="sqlite:///mlflow.db is relative to this folder, sqlite:////srv/mlflow.db is absolute.",
            )
        self._connection = _connect(self.path)
        try:
            self._columns = {name: self._columns_of(name) for name in self._table_names()}
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise FormatError(f"{show_path(self.path)} cannot be read as a SQLite database ({error}).") from error
        missing = {"experiments", "runs", "metrics", "params", "tags"} - self._columns.keys()
        if missing:
            self._connection.close()
            raise FormatError(
                f"{show_path(self.path)} is no database of MLflow: it has no table {', '.join(sorted(missing))}."
            )
        self._metric_rows = "metrics WHERE run_uuid = ?"
        self._index_metrics()
        self._count_what_is_left()

    def list_experiments(self) -> list[SourceExperiment]:
        """Return all experiments, deleted ones too, and one for each id that only runs name."""
        wanted = ("experiment_id", "name", "lifecycle_stage", "creation_time", "last_update_time", "workspace")
        rows = self._read("experiments", wanted, "1 ORDER BY experiment_id", (), self.findings)
        found = [self._read_experiment(row) for row in rows]
        known = {experiment.source_id for experiment in found}
        for row in self._read("runs", ("experiment_id",), "1 GROUP BY experiment_id", (), self.findings):
            if _to_id(row["experiment_id"]) not in known:
                orphans = self._read_experiment(row)
                orphans.findings.note("", f"only its runs are there; it is called {orphans.name!r}")
                found.append(orphans)
        return found

    def run_id(self, run_key: str) -> str:
        """Return the id of a run, which its key is."""
        return run_key

    def read_run(self, run_key: str) -> SourceRun:
        """Return a run."""
        findings = Findings(f"runs/{run_key}")
        run = SourceRun(run_key, findings)
        rows = self._read("runs", _RUN_COLUMNS, "run_uuid = ?", (run_key,), findings)
        info = rows[0] if rows else {}
        run.user = _to_text(info.get("user_id"))
        run.status = to_status(info.get("status"), findings)
        run.start_ms = to_time_ms(info.get("start_time"), "start_time", findings)
        run.end_ms = to_time_ms(info.get("end_time"), "end_time", findings)
        run.is_deleted = info.get("lifecycle_stage") == "deleted"
        run.deleted_ms = to_time_ms(info.get("deleted_time"), "deleted_time", findings) if run.is_deleted else None
        run.params, _ = self._read_values("params", "param", run_key, findings)
        run.tags, run.are_tags_whole = self._read_values("tags", "tag", run_key, findings)
        name = info.get("name")
        if isinstance(name, str) and name and run.tags.setdefault(RUN_NAME_TAG, name) != name:
            findings.note("", f"its name is {name[:80]!r}; the tag {RUN_NAME_TAG} counts", severity="info")
        add_old_source_tags(run.tags, info)
        if isinstance(run.tags.get("mlflow.source.name"), str) and info.get("source_name"):
            kind = info.get("source_type")
            if isinstance(kind, str) and kind != "UNKNOWN":
                run.tags.setdefault("mlflow.source.type", kind)
        if isinstance(info.get("artifact_uri"), str):
            run.artifact_folders.append(info["artifact_uri"])
        run.has_artifacts = any(
            key in run.tags for key in ("mlflow.log-model.history", "mlflow.loggedArtifacts", "mlflow.loggedImages")
        )
        run.iter_points = partial(self._iter_points, run_key, findings)
        read_inputs(self._read, run)
        return run

    def read_model(self, model_key: str) -> SourceModel:
        """Return a logged model."""
        return read_model(self._read, model_key)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    # -- reading

    def _read_experiment(self, row: dict[str, Any]) -> SourceExperiment:
        experiment_id = _to_id(row.get("experiment_id"))
        findings = Findings(f"experiments/{experiment_id}")
        name, workspace = _to_text(row.get("name")), _to_text(row.get("workspace"))
        if not name:
            name = f"mlflow {experiment_id}"
        elif workspace not in ("", _DEFAULT_WORKSPACE):
            name = f"{workspace}/{name}"  # names are told apart by workspaces there
        tags, is_whole = self._read_values(
            "experiment_tags", "experiment tag", row.get("experiment_id"), findings, owner="experiment_id"
        )
        return SourceExperiment(
            source_id=experiment_id,
            name=name,
            created_ms=to_time_ms(row.get("creation_time"), "creation_time", findings),
            updated_ms=to_time_ms(row.get("last_update_time"), "last_update_time", findings),
            is_deleted=row.get("lifecycle_stage") == "deleted",
            tags=tags,
            run_keys=self._list_runs(row.get("experiment_id"), findings),
            model_keys=list_models(self._read, row.get("experiment_id"), findings),
            findings=findings,
            are_tags_whole=is_whole,
        )

    def _list_runs(self, experiment_id: Any, findings: Findings) -> list[str]:
        rows = self._read(
            "runs", ("run_uuid",), "experiment_id IS ? ORDER BY start_time, run_uuid", (experiment_id,), findings
        )
        run_ids: list[str] = []
        for row in rows:
            if isinstance(row["run_uuid"], str) and row["run_uuid"]:
                run_ids.append(row["run_uuid"])
            else:
                findings.note("", f"it has a run whose id is {row['run_uuid']!r}, which was left out")
        return run_ids

    def _read_values(
        self, table: str, kind: str, owner_id: Any, findings: Findings, *, owner: str = "run_uuid"
    ) -> tuple[dict[str, str], bool]:
        values: dict[str, str] = {}
        problems_before = len(findings.found)
        rows = self._read(table, ("key", "value"), f"{owner} = ? ORDER BY key", (owner_id,), findings)
        is_whole = len(findings.found) == problems_before
        for row in rows:
            key, value = row["key"], row["value"]
            try:
                key = validate_key(key, kind)
            except InvalidInputError as error:
                findings.note(table, error.message.rstrip("."))
                continue
            if type(value) in (int, float):  # SQLite keeps what it is given, whatever the column's type
                value = str(value)
            if isinstance(value, str):
                values[key] = value
            elif value is not None:  # MLflow writes NULL for the empty value of a tag that it deletes
                findings.note(f"{table}/{key}", "its value is not text in UTF-8")
                is_whole = False
        return values, is_whole

    def _iter_points(self, run_id: str, findings: Findings) -> Iterator[SourcePoints]:
        """Yield the points of a run, having read all: a server that waits to write does not wait for our disk."""
        columns = [
            name if name in self._columns["metrics"] else f"0 AS {name}"
            for name in ("key", "timestamp", "step", "value", "is_nan")
        ]
        by_key: dict[str, SourcePoints] = {}
        bad: list[str] = []
        try:
            cursor = self._connection.execute(f"SELECT {', '.join(columns)} FROM {self._metric_rows}", (run_id,))
            while rows := cursor.fetchmany(_BLOCK_ROWS):
                for key, *fields in rows:
                    points = by_key.get(key)
                    if not isinstance(key, str):
                        bad.append(f"its key is {key!r}")
                        continue
                    if points is None:
                        points = by_key[key] = SourcePoints(key, array("q"), array("q"), array("d"))
                    problem = _take_row(points, *fields)
                    if problem:
                        bad.append(f"{str(key)[:60]!r}: {problem}")
        except sqlite3.Error as error:
            findings.note("metrics", f"its points cannot all be read ({error})")
        if bad:
            more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
            findings.note("metrics", f"{len(bad)} of its rows are no points: {'; '.join(bad[:3])}{more}")
        for key in sorted(by_key):
            try:
                validate_key(key, "metric")
            except InvalidInputError as error:
                findings.note("metrics", error.message.rstrip("."))
                continue
            if len(by_key[key].value):
                yield by_key.pop(key)

    def _read(
        self, table: str, wanted: tuple[str, ...], where: str, values: tuple[Any, ...], findings: Findings
    ) -> list[dict[str, Any]]:
        """Return rows as dicts of those columns that the table has; what cannot be read is reported."""
        there = [name for name in wanted if name in self._columns.get(table, ())]
        if not there:
            return []
        try:
            rows = self._connection.execute(f"SELECT {', '.join(there)} FROM {table} WHERE {where}", values).fetchall()
        except sqlite3.Error as error:
            findings.note(table, f"the table cannot be read ({error})")
            return []
        return [dict(zip(there, row, strict=True)) for row in rows]

    def _table_names(self) -> list[str]:
        rows = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return [str(row[0]) for row in rows]

    def _columns_of(self, table: str) -> set[str]:
        quoted = table.replace('"', '""')
        return {str(row[1]) for row in self._connection.execute(f'PRAGMA table_info("{quoted}")')}

    def _index_metrics(self) -> None:
        """Make the points of one run quick to find also where MLflow had no index for that, as before 1.28.

        The index goes to SQLite's temporary file; the database is not written to.
        """
        try:
            for row in self._connection.execute("PRAGMA index_list(metrics)").fetchall():
                first = self._connection.execute(f'PRAGMA index_info("{row[1]}")').fetchone()
                if first is not None and first[2] == "run_uuid":
                    return
            self._connection.execute(
                "CREATE TEMP TABLE rows_by_run AS SELECT run_uuid AS run, rowid AS row FROM metrics"
            )
            self._connection.execute("CREATE INDEX temp.run_of_rows ON rows_by_run (run)")
        except sqlite3.Error as error:
            self.findings.note(
                "metrics", f"no index of it can be made, and each run takes long ({error})", severity="info"
            )
            return
        self._metric_rows = "rows_by_run JOIN metrics ON metrics.rowid = rows_by_run.row WHERE rows_by_run.run = ?"

    def _count_what_is_left(self) -> None:
        """Say what a store of runs has no place for."""
        for table, what in (("registered_models", "registered models"), ("trace_info", "traces")):
            if table not in self._columns:
                continue
            try:
                count = self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            except sqlite3.Error as error:
                self.findings.note(table, f"the table cannot be read ({error})")
                continue
            if count:
                self.findings.note(table, f"{count} {what} are not imported", severity="info")


def _connect(path: str) -> sqlite3.Connection:
    from urllib.request import pathname2url

    uri = f"file:{pathname2url(path)}?mode=ro"
    if os.path.getsize(path) and not os.access(os.path.dirname(path), os.W_OK) and not os.path.exists(f"{path}-wal"):
        uri += "&immutable=1"  # a database with a write-ahead log cannot be read where its index cannot be made
    connection = sqlite3.connect(uri, uri=True, timeout=_LOCK_PATIENCE_S, check_same_thread=False, isolation_level=None)
    connection.text_factory = _decode
    return connection


def _decode(data: bytes) -> Any:
    """Return a text; what is not UTF-8 stays bytes, so that it is reported where it stands and stops nothing."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _take_row(points: SourcePoints, timestamp: Any, step: Any, value: Any, is_nan: Any) -> str:
    """Add a row to the points, or return what is wrong with it."""
    if type(timestamp) is not int or type(step) is not int:
        return f"its time is {timestamp!r} and its step {step!r}"
    if is_nan:
        value = float("nan")
    elif type(value) is int:
        value = float(value)
    elif type(value) is not float:
        return f"its value is {value!r}"
    value = restore_infinity(value)
    points.timestamp_ms.append(timestamp)
    points.step.append(step)
    points.value.append(value)
    return ""


def _to_id(value: Any) -> str:
    return "none" if value is None else str(value)


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else ""
