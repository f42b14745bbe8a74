"""What the processes do that are killed, and what they say they have done.

What call n logs is a pure function of n. A process says what has returned by one `write` to a file of its own, which a
kill does not take back: `s <run id>` (started or resumed), `c` (the next call), `e` (ended).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from localtrack.api.run import ActiveRun
from localtrack.api.store import Store
from localtrack.store import spool_thread
from localtrack.types import Metric, Param, RunTag

SET_KEYS = ("acc", "lr", "grad")


@dataclass(frozen=True, slots=True)
class Call:
    """What one logging call says. Each point has a value that no other point has."""

    number: int
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    is_batch: bool = False


def plan_call(number: int, prefix: str) -> Call:
    """Return what call `number` logs; `prefix` keeps the processes of one run apart."""
    if number % 20 == 5:
        return Call(number, params={f"{prefix}.param{number}": f"value {number}"})
    if number % 20 == 15:
        return Call(number, tags={f"{prefix}.tag{number}": f"text {number}", f"{prefix}.last": str(number)})
    if number % 20 == 11:
        return Call(
            number,
            {f"{prefix}.{key}": number + place / 8 for place, key in enumerate(SET_KEYS)},
            {f"{prefix}.batch{number}": "x" * 100},
            {f"{prefix}.batched{number}": "y" * 30},
            is_batch=True,
        )
    if number % 7 == 3:
        return Call(number, {f"{prefix}.{key}": number + place / 8 for place, key in enumerate(SET_KEYS)})
    return Call(number, {f"{prefix}.loss": number + 0.5})


def make(run: ActiveRun, call: Call, *, at_ms: int | None = None) -> None:
    """Make a logging call, its points as of `at_ms` if that is given."""
    if call.is_batch:
        timestamp_ms = at_ms or 1_790_000_000_000 + call.number
        run.log_batch(
            [Metric(key, value, timestamp_ms, call.number) for key, value in call.metrics.items()],
            [Param(key, value) for key, value in call.params.items()],
            [RunTag(key, value) for key, value in call.tags.items()],
        )
    elif call.params:
        run.log_params(call.params)
    elif call.tags:
        run.set_tags(call.tags)
    elif len(call.metrics) > 1:
        run.log_metrics(call.metrics, step=call.number, timestamp=at_ms)
    else:
        ((key, value),) = call.metrics.items()
        run.log_metric(key, value, step=call.number, timestamp=at_ms)


def open_store(root: str, small_bytes: int | None = None, **options: Any) -> Store:
    """Open a store whose logs and chunks are full after a few calls, if `small_bytes` is given."""
    store = Store.open(root, **options)
    if small_bytes:
        # No setting of the library: users have no reason to make small chunks.
        store._site.log_points_bytes = store._site.chunk_bytes = small_bytes
    return store


def work(
    root: str,
    prefix: str,
    said: str,
    run_id: str | None = None,
    calls_count: int | None = None,
    small_bytes: int | None = None,
    durability: str = "process",
    spool: str = "",
    move_interval_s: float = 10.0,
) -> None:
    """Log without end: to one run, or to new runs of `calls_count` calls each, which are ended.

    With `spool` by way of one, which is moved every so many seconds.
    """
    out = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    spool_thread.INTERVAL_S = spool_thread.RETRY_S = move_interval_s  # type: ignore[misc]
    store = open_store(root, small_bytes, durability=durability, spool=spool)
    while True:
        run = store.start_run("e", run_id=run_id, context=False)
        os.write(out, f"s {run.run_id}\n".encode())
        number = 0
        while calls_count is None or number < calls_count:
            make(run, plan_call(number, prefix))
            os.write(out, b"c\n")
            number += 1
        run.end()
        os.write(out, b"e\n")


def log_and_end(run: ActiveRun, prefix: str, out: int, calls_count: int) -> None:
    """Make so many calls and end the run, saying so to a file after each."""
    os.write(out, f"s {run.run_id}\n".encode())
    for number in range(calls_count):
        make(run, plan_call(number, prefix))
        os.write(out, b"c\n")
    run.end()
    os.write(out, b"e\n")


def go_on(
    root: str, run_ids: list[str], prefix: str, said: str, calls_count: int, small_bytes: int | None = None
) -> None:
    """Resume each run, log to it, end it; then seal what others have left."""
    out = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    store = open_store(root, small_bytes)
    for run_id in run_ids:
        log_and_end(store.start_run(run_id=run_id, context=False), prefix, out, calls_count)
    store.seal()
    found = {
        row.info.run_id for row in store.search_runs(filter_string="attributes.status = 'FINISHED'", max_results=None)
    }
    assert set(run_ids) <= found
    store.close()
