"""The runs that are made: what each comes to, from a seed and its number alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from localtrack.format.ids import encode_experiment_id, encode_run_id
from localtrack.format.metric_fold import Folds
from localtrack.format.run_fold import RUN_NAME_TAG, RunState
from localtrack.format.segment_info import MetricFold

FIRST_DAY_MS = 1_767_225_600_000
"""2026-01-01."""
DAY_MS = 86_400_000
EXPERIMENTS = tuple(f"/Shared/team{number}/churn" for number in range(8))


@dataclass(frozen=True, slots=True)
class Shape:
    """What kind of store to make."""

    runs_count: int
    params_count: int = 20
    tags_count: int = 10
    metrics_count: int = 15
    sparse_keys_count: int = 0
    """So many more metric keys, of which each run has ten."""
    days_count: int = 120
    seed: int = 1


def iter_runs(shape: Shape) -> Iterator[tuple[RunState, Folds]]:
    """Yield the runs of a store, oldest first. The same shape gives the same runs, bit by bit."""
    random = Random(shape.seed)
    step_ms = shape.days_count * DAY_MS / max(shape.runs_count, 1)
    ids = {name: encode_experiment_id(name, 0) for name in EXPERIMENTS}
    for number in range(shape.runs_count):
        start_ms = FIRST_DAY_MS + int(number * step_ms)
        name = random.choice(EXPERIMENTS)
        state = RunState(
            run_id=encode_run_id(start_ms, random.randbytes(10)),
            experiment_id=ids[name],
            experiment_name=name,
            generation=0,
            start_ms=start_ms,
            end_ms=start_ms + random.randrange(1_000, 3_600_000),
            status=random.choice(("FINISHED", "FINISHED", "FINISHED", "FAILED", "KILLED")),
            user=random.choice(("ada", "grace", "alan", "edsger")),
            name=f"run-{number}",
        )
        state.params = {
            f"param{n}": str(random.choice((0.1, 0.01, 0.001, 3, 8, 64))) for n in range(shape.params_count)
        }
        state.tags = {RUN_NAME_TAG: state.name} | {
            f"tag{n}": random.choice(("alpha", "beta", "gamma")) for n in range(shape.tags_count - 1)
        }
        keys = [f"metric{n}" for n in range(shape.metrics_count)]
        if shape.sparse_keys_count:
            keys += [f"sparse{n}" for n in sorted(random.sample(range(shape.sparse_keys_count), 10))]
        folds: Folds = {}
        for key in keys:
            value = random.random()
            folds[key] = MetricFold(1, value, random.randrange(100), start_ms + 500, value, value)
        yield state, folds
