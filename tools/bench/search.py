"""Searching 10,000 runs: warm, in a new process, as a frame, while a thousand runs go on, with a long inbox."""

from __future__ import annotations

import resource
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from tools.bench import mlflow_peer, search_peers
from tools.bench.harness import Setting, Side, Turns, run_in_turns, time_once
from tools.bench.processes import make_environment
from tools.bench.results import Bound, Comparison, Result, Series
from tools.make_store.shapes import Shape
from tools.make_store.store_writer import write_store

NAME = "search"
SUMMARY = "10,000 runs: the 50 best whole rows, warm and cold; all as a frame; 1,000 runs going on; 500 inbox files"
WARM_BOUND_S = Bound(0.008)
COLD_BOUND_S = Bound(0.1)
FRAME_BOUND_S = Bound(0.1)
SOME_CHANGED_BOUND_S = Bound(0.015)
ALL_CHANGED_BOUND_S = Bound(0.025)
INBOX_BOUND = Bound(2.0)

QUERY: dict[str, Any] = {
    "filter_string": search_peers.FILTER,
    "order_by": [search_peers.ORDER],
    "max_results": search_peers.BEST_COUNT,
}
BARE = "import duckdb; duckdb.connect()"
COLD = f"import sys; from localtrack import Store; assert len(Store.open(sys.argv[1]).search_runs(**{QUERY!r}))"
"""What a new process runs; localtrack itself imports DuckDB and connects."""


def run(setting: Setting) -> Result:
    """Measure searches of 10,000 runs."""
    result = Result(NAME, SUMMARY)
    runs_count = setting.choose(10_000, 300)
    shape = Shape(runs_count, seed=setting.seed)
    root = setting.folder / "store"
    write_store(root, shape, active_count=0, inbox_files_count=0, progress=lambda _: None)
    with ExitStack() as stack:
        store = _build_index(result, root, runs_count, stack)
        sides: dict[str, Callable[[], Any]] = {
            "localtrack": lambda: store.search_runs(**QUERY),
            "duckdb": search_peers.open_duckdb(setting.folder, shape),
        }
        frames: dict[str, Callable[[], Any]] = {
            "localtrack": lambda: store.search_runs(max_results=None).to_pandas(),
        }
        if mlflow_peer.use_mlflow(setting, result):
            import mlflow

            client, experiment_id = search_peers.open_mlflow(setting.folder / "mlflow", shape)
            asked = {"filter_string": search_peers.FILTER, "order_by": [search_peers.ORDER]}
            sides["mlflow"] = lambda: client.search_runs([experiment_id], max_results=50, **asked)
            mlflow.set_tracking_uri(f"sqlite:///{setting.folder / 'mlflow' / 'mlflow.db'}")
            frames["mlflow"] = lambda: mlflow.search_runs([experiment_id], max_results=runs_count)
        _measure(result, f"{runs_count:,} runs, 50 best whole rows, warm", sides, setting, WARM_BOUND_S)
        _measure(result, f"all {runs_count:,} runs to pandas, warm", frames, setting, FRAME_BOUND_S, rounds=5)
    _measure_cold(result, root, setting, f"{runs_count:,} runs, a new process")
    _measure_inbox(result, setting, runs_count)
    _measure_active(result, setting, runs_count)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result.notes.append(f"greatest resident memory of this process, peers included: {peak_mib:.0f} MiB")
    return result


def _build_index(result: Result, root: Path, runs_count: int, stack: ExitStack) -> Any:
    """Return the store once it has an index, and say what making it took."""
    from localtrack import Store

    store = stack.enter_context(Store.open(root))
    seconds = time_once(store.compact)
    size = sum(path.stat().st_size for path in root.glob("index/v1/*"))
    result.series.append(Series("localtrack", "making the index anew, a run", "s", [seconds / runs_count]))
    result.series.append(Series("localtrack", "index, a run", "B", [size / runs_count]))
    return store


def _measure(
    result: Result,
    what: str,
    sides: dict[str, Callable[[], Any]],
    setting: Setting,
    bound: Bound,
    *,
    rounds: int = 15,
) -> None:
    turns = _take_turns(sides, setting, rounds)
    result.add_turns(what, "s", turns)
    for other in sides:
        if other != "localtrack":
            result.add_ratio(what, turns, "localtrack", other)
    add_bound(result, what, turns, bound)


def _take_turns(sides: dict[str, Callable[[], Any]], setting: Setting, rounds: int) -> Turns[float]:
    contestants = [
        Side(name, partial(time_once, call), every=5 if name == "mlflow" else 1) for name, call in sides.items()
    ]
    for side in contestants:
        side.turn()  # the first call loads modules and columns
    return run_in_turns(contestants, setting.round_count(rounds))


