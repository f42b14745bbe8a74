"""Tracking in the stand-in workspace: experiments as nodes of a tree of folders, quotas, logged models."""

from __future__ import annotations

import posixpath
import random
import re
import threading
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.sync.stand_in import Refusal, StandIn
from tests.sync.workspace_files import WorkspaceFiles

ROOT = "/WorkspaceInternal/Mlflow/Artifacts"


@dataclass
class Quotas:
    """Limits as of 2026, all of which tests may make smaller."""

    points_per_run: int = 1_000_000
    params_per_run: int = 1_600
    tags_per_run: int = 1_600
    runs_per_experiment: int = 500_000
    tags_per_experiment: int = 1_000
    metrics_per_model: int = 1_000


@dataclass
class Folders:
    """The tree of the workspace: folders, and experiments as its leaves."""

    folders: set[str] = field(default_factory=lambda: {"/", "/Users", "/Shared", "/Users/ada@example.com"})
    leaves: dict[str, str] = field(default_factory=dict)
    """Path → experiment id."""

    @staticmethod
    def place(path: str) -> str:
        """Return the path under which the tree has what users call so."""
        path = re.sub(r"/+", "/", path)
        path = path[len("/Workspace") :] if path == "/Workspace" or path.startswith("/Workspace/") else path
        return path.rstrip("/") or "/"

    def make(self, path: str, *, user: str) -> dict[str, Any]:
        """Make a folder and those above it."""
        if not path.startswith("/"):
            raise Refusal(400, "INVALID_PARAMETER_VALUE", f"Path ({path}) doesn't start with '/'")
        place = self.place(path)
        above = place
        while above != "/":
            if above in self.leaves:
                raise Refusal(400, "RESOURCE_ALREADY_EXISTS", f"The path {above} is not a folder.")
            above = posixpath.dirname(above)
        home = re.match(r"/Users/([^/]+)", place)
        if home is not None and home[1] != user and f"/Users/{home[1]}" not in self.folders:
            raise Refusal(403, "PERMISSION_DENIED", f"{user} does not have permission to create folders in /Users.")
        while place != "/":
            self.folders.add(place)
            place = posixpath.dirname(place)
        return {}

    def status(self, path: str) -> dict[str, Any]:
        """Return what lies at a path."""
        place = self.place(path)
        if place in self.folders:
            return {"path": place, "object_type": "DIRECTORY"}
        if place in self.leaves:
            return {"path": place, "object_type": "MLFLOW_EXPERIMENT", "object_id": self.leaves[place]}
        raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Path ({path}) doesn't exist.")


