"""Says whether a remote has what a store has, in every field that can be set there. Knows nothing of the sync code.

The remote is read by plain requests, the store by its public API; histories are compared as multisets.
"""

from __future__ import annotations

import json
import math
import urllib.parse
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localtrack import Store
from localtrack.types import ViewType
from tests.sync.front import Back, Request

Server = str | Back
"""Its URL, or what answers in this process."""
GREATEST = 1.7976931348623157e308


def remote_runs(url: Server, experiment_name: str) -> list[dict[str, Any]]:
    """Return all living runs of an experiment, whole."""
    query = urllib.parse.urlencode({"experiment_name": experiment_name})
    experiment = _call(url, f"/api/2.0/mlflow/experiments/get-by-name?{query}")["experiment"]
    runs: list[dict[str, Any]] = []
    token = None
    while True:
        body = {"experiment_ids": [experiment["experiment_id"]], "max_results": 100, "run_view_type": "ACTIVE_ONLY"}
        answer = _call(url, "/api/2.0/mlflow/runs/search", {**body, **({"page_token": token} if token else {})})
        runs += answer.get("runs", [])
        token = answer.get("next_page_token")
        if not token:
            return runs


def compare_models(url: Server, store: Store, experiment_name: str) -> list[str]:
    """Return every difference between the logged models of an experiment here and there."""
    problems: list[str] = []
    runs = {
        _rows(run["data"]["tags"])["localtrack.run_id"]: run["info"]["run_id"]
        for run in remote_runs(url, experiment_name)
    }
    experiment = store.get_experiment_by_name(experiment_name)
    assert experiment is not None
    query = urllib.parse.urlencode({"experiment_name": experiment_name})
    remote_experiment = _call(url, f"/api/2.0/mlflow/experiments/get-by-name?{query}")["experiment"]
    body = {"experiment_ids": [remote_experiment["experiment_id"]]}
    there: dict[str, dict[str, Any]] = {}
    for model in _call(url, "/api/2.0/mlflow/logged-models/search", body).get("models", []):
        local_id = _rows(model["info"]["tags"])["localtrack.model_id"]
        problems += [f"{local_id} is there twice"] if local_id in there else []
        there[local_id] = model
    here = {model.model_id: model for model in store.list_logged_models([experiment.experiment_id])}
    problems += [f"model {model_id} differs in being there" for model_id in here.keys() ^ there.keys()]
    for model_id in here.keys() & there.keys():
        model, info, data = here[model_id], there[model_id]["info"], there[model_id].get("data", {})
        remote_tags = {k: v for k, v in _rows(info["tags"]).items() if not k.startswith("localtrack.")}
        metrics = {
            (
                m["key"],
                m["value"],
                m["timestamp"],
                m["step"],
                m["run_id"],
                m.get("dataset_name"),
                m.get("dataset_digest"),
            )
            for m in data.get("metrics", [])
        }
        for name, mine, value in (
            ("name", model.name, info["name"]),
            ("status", f"LOGGED_MODEL_{model.status}", info["status"]),
            ("type", model.model_type or "", info.get("model_type", "")),
            ("source run", runs.get(model.source_run_id or "", ""), info.get("source_run_id", "")),
            ("params", dict(model.params), _rows(data.get("params", []))),
            ("tags", dict(model.tags), remote_tags),
            (
                "metrics",
                {
                    (m.key, m.value, m.timestamp, m.step, runs[m.run_id or ""], m.dataset_name, m.dataset_digest)
                    for m in model.metrics
                },
                metrics,
            ),
        ):
            if mine != value:
                problems.append(f"model {model.name}: {name}: {mine!r} here, {value!r} there")
    for row in store.search_runs([experiment.experiment_id]):
        run = store.get_run(row.info.run_id)
        query = urllib.parse.urlencode({"run_id": runs[row.info.run_id]})
        remote = _call(url, f"/api/2.0/mlflow/runs/get?{query}")["run"]
        mine = run.to_dictionary()
        sets = {
            (d["dataset"]["name"], d["dataset"]["digest"]): ({k: v for k, v in d["dataset"].items() if v}, d["tags"])
            for d in mine["inputs"]["dataset_inputs"]
        }
        inputs = remote.get("inputs", {})
        remote_sets = {
            (d["dataset"]["name"], d["dataset"]["digest"]): (d["dataset"], _rows(d.get("tags", [])))
            for d in inputs.get("dataset_inputs", [])
        }
        if sets != remote_sets:
            problems.append(f"data sets of {row.info.run_name}: {sets!r} here, {remote_sets!r} there")
        remote_ids = {model["info"]["model_id"]: local_id for local_id, model in there.items()}
        read = {model.model_id for model in run.inputs.model_inputs}
        made = {(model.model_id, model.step) for model in run.outputs.model_outputs}
        outputs = remote.get("outputs", {}).get("model_outputs", [])
        if read != {remote_ids[m["model_id"]] for m in inputs.get("model_inputs", [])}:
            problems.append(f"model inputs of {row.info.run_name} differ")
        if made != {(remote_ids[m["model_id"]], m["step"]) for m in outputs}:
            problems.append(f"model outputs of {row.info.run_name} differ")
    return problems


