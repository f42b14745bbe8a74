"""Two copies of a store pushed at once to a server that keeps what it gets twice: whatever the order of their requests.

Each request waits for its turn, and every order with at most two switches between the pushes is tried with --long, with
a server whose later runs have greater ids, and with one where they have lesser ones. The short form tries a part of
them. After both pushes nothing is doubled, and after one more of each nothing is missing.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import random
import shutil
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import localtrack.sync.run_push
import localtrack.sync.target
from localtrack import ActiveRun, Store
from localtrack.errors import LocaltrackError
from localtrack.sync.claims import CLAIM_TAG_PREFIX, Claim
from localtrack.sync.limits import MLFLOW, Limits
from localtrack.sync.options import Naming, Thinning
from localtrack.sync.report import PushReport
from localtrack.types import LoggedModelOutput
from tests.sync.comparison import Expected, compare_store, expect
from tests.sync.front import Answer, Request
from tests.sync.link import Link
from tests.sync.pushing import push_over
from tests.sync.stand_in import StandIn
from tests.sync.stores import START_MS
from tests.sync.turns import TurnLink, Turns, try_orders
from tests.sync.workspace import Workspace

BATCH_COUNT = 3
"""Points in a request, so that few points make several."""
CUT_AT = 8
"""Number of the request of a first push before which its connection is gone: some points are there."""
ALL = Thinning()


@pytest.fixture(autouse=True)
def a_push_that_does_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches, one request at a time, and pauses that are not random."""

    def limits_of_mlflow(version: object) -> Limits:
        return dataclasses.replace(MLFLOW, batch_metrics_count=BATCH_COUNT)

    monkeypatch.setattr(localtrack.sync.target, "limits_of_mlflow", limits_of_mlflow)
    monkeypatch.setattr(localtrack.sync.run_push, "ahead", iter)
    monkeypatch.setattr(random, "random", random.Random(5).random)


class Case:
    """Two copies of a store, and what was pushed before.

    Args:
        folder: For the copies, `here` and `there`.
        server: What the target has, and keeps as it is.
        is_one_behind: The copy `there` has less, so that its push says that the target has more than it should.
        options: Of the pushes.
    """

    def __init__(self, folder: Path, server: StandIn, *, is_one_behind: bool = False, **options: Any) -> None:
        self._is_one_behind = is_one_behind
        self.stores = [Store.open(folder / name) for name in ("here", "there")]
        self.options = options
        self._folder = folder
        self._server = server
        shutil.copytree(folder, folder.with_name("begin"))
        expected = expect(self.stores[0])
        if options.get("thinning", ALL).is_off:
            self.expected: Expected = expected
        else:  # what one of them brings there, alone
            alone = self.begin(is_ascending=True)
            self.push(Link(alone), 0)
            self.expected = dataclasses.replace(expected, points=points_there(alone))

    def begin(self, *, is_ascending: bool) -> StandIn:
        """Return a server that has what was pushed before, and give the copies their ledgers of then."""
        for name in ("here", "there"):
            ledger, at_first = self._folder / name / "sync", self._folder.with_name("begin") / name / "sync"
            shutil.rmtree(ledger, ignore_errors=True)
            if at_first.exists():
                shutil.copytree(at_first, ledger)
        numbers = itertools.count(10**6, 1 if is_ascending else -1)
        server = StandIn(appends_duplicates=True, make_id=lambda: f"{next(numbers):032d}")
        server.experiments = copy.deepcopy(self._server.experiments)
        server.runs = copy.deepcopy(self._server.runs)
        return server

    def push(self, link: Link, who: int) -> PushReport | None:
        """Push one of the copies; None where that failed as a whole."""
        with contextlib.suppress(LocaltrackError):
            return push_over(link, self.stores[who], place=str(who), **self.options)
        return None

    def try_order(self, switches: Collection[int], *, is_ascending: bool) -> Turns:
        """Push both in some order, and once more what did not come to its end."""
        server, turns = self.begin(is_ascending=is_ascending), Turns(switches)
        reports: list[PushReport | None] = [None, None]

        def push(who: int) -> None:
            reports[who] = self.push(TurnLink(server, turns, who), who)

        turns.run(lambda: push(0), lambda: push(1))
        assert doubled(server) == [], (switches, reports)
        for who, report in enumerate(reports):
            if report is None or not report.is_complete:
                again = self.push(Link(server), who)
                assert again is not None, switches
                assert again.is_complete or (who == 1 and self._is_one_behind), (switches, again)
        assert compare_store(server, self.expected, with_artifacts=False) == [], (switches, reports)
        return turns


