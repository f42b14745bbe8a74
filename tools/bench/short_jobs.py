"""Very many short jobs, one after the other, that nobody cleans up after: what they leave in inbox and index."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tools.bench import search_peers
from tools.bench.harness import Setting, Side, Turns, run_in_turns, time_once
from tools.bench.processes import make_environment
from tools.bench.results import Bound, Comparison, Result, Series

NAME = "short-jobs"
SUMMARY = "100,000 jobs of one run, each opening the store anew, and no maintenance: files left in inbox and index"
INBOX_BOUND = Bound(128)
INDEX_BOUND = Bound(100)
SEARCH_BOUND = Bound(2.0)
BATCH_JOBS = 470
"""So many jobs share a process, so that this takes minutes; then the folders are counted, at any place between two
compactions."""

JOBS = """\
import sys
from localtrack import Store
root, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for number in range(first, first + count):
    with Store.open(root, create=True) as store, store.start_run("jobs", run_name=f"job {number}") as run:
        run.log_params({"seed": number, "rate": 0.1})
        run.log_metric("loss", 1 / (number + 1))
"""
"""What jobs do, in a process of their own or many in one. Each opens and closes the store, as a process does."""
QUERY: dict[str, Any] = {"order_by": ["metrics.loss ASC"], "max_results": search_peers.BEST_COUNT}


def run(setting: Setting) -> Result:
    """Run jobs and count what they leave."""
    result = Result(NAME, SUMMARY)
    measure(result, setting)
    return result


def measure(result: Result, setting: Setting) -> None:
    """Run jobs, count what they leave, and add that to a result."""
    from localtrack import Store

    root = setting.folder / "jobs"
    jobs_count, processes_count = setting.choose(100_000, 300), setting.choose(200, 3)
    batch = setting.choose(BATCH_JOBS, 50)
    left: dict[str, list[float]] = {}
    seconds: list[float] = []
    for first in range(0, jobs_count - processes_count, batch):
        count = min(batch, jobs_count - processes_count - first)
        seconds.append(time_once(partial(_run_jobs, setting, root, first, count)) / count)
        _count(root, left)
    for number in range(jobs_count - processes_count, jobs_count):  # the last ones as jobs really are
        _run_jobs(setting, root, number, 1)
        _count(root, left)
    result.series.append(Series("localtrack", f"a job, {batch} in a process", "s", seconds))
    for what, values in left.items():
        result.series.append(Series("localtrack", what, "B" if "bytes" in what else "count", values))
    jobs = f"{jobs_count:,} jobs, {processes_count} of them a process each"
    most = {what: max(values) for what, values in left.items()}
    result.comparisons.append(Comparison(f"most inbox files, {jobs}", "count", [most["inbox files"]], INBOX_BOUND))
    result.comparisons.append(Comparison(f"most index files, {jobs}", "count", [most["index files"]], INDEX_BOUND))
    size = left["index bytes"][-1] / jobs_count
    result.series.append(Series("localtrack", "index of the short jobs at the end, a run", "B", [size]))
    turns: Turns[float] = {}
    with Store.open(root) as store:
        assert len(store.search_runs(max_results=None)) == jobs_count
        for side, prepare in (("as it was left", lambda: None), ("compacted", store.compact)):
            turns |= _measure_search(store, side, prepare, setting)
    what = f"{jobs_count:,} runs, 50 best whole rows, warm"
    result.add_turns(what, "s", turns)
    result.add_ratio(what, turns, "as it was left", "compacted", SEARCH_BOUND)


def _run_jobs(setting: Setting, root: Path, first: int, count: int) -> None:
    command = [sys.executable, "-c", JOBS, str(root), str(first), str(count)]
    subprocess.run(command, check=True, env=make_environment(setting.folder))


def _count(root: Path, left: dict[str, list[float]]) -> None:
    """Take down how many files there are, and how many bytes."""
    for name, folder in (("inbox", root / "inbox"), ("index", root / "index" / "v1")):
        sizes = [path.stat().st_size for path in folder.iterdir()] if folder.exists() else []
        left.setdefault(f"{name} files", []).append(len(sizes))
        left.setdefault(f"{name} bytes", []).append(sum(sizes))


def _measure_search(store: Any, side: str, prepare: Callable[[], object], setting: Setting) -> Turns[float]:
    prepare()
    sides = [Side(side, partial(time_once, partial(store.search_runs, **QUERY)))]
    sides[0].turn()
    return run_in_turns(sides, setting.round_count(15))
