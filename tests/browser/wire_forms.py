"""Requests in the forms in which MLflow's Java and R clients send them, written down from their sources.

Java prints protobuf messages as JSON: names as in the `.proto`, whole numbers of 64 bits as strings, numbers that are
not finite as words, and the run's id under its old name, too. R sends whatever jsonlite makes of a list: every number
as a number, a time perhaps as 1.79e+12, and older versions the whole body once more as one JSON text.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from tests.browser.mlflow_server import Server

JAVA = "/api/2.0/mlflow"
R = "/ajax-api/2.0/mlflow"
T = 1_790_000_000_000


def speak_as_java(server: Server) -> None:
    """Make an experiment and a run, log to it, and read all of it back."""

    def post(path: str, **body: Any) -> Any:
        return _answered(server.post(f"{JAVA}/{path}", body))

    def get(path: str, **query: str) -> Any:
        return _answered(server.get(f"{JAVA}/{path}?{urlencode(query)}"))

    experiment_id = post("experiments/create", name="java")["experiment_id"]
    post("experiments/set-experiment-tag", experiment_id=experiment_id, key="team", value="blue")
    info = post("runs/create", experiment_id=experiment_id, user_id="ada", start_time=str(T))["run"]["info"]
    assert info["run_id"] == info["run_uuid"]
    assert str(info["start_time"]) == str(T)
    run = {"run_uuid": info["run_id"], "run_id": info["run_id"]}
    post("runs/log-parameter", **run, key="lr", value="0.1")
    for step, value in enumerate((0.5, "NaN", "Infinity", 0.25)):
        post("runs/log-metric", **run, key="loss", value=value, timestamp=str(T + step), step=str(step))
    post("runs/set-tag", **run, key="kind", value="tree")
    post("runs/set-tag", **run, key="gone", value="x")
    post("runs/delete-tag", run_id=info["run_id"], key="gone")
    post("runs/log-metric", **run, key="acc", value=1.0, timestamp=str(T), step="-3")
    post(
        "runs/log-batch",
        run_id=info["run_id"],
        metrics=[{"key": "batch", "value": 2.0, "timestamp": str(T), "step": str(2**53 + 1)}],
        params=[{"key": "depth", "value": "3"}],
        tags=[{"key": "more", "value": "y"}],
    )
    updated = post("runs/update", **run, status="FINISHED", end_time=str(T + 9))["run_info"]
    assert (updated["status"], str(updated["end_time"])) == ("FINISHED", str(T + 9))
    found = get("runs/get", **run)["run"]
    _expect(
        found, params={"lr": "0.1", "depth": "3"}, tags={"kind": "tree", "more": "y"}, last={"loss": 0.25, "acc": 1.0}
    )
    history = get("metrics/get-history", **run, metric_key="loss")["metrics"]
    assert [int(point["step"]) for point in history] == [0, 1, 2, 3]
    assert [str(point["value"]) for point in history] == ["0.5", "NaN", "Infinity", "0.25"]
    (point,) = get("metrics/get-history", **run, metric_key="batch")["metrics"]
    assert int(point["step"]) == 2**53 + 1
    page = post(
        "runs/search",
        experiment_ids=[experiment_id],
        filter="metrics.loss < 0.3",
        run_view_type="ACTIVE_ONLY",
        max_results=1000,
        order_by=["metrics.loss"],
        page_token="",
    )
    assert [item["info"]["run_uuid"] for item in page["runs"]] == [info["run_id"]]
    assert get("experiments/get-by-name", experiment_name="java")["experiment"]["experiment_id"] == experiment_id
    post("runs/delete", run_id=info["run_id"])
    assert get("runs/get", **run)["run"]["info"]["lifecycle_stage"] == "deleted"
    post("runs/restore", run_id=info["run_id"])
    status, refused = server.post(f"{JAVA}/runs/log-parameter", {**run, "key": "lr", "value": "0.2"})
    assert (status, refused["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    status, refused = server.get(f"{JAVA}/runs/get?run_uuid=nobody&run_id=nobody")
    assert (status, refused["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def speak_as_r(server: Server) -> None:
    """The same, as R does."""

    def post(path: str, body: dict[str, Any], *, is_old: bool = False) -> Any:
        return _answered(server.post(f"{R}/{path}", json.dumps(body) if is_old else body))

    experiment_id = post("experiments/create", {"name": "r", "artifact_location": None})["experiment_id"]
    tags = [{"key": "mlflow.source.name", "value": "train.R"}]
    body = {"experiment_id": experiment_id, "user_id": "unknown", "start_time": float(T), "tags": tags}
    info = post("runs/create", body)["run"]["info"]
    assert str(info["start_time"]) == str(T)
    run = {"run_uuid": info["run_uuid"], "run_id": info["run_uuid"]}
    for is_old in (False, True):
        for step, value in enumerate(("0.5", "NaN", "-Infinity", "0.125")):
            point = {"key": f"loss {is_old}", "value": value, "timestamp": float(T + step), "step": step}
            post("runs/log-metric", {**run, **point}, is_old=is_old)
        post("runs/log-parameter", {**run, "key": f"lr {is_old}", "value": "0.1"}, is_old=is_old)
        post("runs/set-tag", {**run, "key": f"kind {is_old}", "value": "tree"}, is_old=is_old)
    metrics = [{"key": "batch", "value": "2.5", "step": 1, "timestamp": T}]
    post("runs/log-batch", {"run_id": info["run_uuid"], "metrics": metrics, "params": [{"key": "p", "value": "1"}]})
    post("runs/update", {**run, "status": "FAILED", "end_time": float(T + 9)})
    found = _answered(server.get(f"{R}/runs/get?{urlencode(run)}"))["run"]
    assert found["info"]["status"] == "FAILED"
    _expect(
        found,
        params={"lr False": "0.1", "lr True": "0.1", "p": "1"},
        tags={"kind False": "tree", "kind True": "tree", "mlflow.source.name": "train.R"},
        last={"loss False": 0.125, "loss True": 0.125, "batch": 2.5},
    )
    query = urlencode({**run, "metric_key": "loss True"})
    history = _answered(server.get(f"{R}/metrics/get-history?{query}"))["metrics"]
    assert [str(point["value"]) for point in history] == ["0.5", "NaN", "-Infinity", "0.125"]
    asked = {"experiment_ids": [experiment_id], "filter": None, "run_view_type": "ALL", "order_by": []}
    assert len(post("runs/search", asked)["runs"]) == 1


def _answered(answer: tuple[int, Any]) -> Any:
    status, document = answer
    assert status == 200, document
    return document


def _expect(run: Any, *, params: dict[str, str], tags: dict[str, str], last: dict[str, float]) -> None:
    data = run["data"]
    assert {it["key"]: it["value"] for it in data["params"]} == params
    shown = {it["key"]: it["value"] for it in data["tags"]}
    assert {key: shown.get(key) for key in tags} == tags
    assert "gone" not in shown
    found = {it["key"]: it["value"] for it in data["metrics"]}
    assert {key: found.get(key) for key in last} == last
