"""Searching 100,000 and 1,000,000 runs, of which only the index is made."""

from __future__ import annotations

import resource
from contextlib import ExitStack
from functools import partial
from typing import Any

from tools.bench.harness import Setting, Side, run_in_turns, time_once
from tools.bench.results import Bound, Comparison, Result
from tools.bench.search import QUERY, measure_cold
from tools.make_store.shapes import Shape
from tools.make_store.store_writer import write_index_only

NAME = "search-large"
SUMMARY = "100,000 runs, also with 500 sparse keys, and 1,000,000: the 50 best whole rows, warm; and cold"
LARGE_BOUND_S = Bound(0.015)
HUGE_BOUND_S = Bound(0.060)
HUGE_COLD_BOUND_S = Bound(0.5)


def run(setting: Setting) -> Result:
    """Measure searches of large stores."""
    from localtrack import Store

    result = Result(NAME, SUMMARY)
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
            peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            result.notes.append(
                f"{what}: index {size / shape.runs_count:.0f} bytes a run; memory so far {peak_mib:.0f} MiB"
            )
        turns = run_in_turns(sides, setting.round_count(15))
    asked = "50 best whole rows, warm"
    result.add_turns(asked, "s", turns)
    for what, _, _, bound in cases:
        result.comparisons.append(Comparison(f"localtrack, {what}, {asked}", "s", list(turns[what].values()), bound))
    result.add_ratio(asked, turns, cases[1][0], cases[0][0])
    measure_cold(result, root, setting, f"{huge:,} runs, a new process", HUGE_COLD_BOUND_S)
    return result
