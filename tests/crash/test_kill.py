"""kill -9 at random moments: nothing acknowledged is lost, nothing is there twice, and all of it can be read."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from tests.crash.audit import Deed, audit, read_said
from tests.crash.forks import Forks

from localtrack.api.store import Store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@dataclass(frozen=True)
class Mode:
    """Who logs what until it is killed."""

    name: str
    processes: int = 1
    is_same_run: bool = False
    calls_count: int | None = None
    small_bytes: int | None = None
    lives: int = 1
    """How many processes come one after another to the same run."""
    longest_life_s: float = 0.04
    """On a machine that has time; it grows until something is acknowledged in it."""


MODES = [
    Mode("one process"),
    Mode("four processes, a run each", processes=4),
    Mode("four processes, one run", processes=4, is_same_run=True),
    Mode("sealing all the time", small_bytes=3_000, longest_life_s=0.2),
    Mode("four processes, one run, sealing all the time", processes=4, is_same_run=True, small_bytes=5_000),
    Mode("resumed after each death", is_same_run=True, lives=4, small_bytes=4_000),
    Mode("short runs, started and ended", calls_count=12, longest_life_s=0.2),
    Mode("two processes, short runs with chunks", processes=2, calls_count=60, small_bytes=1_500, longest_life_s=0.2),
]


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_nothing_acknowledged_is_lost(
    mode: Mode, forks: Forks, fast_folder: Path, rounds: Callable[[int, int], int], long_form: bool
) -> None:
    random = Random(None if long_form else mode.name)
    kills, acknowledged, longest_life_s = 0, 0, mode.longest_life_s
    while kills < rounds(7, 130) or acknowledged == 0:
        root = fast_folder / f"store{kills}"
        deeds = _kill_round(mode, forks, root, random, longest_life_s)
        result = audit(root, deeds)
        assert result.problems == []
        acknowledged += result.acknowledged
        if result.acknowledged == 0:
            longest_life_s *= 1.2  # a busy machine gives a process less to do in that time
        kills += mode.processes * mode.lives
        said = root.with_suffix(".after")
        run_ids = sorted({deed.run_id for deed in deeds})[:3]
        code = forks.run(
            "tests.crash.deeds:go_on",
            root=str(root),
            run_ids=run_ids,
            prefix="after",
            said=str(said),
            calls_count=30,
            small_bytes=mode.small_bytes,
        )
        assert code == 0
        after = audit(root, deeds + read_said(said, "after"))
        assert after.problems == []
        shutil.rmtree(root)


def _kill_round(mode: Mode, forks: Forks, root: Path, random: Random, longest_life_s: float) -> list[Deed]:
    """Let processes log to a new store and kill them all, one after another; return what they said."""
    run_id = None
    if mode.is_same_run:
        with Store.open(str(root)) as store:
            run_id = store.start_run("e", context=False).run_id
            store.flush()
    elif random.random() < 0.5:  # else the processes make the store, and one may be killed in it
        Store.open(str(root)).close()
    said: list[tuple[Path, str]] = []
    for life in range(mode.lives):
        pids = []
        for number in range(mode.processes):
            said.append((root.with_suffix(f".said{life}.{number}"), f"p{life}{number}"))
            pids.append(
                forks.start(
                    "tests.crash.deeds:work",
                    root=str(root),
                    prefix=said[-1][1],
                    said=str(said[-1][0]),
                    run_id=run_id,
                    calls_count=mode.calls_count,
                    small_bytes=mode.small_bytes,
                )
            )
        for pid in pids:
            time.sleep(random.random() ** 2 * longest_life_s)
            forks.kill(pid)
    Store.open(str(root)).close()  # where the last process was killed before there was a store
    return [deed for path, prefix in said for deed in read_said(path, prefix)]
