"""Against a real MLflow Tracking server. One test function a server: starting one takes longer than all else here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from localtrack import Store
from localtrack.sync import artifact_places
from localtrack.sync.http import Patience
from localtrack.sync.options import Naming
from tests.s3 import S3Server, s3, s3_server, s3_url
from tests.sync.comparison import _call, compare_models, compare_store
from tests.sync.front import Front, passing_on
from tests.sync.mlflow_server import serve_mlflow
from tests.sync.pushing import push
from tests.sync.stores import START_MS, add_entities, add_to_store, make_store

__all__ = ["s3", "s3_server", "s3_url"]

PATIENT = Patience(tries_count=5, first_pause_s=0.05, settle_s=0.5, timeout_s=60.0)


def models_again(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "models")


def shown(store: Store, experiment_name: str) -> list[object]:
    """Return everything of an experiment's runs and models that a pull brings."""
    experiment = store.get_experiment_by_name(experiment_name)
    assert experiment is not None
    runs = []
    for row in store.search_runs([experiment.experiment_id]):
        document = store.get_run(row.info.run_id).to_dictionary()
        document["info"] = {k: v for k, v in document["info"].items() if k not in ("artifact_uri", "user_id")}
        points = {
            # As databases keep them: one zero, and the greatest number for infinity.
            (p["key"], p["step"], p["timestamp_ms"], str(float("inf") if p["value"] > 1.7e308 else p["value"] + 0.0))
            for p in store.metric_history(row.info.run_id).to_pylist()
        }
        document["data"]["metrics"] = {}
        document["inputs"]["dataset_inputs"].sort(key=str)
        folder = store.download_artifacts(row.info.run_id) if store.list_artifacts(row.info.run_id) else None
        files = sorted(p for p in Path(folder).rglob("*") if p.is_file()) if folder else []
        contents = [(p.relative_to(folder or p).as_posix(), p.read_bytes()) for p in files]
        runs.append((row.info.run_id, document, sorted(points), contents))
    models = [
        (m.model_id, m.name, m.status, m.model_type, m.source_run_id, dict(m.params), dict(m.tags), m.metrics)
        for m in store.list_logged_models([experiment.experiment_id])
    ]
    return [sorted(runs, key=lambda run: run[0]), sorted(models, key=lambda model: model[0])]


