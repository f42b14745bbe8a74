"""Limits are kept while logging, exactly in one process and with the documented slack between several."""

from __future__ import annotations

import contextlib
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

from localtrack.api.run import ActiveRun
from localtrack.api.store import Store
from localtrack.errors import InvalidInputError, QuotaExceededError, StorageError
from localtrack.format.quota import LIMITS
from localtrack.storage.base import Storage
from localtrack.store.run_quota import BETWEEN_LOOKS_COUNT, slack_of
from localtrack.store.run_reading import list_run_folders
from localtrack.store.use import Use, measure_all
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
        ({"run.params": 2**63}, {}),
        ({"run.params": True}, {}),
        ({"run.params": 5}, {"action": "thin"}),
        ({"store.bytes": 5}, {"action": "thin"}),
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


RACES_OF_RUNS = """
import sys, time
from localtrack.api.store import Store
from localtrack.errors import QuotaExceededError
from localtrack.store import use_meter
use_meter._HOLDS_S, use_meter._COST_FACTOR = 0.05, 1.0
run = Store.open(sys.argv[1]).start_run("raced", context=False)
run.log_metric("loss", 0.0, 0)
print("ready", flush=True)
sys.stdin.readline()
for step in range(10_000):
    try:
        run.log_metric("loss", 1.0, step)
    except QuotaExceededError:
        print("refused", flush=True)
        break
    time.sleep(0.001)
run.end()
"""


def test_two_processes_keep_a_limit_of_their_experiment_about(store: Store, tmp_path: Path) -> None:
    limit = 2_000
    store.set_quota({"experiment.metric_steps": limit}, action="refuse")
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACES_OF_RUNS, str(tmp_path / "store")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    assert [racer.communicate("go\n", timeout=120)[0] for racer in racers] == ["refused\n"] * 2
    total = sum(points(store, row.info.run_id) for row in store.search_runs())
    assert limit <= total < 1.6 * limit, "each knows of the other what was measured a moment ago"


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


def start(store: Store, experiment: str = "a") -> ActiveRun:
    return store.start_run(experiment, context=False)