def points_there(server: StandIn) -> dict[str, dict[str, set[Any]]]:
    """Return the points that the server keeps, per local id of the run and per key."""
    return {
        run["tags"]["localtrack.run_id"]: {key: set(points) for key, points in run["points"].items()}
        for run in server.runs.values()
    }


def doubled(server: StandIn) -> list[str]:
    """Return the metrics of which the server keeps a point twice."""
    return [
        key
        for run in server.runs.values()
        for key, points in run["points"].items()
        if len(points) != len(set(points)) and run["info"]["lifecycle_stage"] == "active"
    ]


def log(run: ActiveRun, steps: range) -> None:
    for step in steps:
        run.log_metric("loss", 1 / (step + 1), step=step, timestamp=START_MS + step)
        if step % 2:
            run.log_metric("acc", step / 10, step=step, timestamp=START_MS + step)


def make_new(folder: Path) -> Case:
    """Nothing is there yet."""
    with Store.open(folder / "here") as store, store.start_run("e", start_time=START_MS, context=False) as parent:
        parent.log_param("lr", 0.1)
        log(parent, range(6))
        with store.start_run("e", parent_run_id=parent.run_id, start_time=START_MS, context=False) as child:
            child.log_metric("loss", 0.5, step=1, timestamp=START_MS)
    shutil.copytree(folder / "here", folder / "there")
    return Case(folder, StandIn())


def make_grown(
    folder: Path,
    *,
    ledgers: Collection[str] = ("here", "there"),
    behind: Collection[str] = (),
    is_cut: bool = False,
    has_ended: bool = True,
    thinning: Thinning = ALL,
    then: Thinning = ALL,
    more: range = range(5, 9),
) -> Case:
    """A run was pushed and has gone on since.

    Args:
        folder: For the copies.
        ledgers: The copies that know what was pushed.
        behind: `there`, if that copy has the run as it was then.
        is_cut: That push was cut short after some points.
        has_ended: The run is no longer running.
        thinning: Of that push.
        then: Of those that come.
        more: What was logged since.
    """
    server = StandIn(appends_duplicates=True)
    origin = folder.parent / "origin"
    with Store.open(origin) as store:
        run = store.start_run("e", start_time=START_MS, context=False)
        log(run, range(5))
        store.flush()
        link = Link(server)
        if is_cut:
            link.faults = dict.fromkeys(range(CUT_AT, 1000), "cut_before")
        report = push_over(link, store, place="0", thinning=thinning)
        assert report.is_complete != is_cut
        for name in behind:
            shutil.copytree(origin, folder / name)
        log(run, more)
        if has_ended:
            run.end()
        store.flush()
        for name in {"here", "there"}.difference(behind):
            shutil.copytree(origin, folder / name)
        run.end()
    for name in {"here", "there"}.difference(ledgers):
        shutil.rmtree(folder / name / "sync")
    for there in server.runs.values():  # what that push has claimed is over
        there["tags"].update({key: "1" for key in there["tags"] if key.startswith(CLAIM_TAG_PREFIX)})
    return Case(folder, server, is_one_behind=bool(behind), thinning=then)


