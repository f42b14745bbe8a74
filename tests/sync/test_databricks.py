"""Pushes to a stand-in for a Databricks workspace. No real one was ever pushed to."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from localtrack import Store
from localtrack.errors import InvalidInputError, LocaltrackError
from localtrack.sync.options import Naming
from localtrack.sync.target import resolve_target
from tests.sync.comparison import Expected, compare_store, expect
from tests.sync.front import FAULTS, Answer, Back, Front, Request
from tests.sync.link import Link
from tests.sync.pushing import push, push_over
from tests.sync.stores import add_entities, add_to_store, make_store
from tests.sync.workspace import SignIn, Workspace
from tests.sync.workspace_tracking import Quotas

PREFIX = "/Workspace/Users/ada@example.com/synced//"
KEPT_PREFIX = "/Users/ada@example.com/synced/"
NAMING = Naming(PREFIX)


@contextmanager
def looking_into(workspace: Workspace) -> Iterator[str]:
    """Yield a URL under which anybody may read, for the comparison."""

    def back(request: Request) -> Answer:
        signed = {**request.headers, "authorization": "Bearer dapi-good"}
        return workspace(dataclasses.replace(request, headers=signed))

    rates, workspace.rates = workspace.rates, {}
    with Front(back) as front:
        yield front.url
    workspace.rates = rates


ARTIFACTS = {
    "notes/näme with spaces.txt": "Grüße".encode(),
    "empty.txt": b"",
    "deep/er/big.bin": b"x" * 3_000_000,
}


def assert_equal(workspace: Workspace, store: Store, prefix: str = KEPT_PREFIX) -> None:
    with looking_into(workspace) as url:
        assert compare_store(url, store, prefix=prefix, refused_tags=("mlflow.user",)) == []


@pytest.fixture
def workspace(request: pytest.FixtureRequest) -> Workspace:
    return Workspace(**{"appends_duplicates": True, **getattr(request, "param", {})})


@pytest.fixture
def front(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    with Front(workspace, slow_s=0.7) as front:
        monkeypatch.setenv("DATABRICKS_HOST", front.url)
        monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-good")
        yield front


def test_everything_arrives_once_below_folders_that_are_made(
    tmp_path: Path, workspace: Workspace, front: Front
) -> None:
    store = make_store(tmp_path / "store")
    report = push(store, "databricks", naming=NAMING)
    assert report.is_complete
    assert report.identity == "ada@example.com (the token in DATABRICKS_TOKEN)"
    assert_equal(workspace, store)
    tags = [run["tags"] for run in workspace.tracking.runs.values()]
    assert [tag["localtrack.user"] for tag in tags if "team" in tag] == ["ada"]
    add_to_store(store)
    assert push(store, "databricks", naming=NAMING).points_sent == 52
    assert_equal(workspace, store)
    shutil.rmtree(tmp_path / "store" / "sync")
    assert push(store, "databricks", naming=NAMING).points_sent == 0
    assert_equal(workspace, store)


@pytest.mark.parametrize(
    "workspace",
    [
        {},
        {"has_files_api": False},
        {"has_files_api": False, "cloud": "AZURE_SAS_URI"},
        {"has_files_api": False, "cloud": "GCP_SIGNED_URL"},
    ],
    indirect=True,
)
def test_artifacts_by_the_files_api_or_signed_urls(tmp_path: Path, workspace: Workspace, front: Front) -> None:
    store = make_store(tmp_path / "store", artifacts=True)
    report = push(store, "databricks", naming=NAMING)
    assert (report.is_complete, report.artifacts_sent) == (True, 3), report
    contents = {path.rpartition("/artifacts/")[2]: data for path, data in workspace.files.content.items()}
    assert contents["notes/näme with spaces.txt"] == "Grüße".encode()
    assert (len(contents["deep/er/big.bin"]), contents["empty.txt"]) == (3_000_000, b"")
    shutil.rmtree(tmp_path / "store" / "sync")
    assert push(store, "databricks", naming=NAMING).artifacts_sent == 0


def test_models_and_data_sets(tmp_path: Path, workspace: Workspace, front: Front) -> None:
    store = Store.open(tmp_path / "store")
    add_entities(store)
    report = push(store, "databricks", naming=NAMING)
    assert (report.is_complete, report.models_sent) == (True, 2), report
    assert_equal(workspace, store)


@pytest.mark.parametrize("workspace", [{"rates": {"search": 5, "batch": 10, "other": 25}}], indirect=True)
def test_rates_are_kept_to(tmp_path: Path, workspace: Workspace, front: Front) -> None:
    store = make_store(tmp_path / "store")
    assert push(store, "databricks", naming=NAMING).is_complete
    assert_equal(workspace, store)


@pytest.mark.parametrize("workspace", [{"quotas": Quotas(points_per_run=1000)}], indirect=True)
def test_a_quota_is_told_and_not_tried_again(tmp_path: Path, workspace: Workspace, front: Front) -> None:
    store = make_store(tmp_path / "store")
    report = push(store, "databricks", naming=NAMING)
    (failed,) = (run for run in report.runs if run.outcome == "failed")
    assert "A quota of the target is used up" in failed.reason
    assert report.count("sent") == 3
    workspace.tracking.quotas = Quotas()
    assert push(store, "databricks", naming=NAMING).is_complete
    assert_equal(workspace, store)


def test_names_without_a_place_are_refused_before_anything_is_sent(tmp_path: Path, front: Front) -> None:
    store = make_store(tmp_path / "store")
    with pytest.raises(InvalidInputError, match="has no place in a workspace"):
        push(store, "databricks")
    assert [request for request in front.requests if request.method != "GET"] == []


def test_oauth_between_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(sign_in=SignIn(tokens={"dapi-good": "ada"}, clients={"robot": ("hush", "robot@example.com")}))
    with Front(workspace) as front:
        monkeypatch.setenv("DATABRICKS_HOST", front.url)
        monkeypatch.setenv("DATABRICKS_CLIENT_ID", "robot")
        monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "hush")
        monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
        store = make_store(tmp_path / "store")
        report = push(store, "databricks", naming=Naming("/Shared/x/"))
        assert report.is_complete
        assert report.identity.startswith("robot@example.com (oauth-m2m")
        assert_equal(workspace, store, "/Shared/x/")


def test_a_profile_and_the_environment_must_not_contradict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = tmp_path / "profiles"
    profiles.write_text("[one]\nhost = https://one.example.com\ntoken = dapi-one\n")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(profiles))
    target = resolve_target("databricks://one")
    assert (target.shown, target.identity) == ("https://one.example.com", "the token of profile one")
    assert "dapi-one" not in repr(target)
    monkeypatch.setenv("DATABRICKS_HOST", "https://two.example.com")
    with pytest.raises(InvalidInputError, match="databricks://one and DATABRICKS_HOST contradict each other"):
        resolve_target("databricks://one")
    monkeypatch.setenv("DATABRICKS_HOST", "https://one.example.com/")
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-other")
    with pytest.raises(InvalidInputError, match="DATABRICKS_TOKEN"):
        resolve_target("databricks://one")


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Store, Expected]]:
    """A store, which pushes only read but for the ledger, and what a workspace should have of it."""
    folder = tmp_path_factory.mktemp("pushed") / "store"
    with make_store(folder, artifacts=True) as store:
        store.flush()
        yield folder, store, expect(store)


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_at_each_request(
    fault: str,
    pushed: tuple[Path, Store, Expected],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-good")
    monkeypatch.setenv("DATABRICKS_HOST", "http://workspace.example")
    folder, store, expected = pushed
    step = 1 if request.config.getoption("--long") else 9
    count = step
    number = FAULTS.index(fault) % step
    options: dict[str, Any] = {"url": "databricks", "naming": Naming("/Shared/x/")}
    while number < count:
        shutil.rmtree(folder / "sync", ignore_errors=True)
        link = Link(Workspace(appends_duplicates=True))
        link.faults[number] = fault
        with contextlib.suppress(LocaltrackError):
            push_over(link, store, **options)
        link.faults.clear()
        count = max(count, len(link.requests))
        report = push_over(link, store, **options)
        assert report.is_complete, (number, report)

        def read(asked: Request, workspace: Back = link.back) -> Answer:
            return workspace(dataclasses.replace(asked, headers={"authorization": "Bearer dapi-good"}))

        kept = {"prefix": "/Shared/x/", "refused_tags": ("mlflow.user",)}
        assert compare_store(read, expected, with_artifacts=False, **kept) == []
        contents = {path.rpartition("/artifacts/")[2]: data for path, data in link.back.files.content.items()}
        assert contents == ARTIFACTS
        number += step
