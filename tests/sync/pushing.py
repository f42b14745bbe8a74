"""Pushes a store in a process of its own, for tests that kill it: `python -m tests.sync.pushing STORE URL`."""

from __future__ import annotations

import sys
from typing import Any

from localtrack import Store
from localtrack.sync.options import PushOptions
from localtrack.sync.push import Push
from localtrack.sync.report import PushReport
from localtrack.sync.target import resolve_target
from tests.sync.stores import HASTE


def push(store: Store, url: str, **options: Any) -> PushReport:
    """Push everything, with little patience."""
    wanted = PushOptions(**{"patience": HASTE, "workers_count": 2, **options})
    return Push(store._site, store._catalog, resolve_target(url), wanted).run()


if __name__ == "__main__":
    with Store.open(sys.argv[1]) as opened:
        push(opened, sys.argv[2], workers_count=1)
