"""The stand-in workspace holds: MLflow's own client and databricks-sdk work with it, and it refuses what it should."""

from __future__ import annotations

import gc
import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.sync.front import Front
from tests.sync.workspace import THROTTLED, SignIn, Workspace
from tests.sync.workspace_tracking import Quotas

NAME = "/Users/ada@example.com/team/churn"


class Client:
    """Bare requests to a workspace behind a front."""

    def __init__(self, workspace: Workspace, front: Front, token: str = "dapi-good") -> None:
        self.workspace = workspace
        self.front = front
        self._http = httpx.Client(base_url=front.url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def ask(self, method: str, path: str, document: Any = None) -> tuple[int, dict[str, Any]]:
        response = self._http.request(method, path, json=document)
        return response.status_code, response.json() if response.content else {}

    def post(self, name: str, document: Any) -> tuple[int, dict[str, Any]]:
        return self.ask("POST", f"/api/2.0/mlflow/{name}", document)

    def make_run(self) -> str:
        self.ask("POST", "/api/2.0/workspace/mkdirs", {"path": "/Shared/team"})
        _, made = self.post("experiments/create", {"name": f"/Shared/team/e{len(self.workspace.tracking.runs)}"})
        _, run = self.post("runs/create", {"experiment_id": made["experiment_id"], "start_time": 1})
        return str(run["run"]["info"]["run_id"])


def serve(**options: Any) -> Iterator[Client]:
    workspace = Workspace(**options)
    with Front(workspace) as front:
        client = Client(workspace, front)
        yield client
        client._http.close()


@pytest.fixture
def client() -> Iterator[Client]:
    yield from serve()


# -- its own clients


@pytest.fixture
def mlflow_client(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[tuple[Any, Client]]:
    options = getattr(request, "param", {})
    oauth = {"clients": {"robot": ("hush", "robot@example.com")}, "tokens": {}}
    is_oauth = options.pop("is_oauth", False)
    sign_in = SignIn(**oauth) if is_oauth else SignIn()  # type: ignore[arg-type]
    for name in ("DATABRICKS_CONFIG_PROFILE", "DATABRICKS_TOKEN", "DATABRICKS_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    for client in serve(sign_in=sign_in, **options):
        monkeypatch.setenv("DATABRICKS_HOST", client.front.url)
        if is_oauth:
            monkeypatch.setenv("DATABRICKS_CLIENT_ID", "robot")
            monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "hush")
        else:
            monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-good")
        from mlflow import MlflowClient

        yield MlflowClient("databricks"), client
    _drop_connections()


def _drop_connections() -> None:
    """Have the connections collected that MLflow and databricks-sdk leave open: their warnings are theirs to mend."""
    from mlflow.utils import request_utils, rest_utils

    for module, name in ((request_utils, "_cached_get_request_session"), (rest_utils, "get_workspace_client")):
        if hasattr(module, name):
            getattr(module, name).cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.parametrize(
    "mlflow_client",
    [
        {},
        {"is_oauth": True},
        {"has_files_api": False},
        {"has_files_api": False, "cloud": "AZURE_SAS_URI"},
        {"has_files_api": False, "cloud": "GCP_SIGNED_URL"},
    ],
    indirect=True,
    ids=["token", "oauth", "presigned", "azure", "gcp"],
)
def test_mlflow_itself_logs_to_it(mlflow_client: tuple[Any, Client], tmp_path: Path) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag

    mlflow, client = mlflow_client
    name = "/Shared/churn"
    experiment_id = mlflow.create_experiment(name)
    assert mlflow.get_experiment_by_name(name).experiment_id == experiment_id
    run_id = mlflow.create_run(experiment_id, run_name="first", start_time=5).info.run_id
    mlflow.log_batch(
        run_id,
        [Metric("loss", 1 / (n + 1), n, n) for n in range(30)] + [Metric("nan", float("nan"), 0, 0)],
        [Param("p", "1")],
        [RunTag("t", "x")],
    )
    mlflow.log_metric(run_id, "single", 2.0, step=3)
    dataset = Dataset("iris", "d1", "local", "{}", None, None)
    mlflow.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "train")])])
    model = mlflow.create_logged_model(experiment_id, name="m", params={"a": "b"}, tags={"c": "d"})
    mlflow.finalize_logged_model(model.model_id, "READY")
    mlflow.log_outputs(run_id, [LoggedModelOutput(model.model_id, 4)])
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a b.txt").write_bytes(b"text" * 1000)
    mlflow.log_artifacts(run_id, str(tmp_path))
    mlflow.set_terminated(run_id, end_time=9)
    run = mlflow.get_run(run_id)
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", 5, 9)
    user = "robot@example.com" if "robot" in client.workspace.sign_in.clients else "ada@example.com"
    assert run.data.tags["mlflow.user"] == run.info.user_id == user
    assert (run.data.params, run.data.tags["t"], run.data.metrics["single"]) == ({"p": "1"}, "x", 2.0)
    assert run.inputs.dataset_inputs[0].dataset.name == "iris"
    assert [(o.model_id, o.step) for o in run.outputs.model_outputs] == [(model.model_id, 4)]
    assert [m.step for m in mlflow.get_metric_history(run_id, "loss")] == list(range(30))
    assert [r.info.run_id for r in mlflow.search_runs([experiment_id], "tags.`t` = 'x'")] == [run_id]
    again = mlflow.get_logged_model(model.model_id)
    assert (str(again.status), again.params, again.tags) == ("READY", {"a": "b"}, {"c": "d"})
    root = f"/WorkspaceInternal/Mlflow/Artifacts/{experiment_id}/Runs/{run_id}/artifacts"
    assert client.workspace.files.content == {f"{root}/deep/a b.txt": b"text" * 1000}
    assert [f.path for f in mlflow.list_artifacts(run_id, "deep")] == ["deep/a b.txt"]
    there = mlflow.download_artifacts(run_id, "deep/a b.txt", str(tmp_path))
    assert Path(there).read_bytes() == b"text" * 1000