def add_bound(result: Result, what: str, turns: Turns[float], bound: Bound) -> None:
    """Hold our own times, in seconds, against a limit."""
    result.comparisons.append(Comparison(f"localtrack, {what}", "s", list(turns["localtrack"].values()), bound))


def measure_cold(result: Result, root: Path, setting: Setting, what: str, bound: Bound) -> None:
    """Measure a process that does one search, beside one that only connects to DuckDB."""
    import subprocess

    environment = make_environment(setting.folder)

    def process(*arguments: str) -> None:
        subprocess.run([sys.executable, "-c", *arguments], check=True, env=environment)

    sides = [
        Side("bare duckdb", partial(time_once, partial(process, BARE))),
        Side("localtrack", partial(time_once, partial(process, COLD, str(root)))),
    ]
    for side in sides:
        side.turn()
    turns = run_in_turns(sides, setting.round_count(9))
    result.add_turns(what, "s", turns)
    result.add_difference(what, turns, "localtrack", "bare duckdb", bound)


def _measure_cold(result: Result, root: Path, setting: Setting, what: str) -> None:
    measure_cold(result, root, setting, what, COLD_BOUND_S)


def _measure_inbox(result: Result, setting: Setting, runs_count: int) -> None:
    """Compare inboxes of many files that nobody compacts, beside an older index or none, with one compacted."""
    from localtrack import Store
    from localtrack.store.index import search_index

    files_count = setting.choose(500, 20)
    roots = {name: setting.folder / f"inbox {name}" for name in ("without an index", "behind", "compacted")}
    made = roots["without an index"]
    shape = Shape(runs_count, seed=setting.seed)
    write_store(made, shape, active_count=0, inbox_files_count=files_count, progress=lambda _: None)
    for name in ("behind", "compacted"):
        shutil.copytree(made, roots[name])
    _compact_without(roots["behind"], files_count)
    with ExitStack() as stack:
        stores = {name: stack.enter_context(Store.open(root)) for name, root in roots.items()}
        stores["compacted"].compact()
        worth = search_index.WORTH_RUNS, search_index.WORTH_FILES
        stack.callback(
            lambda: (setattr(search_index, "WORTH_RUNS", worth[0]), setattr(search_index, "WORTH_FILES", worth[1]))
        )
        search_index.WORTH_RUNS = search_index.WORTH_FILES = 10**9
        turns = _take_turns({name: partial(store.search_runs, **QUERY) for name, store in stores.items()}, setting, 15)
    what = f"{files_count} inbox files not compacted, {runs_count:,} runs"
    result.add_turns(what, "s", turns)
    for name in ("behind", "without an index"):
        result.add_ratio(what, turns, name, "compacted", INBOX_BOUND)


def _compact_without(root: Path, count: int) -> None:
    """Make the index of a store as it was before its last runs, and their inbox files, came."""
    from localtrack import Store

    aside = root.parent / "aside"
    inbox = root / "inbox"
    later = [*sorted(root.glob("runs/*/*"), key=lambda path: path.name)[-count:], *inbox.iterdir()]
    for path in later:
        (aside / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
        path.rename(aside / path.relative_to(root))
    with Store.open(root) as store:
        store.compact()
    for path in later:
        (aside / path.relative_to(root)).rename(path)


def _measure_active(result: Result, setting: Setting, runs_count: int) -> None:
    """Search while many runs go on, of which some, or all, have logged since the last search."""
    from localtrack import Store

    active_count, some_count = setting.choose(1_000, 20), setting.choose(100, 5)
    root = setting.folder / "active"
    shape = Shape(runs_count, seed=setting.seed)
    write_store(root, shape, active_count=active_count, inbox_files_count=0, progress=lambda _: None)
    random = Random(setting.seed)
    logs = [path for path in root.glob("runs/*/*/*.jsonl") if b'["Closed"' not in path.read_bytes()[-400:]]
    assert len(logs) == active_count
    with Store.open(root) as store:
        store.compact()
        store.search_runs(**QUERY)
        step = 1_000
        for changed_count, bound in ((some_count, SOME_CHANGED_BOUND_S), (active_count, ALL_CHANGED_BOUND_S)):
            turns: Turns[float] = {"localtrack": {}}
            for number in range(setting.round_count(15)):
                step += 1
                for path in random.sample(logs, changed_count):
                    with open(path, "ab") as file:
                        file.write(b"[0,%d,%d,%r]\n" % (step, step, random.random()))
                turns["localtrack"][number] = time_once(lambda: store.search_runs(**QUERY))
            what = f"{active_count:,} of {runs_count:,} runs going on, {changed_count:,} changed since"
            result.add_turns(what, "s", turns)
            add_bound(result, what, turns, bound)
