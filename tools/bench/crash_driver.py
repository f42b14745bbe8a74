"""The process that the crash workload kills: logs without end, and says through its output what was acknowledged.

What call number n logs is a pure function of n, so that the auditor knows it without being told.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, field

PARAM_EVERY = 20
SET_EVERY = 7
SET_KEYS = ("acc", "lr", "grad")


@dataclass(frozen=True, slots=True)
class Call:
    """What one logging call says."""

    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def plan_call(number: int, prefix: str) -> Call:
    """Return what call `number` of a driver logs; `prefix` keeps drivers of one run apart."""
    if number % PARAM_EVERY == 5:
        return Call(params={f"{prefix}.param{number}": f"value {number}"})
    if number % PARAM_EVERY == 15:
        return Call(tags={f"{prefix}.tag{number}": f"text {number}"})
    if number % SET_EVERY == 3:
        return Call(metrics={f"{prefix}.{key}": number / (place + 3) for place, key in enumerate(SET_KEYS)})
    return Call(metrics={f"{prefix}.loss": 1 / (number + 3)})


def main(arguments: list[str] | None = None) -> int:
    """Log to a run until killed."""
    parser = argparse.ArgumentParser(prog="tools.bench.crash_driver", description=main.__doc__)
    parser.add_argument("store", help="folder of an existing store")
    parser.add_argument("prefix", help="first part of every key")
    parser.add_argument("--run-id", help="log to this run instead of a new one")
    parser.add_argument("--chunk-bytes", type=int, help="begin a new chunk after so many bytes, to seal all the time")
    chosen = parser.parse_args(arguments)

    from localtrack import Store

    store = Store.open(chosen.store)
    if chosen.chunk_bytes:
        # No setting of the library: users have no reason to make small chunks.
        store._site.log_points_bytes = store._site.chunk_bytes = chosen.chunk_bytes
    run = store.start_run(run_id=chosen.run_id) if chosen.run_id else store.start_run("bench")
    os.write(1, f"run {run.run_id}\n".encode())
    number = 0
    while True:
        call = plan_call(number, chosen.prefix)
        if call.params:
            run.log_params(call.params)
        elif call.tags:
            run.set_tags(call.tags)
        elif len(call.metrics) > 1:
            run.log_metrics(call.metrics, step=number)
        else:
            ((key, value),) = call.metrics.items()
            run.log_metric(key, value, step=number)
        os.write(1, b"%d\n" % number)  # unbuffered: what the pipe holds, the call had returned for
        number += 1


if __name__ == "__main__":
    sys.exit(main())
