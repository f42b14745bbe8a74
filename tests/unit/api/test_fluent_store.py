"""Which store the fluent functions use, and what child processes are told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import localtrack
from localtrack.api import fluent_store
from localtrack.errors import InvalidInputError

SOURCE = str(Path(localtrack.__file__).parents[1])


def test_nothing_is_made_before_it_is_needed(folder: Path) -> None:
    assert localtrack.get_tracking_uri() == (folder / "ltruns").as_uri()
    localtrack.set_tracking_uri("runs")
    assert list(folder.iterdir()) == []
    localtrack.search_experiments()
    assert [path.name for path in folder.iterdir()] == ["runs"]


@pytest.mark.parametrize("named", ["a b", Path("a b"), "file:a%20b"])
def test_a_uri_that_was_got_can_be_set(folder: Path, named: str) -> None:
    localtrack.set_tracking_uri(named)
    uri = localtrack.get_tracking_uri()
    assert uri == (folder / "a b").as_uri()
    localtrack.set_tracking_uri("other")
    localtrack.set_tracking_uri(uri)
    assert localtrack.get_tracking_uri() == uri


def test_an_unusable_uri_changes_nothing(folder: Path) -> None:
    localtrack.set_tracking_uri("runs")
    with pytest.raises(InvalidInputError):
        localtrack.set_tracking_uri("http://host:5000")
    assert localtrack.get_tracking_uri() == (folder / "runs").as_uri()


def test_the_environment_decides_until_and_after_a_choice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not localtrack.is_tracking_uri_set()
    monkeypatch.setenv("LOCALTRACK_TRACKING_URI", str(folder / "one"))
    assert localtrack.is_tracking_uri_set()
    assert localtrack.get_tracking_uri() == (folder / "one").as_uri()
    monkeypatch.setenv("LOCALTRACK_TRACKING_URI", str(folder / "two"))
    assert localtrack.get_tracking_uri() == (folder / "two").as_uri()
    localtrack.set_tracking_uri("three")
    assert localtrack.is_tracking_uri_set()
    localtrack.set_tracking_uri("")
    assert not localtrack.is_tracking_uri_set()
    assert localtrack.get_tracking_uri() == (folder / "ltruns").as_uri()


def test_a_program_that_changes_its_folder_keeps_its_store(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with localtrack.start_run() as first:
        pass
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert localtrack.get_run(first.run_id).info.status == "FINISHED"


def test_a_run_stays_in_its_store_when_another_is_chosen(folder: Path) -> None:
    localtrack.set_tracking_uri("one")
    with localtrack.start_run() as run:
        localtrack.set_tracking_uri("two")
        localtrack.log_param("p", 1)
        assert localtrack.get_artifact_uri().startswith(str(folder / "one"))
    assert localtrack.last_active_run().data.params == {"p": "1"}
    with localtrack.Store.open("one") as store:
        assert store.get_run(run.run_id).data.params == {"p": "1"}
    assert localtrack.search_runs(output_format="list", search_all_experiments=True) == []


def test_a_store_removed_meanwhile_is_made_again(folder: Path) -> None:
    localtrack.create_experiment("before")
    shutil.rmtree("ltruns")
    localtrack.create_experiment("after")
    assert sorted(e.name for e in localtrack.search_experiments()) == ["Default", "after"]


def test_threads_share_one_store(folder: Path) -> None:
    barrier = threading.Barrier(8)
    found = []

    def work() -> None:
        barrier.wait()
        found.append(fluent_store.active_store())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


def test_children_use_the_same_store_and_experiment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALTRACK_EXPERIMENT_NAME", "contradicts")
    localtrack.set_tracking_uri("a store")
    localtrack.set_experiment("chosen")
    (folder / "elsewhere").mkdir()
    script = "import localtrack; localtrack.log_param('child', 1)"
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    subprocess.run([sys.executable, "-c", script], cwd=folder / "elsewhere", env=environment, check=True)
    assert list((folder / "elsewhere").iterdir()) == []
    (run,) = localtrack.search_runs(output_format="list")
    assert run.data.params == {"child": "1"}
    assert run.info.status == "FINISHED"


def test_flush_reaches_the_disk_without_an_active_run(folder: Path) -> None:
    localtrack.flush()
    with localtrack.start_run():
        localtrack.log_metric("m", 1)
        localtrack.flush()
        localtrack.flush_async_logging()
