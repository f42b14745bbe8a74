"""Everything at once for a while, with kills at random; at the end an exact audit of every acknowledged record."""

from __future__ import annotations

import faulthandler
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from tests.crash.audit import audit, read_said
from tests.crash.forks import Forks

from localtrack.api.store import Store
from localtrack.store.spool_waiting import list_waiting
from localtrack.store.spooling import drain

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as server:
        yield server


@pytest.mark.long
def test_everything_at_once(forks: Forks, tmp_path: Path, long_form: bool) -> None:
    if long_form:
        faulthandler.cancel_dump_traceback_later()  # it is meant to take its time
    random = Random(None if long_form else 5)
    root, spool, other = tmp_path / "store", tmp_path / "spool", tmp_path / "other"
    Store.open(root).close()
    until_s = time.time() + (30 * 60 if long_form else 10)
    said: list[tuple[Path, str]] = []
    reports = [tmp_path / f"report{number}" for number in range(2)]
    pids: dict[int, str] = {}
    for number, report in enumerate(reports):
        pid = forks.start(
            "tests.concurrency.programs:do_maintenance",
            root=str(root),
            until_s=until_s,
            report=str(report),
            seed=number,
        )
        pids[pid] = "maintenance"
    kills = merges = 0
    with Store.open(root) as store:
        shared_run = store.start_run("shared", context=False)
        store.flush()
        while time.time() < until_s:
            writers = [pid for pid, kind in pids.items() if kind == "writer"]
            if len(writers) < 3:
                pids[start_writer(forks, random, root, spool, shared_run.run_id, said, tmp_path)] = "writer"
            elif random.random() < 0.5:
                victim = random.choice(writers)
                forks.kill(victim)
                del pids[victim]
                kills += 1
            time.sleep(random.random() * 0.4)
            if random.random() < 0.1:
                with Store.open(other) as copy:
                    copy.merge(root)
                merges += 1
        for pid, kind in pids.items():
            if kind == "writer":
                forks.kill(pid)
            else:
                assert forks.wait(pid) == 0
        shared_run.end()
    for waiting, _ in list_waiting(str(spool)):
        report = drain(waiting)
        assert (report.findings, report.files_left) == ([], 0)
    deeds = [deed for path, prefix in said for deed in read_said(path, prefix)]
    result = audit(root, deeds)
    assert result.problems == []
    assert result.acknowledged > 100
    with Store.open(other) as copy:
        assert copy.merge(root).findings == []
    assert audit(other, deeds).problems == []
    done, refused = Counter[str](), Counter[str]()
    for path in reports:
        found = json.loads(path.read_text())
        done.update(found["done"])
        refused.update(found["refused"])
    assert done["search"] > 0
    assert [code for code in refused if "locked" not in code] == []
    counts = f"{len(deeds)} runs, {kills} kills, {merges} merges, {result.acknowledged} values"
    print(f"{counts}, {dict(done)}, {dict(refused)}")


def start_writer(
    forks: Forks, random: Random, root: Path, spool: Path, run_id: str, said: list[tuple[Path, str]], folder: Path
) -> int:
    """Start a writer of one of the kinds there are."""
    prefix = f"w{len(said)}"
    said.append((folder / f"said.{prefix}", prefix))
    kind = random.choice(["short runs", "one run of all", "spooled"])
    if kind == "spooled":
        return forks.start(
            "tests.concurrency.programs:spool_and_log",
            root=str(root),
            spool=str(spool),
            said=str(said[-1][0]),
            prefix=prefix,
        )
    return forks.start(
        "tests.concurrency.programs:log_slowly",
        root=str(root),
        said=str(said[-1][0]),
        prefix=prefix,
        run_id=run_id if kind == "one run of all" else None,
    )