def test_every_action_that_a_limit_can_have_can_be_set(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        for kind in LIMITS.values():
            for action in ("warn", "refuse", "thin"):
                if action in kind.actions:
                    store.set_quota({kind.name: 10**15}, action=action)
                    assert store.get_quota()[kind.name] == (10**15, action)
                else:
                    with pytest.raises(InvalidInputError, match=f"{kind.name} cannot have the action '{action}'"):
                        store.set_quota({kind.name: 1}, action=action)
        assert {kind.name for kind in LIMITS.values() if "thin" in kind.actions} == {
            f"{level}.metric_steps" for level in ("run", "experiment", "store")
        }


@pytest.mark.parametrize("level", ["experiment", "store"])
def test_points_of_an_experiment_and_of_a_store_are_refused_at_the_limit(store: Store, level: str) -> None:
    with start(store) as run:
        for step in range(40):
            run.log_metric("a", 1.0, step)
    other = start(store, "b")
    other.log_metrics({"a": 1.0, "b": 2.0})
    there = 40 if level == "experiment" else 42
    store.set_quota({f"{level}.metric_steps": there + 300}, action="refuse")
    with anew(store) as again:
        one, two = start(again), start(again)
        for step in range(100):
            one.log_metric("a", 1.0, step)
            two.log_metrics({"a": 1.0, "b": 1.0}, step)
        for call in (lambda: one.log_metric("a", 1.0, 100), lambda: two.log_metrics({"a": 1.0, "b": 1.0}, 100)):
            with pytest.raises(QuotaExceededError) as caught:
                call()
            assert f"{there + 300} of the {there + 300} that its limit {level}.metric_steps" in str(caught.value)
        one.log_param("p", 1)
        one.end()
        two.end()
    assert sum(points(store, row.info.run_id) for row in store.search_runs()) == 342 if level == "store" else 344
    assert store.get_run(one.run_id).info.status == "FINISHED"
    other.end()


@pytest.mark.parametrize("location", ["memory://limits/exact", "durable"])
def test_where_each_call_looks_at_its_file_it_is_exact_too(tmp_path: Path, location: str) -> None:
    path = location if "://" in location else str(tmp_path / location)
    with Store.open(path, durability="call") as store:
        store.set_quota(
            {"experiment.metric_steps": 50, "run.bytes": 10**6, "store.artifact_bytes": 10}, action="refuse"
        )
        run = start(store)
        with pytest.raises(QuotaExceededError, match=r"50 of the 50 .* experiment\.metric_steps"):
            log_points(run, "a", 60)
        with pytest.raises(QuotaExceededError, match=r"0 of the 10 .* store\.artifact_bytes"):
            run.log_text("12345678901", "a.txt")
        run.end()
        assert points(store, run.run_id) == 50


@pytest.mark.parametrize("level", ["experiment", "store"])
def test_points_of_an_experiment_are_thinned(store: Store, level: str, caplog: pytest.LogCaptureFixture) -> None:
    store.set_quota({f"{level}.metric_steps": 3_000}, action="thin")
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            with start(store) as run:
                for step in range(1_000):
                    run.log_metric("wave", math.sin(step / 7), step)
    rows = store.search_runs()
    assert len(rows) == 4
    everything = [math.sin(step / 7) for step in range(1_000)]
    for row in rows:
        summary = row.metrics["wave"]
        assert (summary.min, summary.max, summary.step) == (min(everything), max(everything), 999)
    assert 1_500 <= sum(points(store, row.info.run_id) for row in rows) <= 3_000
    said = [record.getMessage() for record in caplog.records]
    assert len([text for text in said if f"half of its limit {level}.metric_steps" in text]) == 3, "once a run"


@pytest.mark.parametrize("level", ["run", "experiment", "store"])
def test_bytes_are_refused(store: Store, level: str, tmp_path: Path) -> None:
    start(store, "b").end()
    limit = 200_000
    store.set_quota({f"{level}.bytes": limit}, action="refuse")
    run, refused, said = start(store), 0, set[str]()
    run.log_text("x" * 50_000, "a.txt")
    for step in range(20_000):
        try:
            run.log_metric("a", step / 7, step)
        except QuotaExceededError as error:
            said.add(str(error).partition(" its limit ")[2].split()[0])
            refused += 1
            if refused == 1:
                before = files_below(tmp_path / "store/runs")
                for call in (
                    lambda: run.log_metrics({"a": 1.0}),
                    lambda: run.log_param("p", 1),
                    lambda: run.set_tag("t", 1),
                    lambda: run.log_text("x", "b.txt"),
                    lambda: run.log_batch([Metric("a", 1.0, 1, 9)], [Param("p", "1")], []),
                ):
                    with pytest.raises(QuotaExceededError):
                        call()
                assert files_below(tmp_path / "store/runs") == before, "nothing is half-written"
            if refused == 20:
                break
    assert (refused, said) == (20, {f"{level}.bytes"})
    folder = Path(store.artifact_uri(run.run_id)).parent if level == "run" else tmp_path / "store"
    used = sum(map(len, files_below(folder).values()))
    assert limit <= used <= limit + 20_000, "what other files of the store have grown by is not looked at each time"
    if level != "run":
        with pytest.raises(QuotaExceededError, match=f"{level}.bytes"):
            start(store)
    run.end()
    assert store.get_run(run.run_id).info.status == "FINISHED"
    store.set_quota({f"{level}.bytes": None})
    start(store).end()


def files_below(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("level", ["run", "experiment", "store"])
def test_files_and_artifact_bytes_are_refused(store: Store, level: str, tmp_path: Path) -> None:
    store.set_quota({f"{level}.artifact_bytes": 10, f"{level}.files": 10**6}, action="refuse")
    run = start(store)
    run.log_text("12345", "a.txt")
    run.log_text("1234567890", "a.txt")  # replaced: no more than that
    with pytest.raises(QuotaExceededError, match=rf"{level}\.artifact_bytes"):
        run.log_text("1", "b.txt")
    (tmp_path / "source.txt").write_text("1")
    with pytest.raises(QuotaExceededError, match=rf"{level}\.artifact_bytes"):
        run.log_artifact(tmp_path / "source.txt")
    assert [file.path for file in store.list_artifacts(run.run_id)] == ["a.txt"]
    run.end()
    store.set_quota({f"{level}.artifact_bytes": None})
    entries = len(list((tmp_path / "store").rglob("*")))
    more = {"run": 4, "experiment": 6, "store": entries + 8}[level]
    store.set_quota({f"{level}.files": more}, action="refuse")
    with anew(store) as again:
        run = start(again)
        with pytest.raises(QuotaExceededError, match=rf"{level}\.files"):
            log_texts(run, 20)
        run.end()
        put = len(store.list_artifacts(run.run_id))
        assert put == 3 if level != "store" else 1 <= put <= 8
        if level == "run":
            start(again).end()
        else:
            with pytest.raises(QuotaExceededError, match=rf"{level}\.files"):
                start(again)


def log_texts(run: ActiveRun, count: int) -> None:
    for number in range(count):
        run.log_text("1", f"{number}.txt")


def log_points(run: ActiveRun, key: str, count: int) -> None:
    for step in range(count):
        run.log_metric(key, 1.0, step)


def anew(store: Store) -> Store:
    """The store as a process opens it that comes long after the others."""
    (Path(store.uri) / "index/use.json").unlink(missing_ok=True)
    return Store.open(store.uri)


def test_a_chunk_too_many_is_refused_and_the_run_can_end(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        store._site.log_points_bytes = store._site.chunk_bytes = 2_000
        store.set_quota({"run.files": 3}, action="refuse")
        run = start(store)
        for _ in range(2):
            with pytest.raises(QuotaExceededError, match=r"run\.files"):
                log_points(run, "a", 1_000)
        run.end()
        assert len(list(Path(store.artifact_uri(run.run_id)).parent.iterdir())) <= 3
        assert points(store, run.run_id) > 100
        assert store.check().findings == []


@pytest.mark.parametrize("action", ["warn", "refuse"])
def test_logged_models_and_what_they_hold(store: Store, action: str, caplog: pytest.LogCaptureFixture) -> None:
    names = ["params", "tags", "metrics"]
    limits = {f"logged_model.{name}": 2 for name in names}
    store.set_quota(limits | {"experiment.logged_models": 1, "store.logged_models": 2}, action=action)  # type: ignore[arg-type]
    experiment_id = store.create_experiment("m")
    beyond = pytest.raises(QuotaExceededError) if action == "refuse" else contextlib.nullcontext()
    with caplog.at_level(logging.WARNING):
        model_id = store.create_logged_model(experiment_id, name="m").model_id
        store.set_logged_model_tags(model_id, {"a": "1", "b": "2"})
        store.set_logged_model_tags(model_id, {"a": "3"})
        store.log_logged_model_params(model_id, {"a": "1", "b": "2"})
        store.log_logged_model_metrics(model_id, [Metric("a", 1.0, 1, 1), Metric("b", 1.0, 1, 1)])
        for call in (
            lambda: store.set_logged_model_tags(model_id, {"a": "4", "c": "1"}),
            lambda: store.log_logged_model_params(model_id, {"c": "1"}),
            lambda: store.log_logged_model_metrics(model_id, [Metric("c", 1.0, 1, 1)]),
            lambda: store.create_logged_model(experiment_id, name="m"),
        ):
            with beyond as caught:
                call()
            if caught is not None:
                assert " of the " in str(caught.value)
        store.create_logged_model("0", name="m")
        with pytest.raises(QuotaExceededError) if action == "refuse" else contextlib.nullcontext():
            store.create_logged_model("0", name="m")
    model = store.get_logged_model(model_id)
    sizes = (len(model.tags), len(model.params), len(model.metrics))
    assert sizes == ((2, 2, 2) if action == "refuse" else (3, 3, 3))
    assert len(caplog.records) == (0 if action == "refuse" else 5)


def test_a_tag_too_many_makes_no_experiment(store: Store) -> None:
    store.set_quota({"experiment.tags": 1}, action="refuse")
    with pytest.raises(QuotaExceededError, match=r"experiment\.tags"):
        store.create_experiment("e", tags={"a": "1", "b": "2"})
    assert store.get_experiment_by_name("e") is None
    assert store.create_experiment("e", tags={"a": "1"})


def test_thinned_points_are_never_refused_at_the_end(tmp_path: Path) -> None:
    """Keys are looked at when a point comes, not when it is written; and the file that it goes to may be one more."""
    with Store.open(tmp_path / "store") as store:
        store._site.log_points_bytes = store._site.chunk_bytes = 2_000
        store.set_quota({"run.metric_steps": 100}, action="thin")
        store.set_quota({"run.metric_keys": 1, "run.files": 1}, action="refuse")
        run = start(store)
        for step in range(200):
            run.log_metric("a", float(step), step)
        for call in (lambda: run.log_metric("b", 1.0), lambda: run.log_metrics({"a": 1.0, "b": 1.0})):
            with pytest.raises(QuotaExceededError, match=r"run\.metric_keys"):
                call()
        with pytest.raises(InvalidInputError):
            run.log_metric("", 1.0)
        run.end()
        (row,) = store.search_runs()
        assert (row.metrics.keys(), row.metrics["a"].value, row.metrics["a"].min) == ({"a"}, 199.0, 0.0)


def test_what_is_held_back_is_written_by_the_next_try_when_the_disk_failed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.set_quota({"run.metric_steps": 100}, action="thin")
    run = start(store)
    for step in range(500):
        run.log_metric("a", float(step), step)

    def fail(points: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(run._writer, "_append_points", fail)
        with pytest.raises(StorageError):
            run.end()
    run.end()
    assert store.search_runs()[0].metrics["a"].value == 499.0


def test_a_measurement_is_handed_on_and_renewed_before_anything_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = 0

    def counting(*args: object, **options: object) -> dict[str, Use]:
        nonlocal measured
        measured += 1
        return measure_all(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("localtrack.store.use_meter.measure_all", counting)
    store.set_quota({"experiment.metric_steps": 100}, action="refuse")
    with start(store) as run:
        log_points(run, "a", 60)
    assert measured == 1
    with Store.open(store.uri) as other, start(other) as again:
        assert measured == 1, "handed on; what came since is not known"
        with pytest.raises(QuotaExceededError, match="100 of the 100"):
            log_points(again, "b", 101)
    store.delete_run(run.run_id)
    with anew(store) as other, start(other) as third:
        monkeypatch.setattr("localtrack.store.use_meter._AGAIN_S", 0.0)
        monkeypatch.setattr("localtrack.store.use_meter._AGAIN_FACTOR", 0.0)
        with pytest.raises(QuotaExceededError, match="160 of the 100"):
            third.log_metric("b", 1.0)
        store.delete_run(again.run_id)
        store.remove_runs([run.run_id, again.run_id])
        log_points(third, "c", 100)
        with pytest.raises(QuotaExceededError, match="100 of the 100"):
            third.log_metric("c", 1.0)
    (Path(store.uri) / "index/use.json").write_bytes(b'["use",{"version":1}]')
    with Store.open(store.uri) as other, start(other) as last, pytest.raises(QuotaExceededError):
        last.log_metric("a", 1.0)
