"""Logged models and experiments are removed for good as runs are: tombstone first, and nothing that should stay."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from tests.conformance.library_reading import assert_agreement
from tests.unit.store.test_gc import Clock, Yard

from localtrack.api.store import Store
from localtrack.errors import NotFoundError, StorageError
from localtrack.storage.local import LocalStorage
from localtrack.store.site import open_site
from localtrack.types import ViewType


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path / "store")


def model(yard: Yard, experiment: str = "e", *, deleted: bool = True) -> str:
    """Make a logged model with an artifact, whose log is closed."""
    experiment_id = yard.store.ensure_experiment(experiment).experiment_id
    made = yard.store.create_logged_model(experiment_id, "net", params={"depth": "3"}, tags={"a": "1"})
    folder = Path(made.artifact_location)
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    yard.store.finalize_logged_model(made.model_id, "READY")
    if deleted:
        yard.store.delete_logged_model(made.model_id)
    return made.model_id


def folders(yard: Yard, name: str) -> list[Path]:
    return list(yard.root.glob(f"models/*/{name}"))


def experiment_of(yard: Yard, run_id: str) -> str:
    return yard.store.get_run(run_id).info.experiment_id


def open_at(path: Path, now_ms: int) -> Store:
    """Open a store on a machine with another clock."""
    clock = Clock()
    clock.now_ms = now_ms
    return Store(open_site(LocalStorage(str(path)), create=False, clock=clock), on_error="raise")


def copy_of(yard: Yard, path: Path) -> Store:
    """Copy the store, and open the copy with a clock a little ahead."""
    shutil.copytree(yard.root, path)
    return open_at(path, yard.clock.now_ms + 5)


def test_deleted_models_past_retention_go(yard: Yard) -> None:
    old, kept = model(yard), model(yard, deleted=False)
    yard.later(29.9)
    young = model(yard)
    assert yard.store.gc().garbage == []
    yard.later(0.2)
    planned = yard.store.gc()
    assert [(item.kind, item.model_id, item.files_count) for item in planned.garbage] == [("model", old, 2)]
    assert folders(yard, old)
    assert yard.store.gc(dry_run=False).garbage == planned.garbage
    assert not folders(yard, old)
    with pytest.raises(NotFoundError):
        yard.store.get_logged_model(old, allow_deleted=True)
    assert {m.model_id for m in yard.store.list_logged_models(view_type=ViewType.ALL)} == {kept, young}
    assert yard.store.check().findings == []
    assert_agreement(yard.root)
    assert yard.store.gc(dry_run=False).garbage == []


def test_a_model_that_a_merge_brings_back_stays_hidden_unless_there_is_more_of_it(yard: Yard, tmp_path: Path) -> None:
    same, more, restored = (model(yard) for _ in range(3))
    other = copy_of(yard, tmp_path / "copy")
    other.set_logged_model_tags(more, {"b": "2"})
    yard.later(31)
    assert yard.store.gc(dry_run=False).count("model") == 3
    other = open_at(tmp_path / "copy", yard.clock.now_ms + 10)
    other.restore_logged_model(restored)
    other.close()
    yard.store.merge(tmp_path / "copy")
    stages = {m.model_id: m.lifecycle_stage for m in yard.store.list_logged_models(view_type=ViewType.ALL)}
    assert stages == {more: "deleted", restored: "active"}
    assert_agreement(yard.root)
    assert [(item.kind, item.model_id) for item in yard.store.gc(dry_run=False).garbage] == [("leftovers", same)]
    assert not folders(yard, same)
    yard.store.restore_logged_model(more)
    assert yard.store.get_logged_model(more).tags == {"a": "1", "b": "2"}
    assert_agreement(yard.root)


def test_a_model_that_somebody_writes_to_stays(yard: Yard) -> None:
    experiment_id = yard.store.ensure_experiment("e").experiment_id
    with Store.open(yard.root) as other:
        model_id = other.create_logged_model(experiment_id, "net").model_id
        yard.store.delete_logged_model(model_id)
        yard.later(31)
        report = yard.store.gc(dry_run=False)
        assert [item.reason for item in report.spared] == ["a process is writing to it"]
        assert report.garbage == []
        other.let_go_of_deleted_models()
        assert yard.store.gc(dry_run=False).count("model") == 1


def test_an_experiment_goes_with_all_that_is_in_it(yard: Yard) -> None:
    run_id, elsewhere = yard.run(deleted=False), yard.run("other", deleted=False)
    own = model(yard, deleted=False)
    other_model = model(yard, "other", deleted=False)
    experiment_id = experiment_of(yard, run_id)
    yard.store.delete_experiment(experiment_id)
    yard.later(31)
    planned = yard.store.gc()
    assert {(i.kind, i.run_id, i.model_id) for i in planned.garbage} == {
        ("run", run_id, None),
        ("model", None, own),
        ("experiment", None, None),
    }
    assert yard.store.gc(dry_run=False).garbage == planned.garbage
    assert not (yard.root / f"experiments/{experiment_id}.json").exists()
    names = {e.name for e in yard.store.list_experiments(ViewType.ALL)}
    assert names == {"Default", "other"}
    with pytest.raises(NotFoundError):
        yard.store.get_experiment(experiment_id)
    assert yard.store.get_experiment_by_name("e") is None
    assert yard.store.check().findings == []
    assert_agreement(yard.root)
    new = yard.store.get_experiment(experiment_of(yard, yard.run(deleted=False)))
    assert (new.name, new.lifecycle_stage) == ("e", "active")
    assert new.experiment_id != experiment_id
    assert yard.store.get_run(elsewhere).info.lifecycle_stage == "active"
    assert yard.store.get_logged_model(other_model).lifecycle_stage == "active"
    assert yard.store.gc(dry_run=False).garbage == []


def test_an_experiment_of_which_a_run_stays_stays(yard: Yard) -> None:
    going, writing = yard.run(deleted=False), yard.store.start_run("e", context=False)
    own = model(yard, deleted=False)
    experiment_id = experiment_of(yard, going)
    yard.store.delete_experiment(experiment_id)
    yard.later(31)
    for is_dry in (True, False):
        report = yard.store.gc(dry_run=is_dry)
        assert [(item.kind, item.run_id) for item in report.garbage] == [("run", going)]
        assert report.spared[-1].reason == "a run of it stays"
    assert yard.store.get_experiment(experiment_id).lifecycle_stage == "deleted"
    assert yard.store.get_logged_model(own).lifecycle_stage == "active"
    writing.end()
    assert {item.kind for item in yard.store.gc(dry_run=False).garbage} == {"run", "model", "experiment"}


def test_a_run_that_a_merge_brings_brings_its_experiment_with_it(yard: Yard, tmp_path: Path) -> None:
    experiment_id = experiment_of(yard, yard.run(deleted=False))
    other = copy_of(yard, tmp_path / "copy")
    with other.start_run("e", context=False) as stray:
        stray.log_metric("loss", 0.5)
    other.close()
    yard.store.delete_experiment(experiment_id)
    yard.later(31)
    yard.store.gc(dry_run=False)
    new = yard.store.ensure_experiment("e").experiment_id
    yard.store.merge(tmp_path / "copy")
    for store in (yard.store, open_at(yard.root, yard.clock.now_ms)):
        old = store.get_experiment(experiment_id)
        assert (old.name, old.lifecycle_stage) == (f"e~{experiment_id[:6]}", "deleted")
        assert store.get_run(stray.run_id).info.lifecycle_stage == "deleted"
        assert store.get_experiment_by_name("e").experiment_id == new  # type: ignore[union-attr]
    assert_agreement(yard.root)
    fresh = open_at(yard.root, yard.clock.now_ms)
    fresh.restore_experiment(experiment_id)  # without having looked into the runs before
    assert fresh.get_run(stray.run_id).info.lifecycle_stage == "active"
    fresh.delete_experiment(experiment_id)
    assert_agreement(yard.root)
    yard.later(31)
    kinds = sorted(item.kind for item in yard.store.gc(dry_run=False).garbage)
    assert kinds == ["experiment", "leftovers", "run"]
    assert {e.name for e in yard.store.list_experiments(ViewType.ALL)} == {"Default", "e"}
    assert_agreement(yard.root)


def test_an_experiment_that_came_back_hides_when_its_runs_are_gone(yard: Yard, tmp_path: Path) -> None:
    """Also to a process that has seen it: without another tombstone of the experiment."""
    experiment_id = experiment_of(yard, yard.run(deleted=False))
    other = copy_of(yard, tmp_path / "copy")
    stray = other.start_run("e", context=False)
    stray.end()
    other.close()
    yard.store.delete_experiment(experiment_id)
    yard.later(31)
    yard.store.gc(dry_run=False)
    yard.store.merge(tmp_path / "copy")
    assert yard.store.get_experiment(experiment_id).lifecycle_stage == "deleted"
    open_at(yard.root, yard.clock.now_ms).remove_runs([stray.run_id])
    assert {e.name for e in yard.store.list_experiments(ViewType.ALL)} == {"Default"}
    with pytest.raises(NotFoundError):
        yard.store.get_experiment(experiment_id)
    assert_agreement(yard.root)


def test_removal_by_name_needs_no_retention_and_no_living_thing_goes(yard: Yard) -> None:
    run_id, kept = yard.run("gone", deleted=False), yard.run("kept", deleted=False)
    gone_model, living = model(yard, "kept"), model(yard, "kept", deleted=False)
    gone, stays = experiment_of(yard, run_id), experiment_of(yard, kept)
    yard.store.delete_experiment(gone)
    assert yard.store.remove_logged_models([gone_model, living, "m-none"], dry_run=True).count("model") == 1
    report = yard.store.remove_logged_models([gone_model, living, "m-none"])
    assert [item.model_id for item in report.garbage] == [gone_model]
    assert yard.store.remove_experiments([gone, stays, "12345"], dry_run=True).count("experiment") == 1
    report = yard.store.remove_experiments([gone, stays, "12345"])
    assert [(item.kind, item.experiment_id) for item in report.garbage] == [("run", gone), ("experiment", gone)]
    assert yard.store.get_run(kept).info.lifecycle_stage == "active"
    assert yard.store.get_logged_model(living).lifecycle_stage == "active"
    assert_agreement(yard.root)


def test_default_stays(yard: Yard) -> None:
    run_id = yard.run("Default", deleted=False)
    yard.store.delete_experiment("0")
    yard.later(31)
    assert [item.run_id for item in yard.store.gc(dry_run=False).garbage] == [run_id]
    assert [item.reason for item in yard.store.remove_experiments(["0"]).spared] == ["every store has it"]
    assert yard.store.get_experiment("0").lifecycle_stage == "deleted"


def test_filters_choose_runs_and_nothing_else(yard: Yard) -> None:
    run_id = yard.run()
    model(yard)
    yard.store.delete_experiment(experiment_of(yard, run_id))
    yard.later(31)
    assert [item.kind for item in yard.store.gc(filter_string="metrics.loss > 0").garbage] == ["run"]
    other = yard.store.ensure_experiment("other").experiment_id
    assert yard.store.gc(experiment_ids=[other]).garbage == []
    assert len(yard.store.gc(experiment_ids=[experiment_of(yard, run_id)]).garbage) == 3


def test_artifacts_without_a_model_and_documents_left_go(yard: Yard, tmp_path: Path) -> None:
    experiment_id = experiment_of(yard, yard.run(deleted=False))
    own = model(yard)
    document = yard.root / f"experiments/{experiment_id}.json"
    saved = document.read_bytes()
    yard.store.delete_experiment(experiment_id)
    yard.later(31)
    yard.store.gc(dry_run=False)
    document.write_bytes(saved)
    orphan = yard.root / "models/x42" / own / "artifacts/MLmodel"
    orphan.parent.mkdir(parents=True)
    orphan.write_text("flavors: {}\n")
    for path in (orphan, orphan.parent, orphan.parent.parent):
        yard.age(path, 0.5)
    found = {(f.key, f.invariant, f.severity) for f in yard.store.check().findings if f.invariant == "S3"}
    assert found == {
        (f"experiments/{experiment_id}.json", "S3", "info"),
        (f"models/x42/{own}", "S3", "info"),
    }
    assert [item.kind for item in yard.store.gc().garbage] == ["leftovers"]
    yard.later(31)
    assert [item.kind for item in yard.store.gc(dry_run=False).garbage] == ["leftovers", "artifacts"]
    assert not orphan.parent.exists()
    assert not document.exists()
    assert yard.store.check().findings == []


def test_tombstones_are_durable_before_the_first_file_goes(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment_id = experiment_of(yard, yard.run(deleted=False))
    own = model(yard)
    yard.store.delete_experiment(experiment_id)
    yard.later(31)
    on_disk: list[dict[str, str]] = []  # the tombstones that were there at the last sync
    seen: list[str] = []
    fsync, unlink = os.fsync, os.unlink

    def spy_fsync(fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)
        if path.parent.name == "edits":
            on_disk[:] = [r[2] for line in path.read_text().splitlines() if (r := json.loads(line))[0] == "tombstone"]

    def spy_unlink(path: str) -> None:
        top, *_, name = Path(path).relative_to(yard.root).parts
        if top == "models":
            assert {"model": own} in [{"model": it.get("model")} for it in on_disk]
        elif top == "experiments":
            assert name == f"{experiment_id}.json"
            assert on_disk[-1]["experiment"] == experiment_id
        seen.append(top)
        unlink(path)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "unlink", spy_unlink)
    yard.store.gc(dry_run=False)
    assert {"runs", "models", "experiments"} <= set(seen)
    assert not folders(yard, own)


def test_a_removal_that_failed_is_finished_by_the_next(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment_id = experiment_of(yard, yard.run(deleted=False))
    own = model(yard)
    yard.store.delete_experiment(experiment_id)
    yard.later(31)

    def refuse(self: LocalStorage, key: str) -> None:
        raise StorageError("The disk is away.")

    monkeypatch.setattr(LocalStorage, "remove", refuse)
    for _ in range(3):
        with pytest.raises(StorageError):
            yard.store.gc(dry_run=False)
    monkeypatch.undo()
    assert_agreement(yard.root)
    yard.store.gc(dry_run=False)
    assert not folders(yard, own)
    assert {e.name for e in yard.store.list_experiments(ViewType.ALL)} == {"Default"}
    assert yard.store.gc(dry_run=False).garbage == []
    assert yard.store.check().findings == []
