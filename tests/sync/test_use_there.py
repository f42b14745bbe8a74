"""Would it fit there? What the target has already is asked, and counts, per run and per experiment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localtrack import Store
from localtrack.errors import InvalidInputError, SyncError
from localtrack.quota.report import QuotaReport
from localtrack.sync.claims import CLAIM_TAG_PREFIX
from localtrack.sync.options import Naming
from tests.sync.front import Front
from tests.sync.pushing import push
from tests.sync.stores import make_store
from tests.sync.workspace import Workspace

PREFIX = "/Users/ada@example.com/synced/"


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    workspace = Workspace()
    with Front(workspace) as front:
        monkeypatch.setenv("DATABRICKS_HOST", front.url)
        monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-good")
        yield workspace


def found(report: QuotaReport, limit_name: str) -> dict[str, tuple[int, int]]:
    return {use.name: (use.used, use.there) for use in report.uses if use.limit_name == limit_name}


def own_tags_count(run: dict[str, Any]) -> int:
    """Return how many tags a run there has of the workspace itself, and of pushes that took turns at it."""
    return sum(key == "mlflow.user" or key.startswith(CLAIM_TAG_PREFIX) for key in run["tags"])


def test_what_a_workspace_has_already_counts(tmp_path: Path, workspace: Workspace) -> None:
    store = make_store(tmp_path / "store", points=10)
    report = store.quota(target="databricks", ask=True, prefix=PREFIX)
    assert (report.target, report.asked != "", report.notes) == ("databricks", True, [])
    here = store.quota(target="databricks")
    assert here.asked == ""
    assert [use for use in report.uses if use.there] == [], "nothing was pushed yet"
    assert report.uses == here.uses

    push(store, "databricks", naming=Naming(PREFIX))
    report = store.quota(target="databricks", ask=True, prefix=PREFIX)
    assert found(report, "experiment.runs") == {"team/ä": (3, 0), "elsewhere": (1, 0), "Default": (0, 0)}
    tags = found(report, "run.tags")
    assert {name: there for name, (_, there) in tags.items()} == {
        run["tags"]["mlflow.runName"]: own_tags_count(run) for run in workspace.tracking.runs.values()
    }
    assert {name: used for name, (used, _) in tags.items()} == {
        run["tags"]["mlflow.runName"]: len(run["tags"]) for run in workspace.tracking.runs.values()
    }

    # Other people's runs in the experiment, and what they add to ours.
    other = Store.open(tmp_path / "other")
    for _ in range(4):
        other.start_run("team/ä", context=False).end()
    push(other, "databricks", naming=Naming(PREFIX))
    (mother,) = [run for run in workspace.tracking.runs.values() if run["tags"]["mlflow.runName"] == "Mutter & Söhne"]
    mother["params"]["added"] = "1"
    mother["tags"]["added"] = "1"
    limits = {"experiment.runs": 6, "run.params": 4, "run.tags": len(mother["tags"]) - 1}
    report = store.quota(target="databricks", ask=True, prefix=PREFIX, limits=limits)
    assert found(report, "experiment.runs")["team/ä"] == (7, 4)
    assert found(report, "run.params")["Mutter & Söhne"] == (5, 1)
    assert found(report, "run.tags")["Mutter & Söhne"] == (len(mother["tags"]), own_tags_count(mother) + 1)
    assert {(use.name, use.limit_name) for use in report.uses if use.is_exceeded} == {
        ("team/ä", "experiment.runs"),
        ("Mutter & Söhne", "run.params"),
        ("Mutter & Söhne", "run.tags"),
    }
    report = store.quota(target="databricks", ask=True, prefix=PREFIX, experiment_names=["elsewhere"])
    assert {use.name for use in report.uses if use.level == "run"} == {"failed"}
    assert report.fits
    assert report.to_arrow()["there"].to_pylist() == [use.there for use in report.uses]


def test_what_has_no_place_there_is_said(tmp_path: Path, workspace: Workspace) -> None:
    with Store.open(tmp_path / "store") as store:
        store.start_run("no path", context=False).end()
        (note,) = store.quota(target="databricks", ask=True).notes
        assert "no path" in note


def test_who_is_not_there_cannot_be_asked(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        store.start_run("e", context=False).end()
        for target, ask in (("elsewhere", None), ("mlflow-oss", True), (None, True)):
            with pytest.raises(InvalidInputError):
                store.quota(target=target, ask=ask)
        assert store.quota(target="http://127.0.0.1:9", ask=False).uses == []
        with pytest.raises(SyncError):
            store.quota(target="http://127.0.0.1:9", limits={"experiment.runs": 5})
