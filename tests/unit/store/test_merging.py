"""The rules that make merging safe, one by one: each holds, and each is needed.

A check is one small story of stores that part and come together. It passes; with its rule switched off it fails.
"""

from __future__ import annotations

import itertools
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.property.merge_world import CHUNK_BYTES, Place, World, dump, history, open_store, quiet_machine

from localtrack.api.run import ActiveRun
from localtrack.format import edits, state_records
from localtrack.format.edits import Tombstone
from localtrack.format.headers import encode_closed
from localtrack.format.ids import encode_experiment_id
from localtrack.format.run_fold import RunState
from localtrack.storage import locallog
from localtrack.storage.local import LocalStorage
from localtrack.store import artifact_merging, catalog, log_files, merging, run_reading, run_writer, sealing
from localtrack.store.catalog import Catalog

SwitchOff = Callable[[pytest.MonkeyPatch], None]
Check = Callable[[World], None]

GUARDS: list[Any] = []


def guarded_by(**switches: SwitchOff) -> Callable[[Check], Check]:
    """Say which rules a check is about, and how each is switched off."""

    def note(check: Check) -> Check:
        name = check.__name__.removeprefix("check_")
        GUARDS.extend(pytest.param(check, off, id=f"{name}, {rule}") for rule, off in switches.items())
        return check

    return note


def replace(owner: Any, name: str, value: Any) -> SwitchOff:
    return lambda monkeypatch: monkeypatch.setattr(owner, name, value, raising=name != "sorted")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with quiet_machine():
        yield


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def parted(world: World, *, offset_ms: int = 0, points_count: int = 3) -> tuple[Place, Place, ActiveRun]:
    """Return a place with a run that goes on, and a copy of the place."""
    first = world.add_place()
    run = first.store.start_run("e", run_name="n", context=False)
    for step in range(points_count):
        run.log_metric("loss", float(step), step)
    return first, world.copy_place(first, offset_ms=offset_ms, cut=None), run


def union(world: World, *places: Place) -> Place:
    """Merge places into a new one, in their order."""
    result = world.add_place()
    for place in places:
        result.store.merge(place.root)
    return result


def values(place: Place, run: ActiveRun) -> list[float]:
    return sorted(point[3] for point in history(place.store, run.run_id))


def in_every_order(world: World, *places: Place) -> dict[str, Any]:
    """Return what the union of two places says, having asked for it both ways."""
    one, other = dump(union(world, *places).store), dump(union(world, *reversed(places)).store)
    assert one == other
    return one


# -- logs


def _ignore_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    compare = merging._compare
    monkeypatch.setattr(merging, "_compare", lambda *args: compare(*args).replace("longer", "same"))


@guarded_by(
    longer_counts=_ignore_longer,
    shorter_never_replaces=replace(merging, "_compare", lambda *args: "longer"),
)
def check_longer_copy_of_a_log_stays(world: World) -> None:
    first, copy, run = parted(world)
    run.log_metric("loss", 9.0, 9)
    for order in ((first, copy), (copy, first)):
        assert values(union(world, *order), run) == [0.0, 1.0, 2.0, 9.0]


