"""How near to limits things are, how fast they grow, whether they would fit elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.counts import assert_counts
from tests.unit.cli.conftest import Invoke, Place, first_place, invoke, place
from tests.unit.store.test_gc import DAY_MS, NOW_MS, Yard

from localtrack.errors import InvalidInputError
from localtrack.format.quota_presets import PRESETS
from localtrack.store.quota_use import QuotaUse

__all__ = ["first_place", "invoke", "place"]


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path / "store")


def only(uses: list[QuotaUse], limit_name: str) -> list[QuotaUse]:
    return [use for use in uses if use.limit_name == limit_name]


def test_use_of_runs_experiments_and_the_store(yard: Yard) -> None:
    ids = [yard.run(points=points, deleted=False) for points in (3, 30)]
    other = yard.run("other", points=1)
    names = ["run.metric_steps", "run.files", "run.artifact_bytes", "experiment.runs", "experiment.metric_steps"]
    yard.store.set_quota(dict.fromkeys([*names, "store.runs", "store.bytes", "store.files"], 20))
    report = yard.store.quota()
    assert {use.id: use.used for use in only(report.uses, "run.metric_steps")} == {ids[0]: 3, ids[1]: 30, other: 1}
    assert {use.used for use in only(report.uses, "run.files")} == {2}
    assert {use.used for use in only(report.uses, "run.artifact_bytes")} == {len("artifact")}
    assert sorted(use.used for use in only(report.uses, "experiment.runs")) == [0, 1, 2]
    assert sorted(use.used for use in only(report.uses, "experiment.metric_steps")) == [0, 1, 33]
    assert [use.used for use in only(report.uses, "store.runs")] == [3]
    everything = list(yard.root.rglob("*"))
    (files,) = only(report.uses, "store.files")
    assert files.used == len(everything)
    (size,) = only(report.uses, "store.bytes")
    assert size.used == sum(path.stat().st_size for path in everything if path.is_file())
    assert not report.fits
    shares = [use.share for use in report.uses]
    assert shares == sorted(shares, reverse=True)
    assert report.to_pandas()["limit_name"].tolist() == [use.limit_name for use in report.uses]
    assert report.to_arrow()["is_exceeded"].to_pylist() == [use.is_exceeded for use in report.uses]


def test_growth_and_when_the_limit_is_reached(yard: Yard) -> None:
    for _ in range(10):
        yard.run(deleted=False)
        yard.later(1)
    going_on = yard.store.start_run("e", context=False)
    for step in range(100):
        going_on.log_metric("loss", 1.0, step)
    yard.later(2)
    yard.store.set_quota({"experiment.runs": 20, "run.metric_steps": 200})
    uses = yard.store.quota().uses
    (runs,) = [use for use in only(uses, "experiment.runs") if use.used]
    assert runs.used == 11
    assert runs.per_day == pytest.approx(11 / 12)
    assert runs.reached_ms == pytest.approx(NOW_MS + 12 * DAY_MS + 9 / (11 / 12) * DAY_MS, abs=5)
    by_run = {use.id: use for use in only(uses, "run.metric_steps")}
    assert by_run[going_on.run_id].per_day == pytest.approx(50)
    assert by_run[going_on.run_id].reached_ms == pytest.approx(NOW_MS + 14 * DAY_MS, abs=5)
    ended = next(use for use in by_run.values() if use.id != going_on.run_id)
    assert (ended.per_day, ended.reached_ms) == (0.0, None)


def test_whether_it_would_fit_elsewhere(yard: Yard) -> None:
    run_id = yard.run(deleted=False)
    yard.store.log_run_params(run_id, {f"p{number}": number for number in range(1_600)})
    report = yard.store.quota(target="databricks")
    assert report.fits
    assert (report.uses[0].limit_name, report.uses[0].used, report.uses[0].share) == ("run.params", 1_600, 1.0)
    assert report.uses[0].source.startswith("https://")
    assert report.uses[0].as_of
    yard.store.log_run_params(run_id, {"more": 1})
    assert not yard.store.quota(target="databricks").fits
    assert yard.store.quota(target="databricks", limits={"run.params": 2_000}).fits
    report = yard.store.quota(target="databricks", limits={"run.params": 2_000}, already={"e": 500_000})
    assert [(use.name, use.used) for use in report.uses if use.is_exceeded] == [("e", 500_001)]
    assert yard.store.quota(target="mlflow-oss").uses == []
    with pytest.raises(InvalidInputError):
        yard.store.quota(target="elsewhere")


def test_metrics_of_logged_models_count(yard: Yard) -> None:
    model = yard.store.create_logged_model("0", name="m")
    report = yard.store.quota(target="databricks")
    assert [use.used for use in only(report.uses, "logged_model.metrics") if use.id == model.model_id] == [0]
    report = yard.store.quota(limits={"experiment.logged_models": 5, "store.logged_models": 5})
    assert sorted(use.used for use in report.uses) == [1, 1]


def test_every_preset_says_where_and_when_it_was_read() -> None:
    for limits in PRESETS.values():
        for limit in limits:
            assert limit.value > 0
            assert limit.source.startswith("https://")
            assert limit.as_of.startswith("20")


def test_counts_are_those_of_sql_and_of_the_independent_reader(yard: Yard, tmp_path: Path) -> None:
    yard.store._site.log_points_bytes = yard.store._site.chunk_bytes = 1_500
    ids = [yard.run(points=points, deleted=False) for points in (1, 50, 400)]
    yard.store.delete_run(ids[0])
    other = Yard(tmp_path / "other")
    other.run("other", points=7, deleted=False)
    yard.store.merge(other.root)
    yard.store.pack(older_than="0s")
    yard.store.set_run_tags(ids[1], {"later": "yes"})
    assert_counts(yard.root)
    yard.later(31)
    yard.store.gc(dry_run=False)
    assert_counts(yard.root)


def test_the_command(place: Place, invoke: Invoke) -> None:
    store = ["--store", str(place.path)]
    assert "No limit is set" in invoke("quota", *store).stdout
    answer = invoke("quota", "set", "run.params=1", "run.metric_steps=1k", "store.bytes=2g", *store)
    assert answer.exit_code == 0, answer.stderr
    answer = invoke("quota", *store)
    assert answer.exit_code == 7
    assert "exceeded" in answer.stdout
    assert invoke("quota", "set", "run.params=none", *store, "--json").document["limits"] == [
        {"name": "run.metric_steps", "limit": 1_000, "action": "warn"},
        {"name": "store.bytes", "limit": 2_000_000_000, "action": "warn"},
    ]
    assert invoke("quota", *store).exit_code == 0
    answer = invoke("quota", "--target", "databricks", *store)
    assert answer.stdout.endswith("All of it fits databricks.\n")
    assert invoke("quota", "set", "--preset", "databricks", "--action", "thin", *store).exit_code == 0
    shown = invoke("quota", "show", *store, "--json").document["limits"]
    assert {"name": "run.metric_steps", "limit": 1_000_000, "action": "thin"} in shown
    for wrong in ("run.params", "run.params=x", "=5", "run.nothing=5"):
        assert invoke("quota", "set", wrong, *store).exit_code == 2
