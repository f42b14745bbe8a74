"""An MLflow server that keeps only counts: as fast as HTTP is, and of the same size however many points it gets.

`python -m tools.bench.push_sink` serves on a free port of the loopback interface, and prints its URL.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tools.bench.processes import REPOSITORY, make_environment

API = "/api/2.0/mlflow/"


class Sink:
    """What was received: of each run all but its points, of which the last and the number."""

    def __init__(self) -> None:
        self._experiments: dict[str, dict[str, Any]] = {}
        self._runs: dict[str, dict[str, Any]] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Return the status and the document for a request."""
        import orjson

        parts = urlsplit(path)
        query = {name: texts[0] for name, texts in parse_qs(parts.query).items()}
        document = orjson.loads(body) if body else query
        name = parts.path.rpartition("/mlflow/")[2]
        if name == "metrics/get-history-bulk":
            document["run_ids"] = parse_qs(parts.query)["run_id"]
        method = getattr(self, "_" + re.sub(r"[/-]", "_", name), None)
        if method is None:
            return 404, {"message": f"no route {name}"}
        with self._lock:
            found = method(document)
        return (404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}) if found is None else (200, found)

    def _experiments_get_by_name(self, doc: dict[str, Any]) -> dict[str, Any] | None:
        experiment = self._experiments.get(doc["experiment_name"])
        return None if experiment is None else {"experiment": experiment}

    def _experiments_create(self, doc: dict[str, Any]) -> dict[str, Any]:
        id_ = str(next(self._ids))
        self._experiments[doc["name"]] = {"experiment_id": id_, "name": doc["name"], "lifecycle_stage": "active"}
        return {"experiment_id": id_}

    def _experiments_set_experiment_tag(self, doc: dict[str, Any]) -> dict[str, Any]:
        return {}

    def _runs_create(self, doc: dict[str, Any]) -> dict[str, Any]:
        id_ = f"{next(self._ids):032d}"
        info = {"run_id": id_, "status": "RUNNING", "lifecycle_stage": "active", "artifact_uri": ""}
        info |= {name: doc[name] for name in ("experiment_id", "run_name", "start_time")}
        self._runs[id_] = {"info": info, "data": {"params": [], "tags": doc["tags"], "metrics": []}}
        self._counts[id_] = {}
        return {"run": self._runs[id_]}

    def _runs_get(self, doc: dict[str, Any]) -> dict[str, Any] | None:
        run = self._runs.get(doc["run_id"])
        return None if run is None else {"run": run}

    def _runs_update(self, doc: dict[str, Any]) -> dict[str, Any]:
        self._runs[doc["run_id"]]["info"].update(doc)
        return {}

    def _runs_set_tag(self, doc: dict[str, Any]) -> dict[str, Any]:
        tags = self._runs[doc["run_id"]]["data"]["tags"]
        tags[:] = [row for row in tags if row["key"] != doc["key"]] + [{"key": doc["key"], "value": doc["value"]}]
        return {}

    def _runs_log_batch(self, doc: dict[str, Any]) -> dict[str, Any]:
        """Points come in ascending order, so that the last one that came is the last one."""
        data, counts = self._runs[doc["run_id"]]["data"], self._counts[doc["run_id"]]
        data["params"] += doc.get("params", [])
        data["tags"] += doc.get("tags", [])
        last = {row["key"]: row for row in data["metrics"]}
        for row in doc.get("metrics", []):
            counts[row["key"]] = counts.get(row["key"], 0) + 1
            last[row["key"]] = row
        data["metrics"] = list(last.values())
        return {}

    def _runs_search(self, doc: dict[str, Any]) -> dict[str, Any]:
        wanted = doc["filter"].partition("'")[2].rstrip("'").rstrip("%")
        found = [
            run
            for run in self._runs.values()
            if run["info"]["experiment_id"] == doc["experiment_ids"][0]
            and any(t["key"] == "localtrack.run_id" and t["value"].startswith(wanted) for t in run["data"]["tags"])
        ]
        start = int(doc.get("page_token", 0))
        end = start + doc["max_results"]
        return {"runs": found[start:end]} | ({"next_page_token": str(end)} if end < len(found) else {})

    def _metrics_get_history(self, doc: dict[str, Any]) -> dict[str, Any]:
        """Give so many empty rows as there are points: they are counted only."""
        count = self._counts[doc["run_id"]].get(doc["metric_key"], 0)
        token = doc.get("page_token")
        start = json.loads(base64.b64decode(token))["offset"] if token else 0
        end = start + int(doc["max_results"])
        answer: dict[str, Any] = {"metrics": [{}] * (min(end, count) - start)}
        if end < count:
            answer["next_page_token"] = base64.b64encode(json.dumps({"offset": end}).encode()).decode()
        return answer

    def _metrics_get_history_bulk(self, doc: dict[str, Any]) -> dict[str, Any]:
        key = doc["metric_key"]
        return {"metrics": [{"run_id": id_} for id_ in doc["run_ids"] for _ in range(self._counts[id_].get(key, 0))]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    sink = Sink()

    def do_GET(self) -> None:
        import orjson

        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/version":
            status, answer = 200, b"3.17.2"
        else:
            status, document = self.sink.answer(self.path, body)
            answer = orjson.dumps(document)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serve_sink() -> Iterator[str]:
    """Run a sink in a process of its own, and yield its URL."""
    command = [sys.executable, "-m", "tools.bench.push_sink"]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=make_environment(REPOSITORY), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate()


def main() -> None:
    """Serve until the process is ended."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
