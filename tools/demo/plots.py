"""The plots, drawn without a screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullLocator, PercentFormatter

if TYPE_CHECKING:
    import pandas as pd

COLORS: Final = ("#2a6f97", "#d1495b", "#3d8361", "#8a5a9e")
_INK: Final = "#333333"
_PALE: Final = "#d5d5d5"
_DPI: Final = 110


@dataclass(frozen=True, slots=True)
class Curve:
    """A run to draw."""

    label: str
    """For the legend; not shown for a run in the background."""
    history: pd.DataFrame
    """Columns key, step, value."""

    def points(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Return epochs, counted from 1, and values of a metric."""
        rows = self.history[self.history["key"] == key].sort_values("step")
        return rows["step"].to_numpy() + 1, rows["value"].to_numpy()


def draw_confusion(counts: np.ndarray, *, title: str) -> Figure:
    """Return a confusion matrix: rows are digits, columns what the model took them for; mistakes stand out."""
    figure = Figure(figsize=(4.6, 4.8), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if row == column else COLORS[1]
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=9)
    axes.set(xticks=range(len(counts)), yticks=range(len(counts)), xlabel="predicted", ylabel="digit")
    axes.set_title(title, fontsize=9, color=_INK, loc="left")
    axes.tick_params(length=0, colors=_INK)
    axes.spines[:].set_visible(False)
    return figure


def write_training_curves(path: Path, *, best: Sequence[Curve], others: Sequence[Curve]) -> None:
    """Write a PNG of loss and accuracy by epoch: the best runs in colour before all others in grey."""
    figure = Figure(figsize=(10.5, 4.4), dpi=_DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw(left, "valid_loss", best=best, others=others)
    left.set_yscale("log")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    left.yaxis.set_minor_locator(NullLocator())
    left.set_title("Validation loss (log scale)", loc="left", fontsize=11, color=_INK)
    _draw(right, "valid_accuracy", best=best, others=others)
    right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    right.yaxis.set_major_locator(MultipleLocator(0.05))
    right.set_ylim(_floor_of(best), 1.0)
    right.set_title("Validation accuracy", loc="left", fontsize=11, color=_INK)
    handles, labels = left.get_legend_handles_labels()
    if others:  # drawn first, to lie below; named last
        handles, labels = handles[1:] + handles[:1], labels[1:] + labels[:1]
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    figure.savefig(path)


def _draw(axes: Axes, key: str, *, best: Sequence[Curve], others: Sequence[Curve]) -> None:
    for curve in others:
        label = "all others" if curve is others[0] else None
        axes.plot(*curve.points(key), color=_PALE, linewidth=1.0, zorder=1, label=label)
    for curve, color in zip(best, COLORS, strict=False):
        axes.plot(*curve.points(key), color=color, linewidth=2.2, label=curve.label, zorder=3)
    axes.set_xlabel("epoch", color=_INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.01)
    axes.grid(axis="y", color="#eeeeee", linewidth=0.8, zorder=0)
    axes.tick_params(length=0, which="both", colors=_INK, labelsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#bbbbbb")


def _floor_of(best: Sequence[Curve]) -> float:
    """Return where an axis of accuracies begins, so that the first epochs do not press the rest together."""
    accuracies = [curve.points("valid_accuracy")[1] for curve in best]
    lowest = min((values[len(values) // 5] for values in accuracies if len(values)), default=0.0)
    return max(0.0, np.floor((lowest - 0.1) * 10) / 10)
