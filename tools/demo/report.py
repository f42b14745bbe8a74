"""What the demo shows at the end: the best runs as a table, their curves, and what to try next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import pandas as pd
from tools.demo.plots import Curve, write_training_curves

import localtrack as mlflow

CURVES_FILE: Final = "training-curves.png"
BEST_FIRST: Final = ["metrics.valid_accuracy DESC", "metrics.valid_loss ASC"]
_SHOWN_COUNT: Final = 8
_COLUMNS: Final = {
    "run_id": "RUN ID",
    "tags.mlflow.runName": "NAME",
    "metrics.valid_accuracy": "ACCURACY",
    "metrics.valid_loss": "LOSS",
    "metrics.duration_s": "SECONDS",
}


def search_trials() -> pd.DataFrame:
    """Return all finished trials of the store, the best first."""
    # Parents have no such metric, so this leaves them out.
    return mlflow.search_runs(filter_string="metrics.duration_s > 0 AND status = 'FINISHED'", order_by=BEST_FIRST)


def format_best(trials: pd.DataFrame) -> str:
    """Return a table of the best trials."""
    table = trials.head(_SHOWN_COUNT)[[*_COLUMNS]].rename(columns=_COLUMNS)
    name_chars = table["NAME"].str.len().max()
    formatters = {
        "NAME": lambda name: f"{name:<{name_chars}}",
        "ACCURACY": "{:.4f}".format,
        "LOSS": "{:.4f}".format,
        "SECONDS": "{:.1f}".format,
    }
    text = table.to_string(index=False, formatters=formatters, justify="left")
    return "\n".join(line.rstrip() for line in text.splitlines())


def write_curves(store: mlflow.Store, trials: pd.DataFrame, folder: Path) -> Path:
    """Write the plot of the training curves: the best trial of each family before the others."""
    best = trials.drop_duplicates("params.family")
    others = trials.drop(best.index)
    path = folder / CURVES_FILE
    write_training_curves(
        path,
        best=[
            Curve(name, store.metric_history_pandas(run_id))
            for run_id, name in zip(best["run_id"], best["tags.mlflow.runName"], strict=True)
        ],
        others=[Curve("other", store.metric_history_pandas(run_id)) for run_id in others["run_id"]],
    )
    return path


def format_next_steps(folder: Path, *, command: Path, best_run_id: str, run_count: int) -> str:
    """Return where everything lies, and commands to paste.

    Args:
        folder: The folder of the demo.
        command: The program `localtrack`.
        best_run_id: The run to look at.
        run_count: How many runs the store holds.
    """
    here, bin_folder = shlex.quote(str(folder)), shlex.quote(str(command.parent))
    short = best_run_id[:16]
    return f"""\
Everything lies in {folder}
  {CURVES_FILE:<22} the training curves of the best runs
  ltruns/                the store: {run_count} runs, one folder each, in plain files

Try next (paste as it is):
  cd {here}
  PATH={bin_folder}:$PATH
  localtrack runs -o 'metrics.valid_accuracy DESC' -n 5
  localtrack runs "params.family = 'network' AND metrics.valid_loss < 0.2" -c params.hidden
  localtrack show {short}
  localtrack history {short} valid_loss | tail -n 5
  localtrack runs --json | head -n 1
Run the demo again and the next sweep, with another seed, joins these runs."""
