"""The training program. All of its tracking is here; with `import mlflow` instead, it would run the same."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import joblib
import numpy as np
import pandas as pd
from tools.demo.digits import DIGITS, Digits
from tools.demo.families import Classifier, Family, Settings
from tools.demo.plots import draw_confusion

import localtrack as mlflow

LEAST_CHANCE: Final = 1e-15
"""What a label counts as that the model holds impossible, so that the loss stays finite."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one point of a grid."""

    run_id: str
    name: str
    valid_accuracy: float
    valid_loss: float
    duration_s: float


def train_family(
    family: Family, digits: Digits, *, trials: Sequence[Settings], epoch_count: int, sweep: int
) -> list[Trial]:
    """Run the trials of a family as children of one run, which keeps the best of them."""
    tags = {"family": family.name, "data": "digits", "sweep": sweep}
    with mlflow.start_run(run_name=f"{family.name} grid", tags=tags, description=f"{family.title}: a grid search."):
        mlflow.log_params({"trial_count": len(trials), "epoch_count": epoch_count})
        done = []
        for settings in trials:
            done.append(train_trial(family, settings, digits, epoch_count=epoch_count, sweep=sweep))
            print(
                f"  {done[-1].name:<36} accuracy {done[-1].valid_accuracy:.3f}   {done[-1].duration_s:4.1f} s",
                flush=True,
            )
        best = max(done, key=lambda trial: (trial.valid_accuracy, -trial.valid_loss))
        mlflow.log_metric("best_valid_accuracy", best.valid_accuracy)
        mlflow.set_tag("best_run_id", best.run_id)
        mlflow.log_text(pd.DataFrame(done).to_csv(index=False), "trials.csv")
    return done


def train_trial(family: Family, settings: Settings, digits: Digits, *, epoch_count: int, sweep: int) -> Trial:
    """Train one model and log params, metrics of every epoch, predictions, a plot and the model."""
    name = f"{family.name} " + " ".join(f"{key}={value}" for key, value in settings.items())
    start = time.perf_counter()
    with mlflow.start_run(
        run_name=name, nested=True, tags={"family": family.name, "data": "digits", "sweep": sweep}
    ) as run:
        mlflow.log_params({"family": family.name, "epoch_count": epoch_count, "seed": sweep, **settings})
        for epoch, model in enumerate(family.learn(digits, settings, epoch_count, sweep)):
            metrics = measure(model, digits)
            mlflow.log_metrics(metrics, step=epoch)
        log_files(model, digits, title=name)
        duration_s = time.perf_counter() - start
        mlflow.log_metric("duration_s", duration_s)
    return Trial(run.info.run_id, name, metrics["valid_accuracy"], metrics["valid_loss"], duration_s)


def measure(model: Classifier, digits: Digits) -> dict[str, float]:
    """Return the metrics of one epoch."""
    metrics = {}
    for part, pixels, labels in (
        ("train", digits.train_pixels, digits.train_labels),
        ("valid", digits.valid_pixels, digits.valid_labels),
    ):
        chances = model.predict_proba(pixels)
        of_label = chances[np.arange(len(labels)), labels]
        metrics[f"{part}_loss"] = -np.log(np.maximum(of_label, LEAST_CHANCE)).mean()
        metrics[f"{part}_accuracy"] = (chances.argmax(axis=1) == labels).mean()
    return metrics


def log_files(model: Classifier, digits: Digits, *, title: str) -> None:
    """Log the predictions as CSV, the confusion matrix as a plot, and the model as a file."""
    chances = model.predict_proba(digits.valid_pixels)
    predicted = chances.argmax(axis=1)
    predictions = pd.DataFrame(
        {"digit": digits.valid_labels, "predicted": predicted, "probability": chances.max(axis=1).round(4)}
    )
    counts = pd.crosstab(digits.valid_labels, predicted).reindex(index=DIGITS, columns=DIGITS, fill_value=0).to_numpy()
    mlflow.log_figure(draw_confusion(counts, title=title), "plots/confusion.png")
    with tempfile.TemporaryDirectory() as folder:
        csv, dump = Path(folder, "predictions.csv"), Path(folder, "model.joblib")
        predictions.to_csv(csv, index_label="image")
        joblib.dump(model, dump, compress=3)
        mlflow.log_artifact(csv)
        mlflow.log_artifact(dump, "model")