def push_in_parts(
    url: str, store: Store, s3: S3Server, bucket: str, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large artifacts go to the storage behind the server in parts, past it; a part that fails leaves nothing there."""
    monkeypatch.setattr(artifact_places, "MULTIPART_BYTES", 1 << 20)
    monkeypatch.setattr(artifact_places, "PART_BYTES", 5 << 20)
    content = "0123456789abcdef" * (13 << 16)
    with store.start_run("parts", context=False) as run:
        run.log_text(content, "näme & more/large.bin")
        run.log_text("small", "small.txt")

    def fail(kind: str, path: str) -> str | None:
        return "500" if kind == "PUT" and path.endswith("large.bin") else None

    s3.fault = fail
    report = push(store, url, patience=PATIENT, naming=Naming("in parts/"))
    assert [run.outcome for run in report.runs if run.reason] == ["failed"]
    assert open_uploads(bucket) == []
    s3.be_well()
    with s3.counted() as counts:
        report = push(store, url, patience=PATIENT, naming=Naming("in parts/"))
    assert (report.is_complete, report.artifacts_sent) == (True, 1)
    assert counts["PUT"] == 3
    assert open_uploads(bucket) == []
    assert compare_store(url, store, prefix="in parts/", run_ids={run.run_id}) == []
    # And straight to an experiment's own place.
    _call(
        url, "/api/2.0/mlflow/experiments/create", {"name": "straight/parts", "artifact_location": f"{root}/straight"}
    )
    for _ in range(2):
        report = push(store, url, patience=PATIENT, naming=Naming("straight/"))
        assert report.is_complete, report
        assert compare_store(url, store, prefix="straight/", run_ids={run.run_id}) == []
        shutil.rmtree(Path(store.uri) / "sync")
    assert report.artifacts_sent == 0


def open_uploads(bucket: str) -> list[object]:
    import boto3

    found: list[object] = boto3.client("s3").list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return found


def test_a_store_arrives_at_a_real_server_equal_in_every_field(
    tmp_path: Path, request: pytest.FixtureRequest, s3: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    is_long = request.config.getoption("--long")
    store = make_store(tmp_path / "store", artifacts=True)
    with store.start_run("many", run_name="many points", context=False) as run:
        for step in range(100_000 if is_long else 5_000):
            run.log_metrics({f"m{key}": step * 0.1 + key for key in range(10 if is_long else 2)}, step=step)
    with serve_mlflow(folder, "--serve-artifacts", "--artifacts-destination", f"{s3_url}/served") as url:
        report = push(store, url, patience=PATIENT)
        assert report.is_complete, report
        assert compare_store(url, store) == []
        assert report.artifacts_sent == 3
        assert push(store, url, patience=PATIENT).requests_count == 0
        # Of what is there only what the store does not have counts besides: here nothing, to somebody else all.
        stranger = Store.open(tmp_path / "stranger")
        stranger.start_run("team/ä", context=False).end()
        for asking, others in ((store, 0), (stranger, 3)):
            uses = asking.quota(target=url, limits={"experiment.runs": 100}, experiment_names=["team/ä"]).uses
            assert {use.name: use.there for use in uses}["team/ä"] == others
        with Store.open(tmp_path / "large") as large:
            push_in_parts(url, large, s3, s3_url.split("/")[2], s3_url, monkeypatch)
        with Store.open(tmp_path / "models") as models:
            add_entities(models)
            report = push(models, url, patience=PATIENT)
            assert (report.is_complete, report.models_sent) == (True, 2), report
            assert compare_store(url, models) == []
            assert compare_models(url, models, "models") == []
            assert push(models, url, patience=PATIENT).requests_count == 0
            shutil.rmtree(tmp_path / "models" / "sync")
            assert push(models, url, patience=PATIENT).is_complete
            assert compare_models(url, models, "models") == []
            # Once more where every other request meets a fault.
            with passing_on(url) as back, Front(back) as front:
                front.faults = {n: ("cut_after", "fail_after", "cut_answer")[n // 2 % 3] for n in range(0, 200, 2)}
                push(models, front.url, patience=PATIENT, workers_count=1, naming=Naming("again/"))
                front.faults.clear()
                assert push(models, front.url, patience=PATIENT, naming=Naming("again/")).is_complete
            assert compare_store(url, models, prefix="again/") == []
            # And back: into a store that knows nothing, and into the one that they came from.
            with Store.open(tmp_path / "pulled") as pulled:
                report = pulled.pull(url, experiment_names=["models"])
                assert (report.runs_added, report.models_added, report.is_complete) == (2, 2, True), report
                assert shown(pulled, "models") == shown(models, "models")
                assert pulled.pull(url, experiment_names=["models"]).changes_count == 0
            report = models.pull(url, experiment_names=["models"])
            assert (report.runs_added, report.points_added, report.models_added) == (0, 0, 0), report
            assert len(models.search_runs()) == 2
        with Store.open(tmp_path / "all") as everything:
            names = ("team/ä", "elsewhere", "many", "models")
            report = everything.pull(url, experiment_names=names)
            assert report.is_complete, report.findings
            for name in names:
                origin = models_again(tmp_path) if name == "models" else store
                assert shown(everything, name) == shown(origin, name), name
        add_to_store(store)
        assert push(store, url, patience=PATIENT).points_sent == 52
        assert compare_store(url, store) == []

        # Faults between the push and a real server: SQLite, transactions and answers as they are.
        faulty = Store.open(tmp_path / "faulty")
        with faulty.start_run("faulty", run_name="parent", context=False) as run:
            for step in range(2500):
                run.log_metric("loss", 1 / (step + 1), step=step, timestamp=START_MS + step)
            with faulty.start_run("faulty", parent_run_id=run.run_id, context=False) as child:
                child.log_params({"a": 1, "b": 2})
        with passing_on(url) as back, Front(back) as front:
            # Every request of the push meets a fault, and some of what is asked after it, too.
            front.faults = {
                number: ("cut_after", "fail_after", "cut_answer", "throttle", "cut_before")[number // 2 % 5]
                for number in range(0, 60, 2)
            }
            push(faulty, front.url, patience=PATIENT, workers_count=1)
            front.faults.clear()
            assert push(faulty, front.url, patience=PATIENT).is_complete
        assert compare_store(url, faulty) == []