def remote_history(url: Server, run_id: str, key: str) -> Counter[tuple[int, int, float | str]]:
    """Return how often the remote has each point of a metric."""
    points: Counter[tuple[int, int, float | str]] = Counter()
    token = None
    while True:
        params = {"run_id": run_id, "metric_key": key, "max_results": 20000}
        query = urllib.parse.urlencode({**params, **({"page_token": token} if token else {})})
        answer = _call(url, f"/api/2.0/mlflow/metrics/get-history?{query}")
        for row in answer.get("metrics", []):
            points[int(row["timestamp"]), int(row["step"]), _kept(float(row["value"]))] += 1
        token = answer.get("next_page_token")
        if not token:
            return points


@dataclass(frozen=True)
class Expected:
    """What a remote should have of a store."""

    store: Store
    rows: list[Any]
    names: dict[str, str]
    points: dict[str, dict[str, set[tuple[int, int, float | str]]]]
    """Per run and key."""


def expect(store: Store, run_ids: set[str] | None = None) -> Expected:
    """Read all living runs of a store, or some of them."""
    rows = [
        row
        for row in store.search_runs(max_results=None, run_view_type=ViewType.ACTIVE_ONLY)
        if run_ids is None or row.info.run_id in run_ids
    ]
    names = {e.experiment_id: e.name for e in store.search_experiments(view_type=ViewType.ALL)}
    points: dict[str, dict[str, set[tuple[int, int, float | str]]]] = {}
    for row in rows:
        table = store.metric_history(row.info.run_id)
        of_run = points.setdefault(row.info.run_id, {})
        for key, step, timestamp, value in zip(*(table.column(n).to_pylist() for n in table.column_names), strict=True):
            of_run.setdefault(key, set()).add((timestamp, step, _kept(value)))
    return Expected(store, rows, names, points)


def compare_store(
    url: Server,
    store: Store | Expected,
    *,
    prefix: str = "",
    run_ids: set[str] | None = None,
    refused_tags: tuple[str, ...] = (),
    param_chars: int = 6000,
    tag_chars: int = 8000,
    with_artifacts: bool = True,
) -> list[str]:
    """Return every difference between the living runs of a store and those of the remote."""
    limits = (refused_tags, param_chars, tag_chars, with_artifacts)
    differences: list[str] = []
    expected = store if isinstance(store, Expected) else expect(store, run_ids)
    local, names = expected.rows, expected.names
    there: dict[str, dict[str, Any]] = {}
    for name in sorted({names[row.info.experiment_id] for row in local}):
        counts: Counter[str] = Counter()
        for run in remote_runs(url, prefix + name):
            tags = _rows(run["data"].get("tags", []))
            counts[tags.get("localtrack.run_id", "?")] += 1
            there[tags.get("localtrack.run_id", "?")] = run
        wanted = {row.info.run_id for row in local if names[row.info.experiment_id] == name}
        differences += [f"{run_id}: {count} times on the remote" for run_id, count in counts.items() if count != 1]
        differences += [f"{run_id}: not on the remote" for run_id in wanted - set(counts)]
        differences += [f"{run_id}: on the remote, not in the store" for run_id in set(counts) - wanted]
    for row in local:
        if row.info.run_id in there:
            differences += [
                f"{row.info.run_id}: {problem}" for problem in _compare_run(url, expected, row, there, limits)
            ]
    return differences


