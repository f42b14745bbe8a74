"""Searching 100,000 and 1,000,000 runs, of which only the index is made; and all that an index costs."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tools.bench import short_jobs
from tools.bench.harness import Setting, Side, run_in_turns, time_once
from tools.bench.processes import make_environment
from tools.bench.results import Bound, Comparison, Result, Series
from tools.bench.search import QUERY, measure_cold
from tools.make_store.shapes import Shape
from tools.make_store.store_writer import write_index_only, write_store

NAME = "search-large"
SUMMARY = (
    "100,000 runs, also with 500 sparse keys, and 1,000,000: warm, cold, memory; the index made anew; 100,000 jobs"
)
LARGE_BOUND_S = Bound(0.015)
HUGE_BOUND_S = Bound(0.060)
HUGE_COLD_BOUND_S = Bound(0.5)


MEMORY_MIB = 64, 2048
"""Settings to search with: one that is less than all columns of a million runs, and one that is more."""

MEMORY = f"""\
import json, resource, sys
from localtrack import Store

def peak_bytes():
    try:
        with open("/proc/self/status") as status:  # of this program alone, unlike what getrusage says
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

with Store.open(sys.argv[1]) as store:
    store.search_runs(**{QUERY!r})
    first = peak_bytes()
    for n in range(15):
        condition = f"metrics.metric{{n}} < 0.9 and params.param{{n}} = '0.1' and tags.tag{{n % 9}} != 'beta'"
        store.search_runs(filter_string=condition, order_by=[f"metrics.metric{{n}} DESC"], max_results=50)
    print(json.dumps([first, peak_bytes(), store._index._columns.used_bytes]))
"""
"""What a process runs whose memory is taken down: one search, then others of 39 keys in all."""


def run(setting: Setting) -> Result:
    """Measure searches of large stores, what their index takes, and what very many short jobs leave."""
    result = Result(NAME, SUMMARY)
    root, what = _measure_warm(result, setting)
    measure_cold(result, root, setting, f"{what}, a new process", HUGE_COLD_BOUND_S)
    _measure_memory(result, root, setting, what)
    _measure_rebuilding(result, setting)
    short_jobs.measure(result, setting)
    return result


def _measure_warm(result: Result, setting: Setting) -> tuple[Path, str]:
    """Measure the searches; return the store with the most runs, and what it is called."""
    from localtrack import Store

    large, huge = setting.choose(100_000, 500), setting.choose(1_000_000, 1_000)
    cases: list[tuple[str, Shape, dict[str, Any], Bound]] = [
        (f"{large:,} runs", Shape(large, seed=setting.seed), QUERY, LARGE_BOUND_S),
        (
            f"{large:,} runs with 500 sparse keys",
            Shape(large, sparse_keys_count=500, seed=setting.seed),
            {**QUERY, "filter_string": "metrics.sparse7 < 0.9 and params.param2 = '0.1'"},
            LARGE_BOUND_S,
        ),
        (f"{huge:,} runs", Shape(huge, seed=setting.seed), QUERY, HUGE_BOUND_S),
    ]
    with ExitStack() as stack:
        sides: list[Side[float]] = []
        for number, (what, shape, query, _) in enumerate(cases):
            root = setting.folder / f"store{number}"
            write_index_only(root, shape, progress=lambda _: None)
            store = stack.enter_context(Store.open(root))
            sides.append(Side(what, partial(time_once, partial(store.search_runs, **query))))
            sides[-1].turn()
            size = sum(path.stat().st_size for path in root.glob("index/v1/*"))
            result.series.append(Series(what, "index, a run", "B", [size / shape.runs_count]))
        turns = run_in_turns(sides, setting.round_count(15))
    asked = "50 best whole rows, warm"
    result.add_turns(asked, "s", turns)
    for what, _, _, bound in cases:
        result.comparisons.append(Comparison(f"localtrack, {what}, {asked}", "s", list(turns[what].values()), bound))
    result.add_ratio(asked, turns, cases[1][0], cases[0][0])
    return root, cases[-1][0]


def _measure_memory(result: Result, root: Path, setting: Setting, what: str) -> None:
    """Take down the memory of processes that search, by how much of the index they may keep."""
    for limit_mib in MEMORY_MIB:
        environment = make_environment(setting.folder) | {"LOCALTRACK_SEARCH_MEMORY": f"{limit_mib}MB"}
        command = [sys.executable, "-c", MEMORY, str(root)]
        done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
        first, last, kept = json.loads(done.stdout)
        chosen = f"LOCALTRACK_SEARCH_MEMORY={limit_mib}MB"
        result.series.append(Series(what, f"most memory of a process after one search, {chosen}", "B", [first]))
        result.series.append(Series(what, f"the same after searches of 39 keys, {chosen}", "B", [last]))
        bound = Bound(limit_mib * 2.0**20)
        result.comparisons.append(Comparison(f"{what}, columns kept in memory, {chosen}", "B", [kept], bound))


def _measure_rebuilding(result: Result, setting: Setting) -> None:
    """Make the index of real run folders anew."""
    from localtrack import Store

    runs_count = setting.choose(10_000, 100)
    root = setting.folder / "folders"
    shape = Shape(runs_count, seed=setting.seed)
    write_store(root, shape, active_count=0, inbox_files_count=0, progress=lambda _: None)
    with Store.open(root) as store:
        seconds = time_once(store.compact)
    size = sum(path.stat().st_size for path in root.glob("index/v1/*"))
    what = f"{runs_count:,} run folders"
    result.series.append(Series(what, "making the index anew, a run", "s", [seconds / runs_count]))
    result.series.append(Series(what, "index, a run", "B", [size / runs_count]))
