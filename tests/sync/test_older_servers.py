"""Against servers of older versions of MLflow, whose environments TEST_MLFLOW_PYTHONS names: none where CI runs.

`TEST_MLFLOW_PYTHONS=a/bin/python:b/bin/python python -m pytest tests/sync/test_older_servers.py`
"""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from localtrack import Store
from localtrack.sync.http import Patience
from localtrack.sync.limits import limits_of_mlflow
from localtrack.sync.options import Naming, PushOptions
from localtrack.sync.push import Push
from localtrack.sync.target import resolve_target
from tests.sync.comparison import compare_models, compare_store
from tests.sync.front import Answer, Front, Request, passing_on
from tests.sync.mlflow_server import serve_mlflow
from tests.sync.pushing import push
from tests.sync.stores import START_MS, add_entities, add_to_store, make_store

PATIENT = Patience(tries_count=5, first_pause_s=0.05, settle_s=0.5, timeout_s=60.0)
PYTHONS = [path for path in os.environ.get("TEST_MLFLOW_PYTHONS", "").split(os.pathsep) if path]


def version_of(python: str) -> tuple[int, int]:
    script = "import importlib.metadata; print(importlib.metadata.version('mlflow'))"
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)
    major, minor = done.stdout.split(".")[:2]
    return int(major), int(minor)


