"""What a push takes as stores grow: memory for a long run, time where nothing is new. The server only counts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

from tools.bench import values
from tools.bench.harness import Setting, Side, run_in_turns
from tools.bench.processes import make_environment
from tools.bench.push_sink import serve_sink
from tools.bench.results import Bound, Comparison, Result

MEMORY_BOUND = Bound(1.15)
AGAIN_BOUND = Bound(2.0)
_KEYS_COUNT = 10
_VALUES_COUNT = 100_000
"""Different values of the long run: making 10M takes longer than logging them."""

# VmHWM, as ru_maxrss of a child counts what this process had when it started it. In KiB, whatever "kB" says.
_PUSH = """
import json, sys
from localtrack import Store
with Store.open(sys.argv[1], create=False) as store:
    report = store.sync(sys.argv[2], workers=4)
assert report.is_complete, report
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
print(json.dumps([report.points_sent, report.requests_count, peak, report.duration_s]))
"""


def log_points(store: Any, count: int, random: Random) -> None:
    """Log a run of some number of points, of ten metrics."""
    losses = [values.float32_loss(random, step) for step in range(min(count, _VALUES_COUNT))]
    with store.start_run("bench", context=False) as one:
        for step, timestamp_ms in enumerate(values.make_timestamps_ms(count // _KEYS_COUNT, random)):
            first = step * _KEYS_COUNT
            metrics = {f"loss_{n}": losses[(first + n) % len(losses)] for n in range(_KEYS_COUNT)}
            one.log_metrics(metrics, step=step, timestamp=timestamp_ms)


def measure(result: Result, setting: Setting) -> None:
    """Push 1M and 10M points, each by a process of its own; then 10,000 runs, again and again."""
    from localtrack import Store

    random = Random(setting.seed)
    peaks: list[float] = []
    for count in (setting.choose(1_000_000, 20_000), setting.choose(10_000_000, 200_000)):
        folder = setting.folder / f"points-{count}"
        with Store.open(str(folder), create=True) as store:
            log_points(store, count, random)
            store.flush()
        with serve_sink() as url:
            points, requests, peak, duration_s = _push_in_child(folder, url)
        assert points == count, (points, count)
        peaks.append(peak)
        result.notes.append(
            f"{count:,} points of a run pushed to a server that only counts: {requests} requests, {duration_s:.1f} s, "
            f"at most {peak / 2**20:.0f} MiB resident"
        )
    what = "memory of a push, ten times as many points / so many"
    result.comparisons.append(Comparison(what, "ratio", [peaks[1] / peaks[0]], MEMORY_BOUND))
    _push_again(result, setting)


def _push_in_child(folder: Path, url: str) -> tuple[int, int, int, float]:
    done = subprocess.run(
        [sys.executable, "-c", _PUSH, str(folder), url],
        env=make_environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    points, requests, peak, duration_s = json.loads(done.stdout)
    return points, requests, peak, duration_s


def _push_again(result: Result, setting: Setting) -> None:
    from localtrack import Store

    count = setting.choose(10_000, 300)
    with serve_sink() as url, Store.open(str(setting.folder / "many"), create=True) as store:
        for number in range(count):
            with store.start_run("bench", run_name=f"run {number}", context=False) as one:
                one.log_metrics({"loss": number / 7, "acc": number / 9}, step=1)
        assert store.sync(url, workers=8).is_complete

        def again() -> float:
            start = time.perf_counter()
            with Store.open(str(setting.folder / "many"), create=False) as opened:
                report = opened.sync(url)
            assert (report.unchanged_count, report.requests_count) == (count, 0), report
            return time.perf_counter() - start

        turns = run_in_turns([Side("localtrack", again)], setting.round_count(5))
        what = f"{count:,} runs pushed again, nothing new, no request"
        result.add_turns(what, "s", turns)
        result.comparisons.append(Comparison(what, "s", list(turns["localtrack"].values()), AGAIN_BOUND))