def _compare_run(
    url: Server, expected: Expected, row: Any, there: dict[str, Any], limits: tuple[tuple[str, ...], int, int, bool]
) -> list[str]:
    problems: list[str] = []
    refused_tags, param_chars, tag_chars, with_artifacts = limits
    remote = there[row.info.run_id]
    info, data = remote["info"], remote["data"]
    for name, here, value in (
        ("status", row.info.status, info["status"]),
        ("start", row.info.start_time, int(info["start_time"])),
        ("end", row.info.end_time, int(info["end_time"]) if info.get("end_time") else None),
        ("name", row.info.run_name[:250], info.get("run_name")),
        ("params", {k: v[:param_chars] for k, v in row.params.items()}, _rows(data.get("params", []))),
    ):
        if here != value:
            problems.append(f"{name}: {here!r} here, {value!r} there")
    tags = {k: v for k, v in _rows(data.get("tags", [])).items() if k not in refused_tags}
    wanted = {k: v[:tag_chars] for k, v in row.tags.items() if k not in refused_tags}
    wanted["mlflow.runName"] = wanted["mlflow.runName"][:250]
    parent = wanted.pop("mlflow.parentRunId", None)
    if parent in there:
        wanted["mlflow.parentRunId"] = there[parent]["info"]["run_id"]
    problems += [f"tag {k}: {v!r} here, {tags.get(k)!r} there" for k, v in wanted.items() if tags.get(k) != v]
    extra = {key for key in tags if key not in wanted and not key.startswith("localtrack.")}
    problems += [f"tag {key}: only there" for key in extra]
    if with_artifacts:
        problems += _compare_artifacts(url, expected.store, row.info.run_id, info["run_id"])
    here_points = expected.points[row.info.run_id]
    remote_keys = {metric["key"] for metric in data.get("metrics", [])}
    problems += [f"metric {key}: only there" for key in remote_keys - set(here_points)]
    for key, points in here_points.items():
        found = remote_history(url, info["run_id"], key)
        missing, doubled = points - set(found), [p for p, count in found.items() if count > 1]
        if missing or doubled or set(found) - points:
            problems.append(
                f"metric {key}: {len(missing)} missing, {len(doubled)} doubled, {len(set(found) - points)} too many"
            )
    return problems


def _compare_artifacts(url: Server, store: Store, run_id: str, remote_id: str) -> list[str]:
    """Compare the bytes of all files."""
    folder = Path(store.download_artifacts(run_id)) if store.list_artifacts(run_id) else None
    here = (
        {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()} if folder else {}
    )
    there: dict[str, bytes] = {}
    pending = [""]
    while pending and here:
        query = urllib.parse.urlencode({"run_id": remote_id, "path": pending.pop()})
        for row in _call(url, f"/api/2.0/mlflow/artifacts/list?{query}").get("files", []):
            if row["is_dir"]:
                pending.append(row["path"])
                continue
            query = urllib.parse.urlencode({"run_uuid": remote_id, "path": row["path"]})
            there[row["path"]] = _read(url, f"/get-artifact?{query}")
    return [f"artifact {path} differs" for path in here.keys() | there.keys() if here.get(path) != there.get(path)]


def _kept(value: float) -> float | str:
    """Return a value as MLflow's databases keep it."""
    if math.isnan(value):
        return "NaN"
    return max(min(value, GREATEST), -GREATEST) + 0.0


def _rows(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["key"]: row.get("value", "") for row in rows}


def _call(server: Server, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_read(server, path, None if body is None else json.dumps(body).encode()))
    return document


def _read(server: Server, path: str, data: bytes | None = None) -> bytes:
    headers = {"Content-Type": "application/json"} if data else {}
    if callable(server):
        answer = server(Request("POST" if data else "GET", path, headers, data or b""))
        assert answer.status == 200, (path, answer)
        return answer.body
    with urllib.request.urlopen(urllib.request.Request(server + path, data, headers), timeout=60) as response:
        content: bytes = response.read()
    return content
