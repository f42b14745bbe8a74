"""Whatever happens to whichever request: after the next push the remote equals the store, nothing missing or doubled.

With --long every request of a push is tried with every fault, and a process that pushes is killed at every request,
before and after the server has done what it asks for. The short form tries a fifth of them, in turns.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from localtrack import Store
from localtrack.errors import LocaltrackError
from tests.sync.comparison import compare_store
from tests.sync.front import FAULTS, Front
from tests.sync.pushing import push
from tests.sync.stand_in import StandIn
from tests.sync.stores import add_to_store, make_store

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store, and the same store later."""
    folder = tmp_path_factory.mktemp("stores")
    with make_store(folder / "first"):
        pass
    shutil.copytree(folder / "first", folder / "later")
    with Store.open(folder / "later") as store:
        add_to_store(store)
    return folder / "first", folder / "later"


def count_requests(stores: tuple[Path, Path], tmp_path: Path) -> tuple[int, int]:
    """Return how many requests a push of the first store takes, and then one of the later store."""
    with Front(StandIn()) as front:
        shutil.copytree(stores[0], tmp_path / "counted")
        with Store.open(tmp_path / "counted") as store:
            push(store, front.url, workers_count=1)
            first = len(front.requests)
            store.merge(stores[1])
            push(store, front.url, workers_count=1)
        return first, len(front.requests) - first


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_at_each_request(
    fault: str, stores: tuple[Path, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    first_count, later_count = count_requests(stores, tmp_path)
    assert first_count > 15
    assert later_count > 5
    start, step = (0, 1) if request.config.getoption("--long") else (FAULTS.index(fault) % 5, 5)
    for number in range(start, first_count + later_count, step):
        shutil.copytree(stores[0], tmp_path / f"{number}")
        with (
            Front(StandIn(appends_duplicates=True), slow_s=0.7) as front,
            Store.open(tmp_path / f"{number}") as store,
        ):
            front.faults[number] = fault
            push_or_fail(store, front)
            store.merge(stores[1])
            front.faults[max(number, len(front.requests))] = fault if number >= first_count else ""
            push_or_fail(store, front)
            front.faults.clear()
            report = push(store, front.url)
            assert report.is_complete, (number, report)
            assert compare_store(front.url, store) == [], (number, front.requests[number].path)


def push_or_fail(store: Store, front: Front) -> None:
    with contextlib.suppress(LocaltrackError):
        push(store, front.url, workers_count=1)


@pytest.mark.long
def test_two_faults_one_after_the_other(
    stores: tuple[Path, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What the push does after a fault can meet a fault as well."""
    first_count, _ = count_requests(stores, tmp_path)
    for number in range(0, first_count, 1 if request.config.getoption("--long") else 4):
        stand_in = StandIn(appends_duplicates=True)
        with Front(stand_in) as front, Store.open(shutil.copytree(stores[0], tmp_path / f"{number}")) as store:
            front.faults = {number: "cut_after", number + 1: "fail_before", number + 2: "cut_after"}
            push_or_fail(store, front)
            front.faults.clear()
            assert push(store, front.url).is_complete
            assert compare_store(front.url, store) == [], number


@pytest.mark.long
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_push_killed_at_each_request(
    moment: str, stores: tuple[Path, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    first_count, _ = count_requests(stores, tmp_path)
    step = 1 if request.config.getoption("--long") else 6
    for number in range(0 if moment == "after" else step // 2, first_count, step):
        stand_in = StandIn(appends_duplicates=True)
        shutil.copytree(stores[0], tmp_path / f"{number}")
        with Front(stand_in) as front, Store.open(tmp_path / f"{number}") as store:
            child: list[subprocess.Popen[bytes]] = []

            def kill(at: int, when: str, number: int = number, child: list[subprocess.Popen[bytes]] = child) -> None:
                if at == number and when == moment:
                    os.kill(child[0].pid, signal.SIGKILL)
                    child[0].wait()

            front.on_request = kill
            command = [sys.executable, "-m", "tests.sync.pushing", str(tmp_path / f"{number}"), front.url]
            with subprocess.Popen(command, cwd=REPOSITORY) as process:
                child.append(process)
            # A push may take a request less than the one that was counted.
            assert process.returncode == -signal.SIGKILL or len(front.requests) <= number
            front.on_request = lambda *_: None
            assert push(store, front.url).is_complete
            assert compare_store(front.url, store) == [], number


def test_two_pushers_of_two_copies_at_once(stores: tuple[Path, Path], tmp_path: Path) -> None:
    """Both look before either has made a run, so that both make it: one of the two stays, and is whole."""
    stand_in = StandIn()
    with Front(stand_in) as front:
        places = [shutil.copytree(stores[0], tmp_path / name) for name in ("a", "b")]
        searches: list[int] = []
        with Store.open(places[0]) as one, Store.open(places[1]) as other:

            def push_other(number: int, moment: str) -> None:
                if front.requests[number].path.endswith("runs/search") and moment == "after":
                    searches.append(number)
                    if len(searches) == 2:  # the first pusher has looked into both experiments
                        push(other, front.url)

            front.on_request = push_other
            report = push(one, front.url)
            assert report.notes
            assert report.is_complete
            assert compare_store(front.url, one) == []
            front.on_request = lambda *_: None
            assert push(other, front.url).is_complete
            assert compare_store(front.url, other) == []
