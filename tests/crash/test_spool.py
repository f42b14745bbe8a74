"""kill -9 of processes that spool, with the drive away now and then: all that was acknowledged comes to it, once."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from tests.crash.audit import audit, read_said
from tests.crash.forks import Forks

from localtrack.api.store import Store
from localtrack.store.spool_waiting import list_waiting
from localtrack.store.spooling import drain

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.long
@pytest.mark.parametrize("is_same_run", [False, True], ids=["runs of their own", "one run"])
def test_nothing_acknowledged_is_lost(
    forks: Forks, fast_folder: Path, rounds: Callable[[int, int], int], long_form: bool, is_same_run: bool
) -> None:
    random = Random(None if long_form else f"spool {is_same_run}")
    for number in range(rounds(3, 200)):
        drive, aside = fast_folder / f"drive{number}", fast_folder / f"aside{number}"
        root, spool = drive / "store", fast_folder / f"spool{number}"
        drive.mkdir()
        with Store.open(str(root)) as store:
            run_id = store.start_run("e", context=False).run_id if is_same_run else None
        deeds = []
        for life in range(2):  # the second ones find what the first ones left in the spool
            said = [(fast_folder / f"said{number}.{life}.{place}", f"p{life}{place}") for place in range(3)]
            pids = [
                forks.start(
                    "tests.crash.deeds:work",
                    root=str(root),
                    prefix=prefix,
                    said=str(path),
                    run_id=run_id,
                    calls_count=None if is_same_run else 40,
                    small_bytes=2_500,
                    spool=str(spool),
                    move_interval_s=0.02,
                )
                for path, prefix in said
            ]
            try:
                time.sleep(0.1 + random.random() * 0.2)
                if random.random() < 0.5:
                    drive.rename(aside)
                    drive.mkdir()
                    time.sleep(random.random() * 0.1)
                    drive.rmdir()  # empty: nobody has made a store in the empty mount point
                    aside.rename(drive)
            finally:
                for pid in pids:
                    time.sleep(random.random() * 0.1)
                    forks.kill(pid)
            deeds += [deed for path, prefix in said for deed in read_said(path, prefix)]
        for waiting, _ in list_waiting(str(spool)):
            report = drain(waiting)
            assert report.findings == []
            assert report.files_left == 0
        result = audit(root, deeds)
        assert result.problems == []
        assert result.acknowledged > 0
        shutil.rmtree(drive)
