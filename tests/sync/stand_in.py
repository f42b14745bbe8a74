"""An MLflow Tracking server in memory, as far as runs are pushed to one: quick, and with bad habits where wanted.

Made from MLflow's REST documentation, and held against the real server by `test_stand_in.py`.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.sync.front import Answer, Request

GREATEST = 1.7976931348623157e308


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class StandIn:
    """The server's state, and what it does with a request. Pass it to `Front`.

    Args:
        appends_duplicates: Keep a point that is sent again once more, as MLflow's file store did.
        has_bulk_history: Offer the route that gives one metric of many runs.
        make_id: Gives each run its id.
    """

    def __init__(
        self,
        *,
        appends_duplicates: bool = False,
        has_bulk_history: bool = True,
        make_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self.appends_duplicates = appends_duplicates
        self._make_id = make_id
        self.has_bulk_history = has_bulk_history
        self.experiments: dict[str, dict[str, Any]] = {
            "0": {"experiment_id": "0", "name": "Default", "lifecycle_stage": "active", "tags": {}}
        }
        self.runs: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, bytes] = {}
        """By path below the root of the server that passes them on."""
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Answer:
        parts = urlsplit(request.path)
        if parts.path == "/version":
            return Answer(200, b"3.17.2", (("Content-Type", "text/html"),))
        query = parse_qs(parts.query)
        _, is_artifact, path = parts.path.partition("/mlflow-artifacts/artifacts/")
        if is_artifact:
            return self._pass_on(request, unquote(path))
        document = json.loads(request.body) if request.body else {k: v[0] for k, v in query.items()}
        name = parts.path.partition("/mlflow/")[2]
        try:
            with self._lock:
                answer = self._dispatch(name, document, query)
        except Refusal as refusal:
            body = {"error_code": refusal.code, "message": str(refusal)}
            return Answer(refusal.status, json.dumps(body).encode())
        return Answer(200, json.dumps(answer).encode())

    def _dispatch(self, name: str, doc: dict[str, Any], query: dict[str, list[str]]) -> dict[str, Any]:
        if name == "metrics/get-history-bulk" and self.has_bulk_history:
            rows = [
                {**point, "run_id": run_id}
                for run_id in sorted(query["run_id"])
                for point in self._history(run_id, doc["metric_key"])
            ]
            return {"metrics": rows[: int(doc["max_results"])]}
        method = getattr(self, "_" + re.sub(r"[/-]", "_", name), None)
        if method is None:
            raise Refusal(404, "", "no such route")
        result: dict[str, Any] = method(doc)
        return result

    def _experiment(self, experiment_id: str) -> dict[str, Any]:
        if experiment_id not in self.experiments:
            raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", "No such experiment")
        return self.experiments[experiment_id]

    def _run(self, run_id: str, *, is_written: bool = False) -> dict[str, Any]:
        if run_id not in self.runs:
            raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Run with id={run_id} not found")
        run = self.runs[run_id]
        if is_written and run["info"]["lifecycle_stage"] != "active":
            raise Refusal(400, "INVALID_PARAMETER_VALUE", f"The run {run_id} must be in the 'active' state.")
        return run

    def _experiments_get_by_name(self, doc: dict[str, Any]) -> dict[str, Any]:
        for experiment in self.experiments.values():
            if experiment["name"] == doc["experiment_name"]:
                return {"experiment": {**experiment, "tags": _rows(experiment["tags"])}}
        raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", "No such experiment")

    def _experiments_create(self, doc: dict[str, Any]) -> dict[str, Any]:
        if any(e["name"] == doc["name"] for e in self.experiments.values()):
            raise Refusal(400, "RESOURCE_ALREADY_EXISTS", "Experiment exists")
        experiment_id = str(len(self.experiments))
        self.experiments[experiment_id] = {
            "experiment_id": experiment_id,
            "name": doc["name"],
            "lifecycle_stage": "active",
            "tags": {},
        }
        return {"experiment_id": experiment_id}

    def _experiments_search(self, doc: dict[str, Any]) -> dict[str, Any]:
        shown = [{**experiment, "tags": _rows(experiment["tags"])} for experiment in self.experiments.values()]
        return self._page("experiments", shown, doc)

    def _logged_models_search(self, doc: dict[str, Any]) -> dict[str, Any]:
        return {"models": []}

    def _artifacts_list(self, doc: dict[str, Any]) -> dict[str, Any]:
        root = self._run(doc["run_id"])["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/") + "/"
        folder = root + (doc["path"] + "/" if doc.get("path") else "")
        found: dict[str, dict[str, Any]] = {}
        for path, content in self.artifacts.items():
            if path.startswith(folder):
                name, is_folder, _ = path.removeprefix(folder).partition("/")
                row = {"is_dir": True} if is_folder else {"is_dir": False, "file_size": len(content)}
                found[name] = {"path": (folder + name).removeprefix(root), **row}
        return {"files": list(found.values())}

    def _pass_on(self, request: Request, path: str) -> Answer:
        """Keep or give an artifact."""
        if request.method == "PUT":
            self.artifacts[path] = request.body
            return Answer(200, b"{}")
        if path not in self.artifacts:
            return Answer(404, b'{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"no such artifact"}')
        return Answer(200, self.artifacts[path], (("Content-Type", "application/octet-stream"),))

    def _experiments_get(self, doc: dict[str, Any]) -> dict[str, Any]:
        experiment = self._experiment(doc["experiment_id"])
        return {"experiment": {**experiment, "tags": _rows(experiment["tags"])}}

    def _experiments_update(self, doc: dict[str, Any]) -> dict[str, Any]:
        self._experiment(doc["experiment_id"])["name"] = doc["new_name"]
        return {}

    def _experiments_set_experiment_tag(self, doc: dict[str, Any]) -> dict[str, Any]:
        self._experiment(doc["experiment_id"])["tags"][doc["key"]] = doc["value"]
        return {}

    def _runs_create(self, doc: dict[str, Any]) -> dict[str, Any]:
        self._experiment(doc["experiment_id"])
        run_id = self._make_id()
        tags = {row["key"]: row["value"] for row in doc.get("tags", [])}
        tags.setdefault("mlflow.runName", doc.get("run_name", ""))
        self.runs[run_id] = {
            "info": {
                "run_id": run_id,
                "experiment_id": doc["experiment_id"],
                "run_name": doc.get("run_name", ""),
                "status": "RUNNING",
                "start_time": doc["start_time"],
                "lifecycle_stage": "active",
                "artifact_uri": f"mlflow-artifacts:/{doc['experiment_id']}/{run_id}/artifacts",
            },
            "params": {},
            "tags": tags,
            "points": {},
        }
        return {"run": self._shown(self.runs[run_id])}

    def _runs_get(self, doc: dict[str, Any]) -> dict[str, Any]:
        return {"run": self._shown(self._run(doc["run_id"]))}

    def _runs_update(self, doc: dict[str, Any]) -> dict[str, Any]:
        run = self._run(doc["run_id"], is_written=True)
        run["info"].update({k: doc[k] for k in ("status", "end_time", "run_name") if k in doc})
        return {"run_info": run["info"]}

    def _runs_delete(self, doc: dict[str, Any]) -> dict[str, Any]:
        self._run(doc["run_id"])["info"]["lifecycle_stage"] = "deleted"
        return {}

    def _runs_restore(self, doc: dict[str, Any]) -> dict[str, Any]:
        self._run(doc["run_id"])["info"]["lifecycle_stage"] = "active"
        return {}

    def _runs_set_tag(self, doc: dict[str, Any]) -> dict[str, Any]:
        self._run(doc["run_id"], is_written=True)["tags"][doc["key"]] = doc["value"]
        return {}

    def _runs_delete_tag(self, doc: dict[str, Any]) -> dict[str, Any]:
        if self._run(doc["run_id"], is_written=True)["tags"].pop(doc["key"], None) is None:
            raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", "No such tag")
        return {}

    def _runs_log_batch(self, doc: dict[str, Any]) -> dict[str, Any]:
        run = self._run(doc["run_id"], is_written=True)
        metrics, params, tags = (doc.get(name, []) for name in ("metrics", "params", "tags"))
        if len(metrics) + len(params) + len(tags) > 1000 or len(params) > 100 or len(tags) > 100:
            raise Refusal(400, "INVALID_PARAMETER_VALUE", "too many entities")
        if len(json.dumps(doc)) > 1_000_000:
            raise Refusal(400, "INVALID_PARAMETER_VALUE", "too many bytes")
        for row in params:
            if len(row["value"]) > 6000:
                raise Refusal(400, "INVALID_PARAMETER_VALUE", "param too long")
            if run["params"].get(row["key"], row["value"]) != row["value"]:
                raise Refusal(400, "INVALID_PARAMETER_VALUE", "Changing param values is not allowed.")
        run["params"].update({row["key"]: row["value"] for row in params})
        for row in metrics:
            if row["timestamp"] < 0:
                raise Refusal(400, "INVALID_PARAMETER_VALUE", "negative timestamp")
            value = float(row["value"])
            value = max(min(value, GREATEST), -GREATEST) if value == value else value
            point = (row["timestamp"], row["step"], "NaN" if value != value else value)
            points = run["points"].setdefault(row["key"], [])
            if self.appends_duplicates or point not in points:
                points.append(point)
        run["tags"].update({row["key"]: row["value"] for row in tags})
        if "mlflow.runName" in {row["key"] for row in tags}:
            run["info"]["run_name"] = run["tags"]["mlflow.runName"]
        return {}

    def _runs_search(self, doc: dict[str, Any]) -> dict[str, Any]:
        (experiment_id,) = doc["experiment_ids"]
        found = [run for run in self.runs.values() if run["info"]["experiment_id"] == experiment_id]
        condition = doc.get("filter", "")
        if condition:
            match = re.fullmatch(r"tags\.`([^`]+)` (=|LIKE) ('[^']*'|\"[^\"]*\")", condition)
            if match is None:
                raise Refusal(400, "INVALID_PARAMETER_VALUE", f"filter {condition!r}")
            key, comparison, text = match[1], match[2], match[3][1:-1]
            pattern = re.escape(text).replace("%", ".*") if comparison == "LIKE" else re.escape(text)
            found = [run for run in found if re.fullmatch(pattern, run["tags"].get(key, "\n"))]
        if doc.get("run_view_type", "ACTIVE_ONLY") == "ACTIVE_ONLY":
            found = [run for run in found if run["info"]["lifecycle_stage"] == "active"]
        return self._page("runs", [self._shown(run) for run in found], doc)

    def _metrics_get_history(self, doc: dict[str, Any]) -> dict[str, Any]:
        return self._page("metrics", self._history(doc["run_id"], doc["metric_key"]), doc)

    def _history(self, run_id: str, key: str) -> list[dict[str, Any]]:
        return [
            {"key": key, "timestamp": t, "step": s, "value": v} for t, s, v in self._run(run_id)["points"].get(key, [])
        ]

    @staticmethod
    def _page(name: str, rows: list[Any], doc: dict[str, Any]) -> dict[str, Any]:
        token = doc.get("page_token")
        start = json.loads(base64.b64decode(token))["offset"] if token else 0
        end = start + int(doc["max_results"])
        answer: dict[str, Any] = {name: rows[start:end]}
        if end < len(rows):
            answer["next_page_token"] = base64.b64encode(json.dumps({"offset": end}).encode()).decode()
        return answer

    @staticmethod
    def _shown(run: dict[str, Any]) -> dict[str, Any]:
        metrics = []
        for key, points in run["points"].items():
            timestamp, step, value = max(points, key=lambda p: (p[1], p[0], 0.0 if p[2] == "NaN" else p[2]))
            metrics.append({"key": key, "timestamp": timestamp, "step": step, "value": value})
        return {
            "info": dict(run["info"]),
            "data": {"params": _rows(run["params"]), "tags": _rows(run["tags"]), "metrics": metrics},
        }


def _rows(mapping: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in mapping.items()]
