"""The command line of the demo."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.demo.digits import read_digits
from tools.demo.families import FAMILIES
from tools.demo.report import format_best, format_next_steps, search_trials, write_curves
from tools.demo.train import train_family

import localtrack as mlflow

EXPERIMENT: Final = "digits"
STORE_FOLDER: Final = "ltruns"
"""The name under which `localtrack` finds a store from the folder around it."""
_EPOCH_COUNT: Final = 30
_QUICK_EPOCH_COUNT: Final = 3
_QUICK_TRIAL_COUNT: Final = 2


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="tools/demo.sh",
        description="Train models that read handwritten digits, track them with localtrack, and show what was found.",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        default=os.environ.get("LOCALTRACK_DEMO_DIR") or "localtrack-demo",
        help="where the store and the plots go; runs are added to a store that is there "
        "(default: LOCALTRACK_DEMO_DIR, else localtrack-demo)",
    )
    parser.add_argument("--quick", action="store_true", help="a few runs of a few epochs, to try that everything works")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, search, draw, and say where everything lies."""
    parser = build_parser()
    chosen = parser.parse_args(arguments)
    folder = Path(chosen.folder).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"the folder {folder} cannot be made: {error.strerror}")
    start = time.perf_counter()

    mlflow.set_tracking_uri(folder / STORE_FOLDER)
    mlflow.set_experiment(EXPERIMENT)
    earlier = mlflow.search_runs(filter_string="tags.sweep IS NOT NULL", order_by=["start_time DESC"], max_results=1)
    sweep = 0 if earlier.empty else int(earlier["tags.sweep"][0]) + 1

    digits = read_digits()
    print(f"Sweep {sweep}: {len(digits.train_labels)} images to learn from, {len(digits.valid_labels)} to judge by.")
    for family in FAMILIES:
        print(f"\n{family.title}", flush=True)
        train_family(
            family,
            digits,
            trials=family.trials()[: _QUICK_TRIAL_COUNT if chosen.quick else None],
            epoch_count=_QUICK_EPOCH_COUNT if chosen.quick else _EPOCH_COUNT,
            sweep=sweep,
        )

    trials = search_trials()
    run_count = len(mlflow.search_runs())
    print(f"\nThe best of {len(trials)} trials in the store\n\n{format_best(trials)}\n")
    with mlflow.Store.open(folder / STORE_FOLDER, create=False) as store:
        write_curves(store, trials, folder)
    command = Path(sys.executable).parent / "localtrack"
    print(format_next_steps(folder, command=command, best_run_id=trials["run_id"][0], run_count=run_count))
    print(f"It took {time.perf_counter() - start:.0f} s.")
    return 0
