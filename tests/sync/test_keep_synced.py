"""Garbage collection that removes only what a target has: nothing that was not pushed, and verified, goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from localtrack import Store
from localtrack.errors import InvalidInputError
from localtrack.types import ViewType
from tests.sync.front import Front
from tests.sync.pushing import push
from tests.sync.stores import make_store


def ids(store: Store) -> set[str]:
    return {row.info.run_id for row in store.search_runs(run_view_type=ViewType.ALL, max_results=None)}


def test_what_a_server_has_may_go_and_nothing_else(tmp_path: Path, front: Front) -> None:
    store = make_store(tmp_path / "store")
    finished = [row.info.run_id for row in store.search_runs(filter_string="attributes.status = 'FINISHED'")]
    store.delete_run(*finished)
    report = store.gc(dry_run=False, older_than="0s", only_synced_to=front.url)
    assert report.garbage == [], "nothing was pushed yet"
    assert {spared.reason for spared in report.spared} == {"it was not pushed to the target, or the push was cut short"}
    store.restore_run(*finished)
    assert push(store, front.url).is_complete
    grown, *rest = finished
    store.set_run_tags(grown, {"later": "yes"})
    store.delete_run(*finished)
    report = store.gc(dry_run=False, older_than="0s", only_synced_to=front.url)
    assert {item.run_id for item in report.garbage if item.kind == "run"} == set(rest)
    assert [spared.reason for spared in report.spared] == ["it has grown since it was pushed"]
    assert grown in ids(store)
    assert not set(rest) & ids(store)


def test_an_artifact_that_is_not_there_keeps_its_run(tmp_path: Path, front: Front) -> None:
    with Store.open(tmp_path / "store") as store:
        with store.start_run("e", context=False) as run:
            run.log_metric("loss", 1.0)
        assert push(store, front.url).is_complete
        (folder,) = (tmp_path / "store" / "runs").glob(f"*/{run.run_id}")
        (folder / "artifacts").mkdir()
        (folder / "artifacts/put there.txt").write_text("by somebody")
        store.delete_run(run.run_id)
        report = store.gc(dry_run=False, older_than="0s", only_synced_to=front.url)
        assert [spared.reason for spared in report.spared] == ["the artifact 'put there.txt' was not pushed"]


def test_what_another_store_has_may_go(tmp_path: Path) -> None:
    other = tmp_path / "other"
    Store.open(other).close()
    with Store.open(tmp_path / "store") as store:
        runs = []
        for number in range(4):
            with store.start_run("e", context=False) as run:
                run.log_metric("loss", 1.0)
                run.log_text(f"artifact {number}", "a.txt")
            runs.append(run.run_id)
        with Store.open(other) as target:
            target.merge(tmp_path / "store")
        with store.start_run("e", context=False) as run:
            runs.append(run.run_id)
        (log,) = other.glob(f"runs/*/{runs[1]}/*.jsonl")
        log.write_bytes(log.read_bytes().replace(b'["loss"]', b'["lost"]'))
        (artifact,) = other.glob(f"runs/*/{runs[2]}/artifacts/a.txt")
        artifact.write_text("changed")
        store.set_run_tags(runs[3], {"later": "yes"})
        store.delete_run(*runs)
        report = store.gc(dry_run=False, older_than="0s", only_synced_to=other)
        assert [item.run_id for item in report.garbage] == [runs[0]]
        assert {spared.reason for spared in report.spared} == {
            "what the target has of it is damaged",
            "the target has another artifact 'a.txt'",
            "the target has less of it",
            "the target has no such run",
        }
        with pytest.raises(InvalidInputError):
            store.gc(only_synced_to=tmp_path / "store")
