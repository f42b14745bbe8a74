"""Compares what drivers acknowledged before they were killed with what the store shows afterwards."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tools.bench.crash_driver import plan_call


@dataclass(slots=True)
class Audit:
    """What has been counted so far."""

    kills: int = 0
    acknowledged: int = 0
    """Points, params and tags in calls that had returned."""
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    """There, but with another value, or never logged."""
    findings: set[str] = field(default_factory=set)


def audit_driver(store: Any, run_id: str, prefix: str, acknowledged_count: int, audit: Audit) -> None:
    """Add to `audit` what became of the first `acknowledged_count` calls of one driver.

    The call that the kill interrupted may be there or not; nothing beyond it may.
    """
    history = store.metric_history(run_id).to_pylist()
    seen = Counter((row["key"], row["step"], row["value"]) for row in history if row["key"].startswith(f"{prefix}."))
    data = store.get_run(run_id).data
    texts = {
        (kind, key): text
        for kind, entries in (("param", data.params), ("tag", data.tags))
        for key, text in entries.items()
        if key.startswith(f"{prefix}.")
    }
    for number in range(acknowledged_count + 1):
        call = plan_call(number, prefix)
        certain = number < acknowledged_count
        points = [(key, number, value) for key, value in call.metrics.items()]
        planned = {("param", key): text for key, text in call.params.items()}
        planned |= {("tag", key): text for key, text in call.tags.items()}
        audit.acknowledged += certain * (len(points) + len(planned))
        for point in points:
            count = seen.pop(point, 0)
            audit.lost += certain and count == 0
            audit.doubled += count > 1
        for name, text in planned.items():
            found = texts.pop(name, None)
            audit.lost += certain and found is None
            audit.wrong += found not in (None, text)
    audit.wrong += len(seen) + len(texts)
    audit.findings |= {f"{finding.key}: {finding.what}" for finding in store.describe_run(run_id).findings}
