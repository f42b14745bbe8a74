from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException

from localtrack import Store
from localtrack.mlflow_plugin import run_writers
from localtrack.mlflow_plugin.run_writers import RunWriters
from localtrack.mlflow_plugin.tracking_store import LocaltrackStore


@pytest.fixture
def tracking(tmp_path: Path) -> Iterator[LocaltrackStore]:
    tracking = LocaltrackStore(f"localtrack://{tmp_path}/store")
    yield tracking
    tracking.writers.close()
    tracking.store.close()


def begin(tracking: LocaltrackStore) -> str:
    return str(tracking.create_run("0", "ada", 1000, [], "run").info.run_id)


def files(tracking: LocaltrackStore, run_id: str) -> list[str]:
    folder = Path(tracking.store.storage.path(tracking.read_run(run_id).folder))
    return sorted(path.name for path in folder.iterdir())


def is_closed(tracking: LocaltrackStore, run_id: str) -> bool:
    return all(log.lines.closed is not None for log in tracking.read_run(run_id).logs.values())


def test_many_calls_make_one_closed_file(tracking: LocaltrackStore) -> None:
    run_id = begin(tracking)
    for step in range(100):
        tracking.log_metric(run_id, Metric("m", step, step, step))
        tracking.set_tag(run_id, RunTag("t", str(step)))
    tracking.log_batch(run_id, [], [Param("p", "1")], [])
    tracking.update_run_info(run_id, RunStatus.FINISHED, 2000, None)
    assert len(files(tracking, run_id)) == 1
    assert is_closed(tracking, run_id)
    assert len(tracking.writers) == 0
    assert len(tracking.get_metric_history(run_id, "m")) == 100


def test_the_number_of_open_runs_is_bounded_and_nothing_is_lost(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        writers = RunWriters(store, max_open_count=8)
        experiment = store.catalog.find("0")
        run_ids = [writers.begin(experiment, start_ms=1, user="", tags={}) for _ in range(30)]
        for step in range(3):
            for run_id in run_ids:
                writers.use(run_id, lambda writer, step=step: writer.log_point("m", 1.0, step, 1))
                assert len(writers) <= 8
        writers.close()
        for run_id in run_ids:
            assert store.metric_history(run_id).num_rows == 3


def test_threads_that_make_each_other_let_go_lose_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        writers = RunWriters(store, max_open_count=2)
        experiment = store.catalog.find("0")
        run_ids = [writers.begin(experiment, start_ms=1, user="", tags={}) for _ in range(6)]

        def log(thread: int) -> None:
            for step in range(20):
                for run_id in run_ids:
                    writers.use(run_id, lambda writer, step=step: writer.log_point(f"m{thread}", 1.0, step, 1))

        threads = [threading.Thread(target=log, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writers.close()
        assert [store.metric_history(run_id).num_rows for run_id in run_ids] == [80] * 6


def test_a_run_that_ended_elsewhere_is_let_go(tracking: LocaltrackStore, tmp_path: Path) -> None:
    run_id, other_id = begin(tracking), begin(tracking)
    with Store.open(tmp_path / "store") as elsewhere:
        elsewhere.end_run(run_id, "FINISHED")
    start_s = run_writers.time.monotonic()
    tracking.writers.let_go_of_ended(start_s + 1)
    assert not is_closed(tracking, run_id), "it was written to a moment ago"
    tracking.writers.let_go_of_ended(start_s + run_writers.IDLE_S + 1)
    assert is_closed(tracking, run_id)
    assert not is_closed(tracking, other_id), "it goes on"
    tracking.log_metric(run_id, Metric("late", 1.0, 1, 1))
    assert tracking.get_run(run_id).info.status == "FINISHED"


def test_what_another_process_deleted_is_refused_after_a_moment(tracking: LocaltrackStore, tmp_path: Path) -> None:
    run_id = begin(tracking)
    with Store.open(tmp_path / "store") as elsewhere:
        elsewhere.delete_run(run_id)
    entry = tracking.writers._open[run_id]
    entry.checked_s -= run_writers.RECENT_S + 1
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        tracking.log_metric(run_id, Metric("m", 1.0, 1, 1))


def test_a_param_that_another_process_logged_does_not_change(tracking: LocaltrackStore, tmp_path: Path) -> None:
    run_id = begin(tracking)
    tracking.log_param(run_id, Param("mine", "1"))
    with Store.open(tmp_path / "store") as elsewhere:
        elsewhere.log_run_params(run_id, {"theirs": "1"})
    tracking.log_param(run_id, Param("theirs", "1"))
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        tracking.log_param(run_id, Param("theirs", "2"))
    assert tracking.get_run(run_id).data.params == {"mine": "1", "theirs": "1"}


def test_a_forked_child_writes_a_file_of_its_own(tracking: LocaltrackStore) -> None:
    run_id = begin(tracking)
    tracking.log_metric(run_id, Metric("m", 1.0, 1, 1))

    def log(connection: Any) -> None:
        tracking.log_metric(run_id, Metric("m", 2.0, 2, 2))
        connection.send(os.getpid())

    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=log, args=(there,))
    child.start()
    assert here.recv() == child.pid
    child.join()
    tracking.log_metric(run_id, Metric("m", 3.0, 3, 3))
    tracking.update_run_info(run_id, RunStatus.FINISHED, 2000, None)
    assert len(files(tracking, run_id)) == 2
    assert [metric.value for metric in tracking.get_metric_history(run_id, "m")] == [1.0, 2.0, 3.0]
