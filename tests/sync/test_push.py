"""A push against a server that behaves."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from localtrack import Store
from localtrack.format.quota_presets import PRESETS
from localtrack.sync.options import ArtifactChoice, Naming, PushOptions, Selection, Thinning
from localtrack.sync.push import Push
from localtrack.sync.target import resolve_target
from tests.sync.comparison import compare_store
from tests.sync.front import Front
from tests.sync.pushing import push
from tests.sync.stand_in import StandIn
from tests.sync.stores import START_MS, add_entities, add_to_store, make_store


def test_everything_arrives_once(tmp_path: Path, front: Front) -> None:
    store = make_store(tmp_path / "store")
    report = push(store, front.url)
    assert report.is_complete
    assert report.count("sent") == 4
    assert compare_store(front.url, store) == []


def test_nothing_new_is_no_request(tmp_path: Path, front: Front) -> None:
    store = make_store(tmp_path / "store")
    push(store, front.url)
    front.reset()
    report = push(store, front.url)
    assert (report.unchanged_count, report.runs, front.requests) == (4, [], [])


def test_what_was_added_arrives_once(tmp_path: Path, front: Front) -> None:
    store = make_store(tmp_path / "store")
    push(store, front.url)
    add_to_store(store)
    report = push(store, front.url)
    assert (report.count("sent"), report.unchanged_count) == (2, 3)
    assert report.points_sent == 52
    assert compare_store(front.url, store) == []


def test_a_lost_ledger_is_rebuilt_from_the_remote(tmp_path: Path, front: Front, stand_in: StandIn) -> None:
    store = make_store(tmp_path / "store")
    push(store, front.url)
    shutil.rmtree(tmp_path / "store" / "sync")
    front.reset()
    report = push(store, front.url)
    assert report.points_sent == 0
    assert len(stand_in.runs) == 4
    searches = [request for request in front.requests if request.path.endswith("runs/search")]
    assert len(searches) == 2  # one of each experiment
    assert compare_store(front.url, store) == []


def test_a_copy_of_the_store_with_an_old_ledger_doubles_nothing(tmp_path: Path, front: Front) -> None:
    store = make_store(tmp_path / "store")
    push(store, front.url)
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    add_to_store(store)
    push(store, front.url)
    with Store.open(tmp_path / "copy") as copy:
        copy.merge(tmp_path / "store")
        push(copy, front.url)
        assert compare_store(front.url, copy) == []


def test_a_damaged_ledger_makes_the_push_ask(tmp_path: Path, front: Front) -> None:
    store = make_store(tmp_path / "store")
    push(store, front.url)
    add_to_store(store)
    (ledger,) = (tmp_path / "store" / "sync").glob("*/*.jsonl")
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(line[:20] + b"?" * 5 + line[25:] if n == 3 else line for n, line in enumerate(lines)))
    push(store, front.url)
    assert compare_store(front.url, store) == []


def test_a_run_that_goes_on_is_pushed_again_and_again(tmp_path: Path, front: Front) -> None:
    store = Store.open(tmp_path / "store")
    with store.start_run("live", context=False) as run:
        for step in range(4):
            for point in range(300):
                run.log_metric("loss", 1.0, step=step * 300 + point, timestamp=START_MS + step)
            push(store, front.url)
            assert compare_store(front.url, store) == []
    push(store, front.url)
    assert compare_store(front.url, store) == []


def test_a_long_run_arrives_while_it_is_sealed(tmp_path: Path, front: Front) -> None:
    store = Store.open(tmp_path / "store")
    store._site.log_points_bytes, store._site.chunk_bytes = 2_000, 10_000
    with store.start_run("long", context=False) as run:
        for step in range(3000):
            run.log_metrics({"a": step * 0.5, "b": -step}, step=step, timestamp=START_MS + step // 10)
        push(store, front.url)
        assert compare_store(front.url, store) == []
    report = push(store, front.url)
    assert report.points_sent == 0
    assert compare_store(front.url, store) == []


def test_a_child_is_linked_when_its_parent_comes_later(tmp_path: Path, front: Front) -> None:
    store = make_store(tmp_path / "store")
    parent = next(row.info.run_id for row in store.search_runs() if row.info.run_name == "Mutter & Söhne")
    children = [row.info.run_id for row in store.search_runs() if row.info.run_name.startswith("child")]
    store.sync(front.url, run_ids=children)
    assert compare_store(front.url, store, run_ids=set(children)) == []
    store.sync(front.url, run_ids=[parent])
    assert compare_store(front.url, store, run_ids={parent, *children}) == []


def test_another_naming_is_another_copy(tmp_path: Path, front: Front) -> None:
    store = make_store(tmp_path / "store")
    push(store, front.url)
    assert push(store, front.url, naming=Naming("copy/")).count("sent") == 4
    assert push(store, front.url, naming=Naming("copy/")).unchanged_count == 4
    assert push(store, front.url).unchanged_count == 4
    assert compare_store(front.url, store) == []
    assert compare_store(front.url, store, prefix="copy/") == []


def test_an_experiment_renamed_here_is_renamed_there(tmp_path: Path, front: Front) -> None:
    store = make_store(tmp_path / "store")
    push(store, front.url)
    experiment = store.get_experiment_by_name("elsewhere")
    assert experiment is not None
    store.rename_experiment(experiment.experiment_id, "renamed")
    with store.start_run("renamed", context=False):
        pass
    assert push(store, front.url).is_complete
    assert compare_store(front.url, store) == []


def test_deletion_and_restoring_follow_where_asked_for(tmp_path: Path, front: Front) -> None:
    store = make_store(tmp_path / "store")
    push(store, front.url)
    gone = next(row.info.run_id for row in store.search_runs() if row.info.run_name == "child 0")
    store.delete_run(gone)
    assert push(store, front.url).skipped == {"deleted": 1}
    push(store, front.url, does_delete=True)
    assert compare_store(front.url, store) == []
    store.restore_run(gone)
    push(store, front.url, does_delete=True)
    assert compare_store(front.url, store) == []


def test_a_param_that_differs_there_is_told_and_kept_there(tmp_path: Path, front: Front, stand_in: StandIn) -> None:
    store = make_store(tmp_path / "store")
    push(store, front.url)
    run_id = next(row.info.run_id for row in store.search_runs() if row.info.run_name == "child 0")
    remote = next(run for run in stand_in.runs.values() if run["tags"]["localtrack.run_id"] == run_id)
    remote["params"]["late"] = "theirs"
    with store.start_run(run_id=run_id) as run:
        run.log_params({"late": "ours", "later": "1"})
    report = push(store, front.url)
    assert report.is_complete
    assert [loss.kind for loss in report.losses] == ["conflict"]
    assert remote["params"] == {"number": "0", "late": "theirs", "later": "1"}
    assert remote["tags"]["localtrack.param_conflict.late"] == "ours"


@pytest.mark.parametrize("has_bulk", [True, False])
def test_counts_are_verified(tmp_path: Path, has_bulk: bool) -> None:
    """A point that vanishes on the server after it was acknowledged is noticed, and sent again."""
    stand_in = StandIn(has_bulk_history=has_bulk)
    with Front(stand_in) as front:
        store = make_store(tmp_path / "store")
        lost: list[object] = []

        def lose(number: int, moment: str) -> None:
            if moment == "after" and front.requests[number].path.endswith("log-batch") and not lost:
                for run in stand_in.runs.values():
                    if "acc/val" not in run["points"] and len(run["points"].get("loss", [])) > 100:
                        lost.append(run["points"]["loss"].pop(50))

        front.on_request = lose
        report = push(store, front.url)
        assert lost
        assert report.is_complete
        assert compare_store(front.url, store) == []


def test_thinning_keeps_the_ends_and_the_extremes(tmp_path: Path, front: Front) -> None:
    store = Store.open(tmp_path / "store")
    with store.start_run("thin", context=False) as run:
        for step in range(1000):
            value = {333: -7.0, 777: 99.0}.get(step, step / 1000)
            run.log_metric("loss", value, step=step, timestamp=START_MS + step)
    report = store.sync(front.url, every=100)
    assert report.points_sent == 10 + 3
    assert store.sync(front.url, every=100).runs == []
    report = store.sync(front.url)
    assert report.points_sent == 1000 - 13
    assert compare_store(front.url, store) == []


def test_a_dry_run_sends_nothing_and_foresees_losses(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    store.set_run_tags(store.search_runs()[0].info.run_id, {"mlflow.runName": "n" * 300})
    report = store.sync("http://127.0.0.1:9", dry_run=True)
    assert report.plan is not None
    assert (report.plan["runs"], report.plan["new_runs"]) == (4, 4)
    assert sorted(loss.kind for loss in report.losses) == ["clamped", "cut"]
    (clamped,) = (loss.what for loss in report.losses if loss.kind == "clamped")
    assert clamped == "Metric 'odd' has infinite values; the target keeps 1.7976931348623157e+308 for infinity."
    assert not (tmp_path / "store" / "sync").exists()


def test_a_dry_run_foresees_every_quota_of_the_table(tmp_path: Path) -> None:
    """The same limits as `localtrack quota`, with what the ledger knows to be there."""
    url = "http://127.0.0.1:9"
    store = make_store(tmp_path / "store", artifacts=True)
    experiment = store.get_experiment_by_name("team/ä")
    assert experiment is not None
    with Front(StandIn()) as front:
        push(store, front.url, artifacts=ArtifactChoice(is_skipped=True))
        key = resolve_target(front.url).key
    folder = tmp_path / "store" / "sync"
    shutil.move(folder / key, folder / resolve_target(url).key)
    add_entities(store)
    for number in range(2):
        with store.start_run("team/ä", run_name=f"more {number}", context=False) as run:
            run.log_params({str(key): key for key in range(7)})
    store.set_experiment_tags(experiment.experiment_id, {"a": "b"})
    quotas = {
        "experiment.runs": 4,
        "experiment.tags": 2,
        "run.metric_steps": 1000,
        "run.params": 6,
        "run.tags": 3,
        "logged_model.metrics": 1,
    }
    assert quotas.keys() == {item.name for preset in PRESETS.values() for item in preset}

    def foresee(**options: object) -> set[str]:
        target = resolve_target(url)
        target = dataclasses.replace(target, limits=dataclasses.replace(target.limits, quotas=quotas, file_bytes=100))
        wanted = PushOptions(
            **{"selection": Selection(experiment_ids=frozenset([experiment.experiment_id])), **options}
        )
        losses = Push(store._site, store._catalog, target, wanted).dry_run()[1].losses
        return {loss.what for loss in losses if loss.kind in ("quota", "refused")}

    breaches = foresee(artifacts=ArtifactChoice(is_skipped=True))
    assert {what for what in breaches if "points" not in what and " tags, " not in what} == {
        "Experiment 'team/ä' has 5 runs that were not removed for good, deleted ones too, 3 of them "
        "there already; the target takes 4.",
        "Experiment 'team/ä' has 3 tags of the experiment; the target takes 2.",
        "It has 7 params; the target takes 6.",
    }
    shutil.rmtree(tmp_path / "store" / "sync")
    more = foresee(selection=Selection())
    assert {what.partition(" points")[0] for what in more if "points" in what} == {"It has 1118"}
    assert "The artifact 'deep/er/big.bin' is larger than the target takes (100 bytes)." in more
    assert any(what.startswith("Logged model m-") and " has 2 metrics" in what for what in more)
    tags = "tags, MLflow's own included (tags that the push adds are among them); the target takes 3."
    assert f"It has 6 {tags}" in more
    thinned = foresee(selection=Selection(), thinning=Thinning(every=10), artifacts=ArtifactChoice(exclude=("deep/*",)))
    assert not [what for what in thinned if "points" in what or "deep/er" in what]
