"""Holds what processes said against what the store shows: to the library, and to a reader that has no code of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.deeds import Call, plan_call
from tests.independent.reader import read_store

from localtrack.api.store import Store
from localtrack.types import Finding, ViewType

EXPLAINED = {"empty"}
"""What a killed writer may leave, by the words of the independent reader: a run folder that is not a run yet."""


@dataclass(slots=True)
class Deed:
    """What one process did in one run."""

    prefix: str
    run_id: str
    calls_count: int = 0
    """Logging calls that had returned. The next one may be there or not."""
    is_ended: bool = False


@dataclass(slots=True)
class Shown:
    """A run as a reader shows it."""

    points: Counter[tuple[str, int, float]]
    params: dict[str, str]
    tags: dict[str, str]
    status: str


@dataclass(slots=True)
class Audit:
    """What was found so far."""

    acknowledged: int = 0
    problems: list[str] = field(default_factory=list)


def read_said(path: Path, prefix: str) -> list[Deed]:
    """Return what a process said."""
    deeds: list[Deed] = []
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith("s "):
            deeds.append(Deed(prefix, line[2:]))
        elif line == "c":
            deeds[-1].calls_count += 1
        elif line == "e":
            deeds[-1].is_ended = True
    return deeds


def audit(root: Path, deeds: list[Deed], *, with_search: bool = True) -> Audit:
    """Compare; whatever is not as it must be is a problem.

    Args:
        root: The store.
        deeds: What must be there.
        with_search: Ask for the runs by a search, which takes a tenth of a second; else one by one.
    """
    found = Audit()
    by_run: dict[str, list[Deed]] = {}
    for deed in deeds:
        by_run.setdefault(deed.run_id, []).append(deed)
    by_reader = _by_reader(root, found.problems)
    by_library = _by_library(root, found.problems, None if with_search else list(by_reader))
    for name, shown in (("reader", by_reader), ("library", by_library)):
        problems: list[str] = []
        for run_id, of_run in by_run.items():
            if run_id not in shown:
                problems.append(f"{run_id} is not there")
                continue
            found.acknowledged += _compare(shown[run_id], of_run, problems)
        found.problems += [f"{name}: {problem}" for problem in problems]
    if by_library != by_reader:
        found.problems.append("the library and the independent reader do not agree")
    return found


def _compare(shown: Shown, deeds: list[Deed], problems: list[str]) -> int:
    """Return how many points, params and tags were acknowledged; take away from `shown` what was asked for."""
    acknowledged = 0
    points, params, tags = shown.points.copy(), dict(shown.params), dict(shown.tags)
    for deed in deeds:
        last: dict[str, set[str]] = {}
        certain: set[str] = set()
        for call, is_certain in _calls(deed):
            for key, value in call.metrics.items():
                count = points.pop((key, call.number, value), 0)
                acknowledged += is_certain
                if (is_certain and count == 0) or count > 1:
                    problems.append(f"{deed.run_id}: point {key} {value} is there {count} times")
            for key, text in call.params.items():
                acknowledged += is_certain
                if params.pop(key, None if is_certain else text) != text:
                    problems.append(f"{deed.run_id}: param {key} is lost or wrong")
            for key, text in call.tags.items():
                acknowledged += is_certain
                last[key] = {text} if is_certain else last.get(key, set()) | {text}
                certain |= {key} if is_certain else set()
        for key, texts in last.items():
            text = tags.pop(key, None)
            if text not in texts and (text is not None or key in certain):
                problems.append(f"{deed.run_id}: tag {key} is {text!r}, not one of {texts}")
    ours = tuple(f"{deed.prefix}." for deed in deeds)
    rest = [*points, *(key for key in [*params, *tags] if key.startswith(ours))]
    problems += [f"{deeds[0].run_id}: {item} was never logged" for item in rest]
    if deeds[-1].is_ended and len(deeds) == 1 and shown.status != "FINISHED":
        problems.append(f"{deeds[0].run_id} has ended and is {shown.status}")
    return acknowledged


def _calls(deed: Deed) -> Iterator[tuple[Call, bool]]:
    for number in range(deed.calls_count):
        yield plan_call(number, deed.prefix), True
    if not deed.is_ended:
        yield plan_call(deed.calls_count, deed.prefix), False


def _by_library(root: Path, problems: list[str], run_ids: list[str] | None) -> dict[str, Shown]:
    shown: dict[str, Shown] = {}
    with Store.open(str(root), create=False) as store:
        findings: set[Finding] = set()
        if run_ids is None:
            page = store.search_runs(run_view_type=ViewType.ALL, max_results=None)
            findings |= set(page.findings)
            run_ids = [row.info.run_id for row in page]
        for run_id in run_ids:
            history = store.metric_history(run_id).to_pydict()
            points = Counter(zip(history["key"], history["step"], history["value"], strict=True))
            report = store.describe_run(run_id)
            findings |= set(report.findings)
            row = report.row
            shown[run_id] = Shown(points, dict(row.params), dict(row.tags), row.info.status)
            counts = {key: metric.count for key, metric in row.metrics.items()}
            least = dict(Counter(key for key, _, _ in points.elements()))
            if counts.keys() != least.keys() or any(counts[key] < count for key, count in least.items()):
                problems.append(f"library: the counts of {run_id} are those of other points")
    problems += [f"library: {finding.key}: {finding.what}" for finding in findings]
    return shown


def _by_reader(root: Path, problems: list[str]) -> dict[str, Shown]:
    read: dict[str, Any] = read_store(root)
    problems += [f"reader: {key}: {kind}" for key, kind in read["findings"] if kind not in EXPLAINED]
    return {
        run_id: Shown(
            Counter((key, step, float(value)) for key, _, step, value in run["points"]),
            run["params"],
            run["tags"],
            run["status"],
        )
        for run_id, run in json.loads(json.dumps(read["runs"])).items()
    }
