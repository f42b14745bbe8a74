"""`mlflow server` on a localtrack store: clients over HTTP, the endpoints of the run pages, and the page itself.

One server serves all of it: to start one, with its four workers, takes longer than everything that is asked of it.
The page is opened in Debian's Chromium where that is installed. A picture of it is left in `build/screenshots`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from tests.browser.mlflow_server import FAR_S, Server
from tests.browser.wire_forms import speak_as_java, speak_as_r

from localtrack import Store

REPOSITORY = Path(__file__).parents[2]
SCREENSHOTS = REPOSITORY / "build" / "screenshots"
CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
FAR_MS = 120_000
NOT_OURS = ("users/current",)
"""Requests of the page that MLflow's server refuses on every store, as nobody is logged in."""

# What a program does in a process of its own, as MLflow's tracking URI is one for a process.
CLIENT = """
import sys
import mlflow

mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("served")
for rate in (0.1, 0.3):
    with mlflow.start_run(run_name=f"rate {rate}") as run:
        mlflow.log_params({"rate": rate, "kind": "tree"})
        for step in range(30):
            mlflow.log_metrics({"loss": 1 / (1 + rate * step), "accuracy": step / 30}, step=step)
        mlflow.set_tag("team", "red")
        mlflow.log_text("seen by the page", "notes/today.txt")
        mlflow.log_dict({"rate": rate}, "settings.json")
client = mlflow.MlflowClient()
again = client.get_run(run.info.run_id)
assert again.data.params == {"rate": "0.3", "kind": "tree"}, again.data.params
assert again.info.artifact_uri.startswith("mlflow-artifacts:/runs/"), again.info.artifact_uri
assert len(client.get_metric_history(run.info.run_id, "loss")) == 30
assert [info.path for info in client.list_artifacts(run.info.run_id, "notes")] == ["notes/today.txt"]
assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/today.txt") == "seen by the page"
assert len(mlflow.search_runs(experiment_names=["served"], filter_string="metrics.loss < 0.2")) == 1
"""


def run_client(*arguments: str, program: str = CLIENT) -> None:
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_server_and_its_page(tmp_path: Path, subtests: pytest.Subtests) -> None:
    folder = tmp_path / "store"
    with Server(tmp_path / "server", f"localtrack://{folder}") as server:
        with subtests.test("a client writes through the server, artifacts too"):
            run_client(server.uri)
        with Store.open(folder, create=False) as store:
            runs = store.search_runs(experiment_names=["served"], order_by=["params.rate"])
            with subtests.test("everything lies in the store"):
                check_store(store, [row.info.run_id for row in runs])
                assert sorted(path.name for path in (tmp_path / "server").iterdir()) == ["server.log"]
        with subtests.test("the endpoints of the run pages"):
            check_endpoints(server, runs[0].info.experiment_id, [row.info.run_id for row in runs])
        with subtests.test("a client of the server cannot reach the logs of the store"):
            check_artifact_paths(server, folder)
        with subtests.test("requests as the Java client sends them"):
            speak_as_java(server)
        with subtests.test("requests as the R client sends them"):
            speak_as_r(server)
        with subtests.test("what came through the server is found in a copy elsewhere, opened without one"):
            check_copy(folder, tmp_path / "elsewhere" / "copy")
        with subtests.test("the page in a browser"):
            if CHROMIUM is None:
                pytest.skip("no chromium; .ci/run installs it")
            look_at_page(server, runs[0].info.experiment_id, runs[1].info.run_id, tmp_path / "profile")
        acknowledged = log_until_killed(server)
    with (
        subtests.test("what a server acknowledged is there once, though it was killed with all its workers"),
        Store.open(folder, create=False) as store,
    ):
        for run_id, steps in acknowledged.items():
            found = store.metric_history(run_id, "m")["step"].to_pylist()
            assert len(steps) >= 5
            assert steps - set(found) == set()
            assert len(found) == len(set(found))
        assert [finding for finding in store.check().findings if finding.severity != "info"] == []


