"""An import that is cut off at any moment: the next one completes it, and nothing is there twice.

Every operation on files is a moment, found by counting; what is left is judged by a reader that knows only FORMAT.md.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.import_comparing import count_written_points
from tests.crash.faults import EXIT_CODE, READS, Fault, Operations
from tests.crash.forks import REPOSITORY, Forks
from tests.independent.reader import read_store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

T = 1_700_000_000_000
LONG_COUNT = 40
DEEP = "replace", "rename", "link", "mkdir"
"""Operations about which the order of things turns: each is tried, also in the short form."""
MODEL = "m-0123456789abcdef0123456789abcdef"
RUNS = {
    "0123456789abcdef0123456789abcde0": {"status": "FINISHED", "deleted": False, "points": LONG_COUNT},
    "0123456789abcdef0123456789abcde1": {"status": "FAILED", "deleted": True, "points": 1},
}


def write_source(folder: Path) -> None:
    """Write a small database as MLflow lays it out, with files beside it."""
    folder.mkdir()
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        database.executescript(
            """
            CREATE TABLE experiments (experiment_id INTEGER, name, artifact_location, lifecycle_stage, creation_time,
                last_update_time);
            CREATE TABLE experiment_tags (key, value, experiment_id);
            CREATE TABLE runs (run_uuid, name, user_id, status, start_time, end_time, deleted_time, lifecycle_stage,
                artifact_uri, experiment_id);
            CREATE TABLE params (key, value, run_uuid);
            CREATE TABLE tags (key, value, run_uuid);
            CREATE TABLE metrics (key, value, timestamp, run_uuid, step, is_nan);
            CREATE TABLE datasets (dataset_uuid, experiment_id, name, digest, dataset_source_type, dataset_source);
            CREATE TABLE inputs (input_uuid, source_type, source_id, destination_type, destination_id, step);
            CREATE TABLE logged_models (model_id, experiment_id, name, artifact_location, creation_timestamp_ms,
                last_updated_timestamp_ms, status, lifecycle_stage, model_type, source_run_id, status_message);
            CREATE TABLE logged_model_params (model_id, experiment_id, param_key, param_value);
            CREATE TABLE logged_model_tags (model_id, experiment_id, tag_key, tag_value);
            CREATE TABLE logged_model_metrics (model_id, metric_name, metric_timestamp_ms, metric_step, metric_value,
                experiment_id, run_id, dataset_name, dataset_digest);
            CREATE INDEX index_metrics_run_uuid ON metrics (run_uuid);
            """
        )
        database.execute("INSERT INTO experiments VALUES (1, 'churn', ?, 'active', ?, ?)", (str(folder), T, T + 1))
        database.execute("INSERT INTO experiment_tags VALUES ('team', 'a', 1)")
        for run_id, wanted in RUNS.items():
            stage = "deleted" if wanted["deleted"] else "active"
            artifacts = folder / "artifacts" / run_id
            database.execute(
                "INSERT INTO runs VALUES (?, 'name', 'ada', ?, ?, ?, ?, ?, ?, 1)",
                (run_id, wanted["status"], T, T + 9, T + 10, stage, str(artifacts)),
            )
            database.execute("INSERT INTO params VALUES ('p', '1', ?)", (run_id,))
            database.execute("INSERT INTO tags VALUES ('t', 'x', ?)", (run_id,))
            rows = [("m", n / 2, T + n, run_id, n, 0) for n in range(wanted["points"])]
            database.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", rows)
            inputs = ("RUN_OUTPUT", run_id, "MODEL_OUTPUT", MODEL, 2), ("DATASET", "d", "RUN", run_id, 0)
            database.executemany("INSERT INTO inputs VALUES ('i', ?, ?, ?, ?, ?)", inputs)
            (artifacts / "deep").mkdir(parents=True)
            (artifacts / "deep" / "a.txt").write_text(run_id)
        database.execute("INSERT INTO datasets VALUES ('d', 1, 'iris', 'abc', 'local', '{}')")
        place = folder / "artifacts" / MODEL
        place.mkdir()
        (place / "MLmodel").write_text("model")
        row = (MODEL, str(place), T, T + 5, min(RUNS))
        database.execute("INSERT INTO logged_models VALUES (?, 1, 'm', ?, ?, ?, 2, 'deleted', NULL, ?, NULL)", row)
        database.execute("INSERT INTO logged_model_params VALUES (?, 1, 'p', '1')", (MODEL,))
        database.execute("INSERT INTO logged_model_tags VALUES (?, 1, 't', 'x')", (MODEL,))
        metrics = [(MODEL, "acc", T, step, 0.5, 1, min(RUNS), "iris", "abc") for step in range(3)]
        database.executemany("INSERT INTO logged_model_metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", metrics)


def import_it(root: str, source: str, report: str, fault: dict[str, Any] | None = None) -> int:
    """Import with small chunks, so that a few points are enough for sealing; runs in a process of its own."""
    from localtrack.api.store import Store

    operations = Operations(root, Fault(**fault) if fault else None)
    operations.install()
    with Store.open(root) as store:
        store._site.log_points_bytes, store._site.chunk_bytes = 600, 900
        import localtrack.importing.runs as runs

        runs._POINTS_AT_ONCE = 7  # type: ignore[misc]
        brought = store.import_from(source)
    Path(report).write_text(json.dumps({"operations": operations.seen, "changes": brought.changes_count}))
    return 0


def judge(root: Path, *, is_exact: bool = True) -> list[str]:
    """Return what is not as it should be after a whole import.

    Args:
        root: The store.
        is_exact: No point may be written twice, not even where that folds to one: after a failed sync the library
            writes again what the disk may have lost.
    """
    here = read_store(root)
    problems = [f"{key}: {kind}" for key, kind in here["findings"] if kind != "empty"]
    if here["runs"].keys() != RUNS.keys():
        problems.append(f"the runs are {sorted(here['runs'])}")
    names = {e["name"]: e for e in here["experiments"].values()}
    expected = {"lifecycle": "active", "creation_ms": T, "last_update_ms": T + 1}
    if {key: names.get("churn", {}).get(key) for key in expected} != expected or len(names) != 2:
        problems.append(f"the experiments are {here['experiments']}")
    for run_id, run in here["runs"].items():
        wanted = RUNS[run_id]
        is_right = (
            (run["status"], run["user"], run["start_ms"], run["end_ms"]) == (wanted["status"], "ada", T, T + 9)
            and run["lifecycle"] == ("deleted" if wanted["deleted"] else "active")
            and run["params"] == {"p": "1"}
            and run["tags"] == {"t": "x", "mlflow.runName": "name"}
            and run["artifacts"] == {"deep/a.txt": 32}
            and [dataset["name"] for dataset in run.get("datasets", [])] == ["iris"]
            and run.get("model_outputs") == [[MODEL, 2]]
            and run["points"] == [["m", T + n, n, n / 2] for n in range(wanted["points"])]
        )
        if not is_right:
            problems.append(f"run {run_id} is {run}")
    model = here.get("models", {}).get(MODEL, {})
    wanted_model = {
        "status": "READY",
        "lifecycle": "deleted",
        "created_ms": T,
        "updated_ms": T + 5,
        "params": {"p": "1"},
        "tags": {"t": "x"},
        "artifacts": {"MLmodel": 5},
        "metrics": [["acc", T, step, 0.5, min(RUNS), ["iris", "abc"]] for step in range(3)],
    }
    if {key: model.get(key) for key in wanted_model} != wanted_model:
        problems.append(f"the model is {model}")
    if is_exact and count_written_points(root) != sum(wanted["points"] for wanted in RUNS.values()):
        problems.append(f"{count_written_points(root)} points were written")
    return problems


class Trial:
    def __init__(self, forks: Forks, folder: Path) -> None:
        self._forks = forks
        self._folder = folder
        write_source(folder / "there")
        self.root = folder / "store"
        self._report = folder / "report"

    def run(self, fault: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        self._report.unlink(missing_ok=True)
        code = self._forks.run(
            "tests.crash.test_import_kill:import_it",
            root=str(self.root),
            source=f"sqlite:///{self._folder / 'there' / 'mlflow.db'}",
            report=str(self._report),
            fault=fault,
        )
        return code, json.loads(self._report.read_text()) if self._report.exists() else {}

    def try_fault(self, fault: dict[str, Any]) -> list[str]:
        """Cut an import off, repeat it, and return what is wrong then."""
        shutil.rmtree(self.root, ignore_errors=True)
        code, _ = self.run(fault)
        problems = [] if code in (EXIT_CODE, 1, 0) else [f"the first import ended with {code}"]
        code, _ = self.run()
        if code != 0:
            return [*problems, f"the second import ended with {code}"]
        code, third = self.run()
        if code != 0 or third.get("changes") != 0:
            problems.append(f"the third import ended with {code} and changed {third.get('changes')} things")
        return problems + judge(self.root, is_exact=fault["kind"].startswith("exit"))


@pytest.fixture
def trial(forks: Forks, fast_folder: Path) -> Trial:
    shutil.rmtree(fast_folder / "trial", ignore_errors=True)
    (fast_folder / "trial").mkdir(parents=True)
    return Trial(forks, fast_folder / "trial")


def test_the_whole_import_is_right(trial: Trial) -> None:
    code, report = trial.run()
    assert code == 0
    assert judge(trial.root) == []
    assert any(name.endswith(".parquet") for _, name in report["operations"]), "points are sealed"
    assert trial.run()[1]["changes"] == 0


@pytest.mark.long
def test_cut_off_anywhere_it_is_completed_by_the_next(trial: Trial, long_form: bool) -> None:
    _, report = trial.run()
    changes = [number for number, (name, _) in enumerate(report["operations"]) if name not in READS]
    assert len(changes) > 100
    wrong: dict[str, list[str]] = {}
    for turn, number in enumerate(changes):
        kinds = [
            {"at": number, "kind": "exit before"},
            {"at": number, "kind": "exit after"},
            {"at": number, "kind": "fail", "errno": errno.ENOSPC},
            {"at": number, "kind": "partial", "errno": errno.ENOSPC},
        ]
        for fault in kinds if long_form else [kinds[turn % 4]]:
            if not long_form and turn % 3 and report["operations"][number][0] not in DEEP:
                continue
            problems = trial.try_fault(fault)
            if problems:
                wrong[f"{fault} {report['operations'][number]}"] = problems
    assert wrong == {}, "\n".join(f"{fault}: {problems}" for fault, problems in wrong.items())


def test_killed_at_any_time(trial: Trial, rounds: Callable[[int, int], int]) -> None:
    """SIGKILL from outside, of the command as users start it, again and again until one gets through."""
    command = [sys.executable, "-m", "localtrack", "import", f"sqlite:///{trial._folder / 'there' / 'mlflow.db'}"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    for number in range(rounds(2, 50)):
        process = subprocess.Popen(
            [*command, "--store", str(trial.root)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and len(list(trial.root.glob("runs/*/*/*.jsonl"))) <= number % 2:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*command, "--store", str(trial.root)], env=environment, check=True, stdout=subprocess.DEVNULL)
    assert judge(trial.root) == []
