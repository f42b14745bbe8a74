"""An import brings everything, twice brings nothing more, and what has grown in the source is brought by the next."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.entities.experiment_tag import ExperimentTag
from tests.conformance.import_comparing import compare, count_written_points, digest_tree
from tests.conformance.mlflow_sources import KINDS, LONG_COUNT, MlflowData, T, copy_source

from localtrack import Store
from localtrack.importing.report import ImportReport


class Case:
    """A source that MLflow wrote, and a store to import it into."""

    def __init__(self, data: MlflowData, ids: dict[str, str], root: Path) -> None:
        self.data = data
        self.ids = dict(ids)
        self.root = root

    def run(self, **options: object) -> ImportReport:
        with Store.open(self.root) as store:
            return store.import_from(self.data.location, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=KINDS)
def template(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[MlflowData, dict[str, str]]]:
    data = MlflowData(request.param, tmp_path_factory.mktemp("template") / "there")
    ids = data.fill()
    yield data, ids
    data.close()


@pytest.fixture
def case(template: tuple[MlflowData, dict[str, str]], tmp_path: Path) -> Iterator[Case]:
    case = Case(copy_source(template[0], tmp_path / "there"), template[1], tmp_path / "store")
    yield case
    case.data.close()


def test_everything_is_brought(case: Case) -> None:
    before = digest_tree(case.data.folder)
    report = case.run()
    there = case.data.read()
    assert compare(case.root, there) == []
    assert report.runs_added == len(case.ids) == len(there["runs"])
    assert report.points_added == sum(len(run["points"]) for run in there["runs"].values()) > LONG_COUNT
    assert [finding for finding in report.findings if finding.severity != "info"] == []
    assert digest_tree(case.data.folder) == before, "the source is only read"


def test_a_second_import_adds_nothing(case: Case) -> None:
    case.run()
    before = digest_tree(case.root)
    report = case.run()
    assert report.changes_count == 0
    assert (report.runs_unchanged, report.points_added, report.artifacts_added) == (len(case.ids), 0, 0)
    assert digest_tree(case.root) == before


def test_what_has_grown_is_brought(case: Case) -> None:
    case.run()
    store, ids = case.data.store, case.ids
    store.log_batch(ids["running"], [Metric("loss", 1 / n, T + n, n) for n in range(1, 500)], [], [])
    store.log_batch(ids["running"], [Metric("new", 1.0, T, 0)], [Param("late", "1")], [RunTag("note", "later")])
    store.update_run_info(ids["running"], RunStatus.FINISHED, T + 77, None)
    store.set_tag(ids["values"], RunTag("note", "changed"))
    store.delete_tag(ids["values"], "a/b")
    store.set_tag(ids["values"], RunTag("mlflow.runName", "another name"))
    store.delete_run(ids["killed"])
    store.restore_run(ids["deleted"])
    (experiment_id,) = (e.experiment_id for e in store.search_experiments() if e.name == "/Shared/téam/churn")
    store.set_experiment_tag(experiment_id, ExperimentTag("owner", "bob"))
    ids["new"] = case.data.add_run(experiment_id, "new", points=[("m", 1.0, T, 0)], artifacts={"n.txt": b"new"})
    fresh = store.create_experiment("fresh")
    ids["in fresh"] = case.data.add_run(fresh, "in fresh")
    report = case.run()
    assert compare(case.root, case.data.read()) == []
    assert (report.runs_added, report.runs_extended, report.points_added) == (2, 2, 501)
    assert case.run().changes_count == 0
    assert count_written_points(case.root) == sum(len(run["points"]) for run in case.data.read()["runs"].values())


def test_artifacts_that_have_changed_are_brought(case: Case) -> None:
    case.run()
    root = Path(case.data.store.get_run(case.ids["values"]).info.artifact_uri.removeprefix("file://"))
    (root / "a.txt").write_bytes(b"TEXT")
    (root / "later.txt").write_bytes(b"later")
    assert case.run().artifacts_added == 2
    assert compare(case.root, case.data.read()) == []
    assert case.run().changes_count == 0


def test_an_experiment_that_is_deleted_later_and_restored(case: Case) -> None:
    case.run()
    store = case.data.store
    (experiment_id,) = (e.experiment_id for e in store.search_experiments() if e.name == "second name")
    store.delete_experiment(experiment_id)
    case.run()
    assert compare(case.root, case.data.read()) == []
    store.restore_experiment(experiment_id)
    case.run()
    assert compare(case.root, case.data.read()) == []
    assert case.run().changes_count == 0


def test_what_was_changed_here_stays(case: Case) -> None:
    case.run()
    values, running, deleted = case.ids["values"], case.ids["running"], case.ids["deleted"]
    with Store.open(case.root) as store:
        store.set_run_tags(values, {"note": "mine", "mine": "1"})
        store.delete_run_tag(values, "emoji")
        store.end_run(running, "KILLED", end_time=T + 1)
        store.restore_run(deleted)
        store.delete_run(case.ids["long"])
        churn = store.get_experiment_by_name("/Shared/téam/churn")
        assert churn is not None
        store.rename_experiment(churn.experiment_id, "my churn")
        store.set_experiment_tags(churn.experiment_id, {"owner": "me"})
        with store.start_run("my churn", run_name="native") as native:
            native.log_metric("loss", 1.0)
    before = digest_tree(case.root)
    assert case.run().changes_count == 0
    assert digest_tree(case.root) == before
    with Store.open(case.root) as store:
        tags = store.get_run(values).data.tags
        assert (tags["note"], tags["mine"], "emoji" in tags) == ("mine", "1", False)
        assert store.get_run(running).info.status == "KILLED"
        assert store.get_run(deleted).info.lifecycle_stage == "active"
        assert store.get_run(case.ids["long"]).info.lifecycle_stage == "deleted"
    # Both sides have changed: what is here stays, and it is said.
    case.data.store.set_tag(values, RunTag("note", "theirs"))
    case.data.store.set_tag(values, RunTag("a/b", "theirs"))
    report = case.run()
    assert [finding.key.rpartition(values)[2] for finding in report.findings if "another value" in finding.what] == [
        "/tags/note"
    ]
    with Store.open(case.root) as store:
        tags = store.get_run(values).data.tags
        assert (tags["note"], tags["a/b"]) == ("mine", "theirs")


def test_new_runs_of_a_renamed_experiment_join_the_old_ones(case: Case) -> None:
    case.run()
    (there,) = (e for e in case.data.store.search_experiments() if e.name == "second name")
    case.data.store.rename_experiment(there.experiment_id, "third name")
    late = case.data.add_run(there.experiment_id, "late")
    report = case.run()
    assert report.experiments_added == 0
    with Store.open(case.root) as store:
        old = store.get_run(case.ids["in renamed"]).info.experiment_id
        assert store.get_run(late).info.experiment_id == old
        assert store.get_experiment(old).name == "second name"
    assert any("third name" in finding.what and finding.severity == "info" for finding in report.findings)


def test_set_experiment_goes_on_in_what_was_imported(case: Case) -> None:
    case.run()
    with Store.open(case.root) as store, store.start_run("/Shared/téam/churn") as run:
        assert run.experiment_id == store.get_run(case.ids["values"]).info.experiment_id


def test_a_dry_run_counts_and_writes_nothing(case: Case) -> None:
    with Store.open(case.root):
        pass
    before = digest_tree(case.root, but=())
    would = case.run(dry_run=True)
    assert digest_tree(case.root, but=()) == before
    did = case.run()
    for name in ImportReport.__slots__:
        assert getattr(would, name) == getattr(did, name), name
    again = case.run(dry_run=True)
    assert again.changes_count == 0


def test_progress_is_told_run_by_run(case: Case) -> None:
    said: list[tuple[int, int]] = []
    case.run(progress=lambda done, total: said.append((done, total)))
    assert said == [(n, len(case.ids)) for n in range(len(case.ids) + 1)]


def test_a_run_that_was_removed_for_good_stays_away(case: Case) -> None:
    case.run()
    run_id = case.ids["failed"]
    with Store.open(case.root) as store:
        report = store.describe_run(run_id)
        (folder,) = case.root.glob(f"runs/*/{run_id}")
        positions = {writer: list(position) for writer, position in report.positions.items()}
    _add_tombstone(case.root, run_id, positions)
    report = case.run()
    assert report.changes_count == 0
    assert [f.severity for f in report.findings if "removed for good" in f.what] == ["info"]
    shutil.rmtree(folder)
    assert case.run().changes_count == 0
    assert not list(case.root.glob(f"runs/*/{run_id}"))


def _add_tombstone(root: Path, run_id: str, positions: dict[str, list[int]]) -> None:
    stamp = 4_000_000_000_000
    payload = {"run": run_id, "positions": positions, "time_ms": T, "user": "ada"}
    header = {"format": 1, "writer": "0" * 20, "base_ms": T, "stamp": stamp, "flock": False}
    lines = [["Edits", header], ["tombstone", stamp, payload]]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    (root / "edits" / f"{'0' * 20}.jsonl").write_text(text)


def test_two_sources_come_together_by_the_names_of_their_experiments(tmp_path: Path) -> None:
    there = [MlflowData(kind, tmp_path / f"there{n}") for n, kind in enumerate(("mlruns", "sqlite", "sqlite"))]
    ids = []
    for data in there:
        experiment_id = data.store.create_experiment("shared")
        ids.append(data.add_run(experiment_id, "a run", points=[("m", 1.0, T, 0)]))
    shared = there[2].store.get_experiment_by_name("shared")
    there[2].store.delete_experiment(shared.experiment_id)
    root = tmp_path / "store"
    with Store.open(root) as store:
        for _ in range(2):
            reports = [store.import_from(data.location) for data in there]
        assert [report.changes_count for report in reports] == [0, 0, 0]
        experiments = {store.get_run(run_id).info.experiment_id for run_id in ids}
        assert len(experiments) == 1
        stages = [store.get_run(run_id).info.lifecycle_stage for run_id in ids]
        assert stages == ["active", "active", "deleted"]
        (experiment_id,) = experiments
        experiment = store.get_experiment(experiment_id)
        assert experiment.lifecycle_stage == "active", "it has runs that nobody deleted"
        source_ids = sorted(data.store.get_experiment_by_name("shared").experiment_id for data in there[:2])
        assert experiment.tags["localtrack.sourceExperimentId"] == ",".join(source_ids)
    for data in there:
        data.close()


def test_the_same_run_of_two_copies_is_one_run(tmp_path: Path) -> None:
    data = MlflowData("mlruns", tmp_path / "there")
    experiment_id = data.store.create_experiment("e")
    run_id = data.add_run(experiment_id, "r", points=[("m", float(n), T + n, n) for n in range(10)])
    copy = tmp_path / "copy" / "mlruns"
    shutil.copytree(data.folder / "mlruns", copy)
    data.store.log_batch(run_id, [Metric("m", 11.0, T + 11, 11)], [], [])
    with (copy / experiment_id / run_id / "metrics" / "m").open("a") as file:
        file.write(f"{T + 12} 12.0 12\n")
    with Store.open(tmp_path / "store") as store:
        assert store.import_from(copy).points_added == 11
        assert store.import_from(data.location).points_added == 1
        assert store.metric_history(run_id, "m")["step"].to_pylist() == [*range(10), 11, 12]


def test_stores_that_imported_the_same_merge_to_one(case: Case, tmp_path: Path) -> None:
    case.run()
    case.data.store.log_batch(case.ids["running"], [Metric("loss", 0.25, T + 1, 1)], [], [RunTag("late", "1")])
    with Store.open(tmp_path / "other") as other:
        other.import_from(case.data.location)
        other.merge(case.root)
    with Store.open(case.root) as store:
        store.merge(tmp_path / "other")
    for root in (case.root, tmp_path / "other"):
        assert compare(root, case.data.read()) == []
        with Store.open(root) as store:
            assert store.import_from(case.data.location).changes_count == 0


def test_packed_runs_are_followed(case: Case) -> None:
    case.run()
    with Store.open(case.root) as store:
        assert store.pack(older_than=datetime.timedelta(0)).runs_count > 3
    assert case.run().changes_count == 0
    case.data.store.log_batch(case.ids["failed"], [Metric("loss", 0.25, T + 1, 1)], [], [RunTag("late", "1")])
    report = case.run()
    assert (report.runs_extended, report.points_added) == (1, 1)
    assert compare(case.root, case.data.read()) == []