def _no_close_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sealer take an open chunk for one that is closed just where it ends now."""
    read = sealing.read_log

    def read_closed(storage: Any, key: str) -> bytes:
        data = read(storage, key)
        if b'"Closed"' in data:
            return data
        points = data.count(b"\n[0,")
        return data + encode_closed(1, bytes_count=len(data), crc=zlib.crc32(data), points=points)

    monkeypatch.setattr(sealing, "read_log", read_closed)


@guarded_by(closed_only=_no_close_needed)
def check_only_closed_chunks_are_sealed(world: World) -> None:
    first = world.add_place()
    run = first.store.start_run("e", context=False)
    while run._writer._chunk is None or run._writer._chunk.file.size < CHUNK_BYTES - 50:
        run.log_metric("loss", 0.5, 1)
    copy = world.copy_place(first, offset_ms=0, cut=None)
    copy.store.seal()
    run.log_metric("loss", 99.0, 99)
    for order in ((first, copy), (copy, first)):
        assert 99.0 in values(union(world, *order), run)


def _no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (log_files, run_writer):
        monkeypatch.setattr(module, "STILL_THERE_MS", 2**62)


@guarded_by(look_after_a_pause=_no_look)
def check_paused_writer_looks_for_its_file(world: World) -> None:
    first, copy, run = parted(world)
    (log,) = first.root.glob("runs/*/*/*.jsonl")
    log.unlink()  # as somebody may who has it elsewhere, and took this process for dead
    first.clock.now_ms += 61_000
    run.log_metric("loss", 9.0, 9)
    assert values(union(world, first, copy), run) == [0.0, 1.0, 2.0, 9.0]


@guarded_by(never_the_log_of_a_live_writer=replace(LocalStorage, "is_log_locked", lambda self, key: False))
def check_log_of_a_live_writer_is_left_alone(world: World) -> None:
    first, copy, run = parted(world)
    (log,) = first.root.glob("runs/*/*/*.jsonl")
    os.truncate(log, log.read_bytes().rindex(b"\n", 0, -1) + 1)  # the copy is longer now, and the writer goes on here
    report = first.store.merge(copy.root)
    run.log_metric("loss", 9.0, 9)
    assert 9.0 in values(first, run)
    assert [finding.key for finding in report.findings] == [str(log.relative_to(first.root))]


@guarded_by(marker=replace(locallog, "encode_torn", lambda length: b"\n"))
def check_torn_record_is_marked(world: World) -> None:
    first, _, run = parted(world)
    write = os.write
    calls = iter([lambda fd, data: write(fd, data[:9]), _full])
    with pytest.MonkeyPatch.context() as disk:
        disk.setattr(os, "write", lambda fd, data: next(calls)(fd, data))
        with pytest.raises(OSError, match="No space left"):
            run.log_param("lr", 1)
    run.log_param("lr", 2)
    result = union(world, first)
    report = result.store.describe_run(run.run_id)
    assert report.findings == ()
    assert report.row.params == {"lr": "2"}


def _full(fd: int, data: bytes) -> int:
    raise OSError(28, os.strerror(28))


# -- state


def _no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_records, "sorted", lambda items, key: sorted(items, key=key, reverse=True), raising=False)


def check_conflicts_are_settled_by_stamp_writer_and_offset(world: World) -> None:
    first, copy, run = parted(world, offset_ms=-50)
    run.log_param("lr", "first")
    run.set_tag("state", "first")
    other = copy.store.start_run(run_id=run.run_id)
    other.log_param("lr", "other")
    other.set_tag("state", "other")
    answers = in_every_order(world, first, copy)["runs"][run.run_id]
    lowest, highest = sorted(["first", "other"], key=lambda who: _stamp(world, run, who))
    assert answers["params"] == {"lr": lowest}
    assert answers["tags"]["state"] == highest


def _stamp(world: World, run: ActiveRun, who: str) -> tuple[int, str]:
    reading = union(world, *world.places[:2]).store._runs.read(run.run_id)
    return min(
        (change.stamp, change.writer)
        for log in reading.logs.values()
        for change in log.changes
        if who in change.payload.values()
    )


guarded_by(order=_no_order)(check_conflicts_are_settled_by_stamp_writer_and_offset)


def _forget_stamps(monkeypatch: pytest.MonkeyPatch) -> None:
    fold = run_reading.fold_run

    def fold_without_stamps(logs: Any) -> RunState:
        state = fold(logs)
        state.greatest_stamp = 0
        return state

    monkeypatch.setattr(run_reading, "fold_run", fold_without_stamps)


@guarded_by(stamp_above_all_seen=_forget_stamps)
def check_what_was_said_later_counts_on_a_clock_that_is_behind(world: World) -> None:
    first, copy, run = parted(world, offset_ms=-3_600_000)
    run.set_tag("state", "old")
    copy.store.merge(first.root)
    other = copy.store.start_run(run_id=run.run_id)
    other.set_tag("state", "new")
    assert in_every_order(world, first, copy)["runs"][run.run_id]["tags"]["state"] == "new"


@guarded_by(stamp_above_all_seen=replace(Catalog, "_next_stamp", lambda self: self._site.clock()))
def check_edit_made_later_counts_on_a_clock_that_is_behind(world: World) -> None:
    first, copy, run = parted(world, offset_ms=-3_600_000)
    first.store.delete_run(run.run_id)
    copy.store.merge(first.root)
    copy.store.restore_run(run.run_id)
    assert in_every_order(world, first, copy)["runs"][run.run_id]["lifecycle"] == "active"


# -- experiments


def _count_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count(1)
    monkeypatch.setattr(catalog, "encode_experiment_id", lambda name, generation: str(next(numbers)))


@guarded_by(id_from_name=_count_experiments)
def check_experiments_of_one_name_become_one(world: World) -> None:
    first, other = world.add_place(), world.add_place(offset_ms=-50)
    runs = [place.store.start_run("/Shared/e", context=False).run_id for place in (first, other)]
    answers = in_every_order(world, first, other)
    assert [e[0] for e in answers["experiments"].values()] == ["Default", "/Shared/e"]
    assert {answers["runs"][run]["info"][0] for run in runs} == {encode_experiment_id("/Shared/e", 0)}


def _by_id_from_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edits, "_seniority", lambda experiment: -int(experiment.experiment_id))


@guarded_by(seniority=_by_id_from_behind, told_apart=replace(edits, "tell_names_apart", lambda experiments: []))
def check_of_two_experiments_with_one_name_the_older_keeps_it(world: World) -> None:
    first, other = world.add_place(), world.add_place(offset_ms=50)
    older, younger = sorted(["a", "b"], key=lambda name: int(encode_experiment_id(name, 0)))
    for place, name in ((first, older), (other, younger)):
        place.store.rename_experiment(place.store.create_experiment(name), "best")
    names = {id_: e[0] for id_, e in in_every_order(world, first, other)["experiments"].items()}
    younger_id = encode_experiment_id(younger, 0)
    assert names[encode_experiment_id(older, 0)] == "best"
    assert names[younger_id] == f"best~{younger_id[:6]}"


# -- runs that are removed


def _cover_all(self: Tombstone, positions: Any) -> bool:
    return True


@guarded_by(
    not_more_than_it_knew=replace(Tombstone, "covers", _cover_all),
    all_that_it_knew=replace(Tombstone, "covers", lambda self, positions: False),
)
def check_tombstone_covers_what_it_knew_and_no_more(world: World) -> None:
    first, copy, run = parted(world)
    first.die()
    assert world.remove_run(first, run.run_id)
    assert in_every_order(world, first, copy)["runs"] == {}
    resumed = copy.store.start_run(run_id=run.run_id)
    resumed.log_metric("loss", 9.0, 9)
    answers = in_every_order(world, first, copy)["runs"]
    assert run.run_id in answers
    assert answers[run.run_id]["lifecycle"] == "deleted"
    assert len(answers[run.run_id]["points"]) == 4


def test_parts_of_a_removed_run_come_together_in_any_order(world: World) -> None:
    """One place has removed the run, one has what it removed, one only what came later."""
    first, copy, run = parted(world)
    resumed = copy.store.start_run(run_id=run.run_id)
    resumed.log_metric("loss", 9.0, 9)
    for log in copy.root.glob(f"runs/*/*/{run._writer.writer}.jsonl"):
        log.unlink()
    backup = world.copy_place(first, offset_ms=0, cut=None)
    first.die()
    assert world.remove_run(first, run.run_id)
    said = [dump(union(world, *order).store) for order in ((first, backup, copy), (copy, backup, first))]
    assert said[0] == said[1]
    assert len(said[0]["runs"][run.run_id]["points"]) == 4


# -- segments


def _sealed_apart(world: World) -> tuple[Place, Place, ActiveRun]:
    """Return two places with segments of one writer that overlap: chunks 0 and 1 here, 1 and 2 there."""
    first, copy, run = parted(world, points_count=120)
    for place, present in ((first, (0, 1)), (copy, (1, 2))):
        aside = place.root.parent / f"aside {place.root.name}"
        aside.mkdir()
        for chunk in run_folder(place).glob("*.points.jsonl"):
            if int(chunk.name.split(".")[1]) not in present:
                chunk.rename(aside / chunk.name)
        place.store.seal()
        for chunk in aside.iterdir():  # the others come back, as from another copy
            chunk.rename(run_folder(place) / chunk.name)
    return first, copy, run


def run_folder(place: Place) -> Path:
    (folder,) = place.root.glob("runs/*/*")
    return folder


@guarded_by(overlap=replace(run_reading, "_do_overlap", lambda segments: False))
def check_points_in_segments_that_overlap_count_once(world: World) -> None:
    first, copy, run = _sealed_apart(world)
    ranges = {path.name.split(".")[1] for place in (first, copy) for path in run_folder(place).glob("*.parquet")}
    assert ranges == {"0-1", "1-2"}
    for order in ((first, copy), (copy, first)):
        result = union(world, *order)
        assert values(result, run) == [float(step) for step in range(120)]
        assert result.store.describe_run(run.run_id).row.metrics["loss"].count == 120


def test_a_segment_inside_a_wider_one_adds_nothing(world: World) -> None:
    first, copy, run = parted(world, points_count=60)
    copy.store.seal()
    for step in range(60, 90):
        run.log_metric("loss", float(step), step)
    run.end()
    assert len(list(run_folder(copy).glob("*.parquet"))) == len(list(run_folder(first).glob("*.parquet"))) == 1
    for order in ((first, copy), (copy, first)):
        result = union(world, *order)
        assert values(result, run) == [float(step) for step in range(90)]
        assert result.store.describe_run(run.run_id).row.metrics["loss"].count == 90


def test_segments_that_were_cut_short_are_completed(world: World) -> None:
    first, copy, run = parted(world, points_count=60)
    first.store.seal()
    (segment,) = run_folder(first).glob("*.parquet")
    for chunk in run_folder(copy).glob("*.0.points.jsonl"):
        chunk.unlink()
    (run_folder(copy) / segment.name).write_bytes(segment.read_bytes()[:-40])
    copy.store.merge(first.root)
    assert values(copy, run) == [float(step) for step in range(60)]
    assert values(union(world, copy), run) == values(first, run)


def test_a_damaged_segment_does_not_take_the_place_of_a_sound_one(world: World) -> None:
    first, copy, run = parted(world, points_count=60)
    first.store.seal()
    copy.store.merge(first.root)
    (segment,) = run_folder(first).glob("*.parquet")
    segment.write_bytes(segment.read_bytes()[:-40])
    report = copy.store.merge(first.root)
    assert f"{segment.relative_to(first.root)}" in [finding.key for finding in report.findings]
    assert values(copy, run) == [float(step) for step in range(60)]


def test_chunks_count_where_the_segment_is_damaged_inside(world: World) -> None:
    first, copy, run = parted(world, points_count=60)
    copy.store.seal()
    (segment,) = run_folder(copy).glob("*.parquet")
    data = bytearray(segment.read_bytes())
    data[10] ^= 1  # in a column, which the footer knows nothing of
    (run_folder(first) / segment.name).write_bytes(data)
    assert values(union(world, first), run) == [float(step) for step in range(60)]


# -- copies that were cut short


def test_what_belongs_to_a_log_that_comes_later_is_kept(world: World) -> None:
    first, copy, run = parted(world, points_count=60)
    run.log_text("content", "a.txt")
    first.store.seal()
    (log,) = run_folder(first).glob(f"{run._writer.writer}.jsonl")
    shutil.copy(log, run_folder(copy))
    for path in (*run_folder(copy).glob("*.points.jsonl"), log):
        path.unlink()
    for order in ((first, copy), (copy, first)):
        result = union(world, *order)
        assert values(result, run) == [float(step) for step in range(60)]
        assert result.store.download_artifacts(run.run_id, "a.txt")


def test_an_experiment_that_was_cut_short_is_completed(world: World) -> None:
    first, copy, _ = parted(world)
    experiment = f"experiments/{encode_experiment_id('e', 0)}.json"
    (copy.root / experiment).write_bytes((first.root / experiment).read_bytes()[:20])
    report = first.store.merge(copy.root)
    assert [finding.key for finding in report.findings] == [experiment]
    copy.store.merge(first.root)
    assert (copy.root / experiment).read_bytes() == (first.root / experiment).read_bytes()


def test_a_log_that_two_wrote_to_is_left_as_it_is(world: World) -> None:
    first, copy, run = parted(world)
    (log,) = run_folder(copy).glob("*.jsonl")
    log.write_bytes(log.read_bytes()[:-3] + b"7]\n")
    before = log.read_bytes()
    run.log_metric("loss", 9.0, 9)
    report = copy.store.merge(first.root)
    assert [(finding.key, finding.code) for finding in report.findings] == [
        (str(log.relative_to(copy.root)), "diverged")
    ]
    assert log.read_bytes() == before


# -- artifacts


@guarded_by(highest_record=replace(artifact_merging, "rank_contents", lambda *copies: {}))
def check_artifact_of_the_highest_record_stays(world: World) -> None:
    first, copy, run = parted(world, offset_ms=1)
    run.log_text("long, and written first", "a.txt")
    copy.store.merge(first.root)
    other = copy.store.start_run(run_id=run.run_id)
    other.log_text("last", "a.txt")
    assert in_every_order(world, first, copy)["runs"][run.run_id]["artifacts"] == {"a.txt": b"last"}


def test_where_nobody_has_the_artifact_of_the_highest_record_the_next_one_stays(world: World) -> None:
    first, copy, run = parted(world)
    third = world.copy_place(first, offset_ms=100, cut=None)
    run.log_text("a rather long text", "a.txt")
    copy.clock.now_ms += 50
    copy.store.start_run(run_id=run.run_id).log_text("next", "a.txt")
    third.store.start_run(run_id=run.run_id).log_text("gone", "a.txt")
    (run_folder(third) / "artifacts" / "a.txt").unlink()
    for order in ((first, copy, third), (third, first, copy), (copy, third, first)):
        result = union(world, *order)
        assert dump(result.store)["runs"][run.run_id]["artifacts"] == {"a.txt": b"next"}


def test_without_records_the_greater_artifact_stays(world: World) -> None:
    first, copy, run = parted(world)
    for place, text in ((first, "aa"), (copy, "b")):
        folder = run_folder(place) / "artifacts"
        folder.mkdir()
        (folder / "a.txt").write_text(text)
    assert in_every_order(world, first, copy)["runs"][run.run_id]["artifacts"] == {"a.txt": b"aa"}


def test_a_file_and_a_folder_of_one_name_do_not_stop_a_merge(world: World) -> None:
    first, copy, run = parted(world)
    run.log_text("file", "a")
    copy.store.start_run(run_id=run.run_id).log_text("inside", "a/b")
    for target, source, kept in ((first, copy, {"a": b"file"}), (copy, first, {"a/b": b"inside"})):
        place = union(world, target)
        report = place.store.merge(source.root)
        assert [finding.severity for finding in report.findings] == ["error"]
        answers = dump(place.store)["runs"][run.run_id]
        assert answers["artifacts"] == kept
        assert answers["info"][3] == "RUNNING"


def test_a_link_in_the_target_leads_nothing_out_of_it(world: World, tmp_path: Path) -> None:
    first, copy, run = parted(world)
    copy.store.start_run(run_id=run.run_id).log_text("inside", "link/b")
    outside = tmp_path / "outside"
    outside.mkdir()
    (run_folder(first) / "artifacts").mkdir()
    (run_folder(first) / "artifacts" / "link").symlink_to(outside)
    report = first.store.merge(copy.root)
    assert [finding.severity for finding in report.findings] == ["error"]
    assert list(outside.iterdir()) == []


# -- while writers go on


def test_a_chunk_that_is_sealed_during_the_merge_comes_as_a_segment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _, run = parted(world, points_count=60)
    merge_artifacts = merging.merge_artifacts
    calls: list[None] = []

    def seal_meanwhile(*args: Any) -> Any:
        if not calls:
            first.store.seal()
        calls.append(None)
        return merge_artifacts(*args)

    monkeypatch.setattr(merging, "merge_artifacts", seal_meanwhile)
    assert values(union(world, first), run) == [float(step) for step in range(60)]
    assert len(calls) > 1


def test_a_log_never_comes_before_the_points_and_artifacts_that_it_counts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _, run = parted(world, points_count=3)
    merge_points = merging._merge_points

    def log_meanwhile(*args: Any) -> Any:
        if not run.is_ended:
            for step in range(3, 3 + CHUNK_BYTES // 4):
                run.log_metric("loss", float(step), step)
            run.log_text("late", "late.txt")
            run.end()
        return merge_points(*args)

    monkeypatch.setattr(merging, "_merge_points", log_meanwhile)
    result = union(world, first)
    report = result.store.describe_run(run.run_id)
    assert report.findings == ()
    assert report.row.info.status == "RUNNING"
    assert values(result, run) == [0.0, 1.0, 2.0]
    result.store.merge(first.root)
    assert dump(result.store)["runs"] == dump(open_store(first.root, first.clock))["runs"]


# -- all guards


@pytest.mark.parametrize("check", dict.fromkeys(param.values[0] for param in GUARDS), ids=lambda check: check.__name__)
def test_rule_holds(check: Check, world: World) -> None:
    check(world)


@pytest.mark.parametrize(("check", "switch_off"), GUARDS)
def test_rule_is_needed(check: Check, switch_off: SwitchOff, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    switch_off(monkeypatch)
    with pytest.raises(AssertionError):
        check(world)