# -- what it refuses


def test_who_is_not_known_is_refused(client: Client) -> None:
    for token, status in (("dapi-bad", 403), ("", 401)):
        other = Client(client.workspace, client.front, token) if token else None
        if other is None:
            assert httpx.get(f"{client.front.url}/api/2.0/preview/scim/v2/Me").status_code == status
        else:
            assert other.ask("GET", "/api/2.0/preview/scim/v2/Me")[0] == status
            other._http.close()
    assert client.ask("GET", "/api/2.0/preview/scim/v2/Me")[1]["userName"] == "ada@example.com"


def test_a_token_of_oauth_runs_out() -> None:
    for client in serve(sign_in=SignIn({}, {"robot": ("hush", "robot")}, token_s=0.2)):
        url = f"{client.front.url}/oidc/v1/token"
        form = {"grant_type": "client_credentials"}
        assert httpx.post(url, data=form, auth=("robot", "wrong")).status_code == 401
        token = httpx.post(url, data=form, auth=("robot", "hush")).json()["access_token"]
        other = Client(client.workspace, client.front, token)
        assert other.ask("GET", "/api/2.0/preview/scim/v2/Me")[0] == 200
        time.sleep(0.3)
        assert other.ask("GET", "/api/2.0/preview/scim/v2/Me")[0] == 401
        other._http.close()


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        (
            "churn",
            "INVALID_PARAMETER_VALUE",
            "An experiment name must be an absolute path within the Databricks workspace",
        ),
        (NAME, "RESOURCE_DOES_NOT_EXIST", "Parent directory /Users/ada@example.com/team does not exist."),
        ("/Shared", "RESOURCE_ALREADY_EXISTS", "Node named 'Shared' already exists"),
    ],
)
def test_names_of_experiments_that_are_refused(client: Client, name: str, code: str, text: str) -> None:
    status, answer = client.post("experiments/create", {"name": name})
    assert status in (400, 404)
    assert answer["error_code"] == code
    assert text in answer["message"]


def test_experiments_lie_in_folders_and_workspace_is_no_part_of_their_names(client: Client) -> None:
    path = "/Workspace" + NAME.rpartition("/")[0]
    assert client.ask("POST", "/api/2.0/workspace/mkdirs", {"path": path}) == (200, {})
    assert client.ask("POST", "/api/2.0/workspace/mkdirs", {"path": path}) == (200, {})
    status, made = client.post("experiments/create", {"name": f"/Workspace{NAME}"})
    assert status == 200
    ask = "/api/2.0/mlflow/experiments/get-by-name?experiment_name="
    assert client.ask("GET", ask + NAME)[1]["experiment"]["experiment_id"] == made["experiment_id"]
    assert client.ask("GET", f"{ask}/Workspace{NAME}")[0] == 404
    for again in (NAME, f"/Workspace{NAME}", f"{NAME}/", NAME.replace("/team", "//team")):
        status, answer = client.post("experiments/create", {"name": again})
        assert (status, answer["error_code"]) == (400, "RESOURCE_ALREADY_EXISTS")
    assert client.ask("POST", "/api/2.0/workspace/mkdirs", {"path": f"{NAME}/deeper"})[0] == 400
    assert client.ask("POST", "/api/2.0/workspace/mkdirs", {"path": "/Users/eve@example.com"})[0] == 403


