"""Everything at once for a while, with kills at random; at the end an exact audit of every acknowledged record."""

from __future__ import annotations

import faulthandler
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from random import Random

import pytest
from tests.crash.audit import audit, read_said
from tests.crash.forks import Forks
from tests.sync.comparison import compare_store
from tests.sync.mlflow_server import serve_mlflow

from localtrack.api.store import Store
from localtrack.store.spool_waiting import list_waiting
from localtrack.store.spooling import drain
from localtrack.types import ViewType

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


WAYS = {"search", "pack", "gc", "sync", "merge", "compact", "check", "removed"}
"""What must have been done while others wrote."""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as server:
        yield server


@pytest.mark.long
def test_everything_at_once(forks: Forks, tmp_path: Path, long_form: bool) -> None:
    """Writers and maintainers at once, all killed at random; the long form pushes to a real MLflow server as well."""
    if long_form:
        faulthandler.cancel_dump_traceback_later()  # it is meant to take its time
    with serve_mlflow(tmp_path) if long_form else nullcontext("") as server:
        soak = Soak(forks, tmp_path, Random(None if long_form else 5), server)
        soak.run(time.time() + (30 * 60 if long_form else 10))
        soak.audit()


class Soak:
    """The processes, and what they have said."""

    def __init__(self, forks: Forks, folder: Path, random: Random, server: str) -> None:
        self.forks, self.folder, self.random, self.server = forks, folder, random, server
        self.root, self.spool, self.other = folder / "store", folder / "spool", folder / "other"
        self.said: list[tuple[Path, str]] = []
        self.reports: list[Path] = []
        self.pids: dict[int, str] = {}
        self.kills: Counter[str] = Counter()

    def run(self, until_s: float) -> None:
        Store.open(self.other).close()
        with Store.open(self.root) as store:
            store.create_experiment("pushed")
            shared_run = store.start_run("shared", context=False)
            store.flush()
            while time.time() < until_s or (WAYS - self._read_reports()[0].keys() and time.time() < until_s + 120):
                self._start(shared_run.run_id)
                self._kill()
                time.sleep(self.random.random() * 0.4)
            (self.folder / "stop").touch()
            for pid, kind in self.pids.items():
                if kind == "maintainer":
                    assert self.forks.wait(pid) == 0
                else:
                    self.forks.kill(pid)
            shared_run.end()

    def audit(self) -> None:
        for waiting, _ in list_waiting(str(self.spool)):
            report = drain(waiting)
            assert (report.findings, report.files_left) == ([], 0)
        deeds = [deed for path, prefix in self.said for deed in read_said(path, prefix)]
        result = audit(self.root, deeds)
        assert result.problems == []
        assert result.acknowledged > 100
        done, refused, deleted = self._read_reports()
        with Store.open(self.root) as store:
            assert store.gc(dry_run=False, older_than="0s").spared == []
            runs = {row.info.run_id for row in store.search_runs(max_results=None, run_view_type=ViewType.ALL)}
            assert deleted
            assert deleted & runs == set()
            assert store.check().is_sound
            assert store.sync(self.other).is_complete
            pushed = {
                row.info.run_id
                for row in store.search_runs(max_results=None)
                if store.get_experiment(row.info.experiment_id).name == "pushed"
            }
            if self.server:
                assert store.sync(self.server, experiment_names=["pushed"]).is_complete
                assert pushed
                assert compare_store(self.server, store, run_ids=pushed) == []
        with Store.open(self.other) as copy:
            assert copy.merge(self.root).findings == []
        assert audit(self.other, deeds).problems == []
        assert WAYS - done.keys() == set()
        assert [code for code in refused if "locked" not in code] == []
        counts = f"{len(deeds)} runs, {dict(self.kills)} kills, {result.acknowledged} values, {len(pushed)} runs pushed"
        print(f"{counts}, {len(deleted)} runs removed, {dict(done)}, {dict(refused)}")

    def _start(self, shared_run_id: str) -> None:
        kinds = Counter(self.pids.values())
        for _ in range(kinds["maintainer"], 2):
            self.reports.append(self.folder / f"report{len(self.reports)}")
            pid = self.forks.start(
                "tests.concurrency.programs:do_maintenance",
                root=str(self.root),
                stop=str(self.folder / "stop"),
                report=str(self.reports[-1]),
                seed=self.random.randrange(1 << 30),
                other=str(self.other),
                server=self.server,
            )
            self.pids[pid] = "maintainer"
        if kinds.total() - kinds["maintainer"] < 3:
            is_pushed = bool(self.server) and not kinds["pushed"] and self.random.random() < 0.1
            self.pids[self._start_writer(shared_run_id, is_pushed)] = "pushed" if is_pushed else "writer"

    def _kill(self) -> None:
        for kind, chance in (("writer", 0.4), ("pushed", 0.3), ("maintainer", 0.04)):
            pids = [pid for pid, its_kind in self.pids.items() if its_kind == kind]
            if pids and self.random.random() < chance:
                victim = self.random.choice(pids)
                self.forks.kill(victim)
                del self.pids[victim]
                self.kills[kind] += 1

    def _start_writer(self, shared_run_id: str, is_pushed: bool) -> int:
        """Start a writer of one of the kinds there are."""
        prefix = f"w{len(self.said)}"
        said = self.folder / f"said.{prefix}"
        self.said.append((said, prefix))
        kind = "pushed" if is_pushed else self.random.choice(["short runs", "one run of all", "spooled"])
        if kind == "spooled":
            return self.forks.start(
                "tests.concurrency.programs:spool_and_log",
                root=str(self.root),
                spool=str(self.spool),
                said=str(said),
                prefix=prefix,
            )
        return self.forks.start(
            "tests.concurrency.programs:log_slowly",
            root=str(self.root),
            said=str(said),
            prefix=prefix,
            run_id=shared_run_id if kind == "one run of all" else None,
            experiment="pushed" if is_pushed else "soak",
        )

    def _read_reports(self) -> tuple[Counter[str], Counter[str], set[str]]:
        done, refused, deleted = Counter[str](), Counter[str](), set[str]()
        for path in self.reports:
            if path.exists():  # else it was killed before it had done anything
                found = json.loads(path.read_text())
                done.update(found["done"])
                refused.update(found["refused"])
                deleted.update(found["deleted"])
        return done, refused, deleted
