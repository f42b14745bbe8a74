"""What a workload has found: numbers of each side, comparisons of sides, and the bounds they must keep."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tools.bench.harness import Turns

SCALES: dict[str, tuple[tuple[float, str], ...]] = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")),
    "B": ((2.0**20, "MiB"), (1.0, "B")),
    "1/s": ((1.0, "a second"),),
    "count": ((1.0, ""),),
    "ratio": ((1.0, ""),),
}
"""Unit of a number → the sizes in which it is shown, largest first."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What the median of a comparison must not pass."""

    limit: float
    at_least: bool = False

    def holds(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Series:
    """One number of one side, once a round (or once in all)."""

    side: str
    what: str
    unit: str
    """A key of `SCALES`."""
    values: list[float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides of the same round, or one side against a number; `values` has one entry a round."""

    what: str
    unit: str
    values: list[float]
    bound: Bound | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def holds(self) -> bool:
        return self.bound is None or self.bound.holds(self.median)


@dataclass(slots=True)
class Result:
    """Everything that one workload reports."""

    workload: str
    summary: str
    series: list[Series] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add_turns(self, what: str, unit: str, turns: Turns[float]) -> None:
        """Add one series per side that had a turn."""
        self.series += [Series(side, what, unit, list(by_round.values())) for side, by_round in turns.items()]

    def add_ratio(self, what: str, turns: Turns[float], side: str, other: str, bound: Bound | None = None) -> None:
        """Add side / other, pair by pair; nothing if one of them did not take part."""
        values = [a / b for a, b in pairs(turns, side, other)]
        if values:
            self.comparisons.append(Comparison(f"{side} / {other}, {what}", "ratio", values, bound))

    def add_difference(self, what: str, turns: Turns[float], side: str, other: str, bound: Bound | None = None) -> None:
        """Add side - other in seconds, pair by pair; nothing if one of them did not take part."""
        values = [a - b for a, b in pairs(turns, side, other)]
        if values:
            self.comparisons.append(Comparison(f"{side} - {other}, {what}", "s", values, bound))


def pairs(turns: Turns[float], side: str, other: str) -> list[tuple[float, float]]:
    """Return the numbers of two sides for the rounds in which both had a turn."""
    ours, theirs = turns.get(side, {}), turns.get(other, {})
    return [(ours[number], theirs[number]) for number in sorted(ours.keys() & theirs.keys())]


def format_amount(value: float, unit: str) -> str:
    """Return a number in the size in which a person reads it."""
    scale, name = next((entry for entry in SCALES[unit] if abs(value) >= entry[0]), SCALES[unit][-1])
    scaled = value / scale
    digits = f"{scaled:.0f}" if scaled == int(scaled) or abs(scaled) >= 1000 else f"{scaled:.3g}"
    return f"{digits} {name}".rstrip()


def format_spread(values: Sequence[float], unit: str) -> str:
    """Return median, least and greatest."""
    middle = format_amount(statistics.median(values), unit)
    if len(values) == 1:
        return middle
    return f"{middle}  ({format_amount(min(values), unit)} to {format_amount(max(values), unit)}, {len(values)} rounds)"


def format_result(result: Result) -> str:
    """Return a result as text: the sides, then the comparisons with their bounds, then the notes."""
    lines = [f"{result.workload}: {result.summary}"]
    width = max((len(series.side) for series in result.series), default=0)
    for series in result.series:
        lines.append(f"  {series.side:<{width}}  {series.what}: {format_spread(series.values, series.unit)}")
    for comparison in result.comparisons:
        line = f"  > {comparison.what}: {format_spread(comparison.values, comparison.unit)}"
        if comparison.bound is not None:
            word = "at least" if comparison.bound.at_least else "at most"
            verdict = "holds" if comparison.holds else "MISSED"
            line += f"  [bound: {word} {format_amount(comparison.bound.limit, comparison.unit)}; {verdict}]"
        lines.append(line)
    lines += [f"  note: {note}" for note in result.notes]
    return "\n".join(lines)


def encode_result(result: Result) -> dict[str, Any]:
    """Return a result as plain JSON values, the medians and verdicts beside the rounds."""
    document = asdict(result)
    for series in document["series"]:
        series["median"] = statistics.median(series["values"])
    for comparison, entry in zip(result.comparisons, document["comparisons"], strict=True):
        entry |= {"median": comparison.median, "holds": comparison.holds}
    return document