def test_quotas_are_refused_with_their_texts() -> None:
    quotas = Quotas(points_per_run=10, params_per_run=3, tags_per_run=4, runs_per_experiment=2, metrics_per_model=1)
    for client in serve(quotas=quotas):
        run_id = client.make_run()
        experiment_id = client.workspace.tracking.runs[run_id]["info"]["experiment_id"]
        points = [{"key": "m", "value": n, "timestamp": n, "step": n} for n in range(11)]
        status, answer = client.post("runs/log-batch", {"run_id": run_id, "metrics": points})
        assert (status, answer["error_code"]) == (400, "BAD_REQUEST")
        assert answer["message"] == (
            f"Unable to add 11 metric(s) to run {run_id}. The maximum allowed total metric steps per run is 10."
        )
        assert client.post("runs/log-batch", {"run_id": run_id, "metrics": points[:10]})[0] == 200
        assert client.post("runs/log-batch", {"run_id": run_id, "metrics": points[:1]})[0] == 400
        rows = [{"key": f"k{n}", "value": "v"} for n in range(4)]
        assert "maximum allowed" in client.post("runs/log-batch", {"run_id": run_id, "params": rows})[1]["message"]
        assert "maximum allowed" in client.post("runs/log-batch", {"run_id": run_id, "tags": rows})[1]["message"]
        assert client.post("runs/create", {"experiment_id": experiment_id, "start_time": 1})[0] == 200
        assert "maximum allowed" in client.post("runs/create", {"experiment_id": experiment_id})[1]["message"]
        _, made = client.post("logged-models", {"experiment_id": experiment_id, "name": "m"})
        model_id = made["model"]["info"]["model_id"]
        run_id = client.make_run()
        linked = [{"key": "m", "value": n, "timestamp": 1, "step": n, "model_id": model_id} for n in range(2)]
        assert client.post("runs/log-batch", {"run_id": run_id, "metrics": linked[:1]})[0] == 200
        message = client.post("runs/log-batch", {"run_id": run_id, "metrics": linked[1:]})[1]["message"]
        assert "exceeded maximum allowed number of logged model metrics per logged model: 1" in message


@pytest.mark.parametrize("retry_after_s", [None, 1])
def test_who_asks_too_often_is_throttled(retry_after_s: float | None) -> None:
    for client in serve(rates={"search": 3}, retry_after_s=retry_after_s):
        client.make_run()
        answers = [client._http.post("/api/2.0/mlflow/runs/search", json={"experiment_ids": ["1"]}) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[3].json() == {"error_code": "RESOURCE_EXHAUSTED", "message": THROTTLED}
        assert answers[3].headers.get("retry-after") == (None if retry_after_s is None else "1")
        assert client.post("runs/create", {"experiment_id": "none"})[0] == 404, "other requests are counted apart"
        time.sleep(1.05)
        assert client.post("runs/search", {"experiment_ids": ["1"]})[0] == 200


@pytest.mark.parametrize("appends", [False, True])
def test_points_that_are_sent_again(appends: bool) -> None:
    for client in serve(appends_duplicates=appends):
        run_id = client.make_run()
        body = {"run_id": run_id, "metrics": [{"key": "m", "value": 1, "timestamp": 1, "step": 1}]}
        for _ in range(2):
            assert client.post("runs/log-batch", body)[0] == 200
        _, answer = client.ask("GET", f"/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key=m")
        assert len(answer["metrics"]) == (2 if appends else 1)


def test_signed_urls_take_no_token_and_only_what_was_signed(client: Client) -> None:
    run_id = client.make_run()
    _, answer = client.post("artifacts/credentials-for-write", {"run_id": run_id, "path": ["a.txt"]})
    (signed,) = answer["credential_infos"]
    headers = {row["name"]: row["value"] for row in signed["headers"]}
    url = signed["signed_uri"]
    assert httpx.put(url, content=b"x", headers={**headers, "Authorization": "Bearer dapi-good"}).status_code == 400
    assert httpx.put(url, content=b"x").status_code == 403
    assert httpx.get(url, headers=headers).status_code == 403
    assert httpx.put(url, content=iter([b"x"]), headers=headers).status_code == 501
    assert httpx.put(url, content=b"x", headers=headers).status_code == 200
    paths = ["p"] * 2001
    status, answer = client.post("artifacts/credentials-for-write", {"run_id": run_id, "path": paths})
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    client.workspace.files.url_s = -1.0
    _, answer = client.post("artifacts/credentials-for-read", {"run_id": run_id, "path": ["a.txt"]})
    (signed,) = answer["credential_infos"]
    assert httpx.get(signed["signed_uri"], headers={"x-signed": "?"}).status_code == 403
    assert json.loads(httpx.get(signed["signed_uri"]).text)["error_code"] == "AccessDenied"
