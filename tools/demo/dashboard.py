"""The three figures of a dashboard, over runs that are made up: `python -m tools.demo.dashboard FOLDER PICTURE`."""

from __future__ import annotations

import argparse
import math
import random
import time
from pathlib import Path

from matplotlib.figure import Figure

from localtrack import Store

DAY_MS = 86_400_000
DAYS_COUNT = 120
USERS = {"ada": 3.0, "grace": 2.0, "linus": 1.0}
"""Who, and how many runs a working day."""
_DPI = 100


def make_runs(store: Store, *, seed: int, now_ms: int) -> int:
    """Log finished runs of the last months whose error falls slowly; return how many."""
    dice = random.Random(seed)
    count = 0
    for age in range(DAYS_COUNT, -1, -1):
        for user, mean in USERS.items():
            for _ in range(min(int(dice.expovariate(1 / mean)), 9)):
                start_ms = now_ms - age * DAY_MS - dice.randrange(DAY_MS)
                error = 0.4 + 0.6 * math.exp(-(DAYS_COUNT - age) / 45) + dice.expovariate(12)
                with store.start_run("forecast", start_time=start_ms, tags={"mlflow.user": user}, context=False) as run:
                    run.log_metric("mae", error, timestamp=start_ms)
                count += 1
    return count


def draw(store: Store) -> Figure:
    """Return the figures side by side."""
    figure = Figure(figsize=(11, 3.4), dpi=_DPI, layout="constrained")
    best, runs, months = figure.subplots(1, 3)
    store.best_per_day("mae", days=30).plot(best)
    store.runs_per_day(days=14).plot(runs)
    store.runs_per_month().plot(months)
    for axes, title in (
        (best, "best of each day"),
        (runs, "runs of each user and day"),
        (months, "runs of each month"),
    ):
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel("")
        axes.tick_params(labelsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.demo.dashboard", description=__doc__)
    parser.add_argument("folder", type=Path, help="a new store with the runs")
    parser.add_argument("picture", type=Path, help="the PNG file to write")
    chosen = parser.parse_args()
    with Store.open(chosen.folder) as store:
        count = make_runs(store, seed=12, now_ms=int(time.time() * 1000))
        draw(store).savefig(chosen.picture)
    print(f"{count} runs in {chosen.folder}, drawn in {chosen.picture}")


if __name__ == "__main__":
    main()
