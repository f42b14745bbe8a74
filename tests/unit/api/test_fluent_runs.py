"""Start, end and the active runs, where MLflow differs or cannot be asked. The rest: tests/conformance."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import localtrack
from localtrack.api import active, environment
from localtrack.errors import ErrorCode, InvalidInputError, NotFoundError, StateError, StorageFullError

SOURCE = str(Path(localtrack.__file__).parents[1])


def in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def status(run: localtrack.ActiveRun) -> str:
    return localtrack.get_run(run.run_id).info.status


def logs(run: localtrack.ActiveRun) -> list[str]:
    return [path.name for path in Path("ltruns/runs").glob(f"*/{run.run_id}/*.jsonl")]


def test_a_second_run_is_refused_with_what_to_do(folder: Path) -> None:
    with localtrack.start_run() as run:
        with pytest.raises(StateError) as caught:
            localtrack.start_run()
        assert run.run_id in caught.value.message
        assert "nested=True" in caught.value.hint
        assert caught.value.code is ErrorCode.RUN_ACTIVE
        assert localtrack.active_run() is run
    assert len(localtrack.search_runs(output_format="list")) == 1


def test_the_inner_run_is_named_as_the_active_one(folder: Path) -> None:
    localtrack.start_run()
    inner = localtrack.start_run(nested=True)
    with pytest.raises(StateError, match=inner.run_id):
        localtrack.start_run()


def test_a_refused_start_uses_no_run_id_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with localtrack.start_run() as first:
        pass
    with localtrack.start_run():
        monkeypatch.setenv("LOCALTRACK_RUN_ID", first.run_id)
        with pytest.raises(StateError):
            localtrack.start_run()
    with localtrack.start_run() as again:
        assert again.run_id == first.run_id
    assert environment.run_id() is None


def test_the_name_comes_from_argument_tag_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def name(**arguments: object) -> str:
        with localtrack.start_run(**arguments) as run:  # type: ignore[arg-type]
            return run.info.run_name

    monkeypatch.setenv("MLFLOW_RUN_NAME", "theirs")
    assert name() == "theirs"
    monkeypatch.setenv("LOCALTRACK_RUN_NAME", "ours")
    assert name() == "ours"
    assert name(tags={"mlflow.runName": "tag"}) == "tag"
    assert name(run_name="argument", tags={"mlflow.runName": "tag"}) == "argument"


def test_arguments_are_left_as_they_are(folder: Path) -> None:
    tags = {"a": 1, "mlflow.runName": "tag"}
    with localtrack.start_run(run_name="b", tags=tags, description="text"):
        pass
    assert tags == {"a": 1, "mlflow.runName": "tag"}


def test_an_unknown_status_ends_nothing(folder: Path) -> None:
    run = localtrack.start_run()
    with pytest.raises(InvalidInputError, match="EXPLODED"):
        localtrack.end_run("EXPLODED")
    assert localtrack.active_run() is run
    assert status(run) == "RUNNING"
    localtrack.end_run("KILLED")
    assert status(run) == "KILLED"


def test_an_end_that_was_not_recorded_can_be_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = localtrack.start_run()

    def no_space(*_: object) -> None:
        raise StorageFullError("There is no space left.")

    with monkeypatch.context() as patch:
        patch.setattr(run, "end", no_space)
        with pytest.raises(StorageFullError):
            localtrack.end_run("FAILED")
        assert localtrack.active_run() is run
    localtrack.end_run("FAILED")
    assert status(run) == "FAILED"
    assert localtrack.active_run() is None


def test_a_run_ended_by_its_object_is_not_active(folder: Path) -> None:
    run = localtrack.start_run()
    run.end("KILLED")
    assert localtrack.active_run() is None
    assert localtrack.last_active_run().info.run_id == run.run_id
    localtrack.end_run()
    assert status(run) == "KILLED"
    with localtrack.start_run() as other:
        assert other.run_id != run.run_id


def test_an_outer_run_that_ends_first(folder: Path) -> None:
    outer = localtrack.start_run()
    inner = localtrack.start_run(nested=True)
    outer.end()
    assert localtrack.active_run() is inner
    localtrack.end_run()
    assert localtrack.active_run() is None
    assert [status(outer), status(inner)] == ["FINISHED", "FINISHED"]


def test_system_metrics_are_refused_aloud(folder: Path) -> None:
    with pytest.warns(UserWarning, match="system metrics"), localtrack.start_run(log_system_metrics=True) as run:
        pass
    assert status(run) == "FINISHED"


def test_a_requeued_job_comes_to_its_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALTRACK_JOB_ID", "job 7")
    with localtrack.start_run(resume="auto", run_name="first") as first:
        localtrack.log_metric("m", 1, step=4)
    with localtrack.start_run(resume="auto") as again:
        assert again.run_id == first.run_id
        assert again.next_step("m") == 5
    with localtrack.start_run(resume="auto", job="job 8") as other:
        assert other.run_id != first.run_id


def test_no_artifacts_without_a_run_says_so(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "localtrack"):
        uri = localtrack.get_artifact_uri("a/b.txt")
    assert "start_run()" in caplog.text
    assert uri.endswith(f"{localtrack.active_run().run_id}/artifacts/a/b.txt")
    caplog.clear()
    localtrack.get_artifact_uri()
    assert caplog.text == ""


def test_each_thread_has_its_own_active_run(folder: Path) -> None:
    with localtrack.start_run() as main:
        seen: list[object] = []

        def work() -> None:
            seen.append(localtrack.active_run())
            seen.append(localtrack.last_active_run())
            localtrack.log_param("in thread", 1)
            seen.append(localtrack.active_run().run_id)
            localtrack.end_run()

        in_thread(work)
        assert seen[:2] == [None, None]
        assert seen[2] != main.run_id
        assert localtrack.active_run() is main


def test_a_thread_logs_by_id_through_the_run_that_is_open(folder: Path) -> None:
    with localtrack.start_run() as run:
        in_thread(lambda: localtrack.log_metric("m", 1, run_id=run.run_id))
        in_thread(lambda: localtrack.log_params({"p": 1}, run_id=run.run_id))
        assert len(logs(run)) == 1
    assert localtrack.get_run(run.run_id).data == localtrack.types.RunData({"m": 1.0}, {"p": "1"}, run.data.tags)


def test_a_run_left_open_by_a_thread_is_ended_at_exit(folder: Path) -> None:
    opened: list[localtrack.ActiveRun] = []
    in_thread(lambda: opened.append(localtrack.start_run()))
    gc.collect()
    assert status(opened[0]) == "RUNNING"
    active.end_all()
    assert status(opened[0]) == "FINISHED"


def test_runs_are_ended_at_exit_although_one_cannot_be(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outer = localtrack.start_run()
    broken = localtrack.start_run(nested=True)
    inner = localtrack.start_run(nested=True)
    with monkeypatch.context() as patch:
        patch.setattr(broken, "end", lambda: 1 / 0)
        active.end_all()
    assert [status(run) for run in (outer, broken, inner)] == ["FINISHED", "RUNNING", "FINISHED"]
    assert broken.run_id in caplog.text


def test_runs_that_ended_in_threads_are_not_kept(folder: Path) -> None:
    def work() -> None:
        with localtrack.start_run():
            pass

    for _ in range(5):
        in_thread(work)
    assert len(active._open) <= 1


def test_logging_by_id_leaves_status_and_end_alone(folder: Path) -> None:
    with localtrack.start_run() as run:
        pass
    before = localtrack.get_run(run.run_id).info
    for step in range(20):
        localtrack.log_metric("m", step, step=step, run_id=run.run_id)
    assert localtrack.get_run(run.run_id).info == before
    assert localtrack.get_run(run.run_id).data.metrics == {"m": 19.0}
    assert localtrack.active_run() is None
    assert len(logs(run)) == 2


def test_logging_by_id_to_many_runs_keeps_few_open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active, "MAX_ATTACHED_COUNT", 2)
    runs = []
    for _ in range(4):
        with localtrack.start_run() as run:
            runs.append(run)
    for step, number in enumerate((0, 1, 0, 2, 3, 0)):
        localtrack.log_metric("m", step, step=step, run_id=runs[number].run_id)
    assert [run_id for _, run_id in active._attached] == [runs[3].run_id, runs[0].run_id]
    # Used again before it became the one used least recently, the first was attached once.
    assert [len(logs(run)) for run in runs] == [3, 2, 2, 2]
    assert [localtrack.get_run(run.run_id).data.metrics["m"] for run in runs] == [5.0, 1.0, 3.0, 4.0]


def test_logging_by_id_to_no_run(folder: Path) -> None:
    with pytest.raises(NotFoundError):
        localtrack.log_metric("m", 1, run_id="0" * 32)
    with localtrack.start_run() as run:
        pass
    localtrack.delete_run(run.run_id)
    with pytest.raises(StateError):
        localtrack.log_text("a", "a.txt", run_id=run.run_id)
    assert active._attached == {}


EXITS = {
    "the end of the script": ("", {"outer": "FINISHED", "inner": "FINISHED"}),
    "sys.exit": ("import sys; sys.exit(3)", {"outer": "FINISHED", "inner": "FINISHED"}),
    "an exception": ("raise ValueError", {"outer": "FINISHED", "inner": "FINISHED"}),
    "no exit handlers": ("import os; os._exit(1)", {"outer": "RUNNING", "inner": "RUNNING"}),
    "a fork that exits": (
        "import os, sys\nif os.fork() == 0: sys.exit()\nos.wait(); os._exit(0)",
        {"outer": "RUNNING", "inner": "RUNNING"},
    ),
}


@pytest.mark.parametrize(("ending", "left"), EXITS.values(), ids=EXITS)
def test_what_the_end_of_a_process_leaves(folder: Path, ending: str, left: dict[str, str]) -> None:
    start = "from localtrack import start_run\nstart_run(run_name='outer')\nstart_run(run_name='inner', nested=True)\n"
    subprocess.run(
        [sys.executable, "-c", start + ending],
        env={**os.environ, "PYTHONPATH": SOURCE},
        stderr=subprocess.DEVNULL,
        check=False,
    )
    runs = localtrack.search_runs(output_format="list")
    assert {run.info.run_name: run.info.status for run in runs} == left
