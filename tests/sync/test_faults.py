"""Whatever happens to whichever request: after the next push the remote equals the store, nothing missing or doubled.

With --long every request of a push is tried with every fault, and a process that pushes is killed at every request,
before and after the server has done what it asks for. The short form tries a fifth of them, in turns. Faults come over
a link without sockets, whose clock is not real; `test_link.py` shows that they are what sockets give.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localtrack import Store
from localtrack.errors import LocaltrackError
from tests.sync.comparison import Expected, compare_store, expect
from tests.sync.front import FAULTS, Front
from tests.sync.link import Link
from tests.sync.pushing import push, push_in_child, push_over
from tests.sync.stand_in import StandIn
from tests.sync.stores import add_to_store, make_store


class Stores:
    """A store, and the same store later; a push only reads them, so that all that is to be undone is the ledger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.first = make_store(folder / "first")
        self.first.flush()
        shutil.copytree(folder / "first", folder / "later")
        self.later = Store.open(folder / "later")
        add_to_store(self.later)
        self.later.flush()
        self.expected_first: Expected = expect(self.first)
        self.expected_later: Expected = expect(self.later)

    def forget(self) -> None:
        """Remove the ledgers."""
        for name in ("first", "later"):
            shutil.rmtree(self.folder / name / "sync", ignore_errors=True)

    def grow(self) -> None:
        """Give the later store what the first one knows of the target."""
        if (self.folder / "first" / "sync").exists():
            shutil.move(self.folder / "first" / "sync", self.folder / "later" / "sync")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    stores = Stores(tmp_path_factory.mktemp("stores"))
    yield stores
    stores.first.close()
    stores.later.close()


@pytest.fixture(scope="module")
def counts(stores: Stores) -> tuple[int, int]:
    """How many requests a push of the first store takes, and then one of the later store."""
    link = Link(StandIn())
    stores.forget()
    push_over(link, stores.first)
    first = len(link.requests)
    stores.grow()
    push_over(link, stores.later)
    later = len(link.requests) - first
    assert first > 15
    assert later > 5
    return first, later


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_at_each_request(
    fault: str, stores: Stores, counts: tuple[int, int], request: pytest.FixtureRequest
) -> None:
    first_count, later_count = counts
    start, step = (0, 1) if request.config.getoption("--long") else (FAULTS.index(fault) % 5, 5)
    for number in range(start, first_count + later_count, step):
        stores.forget()
        link = Link(StandIn(appends_duplicates=True))
        link.faults[number] = fault
        push_or_fail(link, stores.first)
        stores.grow()
        link.faults[max(number, len(link.requests))] = fault if number >= first_count else ""
        push_or_fail(link, stores.later)
        link.faults.clear()
        report = push_over(link, stores.later)
        assert report.is_complete, (number, report)
        assert compare_store(link.back, stores.expected_later) == [], (number, link.requests[number].path)


def push_or_fail(link: Link, store: Store) -> None:
    with contextlib.suppress(LocaltrackError):
        push_over(link, store)


@pytest.mark.long
def test_two_faults_one_after_the_other(
    stores: Stores, counts: tuple[int, int], request: pytest.FixtureRequest
) -> None:
    """What the push does after a fault can meet a fault as well."""
    for number in range(0, counts[0], 1 if request.config.getoption("--long") else 4):
        stores.forget()
        link = Link(StandIn(appends_duplicates=True))
        link.faults = {number: "cut_after", number + 1: "fail_before", number + 2: "cut_after"}
        push_or_fail(link, stores.first)
        link.faults.clear()
        assert push_over(link, stores.first).is_complete
        assert compare_store(link.back, stores.expected_first) == [], number