CASES: dict[str, Callable[[Path], Case]] = {
    "new": make_new,
    "both know": make_grown,
    "one knows": partial(make_grown, ledgers=("here",)),
    "nobody knows": partial(make_grown, ledgers=()),
    "goes on": partial(make_grown, has_ended=False),
    "one is behind": partial(make_grown, has_ended=False, behind=("there",), ledgers=("here",)),
    "cut short": partial(make_grown, is_cut=True),
    "thinned before": partial(make_grown, thinning=Thinning(every=3), more=range(0)),
    "ends thinned": partial(make_grown, thinning=Thinning(every=3), then=Thinning(every=3), more=range(0)),
}


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "is_ascending"), [*((name, True) for name in CASES), ("new", False)], ids=[*CASES, "new, lesser ids later"]
)
def test_every_order(name: str, is_ascending: bool, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    case = CASES[name](tmp_path / "copies")
    orders: Counter[tuple[tuple[int, str], ...]] = Counter()

    def try_order(switches: Collection[int]) -> int:
        turns = case.try_order(switches, is_ascending=is_ascending)
        orders[tuple(turns.steps)] += 1
        return turns.choices_count

    part = 1 if request.config.getoption("--long") else 6
    tried_count = try_orders(try_order, most=2, part=part)
    print(f"{tried_count} orders")
    assert len(orders) == tried_count


def test_a_run_that_another_copy_replaced_is_sent_to_the_one_that_stays(tmp_path: Path) -> None:
    """One copy has looked before the other one made the runs, makes them again, and deletes those that were sent."""
    case = make_new(tmp_path / "copies")
    looked = case.try_order((), is_ascending=False).steps.index((0, "runs/search")) + 1
    steps = case.try_order((looked,), is_ascending=False).steps
    compares = [number for number, step in enumerate(steps) if step == (1, "runs/search")][1]
    assert steps[compares - 1] == (1, "runs/update")
    case.try_order((looked, compares), is_ascending=False)
    # Or its parent is deleted before it has ended, and the child that is made after that is the one that stays.
    case.try_order((looked, steps.index((1, "runs/update"))), is_ascending=False)


@pytest.mark.long
def test_logged_models_are_made_once_in_every_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Of two that two pushes make the one that was first stays, and the run that it names as its source."""
    monkeypatch.setenv("DATABRICKS_HOST", "http://workspace.example")
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-good")
    prefix = "/Shared/x/"
    with Store.open(tmp_path / "copies" / "0") as store:
        with store.start_run("models", start_time=START_MS, context=False) as maker:
            model = store.create_logged_model(
                store.get_run(maker.run_id).info.experiment_id, "tree", maker.run_id, {"stage": "a"}, {"p": "1"}
            )
            maker.log_outputs([LoggedModelOutput(model.model_id, 3)])
            log(maker, range(2))
        store.finalize_logged_model(model.model_id, "READY")
    shutil.copytree(tmp_path / "copies" / "0", tmp_path / "copies" / "1")
    stores = [Store.open(tmp_path / "copies" / name) for name in ("0", "1")]
    options: dict[str, Any] = {"url": "databricks", "naming": Naming(prefix)}

    def try_order(switches: Collection[int]) -> int:
        for name in ("0", "1"):
            shutil.rmtree(tmp_path / "copies" / name / "sync", ignore_errors=True)
        workspace, turns = Workspace(appends_duplicates=True), Turns(switches)

        def read(asked: Request) -> Answer:
            return workspace(dataclasses.replace(asked, headers={"authorization": "Bearer dapi-good"}))

        def push(who: int) -> None:
            with contextlib.suppress(LocaltrackError):
                push_over(TurnLink(workspace, turns, who), stores[who], place=str(who), **options)

        turns.run(lambda: push(0), lambda: push(1))
        for who in (0, 1):
            report = push_over(Link(workspace), stores[who], place=str(who), **options)
            assert report.is_complete, (switches, report)
        assert compare_store(read, stores[0], prefix=prefix, refused_tags=("mlflow.user",), with_artifacts=False) == []
        living = [shown for shown in workspace.tracking.models.values() if not shown["is_deleted"]]
        assert len(living) == 1, (switches, living)
        source = workspace.tracking.runs[living[0]["info"]["source_run_id"]]
        assert source["info"]["lifecycle_stage"] == "active", switches
        assert source["model_outputs"] == {living[0]["info"]["model_id"]: 3}, switches
        return turns.choices_count

    tried_count = try_orders(try_order, most=2, part=1 if request.config.getoption("--long") else 7)
    print(f"{tried_count} orders")


def test_without_claims_some_order_doubles_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which shows that these orders are worth trying."""

    def take(claim: Claim) -> dict[str, Any] | None:
        claim._set(claim.tag()[claim._context.claim_key])
        return claim._context.tracking.get_run(claim.remote_id)

    monkeypatch.setattr(Claim, "take", take)
    case = make_grown(tmp_path / "copies")
    with pytest.raises(AssertionError, match=r"assert \['(acc|loss)'.* == \[\]"):
        try_orders(lambda switches: case.try_order(switches, is_ascending=True).choices_count, most=1)
