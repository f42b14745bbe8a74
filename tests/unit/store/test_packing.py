"""Packing changes no answer, and can be undone; what lies in packs can be written to, merged, removed and mended."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.library_reading import assert_agreement, read_with_library
from tests.independent.validate import validate_tree
from tests.unit.store.test_gc import Yard

from localtrack.api.store import Store
from localtrack.errors import LockedError, StateError
from localtrack.storage.locks import maintenance_lock
from localtrack.store.run_reading import read_run
from localtrack.types import ViewType


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    yard = Yard(tmp_path / "store")
    yard.store._site.log_points_bytes = yard.store._site.chunk_bytes = 1_500
    return yard


def answers(root: Path) -> str:
    return json.dumps({k: v for k, v in read_with_library(root).items() if k != "findings"}, sort_keys=True)


def packs_of(root: Path) -> list[Path]:
    return sorted((root / "packs").glob("*.zip"))


def loose_files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.glob("runs/*/*/*")
        if path.suffix in (".jsonl", ".parquet")
    }


def pack(yard: Yard, **more: Any) -> Any:
    return yard.store.pack(**{"older_than": "0s"} | more)


def test_a_hundred_runs_are_two_files_and_folders_a_hundred(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with Store.open(root) as store:
        for number in range(200):
            with store.start_run("e", context=False, tags={"n": number}) as run:
                run.log_metric("loss", 1.0 / (number + 1))
        before = answers(root)
        report = store.pack(older_than="0s")
        assert (report.runs_count, report.packs_written, report.files_removed) == (200, 1, 400)
        left = [*(root / "runs").rglob("*"), root / "runs", *(root / "packs").rglob("*"), root / "packs"]
        assert len(left) <= 0.02 * 200
        assert answers(root) == before
        assert store.check().findings == []
        assert store.pack(older_than="0s").runs_count == 0
    assert_agreement(root)
    assert validate_tree(root) == []


def test_the_files_are_in_it_byte_for_byte_under_a_name_of_their_content(yard: Yard) -> None:
    for points in (1, 200):
        yard.run(points=points, deleted=False)
    files = loose_files(yard.root)
    assert any(key.endswith(".parquet") for key in files)
    pack(yard)
    (path,) = packs_of(yard.root)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == files
    assert loose_files(yard.root) == {}
    assert len(list(yard.root.glob("runs/*/*/artifacts/folder/a.txt"))) == 2
    assert yard.store.unpack().runs_count == 2
    assert loose_files(yard.root) == files
    assert packs_of(yard.root) == []


def test_a_dry_run_changes_nothing(yard: Yard) -> None:
    yard.run(deleted=False)
    files = loose_files(yard.root)
    assert pack(yard, dry_run=True).runs_count == 1
    assert (loose_files(yard.root), packs_of(yard.root)) == (files, [])


def test_what_is_left_and_why(yard: Yard) -> None:
    going_on = yard.store.start_run("e", context=False)
    dead = yard.store.start_run("e", context=False)
    yard.store.end_run(dead.run_id)
    dead._writer.forget_after_fork()
    large = yard.run(points=2_000, deleted=False)
    damaged = yard.run(deleted=False)
    (log,) = yard.folder(damaged).glob("*.jsonl")
    log.write_bytes(log.read_bytes().replace(b'["loss"]', b'["lost"]', 1))
    yard.run(deleted=False)
    assert yard.store.pack(older_than="1d", max_run_bytes=3_000).runs_count == 0
    yard.later(2_000)
    report = yard.store.pack(older_than="1d", max_run_bytes=3_000)
    assert report.runs_count == 2, "a log that nobody closed, and that did not grow for long, can be packed"
    assert set(report.left) == {"it has not ended", "it is large", "it is damaged"}
    assert {path.name for path in yard.root.glob("runs/*/*") if list(path.glob("*.jsonl"))} == {
        going_on.run_id,
        large,
        damaged,
    }


def test_a_packed_run_can_be_written_to_and_packed_again(yard: Yard) -> None:
    run_id = yard.run(deleted=False)
    pack(yard)
    yard.store.set_run_tags(run_id, {"later": "yes"})
    with yard.store.start_run(run_id=run_id) as run:
        run.log_metric("loss", 0.25, 9)
    assert len(loose_files(yard.root)) == 2
    before = answers(yard.root)
    assert pack(yard).runs_count == 1
    assert loose_files(yard.root) == {}
    assert len(packs_of(yard.root)) == 1, "small packs become one"
    assert answers(yard.root) == before
    row = yard.store.get_run(run_id)
    assert (row.data.tags["later"], row.data.metrics["loss"]) == ("yes", 0.25)
    assert yard.store.metric_history(run_id).num_rows == 4
    assert yard.store.unpack(run_id).files_written == 3
    assert answers(yard.root) == before
    assert_agreement(yard.root)


def test_deleting_restoring_and_removing_packed_runs(yard: Yard) -> None:
    ids = [yard.run(deleted=False) for _ in range(3)]
    pack(yard)
    yard.store.delete_run(ids[0], ids[1])
    yard.store.restore_run(ids[1])
    (old,) = packs_of(yard.root)
    held = old.read_bytes()
    yard.later(31)
    report = yard.store.gc(dry_run=False)
    assert [item.run_id for item in report.garbage] == [ids[0]]
    assert report.bytes_count > 0
    (new,) = packs_of(yard.root)
    assert new != old
    with zipfile.ZipFile(new) as archive:
        assert {name.split("/")[2] for name in archive.namelist()} == set(ids[1:])
    assert {row.info.run_id for row in yard.store.search_runs(run_view_type=ViewType.ALL)} == set(ids[1:])
    old.write_bytes(held)
    yard.store.delete_run(*ids[1:])
    yard.later(31)
    yard.store.gc(dry_run=False)
    assert packs_of(yard.root) == []
    assert_agreement(yard.root)


def test_an_old_pack_that_comes_back_brings_back_nothing(yard: Yard, tmp_path: Path) -> None:
    run_id = yard.run()
    yard.run(deleted=False)
    pack(yard)
    (old,) = packs_of(yard.root)
    shutil.copy(old, tmp_path / old.name)
    yard.later(31)
    yard.store.gc(dry_run=False)
    shutil.copy(tmp_path / old.name, old)
    assert run_id not in {row.info.run_id for row in yard.store.search_runs(run_view_type=ViewType.ALL)}
    assert_agreement(yard.root)
    assert [item.kind for item in yard.store.gc(dry_run=False).garbage] == ["leftovers"]
    assert not old.exists()


def test_packs_are_merged_whole_or_run_by_run(yard: Yard, tmp_path: Path) -> None:
    ids = [yard.run(deleted=False) for _ in range(4)]
    shutil.copytree(yard.root, tmp_path / "few")
    few = Yard(tmp_path / "few")
    shutil.rmtree(few.folder(ids[3]))
    pack(yard)
    before = answers(yard.root)
    empty = Yard(tmp_path / "empty")
    report = empty.store.merge(yard.root)
    assert (report.runs_added, report.runs_unchanged) == (4, 0)
    assert [path.name for path in packs_of(empty.root)] == [path.name for path in packs_of(yard.root)]
    assert loose_files(empty.root) == {}
    assert empty.store.merge(yard.root).files_copied == 0
    report = few.store.merge(yard.root)
    assert (report.runs_added, report.runs_unchanged) == (1, 3)
    assert packs_of(few.root) == []
    assert json.loads(answers(few.root))["runs"] == json.loads(before)["runs"]
    other = Yard(tmp_path / "other")
    other.store.merge(few.root)
    assert other.store.merge(yard.root).files_copied == 0
    for store in (empty, few, other):
        assert_agreement(store.root)


def test_a_longer_copy_counts_wherever_it_lies(yard: Yard, tmp_path: Path) -> None:
    run_id = yard.run(deleted=False)
    ((key, data),) = loose_files(yard.root).items()
    begun = data[: data.index(b'["info"')]
    pack(yard)
    (yard.root / key).parent.mkdir(exist_ok=True)
    (yard.root / key).write_bytes(begun)
    assert yard.store.get_run(run_id).info.status == "FINISHED"
    assert_agreement(yard.root)
    assert yard.store.check().findings == []
    (yard.root / key).write_bytes(data.replace(b"loss", b"lost", 1))
    (finding,) = yard.store.check().findings
    assert (finding.key, finding.invariant) == (key, "M1")


def test_who_reads_meanwhile_finds_everything(yard: Yard) -> None:
    run_id = yard.run(points=200, deleted=False)
    expected = yard.store.metric_history(run_id).to_pylist()
    storage = yard.store._site.storage
    for move in (lambda: pack(yard), yard.store.unpack):
        other = Store.open(yard.root)
        reading = read_run(other._site.storage, run_id)
        assert reading is not None
        move()
        from localtrack.store.history import read_history

        assert reading.steadily(read_history).to_pylist() == expected
        assert other.metric_history(run_id).to_pylist() == expected
        other.close()
    assert storage.exists(f"runs/{reading.folder.split('/')[1]}")


def test_one_at_a_time_and_not_on_object_stores(yard: Yard) -> None:
    with maintenance_lock(yard.store.storage, "merge"), pytest.raises(LockedError):
        pack(yard)
    with Store.open("memory://packing") as store, pytest.raises(StateError):
        store.pack()


def test_packs_behind_a_link_out_of_the_store_are_read_and_never_changed(yard: Yard, tmp_path: Path) -> None:
    yard.run()
    kept = yard.run(deleted=False)
    pack(yard)
    outside = tmp_path / "outside"
    (yard.root / "packs").rename(outside)
    (yard.root / "packs").symlink_to(outside)
    yard.later(31)
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    report = yard.store.gc(dry_run=False)
    assert ([item.run_id for item in report.garbage], len(report.spared)) == ([], 1)
    assert report.spared[0].reason == "it is packed, and a link leads from packs out of the store"
    for change in (lambda: pack(yard), yard.store.unpack):
        with pytest.raises(StateError, match="is a link that leads out of the store"):
            change()
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before
    assert [(finding.key, finding.invariant) for finding in yard.store.check().findings] == [("packs", "M9")]
    assert yard.store.get_run(kept).info.run_id == kept


def test_what_no_rule_puts_into_a_run_folder_keeps_it_loose(yard: Yard) -> None:
    run_id = yard.run(deleted=False)
    (yard.folder(run_id) / "notes.md").write_text("mine")
    assert pack(yard).runs_count == 0
    assert (yard.folder(run_id) / "notes.md").exists()


def test_a_day_that_is_not_past_keeps_its_folder(yard: Yard) -> None:
    yard.run(deleted=False)
    for path in yard.root.glob("runs/*/*/artifacts"):
        shutil.rmtree(path)
    pack(yard)
    (day,) = yard.root.glob("runs/*")
    assert list(day.iterdir()) == []
    yard.store.unpack()
    yard.later(3)
    pack(yard)
    assert not day.exists()
    assert len(yard.store.search_runs()) == 1


@pytest.mark.parametrize(
    "place", ["a member", "the directory", "where a member begins", "the end", "gone in the middle"]
)
def test_a_damaged_pack_is_one_finding_and_repair_brings_back_the_runs(yard: Yard, place: str) -> None:
    ids = [yard.run(deleted=False) for _ in range(3)]
    loose = yard.run(deleted=False)
    (yard.folder(loose) / "notes.md").write_text("keeps it loose")
    pack(yard)
    (yard.folder(loose) / "notes.md").unlink()
    before = json.loads(answers(yard.root))["runs"]
    (path,) = packs_of(yard.root)
    data = path.read_bytes()
    at = {"a member": 200, "the directory": len(data) - 300, "the end": len(data) - 10}.get(place, len(data) // 2)
    if place == "where a member begins":
        at = data.rindex(b"PK\x05\x06") + 16 + 1  # of where the directory begins, from which all offsets are reckoned
    changed = bytes([data[at] ^ 0x40]) + data[at + 1 :] if place != "gone in the middle" else b""
    path.write_bytes(data[:at] + changed)
    os.utime(path)
    with Store.open(yard.root) as store:
        (finding,) = [f for f in store.check().findings if f.severity != "info"]
        assert (finding.key, finding.invariant) == (f"packs/{path.name}", "M6")
        found = {row.info.run_id for row in store.search_runs()}
        assert loose in found
        report = store.check(repair=True)
        assert [f.key for f in report.repaired] == [f"packs/{path.name}"]
        after = json.loads(answers(yard.root))["runs"]
        sound = [run_id for run_id in ids if after.get(run_id) == before[run_id]]
        assert len(sound) >= {"a member": 2, "the directory": 3, "the end": 3, "where a member begins": 3}.get(place, 1)
        assert packs_of(yard.root) == []
        assert (yard.root / "quarantine/packs" / path.name).exists()