@pytest.mark.parametrize("python", PYTHONS)
def test_what_a_server_can_have_arrives_and_the_rest_is_told(python: str, tmp_path: Path) -> None:
    version = version_of(python)
    limits = limits_of_mlflow(version)
    folder = tmp_path / "server"
    folder.mkdir()
    store = make_store(tmp_path / "store", artifacts=True)
    add_entities(store)
    with store.start_run("odd keys", context=False) as odd:
        odd.log_metrics({"a:b": 1.0, "ab": 2.0}, step=1, timestamp=START_MS)
        odd.log_params({"p:q": 1, "pq": 2})
        odd.set_tags({"t:u": "x", "long": "y" * 7500})
    equal = {row.info.run_id for row in store.search_runs(max_results=None)} - {odd.run_id}
    options = ["--serve-artifacts", "--artifacts-destination", str(folder / "artifacts")]
    options += ["--default-artifact-root", "mlflow-artifacts:/"]
    with serve_mlflow(folder, *options, python=python) as url:

        def assert_equal(prefix: str = "") -> None:
            sizes = {"param_chars": limits.param_value_chars, "tag_chars": limits.tag_value_chars}
            assert compare_store(url, store, run_ids=equal, prefix=prefix, **sizes) == []
            if limits.takes_colons:
                assert compare_store(url, store, run_ids={odd.run_id}, prefix=prefix, **sizes) == []
            if limits.has_models:
                assert compare_models(url, store, "models") == []

        foreseen = store.sync(url, dry_run=True)
        assert foreseen.notes == []
        whats = sorted(loss.what for loss in foreseen.losses)
        assert any("takes no colon" in what for what in whats) != limits.takes_colons
        assert any("data sets of it stay here" in what for what in whats) != limits.has_datasets
        assert any("logged models" in what for what in whats) != limits.has_models
        assert any("the target takes 500." in what for what in whats) == (version < (2, 8))
        assert any("the target takes 5000." in what for what in whats) == (version < (2, 17))

        report = push(store, url, patience=PATIENT)
        assert report.is_complete, report
        assert (report.artifacts_sent, report.models_sent) == (3, 2 if limits.has_models else 0)
        assert sorted(loss.what for loss in report.losses) == whats
        assert_equal()
        assert push(store, url, patience=PATIENT).requests_count <= (0 if limits.has_models else 2)
        shutil.rmtree(tmp_path / "store" / "sync")
        report = push(store, url, patience=PATIENT)
        unread_count = 0 if gives_all(url) else 1  # what it does not give is sent once more
        assert (report.is_complete, report.points_sent, report.artifacts_sent) == (True, 0, unread_count), report
        add_to_store(store)
        equal |= {row.info.run_id for row in store.search_runs() if row.info.run_name == "later"}
        report = push(store, url, patience=PATIENT)
        assert (report.is_complete, report.points_sent) == (True, 52), report
        assert_equal()
        checked = Push(store._site, store._catalog, resolve_target(url), PushOptions(patience=PATIENT)).verify()
        assert checked.count("already_there") == len(equal) + 1, checked

        with passing_on(url) as back, Front(back) as front:
            # Every other request meets a fault.
            front.faults = {n: ("cut_after", "fail_after", "cut_answer")[n // 2 % 3] for n in range(0, 200, 2)}
            push(store, front.url, patience=PATIENT, workers_count=1, naming=Naming("again/"))
            front.faults.clear()
            assert push(store, front.url, patience=PATIENT, naming=Naming("again/")).is_complete
        sizes = {"param_chars": limits.param_value_chars, "tag_chars": limits.tag_value_chars}
        assert compare_store(url, store, run_ids=equal, prefix="again/", **sizes) == []

        with Store.open(tmp_path / "pulled") as pulled:
            names = sorted({e.name for e in store.search_experiments()})
            report_of_pull = pulled.pull(url, experiment_names=names)
            assert report_of_pull.is_complete == gives_all(url), report_of_pull.findings
            assert pulled.pull(url, experiment_names=names).runs_added == 0
            assert {row.info.run_id for row in pulled.search_runs(max_results=None)} == equal | {odd.run_id}
            for row in store.search_runs(max_results=None):
                if row.info.run_id in equal:
                    assert points(pulled, row.info.run_id) == points(store, row.info.run_id)


def gives_all(url: str) -> bool:
    """Return whether a server gives a file whose name is not ASCII: those of MLflow 3.6 and 3.11 answer 500."""
    path = f"{url}/api/2.0/mlflow-artifacts/artifacts/n%C3%A4me"
    with urllib.request.urlopen(urllib.request.Request(path, b"x", method="PUT"), timeout=60):
        pass
    try:
        with urllib.request.urlopen(path, timeout=60) as answer:
            return bool(answer.read() == b"x")
    except urllib.error.HTTPError as error:
        return error.code != 500


def points(store: Store, run_id: str) -> set[tuple[object, ...]]:
    """Return the points of a run as databases keep them: one zero, and the greatest number for infinity."""
    rows = store.metric_history(run_id).to_pylist()
    return {
        (r["key"], r["step"], r["timestamp_ms"], str(float("inf") if r["value"] > 1.7e308 else r["value"] + 0.0))
        for r in rows
    }


@pytest.mark.parametrize(
    ("version", "health", "expected"),
    [
        (Answer(200, b"2.9.2"), None, (2, 9)),
        (Answer(200, b"3.18.0rc0\n"), None, (3, 18)),
        (Answer(404, b"Not Found"), Answer(200, b"OK"), (1, 0)),
        (Answer(404, b"Not Found"), Answer(404, b"Not Found"), None),
        (Answer(200, b"<html>Sign in</html>"), None, None),
        (Answer(403, b"{}"), None, None),
    ],
)
def test_a_server_that_does_not_say_its_version_is_taken_for_a_new_one(
    tmp_path: Path, version: Answer, health: Answer | None, expected: tuple[int, int] | None
) -> None:
    """But for the servers of MLflow 2.0 and before, which answer all that is not the API but `/version`."""
    from localtrack.sync.http import Http
    from localtrack.sync.server_version import ask_version

    def back(request: Request) -> Answer:
        answer = {"/version": version, "/health": health}[request.path]
        assert answer is not None
        return answer

    with Front(back) as front:
        http = Http(resolve_target(front.url).connection, patience=PATIENT)
        assert ask_version(http) == expected
        http.close()