def check_store(store: Store, run_ids: list[str]) -> None:
    for run_id in run_ids:
        assert store.metric_history(run_id, "loss").num_rows == 30
        assert [info.path for info in store.list_artifacts(run_id)] == ["notes", "settings.json"]
        report = store.describe_run(run_id)
        assert report.row.info.status == "FINISHED"
        assert report.findings == ()
    assert not (Path(store.root) / "registry.db").exists(), "nothing was registered"


def check_endpoints(server: Server, experiment_id: str, run_ids: list[str]) -> None:
    api = "/ajax-api/2.0/mlflow"
    ids = {"experiment_ids": [experiment_id]}
    run, both = run_ids[0], f"run_ids={run_ids[0]}&run_ids={run_ids[1]}"
    answers = {
        path: server.post(f"{api}/{path}", body)
        for path, body in {
            "runs/search": ids | {"max_results": 100, "order_by": ["attributes.start_time DESC"]},
            "experiments/search-datasets": ids,
            "logged-models/search": ids,
        }.items()
    }
    for path in (
        "experiments/search?max_results=25",
        f"experiments/get?experiment_id={experiment_id}",
        "experiments/get-by-name?experiment_name=served",
        f"runs/get?run_id={run}",
        f"metrics/get-history?run_id={run}&metric_key=loss",
        f"metrics/get-history-bulk?run_id={run_ids[0]}&run_id={run_ids[1]}&metric_key=loss",
        f"metrics/get-history-bulk-interval?{both}&metric_key=loss&max_results=10",
        f"artifacts/list?run_id={run}",
        f"artifacts/list?run_id={run}&path=notes",
        "registered-models/search?max_results=10",
        "model-versions/search?max_results=10",
        f"traces?experiment_ids={experiment_id}",
    ):
        answers[path] = server.get(f"{api}/{path}")
    answers["traces/search"] = server.post(
        "/ajax-api/3.0/mlflow/traces/search",
        {"locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}}]},
    )
    answers["server-info"] = server.get("/ajax-api/3.0/mlflow/server-info")
    graphql = {
        "operationName": "GetRun",
        "variables": {"data": {"runId": run}},
        "query": "query GetRun($data: MlflowGetRunInput!) { mlflowGetRun(input: $data) { apiError { code message } "
        "run { info { runId runName status } experiment { experimentId name } data { params { key value } } "
        "modelVersions { name version } } } }",
    }
    answers["graphql"] = server.post("/graphql", graphql)
    assert {path: status for path, (status, _) in answers.items() if status != 200} == {}
    assert [run["info"]["run_name"] for run in answers["runs/search"][1]["runs"]] == ["rate 0.3", "rate 0.1"]
    interval = next(answer for path, (_, answer) in answers.items() if "interval" in path)
    assert sorted({metric["step"] for metric in interval["metrics"]} & {0, 29}) == [0, 29]
    assert len(interval["metrics"]) == 20
    (listed,) = answers[f"artifacts/list?run_id={run}&path=notes"][1]["files"]
    assert (listed["path"], int(listed["file_size"])) == ("notes/today.txt", 16)
    shown = answers["graphql"][1]
    assert shown.get("errors") is None, shown  # some versions of the GraphQL library name it all the same
    assert shown["data"]["mlflowGetRun"]["run"]["modelVersions"] == []
    status, content = server.get(f"/get-artifact?run_uuid={run}&path=notes/today.txt")
    assert (status, content) == (200, b"seen by the page")
    # What a tracking store does not do is told as that.
    status, refused = server.get(f"/ajax-api/3.0/mlflow/scorers/list?experiment_id={experiment_id}")
    assert (status, refused["error_code"]) == (501, "NOT_IMPLEMENTED")


def log_until_killed(server: Server) -> dict[str, set[int]]:
    """Log to two runs from four threads, kill the server meanwhile, and return which steps it acknowledged."""
    api = "/api/2.0/mlflow/runs"
    created = [server.post(f"{api}/create", {"experiment_id": "0", "start_time": 1}) for _ in range(2)]
    acknowledged: dict[str, set[int]] = {answer["run"]["info"]["run_id"]: set() for _, answer in created}

    def log(run_id: str, first: int) -> None:
        for step in range(first, first + 100_000):
            point = {"run_id": run_id, "key": "m", "value": step, "timestamp": step, "step": step}
            try:
                status, _ = server.post(f"{api}/log-metric", point)
            except (OSError, HTTPException):
                return  # it is killed, perhaps in the middle of an answer
            assert status == 200
            acknowledged[run_id].add(step)

    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(log, run_id, first) for run_id in acknowledged for first in (0, 100_000)]
        deadline = time.monotonic() + FAR_S
        while min(map(len, acknowledged.values())) < 25 and time.monotonic() < deadline:
            time.sleep(0.05)
        server.kill()
        for task in tasks:
            task.result()
    return acknowledged


