"""Would it fit there? What the target has already is asked, and counts, per run and per experiment."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localtrack import Store
from localtrack.errors import InvalidInputError, SyncError
from localtrack.quota.report import QuotaReport
from localtrack.sync import planning
from localtrack.sync.options import Naming, PushOptions
from localtrack.sync.push import Push
from localtrack.sync.report import PushReport
from localtrack.sync.target import resolve_target
from tests.sync.front import Front
from tests.sync.pushing import push
from tests.sync.stores import HASTE, make_store
from tests.sync.workspace import Workspace

PREFIX = "/Users/ada@example.com/synced/"


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    with Front(Workspace()) as front:
        monkeypatch.setenv("DATABRICKS_HOST", front.url)
        monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-good")
        yield front


@pytest.fixture
def workspace(front: Front) -> Workspace:
    assert isinstance(front.back, Workspace)
    return front.back


def found(report: QuotaReport, limit_name: str) -> dict[str, tuple[int, int]]:
    return {use.name: (use.used, use.there) for use in report.uses if use.limit_name == limit_name}


def foresee(
    store: Store, quotas: dict[str, int], *, is_dry_run: bool = True, **options: Any
) -> tuple[set[str], PushReport]:
    """Return what of quotas a push, or only the plan of one, says that it will exceed."""
    target = resolve_target("databricks")
    target = dataclasses.replace(target, limits=dataclasses.replace(target.limits, quotas=quotas))
    push = Push(store._site, store._catalog, target, PushOptions(naming=Naming(PREFIX), patience=HASTE, **options))
    report = push.dry_run()[1] if is_dry_run else push.run()
    return {loss.what for loss in report.losses if loss.kind == "quota"}, report


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
        run["tags"]["mlflow.runName"]: 1 for run in workspace.tracking.runs.values()
    }, "the workspace's mlflow.user; the tag that says who sent points is one of the push"
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
    assert found(report, "run.tags")["Mutter & Söhne"] == (len(mother["tags"]), 2)
    assert {(use.name, use.limit_name) for use in report.uses if use.is_exceeded} == {
        ("team/ä", "experiment.runs"),
        ("Mutter & Söhne", "run.params"),
        ("Mutter & Söhne", "run.tags"),
    }
    report = store.quota(target="databricks", ask=True, prefix=PREFIX, experiment_names=["elsewhere"])
    assert {use.name for use in report.uses if use.level == "run"} == {"failed"}
    assert report.fits
    assert report.to_arrow()["there"].to_pylist() == [use.there for use in report.uses]


def test_a_push_asks_before_it_sends(tmp_path: Path, workspace: Workspace, front: Front) -> None:
    """By the same plan as `quota`: what others have there counts, and nothing is asked where nothing is to be sent."""
    others = Store.open(tmp_path / "others")
    for _ in range(4):
        others.start_run("team/ä", context=False).end()
    push(others, "databricks", naming=Naming(PREFIX))
    store = make_store(tmp_path / "store", points=10)
    name = f"Experiment {PREFIX + 'team/ä'!r}"
    wanted = {
        f"{name} has 7 runs that were not removed for good, deleted ones too, 4 of them there already; "
        "the target takes 6."
    }
    assert foresee(store, {"experiment.runs": 7})[0] == set()
    assert foresee(store, {"experiment.runs": 6})[0] == wanted
    assert others.quota(target="databricks", ask=True, prefix=PREFIX, limits={"experiment.runs": 3}).fits is False
    (use,) = (
        use
        for use in store.quota(target="databricks", ask=True, prefix=PREFIX).uses
        if (use.limit_name, use.name) == ("experiment.runs", "team/ä")
    )
    assert (use.used, use.there) == (7, 4)

    front.reset()
    losses, report = foresee(store, {"experiment.runs": 6}, is_dry_run=False)
    assert (losses, report.is_complete) == (wanted, True)
    routes = [request.path.partition("?")[0].rpartition("/")[2] for request in front.requests]
    assert routes[:5] == ["Me", "get-by-name", "search", "get-by-name", "get-by-name"], "asked, then sent"
    front.reset()
    losses, report = foresee(store, {"experiment.runs": 6}, is_dry_run=False)
    assert (losses, report.unchanged_count) == (set(), 4)
    assert [request.path.rpartition("/")[2] for request in front.requests] == ["Me"], "who signs in"


def test_tags_and_params_that_others_added_count_in_a_plan(tmp_path: Path, workspace: Workspace) -> None:
    store = make_store(tmp_path / "store", points=10)
    planned, report = foresee(store, {"run.tags": 0})
    assert report.plan is not None
    assert report.plan["claim_tags"] == 3, "one of the four runs has no points"
    push(store, "databricks", naming=Naming(PREFIX))
    there = {run["info"]["run_name"]: run for run in workspace.tracking.runs.values()}
    counts = {len(run["tags"].keys() - {"mlflow.user"}) for run in there.values()}
    assert {int(what.split()[2]) for what in planned} == counts, "as many as were foreseen"
    mother = there["Mutter & Söhne"]
    mother["tags"]["added"] = mother["params"]["added"] = "1"
    (row,) = (row for row in store.search_runs() if row.info.run_name == "Mutter & Söhne")
    with store.start_run(run_id=row.info.run_id) as run:
        run.log_metric("late", 1.0)
    quotas = {"run.tags": len(mother["tags"]) - 1, "run.params": len(mother["params"]) - 1}
    assert foresee(store, quotas)[0] == {
        f"It has {len(mother['tags'])} tags, MLflow's own included (tags that the push adds are among them), 2 of them "
        f"only there; the target takes {quotas['run.tags']}.",
        f"It has {len(mother['params'])} params, 1 of them only there; the target takes {quotas['run.params']}.",
    }


def test_what_cannot_be_asked_is_said(
    tmp_path: Path, workspace: Workspace, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "store", points=10)
    monkeypatch.setattr(planning, "_ASKED_COUNT", 2)
    push(store, "databricks", naming=Naming(PREFIX))
    with store.start_run("team/ä", context=False):
        pass
    _, report = foresee(store, {"experiment.runs": 3}, is_dry_run=False)
    assert report.notes == [
        f"The experiment {PREFIX + 'team/ä'!r} has more than 2 runs there: the others are not counted."
    ]
    assert [loss.what for loss in report.losses] == [
        f"Experiment {PREFIX + 'team/ä'!r} has 4 runs that were not removed for good, deleted ones too, "
        "3 of them there already; the target takes 3."
    ], "the ledger knows of them"
    with store.start_run("team/ä", context=False):
        pass
    front.reset()
    front.faults[1] = "refuse"
    _, report = foresee(store, {"experiment.runs": 3}, is_dry_run=False)
    (note,) = report.notes
    assert note.startswith("The target could not be asked what it has already, which counts, too: ")
    assert report.is_complete
    with store.start_run("team/ä", context=False):
        pass
    front.faults = dict.fromkeys(range(1000), "cut_before")
    losses, report = foresee(store, {"experiment.runs": 3})
    assert (len(losses), len(report.notes)) == (1, 1)


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
