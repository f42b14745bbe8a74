"""Limits are kept while logging, exactly in one process and with the documented slack between several."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.conformance.library_reading import assert_agreement
from tests.independent.validate import validate_tree

from localtrack.api.store import Store
from localtrack.errors import InvalidInputError, QuotaExceededError
from localtrack.storage.base import Storage
from localtrack.store.run_quota import BETWEEN_LOOKS_COUNT, slack_of
from localtrack.store.run_reading import list_run_folders
from localtrack.types import Metric, Param, RunTag


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def points(store: Store, run_id: str) -> int:
    return store.metric_history(run_id).num_rows


def test_limits_are_records_that_can_be_overridden_and_taken_away(store: Store, tmp_path: Path) -> None:
    store.set_quota({"run.params": 5, "run.tags": 7}, action="refuse")
    store.set_quota({"run.params": 6, "run.tags": None})
    with Store.open(tmp_path / "store") as other:
        assert {name: tuple(limit) for name, limit in other.get_quota().items()} == {"run.params": (6, "warn")}
    store.set_quota({"run.params": 10}, preset="databricks", action="thin")
    limits = store.get_quota()
    assert limits["run.metric_steps"] == (1_000_000, "thin")
    assert limits["run.tags"] == (1_600, "warn"), "tags cannot be thinned"
    assert validate_tree(tmp_path / "store") == []
    assert_agreement(tmp_path / "store")


@pytest.mark.parametrize(
    ("limits", "options"),
    [
        ({"run.parms": 5}, {}),
        ({"run.params": -1}, {}),
        ({"run.params": 1.5}, {}),
        ({"run.params": 5}, {"action": "thin"}),
        ({"store.bytes": 5}, {"action": "refuse"}),
        ({}, {}),
        (None, {"preset": "elsewhere"}),
        (None, {"preset": "mlflow-oss"}),
    ],
)
def test_what_is_no_limit_is_refused(store: Store, limits: dict[str, int] | None, options: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        store.set_quota(limits, **options)  # type: ignore[arg-type]
    assert store.get_quota() == {}


@pytest.mark.parametrize("limit", [1, 10, 100, 9_000, 20_000])
def test_points_are_refused_exactly_at_the_limit_and_the_run_goes_on(store: Store, limit: int) -> None:
    store.set_quota({"run.metric_steps": limit}, action="refuse")
    with store.start_run(context=False) as run:
        for step in range(limit):
            run.log_metric("loss", 0.5, step)
        for _ in range(3):
            with pytest.raises(QuotaExceededError) as caught:
                run.log_metric("loss", 0.5, limit)
        assert f"{limit} of the {limit} that its limit run.metric_steps" in str(caught.value)
        assert "localtrack quota set run.metric_steps" in caught.value.hint
        run.log_param("lr", 0.1)
    assert store.get_run(run.run_id).info.status == "FINISHED"
    assert store.get_run(run.run_id).data.params == {"lr": "0.1"}
    assert points(store, run.run_id) == limit


def test_sets_and_batches_are_refused_as_a_whole(store: Store, tmp_path: Path) -> None:
    store.set_quota({"run.metric_steps": 5, "run.params": 2, "run.tags": 3, "run.metric_keys": 2}, action="refuse")
    with store.start_run(context=False) as run:
        run.log_metrics({"a": 1.0, "b": 2.0}, 0)
        run.log_metrics({"a": 1.0, "b": 2.0}, 1)
        with pytest.raises(QuotaExceededError, match=r"run\.metric_steps"):
            run.log_metrics({"a": 1.0, "b": 2.0}, 2)
        with pytest.raises(QuotaExceededError, match=r"run\.metric_keys"):
            run.log_metric("c", 1.0)
        run.log_metric("a", 1.0, 3)
        for metrics, params, tags in (
            ([Metric("a", 1.0, 1, 9)], [Param("p", "1")], [RunTag("t", "1")]),
            ([], [Param("p", "1"), Param("q", "1"), Param("r", "1")], [RunTag("t", "1")]),
            ([], [Param("p", "1")], [RunTag(f"t{number}", "1") for number in range(3)]),
        ):
            with pytest.raises(QuotaExceededError):
                run.log_batch(metrics, params, tags)
        run.log_params({"p": 1, "q": 2})
        run.log_params({"p": 1})
        with pytest.raises(QuotaExceededError, match=r"run\.params"):
            run.log_param("r", 3)
        run.set_tags({"t": 1, "u": 2})
        run.set_tags({"t": 3})
        with pytest.raises(QuotaExceededError, match=r"run\.tags"):
            run.set_tag("v", 3)
    row = store.search_runs()[0]
    assert (dict(row.params), set(row.tags)) == ({"p": "1", "q": "2"}, {"t", "u", "mlflow.runName"})
    assert points(store, run.run_id) == 5
    assert validate_tree(tmp_path / "store") == []


def test_a_resumed_run_counts_what_is_there(store: Store) -> None:
    with store.start_run(context=False) as run:
        for step in range(30):
            run.log_metric("a", 1.0, step)
        run.log_params({"p": 1, "q": 2})
    store.set_quota({"run.metric_steps": 32, "run.params": 3, "run.metric_keys": 1}, action="refuse")
    with store.start_run(run_id=run.run_id) as again:
        again.log_metric("a", 1.0, 30)
        with pytest.raises(QuotaExceededError):
            again.log_metric("b", 1.0)
        again.log_metric("a", 1.0, 31)
        with pytest.raises(QuotaExceededError):
            again.log_metric("a", 1.0, 32)
        again.log_param("r", 3)
        with pytest.raises(QuotaExceededError):
            again.log_param("s", 3)
    assert points(store, run.run_id) == 32


def test_a_limit_that_is_raised_lets_a_refused_run_go_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localtrack.store.run_quota._REREAD_S", 0.0)
    store.set_quota({"run.metric_steps": 3, "run.params": 1}, action="refuse")
    with store.start_run(context=False) as run:
        for step in range(3):
            run.log_metric("a", 1.0, step)
        run.log_param("p", 1)
        for call in (lambda: run.log_metric("a", 1.0, 3), lambda: run.log_param("q", 1)):
            with pytest.raises(QuotaExceededError):
                call()
        store.set_quota({"run.metric_steps": 5, "run.params": None}, action="refuse")
        run.log_param("q", 1)
        for step in (3, 4):
            run.log_metric("a", 1.0, step)
        with pytest.raises(QuotaExceededError):
            run.log_metric("a", 1.0, 5)
    assert points(store, run.run_id) == 5


def test_a_warning_is_said_once_and_nothing_is_lost(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.set_quota({"run.metric_steps": 10, "run.params": 1})
    with caplog.at_level(logging.WARNING), store.start_run(context=False) as run:
        for step in range(100):
            run.log_metric("a", 1.0, step)
        for number in range(5):
            run.log_param(f"p{number}", 1)
    said = [record.getMessage() for record in caplog.records]
    assert [text for text in said if "run.metric_steps" in text] == said[:1]
    assert len(said) == 2
    assert points(store, run.run_id) == 100


def test_with_on_error_warn_training_goes_on_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Store.open(tmp_path / "store", on_error="warn") as store:
        store.set_quota({"run.metric_steps": 10}, action="refuse")
        with caplog.at_level(logging.WARNING), store.start_run(context=False) as run:
            for step in range(100):
                run.log_metric("a", 1.0, step)
        assert points(store, run.run_id) == 10
        assert len(caplog.records) == 1


@pytest.mark.parametrize("limit", [60, 1_000])
@pytest.mark.parametrize("as_sets", [False, True])
def test_thinning_keeps_the_least_greatest_and_last_within_the_limit(
    store: Store, caplog: pytest.LogCaptureFixture, limit: int, as_sets: bool
) -> None:
    store.set_quota({"run.metric_steps": limit}, action="thin")
    values = {"down": lambda n: 1.0 / (n + 1), "wave": lambda n: math.sin(n / 7), "spike": lambda n: 9.0 * (n == 1_234)}
    with caplog.at_level(logging.WARNING), store.start_run(context=False) as run:
        for step in range(4_000):
            now = {key: value(step) for key, value in values.items()}
            if as_sets:
                run.log_metrics(now, step)
            else:
                for key, value in now.items():
                    run.log_metric(key, value, step)
    (row,) = store.search_runs()
    assert len([record for record in caplog.records if "fewer are kept" in record.getMessage()]) == 1
    for key, value in values.items():
        everything = [value(step) for step in range(4_000)]
        summary = row.metrics[key]
        assert (summary.min, summary.max) == (min(everything), max(everything))
        assert (summary.value, summary.step) == (everything[-1], 3_999)
    count = points(store, run.run_id)
    assert limit // 2 <= count <= limit + 3 * len(values)


def test_runs_and_tags_of_experiments_and_artifacts(store: Store) -> None:
    store.set_quota(
        {"experiment.runs": 2, "store.runs": 3, "experiment.tags": 1, "run.artifact_bytes": 10}, action="refuse"
    )
    for _ in range(2):
        with store.start_run("a", context=False) as run:
            run.log_text("12345", "a.txt")
            run.log_text("12345", "b.txt")
            with pytest.raises(QuotaExceededError, match=r"run\.artifact_bytes"):
                run.log_text("1", "c.txt")
    with pytest.raises(QuotaExceededError, match=r"experiment\.runs"):
        store.start_run("a", context=False)
    store.start_run("b", context=False).end()
    with pytest.raises(QuotaExceededError, match=r"store\.runs"):
        store.start_run("b", context=False)
    experiment = store.get_experiment_by_name("a")
    assert experiment is not None
    store.set_experiment_tags(experiment.experiment_id, {"t": "1"})
    store.set_experiment_tags(experiment.experiment_id, {"t": "2"})
    with pytest.raises(QuotaExceededError, match=r"experiment\.tags"):
        store.set_experiment_tags(experiment.experiment_id, {"u": "1"})
    assert len(store.search_runs()) == 3


def test_far_from_a_limit_on_runs_they_are_not_counted_at_each_start(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = 0

    def counting(storage: Storage) -> list[str]:
        nonlocal counted
        counted += 1
        return list_run_folders(storage)

    monkeypatch.setattr("localtrack.store.runs.list_run_folders", counting)
    store.set_quota({"store.runs": 60}, action="refuse")
    for _ in range(60):
        store.start_run("e", context=False).end()
    with pytest.raises(QuotaExceededError):
        store.start_run("e", context=False)
    assert counted <= 45
    assert len(store.search_runs()) == 60


RACES = """
import sys
from localtrack.api.store import Store
from localtrack.errors import QuotaExceededError
run = Store.open(sys.argv[1]).attach_run(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for step in range(int(sys.argv[4])):
    try:
        run.log_metric("loss", float(sys.argv[3]), step)
    except QuotaExceededError:
        break
run.detach()
"""


@pytest.mark.parametrize("limit", [400, 5_000, 30_000])
def test_two_processes_exceed_a_limit_by_no_more_than_the_slack(store: Store, tmp_path: Path, limit: int) -> None:
    store.set_quota({"run.metric_steps": limit}, action="refuse")
    run = store.start_run(context=False)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACES, str(tmp_path / "store"), run.run_id, str(number), str(2 * limit)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.communicate("go\n", timeout=120)
        assert racer.returncode == 0
    run.end()
    assert limit <= points(store, run.run_id) <= limit + slack_of(limit)


def test_threads_and_forked_children_count_together(store: Store) -> None:
    store.set_quota({"run.metric_steps": 300}, action="refuse")
    run = store.start_run(context=False)

    def log(key: str) -> None:
        for step in range(300):
            try:
                run.log_metric(key, 1.0, step)
            except QuotaExceededError:
                return

    threads = [threading.Thread(target=log, args=(f"t{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert points(store, run.run_id) == 300
    run.end()
    again = store.start_run("e", context=False)
    for step in range(100):
        again.log_metric("a", 1.0, step)
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            for step in range(200):
                again.log_metric("child", 1.0, step)
            try:
                again.log_metric("child", 1.0, 200)
                code = 1
            except QuotaExceededError:
                pass
            again._writer.close()
        except BaseException:  # the child has to end here, whatever happens
            code = 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    def log_on() -> None:
        for step in range(100, 100 + slack_of(300) + 2):
            again.log_metric("a", 1.0, step)

    with pytest.raises(QuotaExceededError):
        log_on()
    again.end()
    assert 300 <= points(store, again.run_id) <= 300 + slack_of(300)


def test_far_from_the_limit_points_take_the_short_way(store: Store) -> None:
    store.set_quota({"run.metric_steps": 10 * BETWEEN_LOOKS_COUNT}, action="refuse")
    run = store.start_run(context=False)
    run.log_metric("a", 1.0)
    calls = 0
    admit = run._writer._admit

    def counting(points: object) -> bool:
        nonlocal calls
        calls += 1
        return admit(points)  # type: ignore[arg-type]

    run._writer._admit = counting  # type: ignore[method-assign, assignment]
    for step in range(20_000):
        run.log_metric("a", 1.0, step)
    assert calls <= 5