COPIED = """
import sys
import mlflow

mlflow.set_tracking_uri(sys.argv[1])
for run in mlflow.search_runs(experiment_names=["served"], output_format="list"):
    assert run.info.artifact_uri.startswith(sys.argv[2]), run.info.artifact_uri
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/today.txt") == "seen by the page"
    settings = mlflow.artifacts.load_dict(run.info.artifact_uri + "/settings.json")
    assert settings["rate"] == float(run.data.params["rate"])
"""


def check_copy(folder: Path, copy: Path) -> None:
    shutil.copytree(folder, copy)
    run_client(f"localtrack://{copy}", str(copy), program=COPIED)
    named = [path for path in copy.rglob("*.json*") if path.is_file() and str(folder).encode() in path.read_bytes()]
    assert named == [], "a path of this machine stands in the store"


def check_artifact_paths(server: Server, folder: Path) -> None:
    import urllib.request

    api = "/api/2.0/mlflow-artifacts/artifacts"
    for path in (
        "localtrack.json",
        "edits/x.jsonl",
        "runs/x",
        "runs/2026-01-01/nobody/artifacts/x",
        "experiments/0.json",
    ):
        request = urllib.request.Request(f"{server.uri}{api}/{path}", b"{}", method="PUT")
        with pytest.raises(OSError, match="HTTP Error 4"):
            urllib.request.urlopen(request)
        assert server.get(f"{api}/{path}")[0] >= 400
    assert sorted(path.name for path in folder.glob("edits/x*")) == []
    assert '"format":1' in (folder / "localtrack.json").read_text()


def look_at_page(server: Server, experiment_id: str, run_id: str, profile: Path) -> None:
    from playwright.sync_api import Response, sync_playwright

    failed: list[Any] = []

    def note(response: Response) -> None:
        if response.status >= 400 and not any(part in response.url for part in NOT_OURS):
            failed.append((response.status, response.request.method, response.url))

    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            profile, headless=True, executable_path=CHROMIUM, args=FLAGS, viewport={"width": 1400, "height": 900}
        )
        browser.set_default_timeout(FAR_MS)
        page = browser.new_page()
        page.on("response", note)
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto(f"{server.uri}/#/experiments/{experiment_id}/runs")
        for name in ("rate 0.1", "rate 0.3"):
            page.get_by_text(name, exact=True).first.wait_for()
        page.screenshot(path=SCREENSHOTS / "mlflow-runs.png")
        page.goto(f"{server.uri}/#/experiments/{experiment_id}/runs/{run_id}/model-metrics")
        lines = page.locator(".js-plotly-plot .scatterlayer path.js-line")
        lines.first.wait_for(state="attached")
        page.get_by_text("accuracy").first.wait_for()
        # A line through thirty points, not an empty chart.
        assert max(len(line.get_attribute("d") or "") for line in lines.all()) > 200
        page.screenshot(path=SCREENSHOTS / "mlflow-metrics.png")
        page.goto(f"{server.uri}/#/experiments/{experiment_id}/runs/{run_id}/artifacts")
        page.get_by_text("settings.json").first.wait_for()
        page.goto(f"{server.uri}/#/models")
        page.get_by_role("heading", name="Registered Models").or_(page.get_by_text("Register a model")).first.wait_for()
        browser.close()
    assert failed == []