class WorkspaceTracking(StandIn):
    """The routes below `/api/2.0/mlflow/`. The caller holds `lock`."""

    def __init__(self, files: WorkspaceFiles, quotas: Quotas, *, appends_duplicates: bool) -> None:
        super().__init__(appends_duplicates=appends_duplicates, has_bulk_history=False)
        self.experiments.clear()  # a workspace has no experiment 0
        self.files = files
        self.quotas = quotas
        self.folders = Folders()
        self.models: dict[str, dict[str, Any]] = {}
        self.lock = threading.RLock()
        self._user = ""
        self._base_url = ""

    def answer(
        self, method: str, name: str, document: dict[str, Any], query: dict[str, list[str]], *, user: str, base_url: str
    ) -> dict[str, Any]:
        """Answer a request of a user."""
        self._user, self._base_url = user, base_url
        if name == "logged-models" or name.startswith("logged-models/"):
            return self._answer_model(method, name.split("/")[1:], document)
        return self._dispatch(name, document, query)

    # -- experiments

    def _experiments_get_by_name(self, doc: dict[str, Any]) -> dict[str, Any]:
        name = doc["experiment_name"]
        for experiment in self.experiments.values():
            if experiment["name"] == name:  # as it is stored: without /Workspace and doubled slashes
                return {"experiment": self._shown_experiment(experiment)}
        raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Node {name} does not exist.")

    def _experiments_get(self, doc: dict[str, Any]) -> dict[str, Any]:
        return {"experiment": self._shown_experiment(self._experiment(doc["experiment_id"]))}

    def _experiments_search(self, doc: dict[str, Any]) -> dict[str, Any]:
        stages = {"ACTIVE_ONLY": ("active",), "DELETED_ONLY": ("deleted",)}
        shown = stages.get(doc.get("view_type", "ACTIVE_ONLY"), ("active", "deleted"))
        rows = [self._shown_experiment(e) for e in self.experiments.values() if e["lifecycle_stage"] in shown]
        return self._page("experiments", rows, {"max_results": 1000, **doc})

    def _experiments_create(self, doc: dict[str, Any]) -> dict[str, Any]:
        name = doc["name"]
        if not name.startswith("/"):
            raise Refusal(
                400,
                "INVALID_PARAMETER_VALUE",
                f"Got an invalid experiment name '{name}'. An experiment name must be an absolute path within the "
                "Databricks workspace. E.g., '/Users/<some-username>/my-experiment'.",
            )
        place = self.folders.place(name)
        if place in self.folders.leaves or place in self.folders.folders:
            raise Refusal(400, "RESOURCE_ALREADY_EXISTS", f"Node named '{posixpath.basename(place)}' already exists")
        parent = posixpath.dirname(place)
        if parent not in self.folders.folders:
            raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Parent directory {parent} does not exist.")
        experiment_id = str(random.Random(place).randrange(10**15, 10**16))
        self.folders.leaves[place] = experiment_id
        self.experiments[experiment_id] = {
            "experiment_id": experiment_id,
            "name": place,
            "artifact_location": f"dbfs:/databricks/mlflow-tracking/{experiment_id}",
            "lifecycle_stage": "active",
            "tags": {
                "mlflow.ownerEmail": self._user,
                "mlflow.experimentType": "MLFLOW_EXPERIMENT",
                **{row["key"]: row["value"] for row in doc.get("tags", [])},
            },
        }
        return {"experiment_id": experiment_id}

    def _experiments_set_experiment_tag(self, doc: dict[str, Any]) -> dict[str, Any]:
        tags = self._experiment(doc["experiment_id"])["tags"]
        if doc["key"] not in tags and len(tags) >= self.quotas.tags_per_experiment:
            raise _over(f"The maximum allowed number of tags per experiment is {self.quotas.tags_per_experiment}.")
        return super()._experiments_set_experiment_tag(doc)

    def _experiments_delete(self, doc: dict[str, Any]) -> dict[str, Any]:
        self._experiment(doc["experiment_id"])["lifecycle_stage"] = "deleted"
        return {}

    def _experiments_restore(self, doc: dict[str, Any]) -> dict[str, Any]:
        self._experiment(doc["experiment_id"])["lifecycle_stage"] = "active"
        return {}

    @staticmethod
    def _shown_experiment(experiment: dict[str, Any]) -> dict[str, Any]:
        return {**experiment, "tags": [{"key": k, "value": v} for k, v in experiment["tags"].items()]}

    # -- runs

    def _runs_create(self, doc: dict[str, Any]) -> dict[str, Any]:
        experiment_id = doc["experiment_id"]
        runs_count = sum(run["info"]["experiment_id"] == experiment_id for run in self.runs.values())
        if runs_count >= self.quotas.runs_per_experiment:
            raise _over(f"The maximum allowed number of runs per experiment is {self.quotas.runs_per_experiment}.")
        if len(doc.get("tags", [])) > self.quotas.tags_per_run:
            raise _over(f"The maximum allowed tags per run is {self.quotas.tags_per_run}.")
        known = set(self.runs)
        super()._runs_create({"start_time": 0, **doc})
        (run_id,) = set(self.runs) - known
        run = self.runs[run_id]
        run["tags"]["mlflow.user"] = run["info"]["user_id"] = self._user  # whoever signed in, whatever was sent
        run["info"]["run_uuid"] = run_id
        run["info"]["artifact_uri"] = f"dbfs:/databricks/mlflow-tracking/{experiment_id}/{run_id}/artifacts"
        return {"run": self._shown(run)}

    def _runs_log_batch(self, doc: dict[str, Any]) -> dict[str, Any]:
        run_id = doc["run_id"]
        run = self._run(run_id, is_written=True)
        metrics = doc.get("metrics", [])
        points_count = sum(map(len, run["points"].values()))
        if points_count + len(metrics) > self.quotas.points_per_run:
            raise _over(
                f"Unable to add {len(metrics)} metric(s) to run {run_id}. The maximum allowed total metric steps per "
                f"run is {self.quotas.points_per_run}."
            )
        for kind, limit in (("params", self.quotas.params_per_run), ("tags", self.quotas.tags_per_run)):
            new = {row["key"] for row in doc.get(kind, [])} - run[kind].keys()
            if len(run[kind]) + len(new) > limit:
                raise _over(
                    f"Unable to add {len(new)} {kind[:-1]}(s) to run {run_id}. The maximum allowed {kind} per run is "
                    f"{limit}."
                )
        linked = [row for row in metrics if row.get("model_id")]
        for row in linked:
            self._require_room(row["model_id"], 1)
        answer = super()._runs_log_batch(doc)
        for row in linked:
            kept = {key: row[key] for key in row if key != "model_id"} | {"run_id": run_id}
            if kept not in self._model(row["model_id"])["metrics"]:
                self._model(row["model_id"])["metrics"].append(kept)
        return answer

    def _runs_log_metric(self, doc: dict[str, Any]) -> dict[str, Any]:
        fields = ("key", "value", "timestamp", "step", "model_id", "dataset_name", "dataset_digest")
        row = {"step": 0, **{key: doc[key] for key in fields if key in doc}}
        return self._runs_log_batch({"run_id": doc["run_id"], "metrics": [row]})

    def _runs_log_parameter(self, doc: dict[str, Any]) -> dict[str, Any]:
        return self._runs_log_batch({"run_id": doc["run_id"], "params": [{"key": doc["key"], "value": doc["value"]}]})

    def _runs_set_tag(self, doc: dict[str, Any]) -> dict[str, Any]:
        return self._runs_log_batch({"run_id": doc["run_id"], "tags": [{"key": doc["key"], "value": doc["value"]}]})

    def _runs_log_inputs(self, doc: dict[str, Any]) -> dict[str, Any]:
        run = self._run(doc["run_id"], is_written=True)
        datasets = run.setdefault("datasets", {})
        for row in doc.get("datasets", []):
            datasets.setdefault((row["dataset"]["name"], row["dataset"]["digest"]), row)
        run.setdefault("model_inputs", {}).update({row["model_id"]: None for row in doc.get("models", [])})
        return {}

    def _runs_outputs(self, doc: dict[str, Any]) -> dict[str, Any]:
        outputs = self._run(doc["run_id"], is_written=True).setdefault("model_outputs", {})
        for row in doc.get("models", []):
            self._model(row["model_id"])
            if row["model_id"] in outputs:
                raise Refusal(400, "BAD_REQUEST", "(IntegrityError) UNIQUE constraint failed: inputs")
            outputs[row["model_id"]] = int(row.get("step", 0))
        return {}

    def _databricks_runs_delete_runs(self, doc: dict[str, Any]) -> dict[str, Any]:
        found = [
            run
            for run in self.runs.values()
            if run["info"]["experiment_id"] == doc["experiment_id"]
            and run["info"]["lifecycle_stage"] == "active"
            and run["info"]["start_time"] <= doc["max_timestamp_millis"]
        ][: doc.get("max_runs", 10_000)]
        for run in found:
            run["info"]["lifecycle_stage"] = "deleted"
        return {"runs_deleted": len(found)}

    def _shown(self, run: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        shown = super()._shown(run)
        shown["inputs"] = {
            "dataset_inputs": list(run.get("datasets", {}).values()),
            "model_inputs": [{"model_id": model_id} for model_id in run.get("model_inputs", {})],
        }
        outputs = run.get("model_outputs", {}).items()
        shown["outputs"] = {"model_outputs": [{"model_id": model_id, "step": step} for model_id, step in outputs]}
        return shown

    @staticmethod
    def _page(name: str, rows: list[Any], doc: dict[str, Any]) -> dict[str, Any]:
        return StandIn._page(name, rows, {"max_results": 1000, **doc})

    # -- artifacts

    def _run_root(self, run_id: str) -> str:
        return f"{ROOT}/{self._run(run_id)['info']['experiment_id']}/Runs/{run_id}/artifacts"

    def _model_root(self, model_id: str) -> str:
        return f"{ROOT}/{self._model(model_id)['info']['experiment_id']}/LoggedModels/{model_id}"

    def _artifacts_credentials_for_write(self, doc: dict[str, Any]) -> dict[str, Any]:
        return self._credentials(doc, "PUT")

    def _artifacts_credentials_for_read(self, doc: dict[str, Any]) -> dict[str, Any]:
        return self._credentials(doc, "GET")

    def _credentials(self, doc: dict[str, Any], method: str) -> dict[str, Any]:
        root = self._run_root(doc["run_id"])
        signed = self.files.sign(doc["path"], root, method=method, base_url=self._base_url)
        return {"credential_infos": [{**row, "run_id": doc["run_id"]} for row in signed]}

    def _artifacts_list(self, doc: dict[str, Any]) -> dict[str, Any]:
        run_id = doc.get("run_id") or doc["run_uuid"]
        files = self.files.list(self._run_root(run_id), doc.get("path", ""))
        return {"root_uri": self._run(run_id)["info"]["artifact_uri"], "files": files}

    # -- logged models

    def _model(self, model_id: str) -> dict[str, Any]:
        if model_id not in self.models:
            raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Logged model with ID '{model_id}' not found.")
        return self.models[model_id]

    def _require_room(self, model_id: str, count: int) -> None:
        if len(self._model(model_id)["metrics"]) + count > self.quotas.metrics_per_model:
            raise _over(
                f"Unable to log new or update existing logged model metrics for model {model_id}, exceeded maximum "
                f"allowed number of logged model metrics per logged model: {self.quotas.metrics_per_model}. To raise "
                "this quota please contact the Databricks support team."
            )

    def _answer_model(self, method: str, parts: list[str], doc: dict[str, Any]) -> dict[str, Any]:
        match method, parts:
            case "POST", []:
                return self._create_model(doc)
            case "POST", ["search"]:
                rows = [
                    self._shown_model(model)
                    for model in self.models.values()
                    if model["info"]["experiment_id"] in doc["experiment_ids"] and not model["is_deleted"]
                ]
                return self._page("models", rows, doc)
            case "GET", [model_id] if not self._model(model_id)["is_deleted"] or doc.get("allow_deleted") == "true":
                return {"model": self._shown_model(self._model(model_id))}
            case "PATCH", [model_id]:
                self._model(model_id)["info"]["status"] = doc["status"]
                return {"model": self._shown_model(self._model(model_id))}
            case "DELETE", [model_id]:
                self._model(model_id)["is_deleted"] = True
                return {}
            case "PATCH", [model_id, "tags"]:
                self._model(model_id)["tags"].update({row["key"]: row["value"] for row in doc["tags"]})
                return {"model": self._shown_model(self._model(model_id))}
            case "DELETE", [model_id, "tags", key] if key in self._model(model_id)["tags"]:
                del self._model(model_id)["tags"][key]
                return {}
            case "POST", [model_id, "params"]:
                params = self._model(model_id)["params"]
                if any(row["key"] in params for row in doc["params"]):
                    raise Refusal(400, "BAD_REQUEST", "(IntegrityError) UNIQUE constraint failed: logged_model_params")
                params.update({row["key"]: row["value"] for row in doc["params"]})
                return {}
            case "POST", [model_id, "artifacts", ("credentials-for-upload" | "credentials-for-download") as name]:
                method = "PUT" if name.endswith("upload") else "GET"
                signed = self.files.sign(
                    doc["paths"], self._model_root(model_id), method=method, base_url=self._base_url
                )
                return {"credentials": [{"credential_info": row} for row in signed]}
            case "GET", [model_id, "artifacts", "directories"]:
                path = doc.get("artifact_directory_path", "")
                return {"files": self.files.list(self._model_root(model_id), path)}
        raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"There is nothing at logged-models/{'/'.join(parts)}.")

    def _create_model(self, doc: dict[str, Any]) -> dict[str, Any]:
        experiment_id = self._experiment(doc["experiment_id"])["experiment_id"]
        model_id = f"m-{uuid.uuid4().hex}"
        kept = {key: doc[key] for key in ("name", "model_type", "source_run_id") if key in doc}
        self.models[model_id] = {
            "info": {
                "model_id": model_id,
                "experiment_id": experiment_id,
                "creation_timestamp_ms": 1_700_000_000_000 + len(self.models),
                "last_updated_timestamp_ms": 1_700_000_000_000 + len(self.models),
                "artifact_uri": f"dbfs:/databricks/mlflow-tracking/{experiment_id}/logged_models/{model_id}",
                "status": "LOGGED_MODEL_PENDING",
                **kept,
            },
            "params": {row["key"]: row["value"] for row in doc.get("params", [])},
            "tags": {row["key"]: row["value"] for row in doc.get("tags", [])},
            "metrics": [],
            "is_deleted": False,
        }
        return {"model": self._shown_model(self.models[model_id])}

    @staticmethod
    def _shown_model(model: dict[str, Any]) -> dict[str, Any]:
        def rows(kind: str) -> list[dict[str, str]]:
            return [{"key": key, "value": value} for key, value in model[kind].items()]

        metrics = [{**row, "model_id": model["info"]["model_id"]} for row in model["metrics"]]
        return {
            "info": {**model["info"], "tags": rows("tags")},
            "data": {"params": rows("params"), "metrics": metrics},
        }


def _over(text: str) -> Refusal:
    return Refusal(400, "BAD_REQUEST", text)