@pytest.mark.long
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_push_killed_at_each_request(
    moment: str, stores: Stores, counts: tuple[int, int], request: pytest.FixtureRequest
) -> None:
    step = 1 if request.config.getoption("--long") else 6
    # Children of a process that has loaded everything, and has no threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.sync.pushing", "httpx", "pyarrow.compute", "localtrack.sync.push"])
    for number in range(0 if moment == "after" else step // 2, counts[0], step):
        stores.forget()
        with Front(StandIn(appends_duplicates=True)) as front:
            child = context.Process(target=push_in_child, args=(stores.folder / "first", front.url))

            def kill(at: int, when: str, number: int = number, pushing: Any = child) -> None:
                if at == number and when == moment:
                    os.kill(pushing.pid, signal.SIGKILL)
                    while _is_running(pushing.pid):
                        time.sleep(0.001)

            front.on_request = kill
            child.start()
            child.join()
            # A push may take a request less than the one that was counted.
            assert child.exitcode == -signal.SIGKILL or len(front.requests) <= number
            front.on_request = lambda *_: None
            assert push(stores.first, front.url).is_complete
            assert compare_store(front.back, stores.expected_first) == [], number


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_two_pushers_of_two_copies_at_once(stores: Stores, tmp_path: Path) -> None:
    """Both look before either has made a run, so that both make it: one of the two stays, and is whole."""
    stand_in = StandIn()
    with Front(stand_in) as front:
        stores.forget()
        places = [shutil.copytree(stores.folder / "first", tmp_path / name) for name in ("a", "b")]
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


@pytest.mark.long
def test_a_push_of_another_copy_at_each_request(
    stores: Stores, counts: tuple[int, int], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Two copies, each with a ledger of its own, and a server that keeps what it gets twice: nothing is there twice.

    The other copy pushes while this one stands before a request, and once more while it stands behind it.
    """
    other = Store.open(
        shutil.copytree(stores.folder / "first", tmp_path / "copy", ignore=shutil.ignore_patterns("sync"))
    )
    step = 1 if request.config.getoption("--long") else 6  # test_two_pushers.py has other orders of small stores
    for number in range(0, counts[0], step):
        for moment in ("before", "after"):
            stores.forget()
            shutil.rmtree(tmp_path / "copy" / "sync", ignore_errors=True)
            stand_in = StandIn(appends_duplicates=True)
            outer, inner = Link(stand_in), Link(stand_in)

            def push_other(at: int, when: str, number: int = number, moment: str = moment, link: Link = inner) -> None:
                if (at, when) == (number, moment):
                    with contextlib.suppress(LocaltrackError):
                        push_over(link, other, place="there")

            outer.on_request = push_other
            push_or_fail(outer, stores.first)
            assert inner.requests or len(outer.requests) <= number
            outer.on_request = lambda *_: None
            for link, store, place in ((outer, stores.first, "here"), (inner, other, "there")):
                report = push_over(link, store, place=place)
                assert report.is_complete, (number, moment, report)
                assert compare_store(stand_in, stores.expected_first) == [], (number, moment)
    other.close()


@pytest.mark.parametrize("is_over", [False, True])
def test_what_a_killed_push_has_claimed_is_waited_for_by_others_only(
    stores: Stores, tmp_path: Path, is_over: bool
) -> None:
    """Its own copy goes on at once; another one does after the claim has ended, whatever the clock of its host."""
    other = Store.open(
        shutil.copytree(stores.folder / "first", tmp_path / "copy", ignore=shutil.ignore_patterns("sync"))
    )
    stores.forget()
    stand_in = StandIn(appends_duplicates=True)
    link = Link(stand_in)

    def die(number: int, moment: str) -> None:
        if link.requests[number].path.endswith("log-batch") and moment == "after":
            raise KeyboardInterrupt

    link.on_request = die
    with pytest.raises(KeyboardInterrupt):
        push_over(link, stores.first)
    claimed = [run for run in stand_in.runs.values() if any(key.startswith("localtrack.claim.") for key in run["tags"])]
    assert len(claimed) == 1
    (failed,) = (
        run
        for run in push_over(Link(stand_in), other, place="there").runs
        if run.outcome == "failed" and run.points_sent == 0
    )
    assert failed.reason.startswith("Another copy of the store is being pushed to this run of the target.")
    if is_over:
        (key,) = (k for k, v in claimed[0]["tags"].items() if "claim" in k and v.split()[0].isdecimal())
        claimed[0]["tags"][key] = str(other.clock() - 5 * 60_000 - 1)
        assert push_over(Link(stand_in), other, place="there").is_complete
        assert compare_store(stand_in, stores.expected_first) == []
    assert push_over(Link(stand_in), stores.first).is_complete
    assert compare_store(stand_in, stores.expected_first) == []
    assert push_over(Link(stand_in), other, place="there").is_complete
    assert compare_store(stand_in, stores.expected_first) == []
    other.close()
