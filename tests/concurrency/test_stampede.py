"""Hundreds of processes released at one moment on a store that nobody has made; a drive that fails while they log."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from random import Random

import pytest
from tests.crash.audit import audit, read_said
from tests.crash.forks import Forks

from localtrack.api.store import Store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def forks() -> object:
    with Forks() as server:
        yield server


@pytest.mark.long
@pytest.mark.parametrize("is_killing", [False, True], ids=["all live", "half are killed"])
def test_all_start_at_once_on_an_empty_store(forks: Forks, tmp_path: Path, long_form: bool, is_killing: bool) -> None:
    random = Random(7)
    waves, per_wave, calls_count = (5, 100, 30) if long_form else (1, 40, 15)
    root, deeds, killed = tmp_path / "store", [], set()
    for wave in range(waves):
        go = tmp_path / f"go{wave}"
        pids, said, ready = [], [], []
        for number in range(per_wave):
            prefix = f"p{wave}x{number}"
            said.append((tmp_path / f"said.{prefix}", prefix))
            ready.append(tmp_path / f"ready.{prefix}")
            pids.append(
                forks.start(
                    "tests.concurrency.programs:start_together",
                    root=str(root),
                    ready=str(ready[-1]),
                    go=str(go),
                    said=str(said[-1][0]),
                    prefix=prefix,
                    calls_count=calls_count,
                )
            )
        while not all(path.exists() for path in ready):
            time.sleep(0.01)
        go.touch()
        victims = random.sample(range(per_wave), per_wave // 2) if is_killing else []
        for number in victims:
            time.sleep(random.random() * 0.02)
            os.kill(pids[number], 9)
        codes = [forks.wait(pid) for pid in pids]
        assert [code for number, code in enumerate(codes) if number not in victims] == [0] * (per_wave - len(victims))
        killed |= {pids[number] for number in victims}
        deeds += [deed for path, prefix in said for deed in read_said(path, prefix)]
    result = audit(root, deeds)
    assert result.problems == []
    ended = sum(deed.is_ended for deed in deeds)
    assert ended >= waves * per_wave - len(killed)
    with Store.open(root, create=False) as store:
        assert sorted(e.name for e in store.list_experiments()) == ["Default", "the same"]
        assert len({row.info.experiment_id for row in store.search_runs(max_results=None)}) == 1
    print(f"{len(deeds)} runs, {ended} ended, {result.acknowledged} acknowledged values, none lost or doubled")


OUTAGES = [
    pytest.param(errno.ENOSPC, id="no space"),
    pytest.param(errno.EIO, id="input/output error"),
    pytest.param(errno.ESTALE, id="stale handle"),
    pytest.param(errno.EACCES, id="permission pulled"),
]


@pytest.mark.long
@pytest.mark.parametrize("number", OUTAGES)
def test_a_drive_that_fails_for_a_while_stops_no_training(
    forks: Forks, tmp_path: Path, number: int, long_form: bool
) -> None:
    root, pids = tmp_path / "store", []
    Store.open(root).close()
    # So many operations fail; while the drive is away each call is one try.
    until, calls_count = (50_000, 60_000) if long_form else (150, 400)
    for process in range(4):
        pids.append(
            forks.start(
                "tests.concurrency.programs:log_through_outage",
                root=str(root),
                said=str(tmp_path / f"said{process}"),
                prefix=f"p{process}",
                calls_count=calls_count,
                report=str(tmp_path / f"report{process}"),
                fault={"errno": number, "until": until},
            )
        )
    assert [forks.wait(pid) for pid in pids] == [0] * 4
    deeds = [deed for process in range(4) for deed in read_said(tmp_path / f"said{process}", f"p{process}")]
    assert [deed.is_ended for deed in deeds] == [True] * 4
    result = audit(root, deeds)
    assert result.problems == []
    for process in range(4):
        report = json.loads((tmp_path / f"report{process}").read_text())
        about = [text for text in report["messages"] if "cannot be logged for now" in text]
        assert len(about) == 1, report["messages"]
        assert not any("lost" in text for text in report["messages"])
