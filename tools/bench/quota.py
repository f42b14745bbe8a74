"""What limits cost each logging call: the same calls on a store with limits on everything, and on one without."""

from __future__ import annotations

from contextlib import ExitStack
from random import Random

from tools.bench import values
from tools.bench.harness import Calls, Setting, Side, map_turns, run_in_turns, time_calls
from tools.bench.results import Bound, Result

NAME = "quota"
SUMMARY = "logging with limits on, beside logging without"
BOUND = Bound(1.03)
LIMITS = {
    "run.metric_keys": 10_000,
    "run.params": 1_600,
    "run.tags": 1_600,
    "experiment.runs": 500_000,
    "store.runs": 5_000_000,
    **{
        f"{level}.{measure}": 10**12
        for level in ("run", "experiment", "store")
        for measure in ("metric_steps", "bytes", "files", "artifact_bytes")
    },
}


def run(setting: Setting) -> Result:
    """Measure scalar logging, sets of fifty and tags, with limits and without."""
    import localtrack

    result = Result(NAME, SUMMARY)
    points = values.make_values("full-entropy doubles", setting.choose(3_000, 100), Random(setting.seed))
    with ExitStack() as stack:
        scalar: list[Side[Calls]] = []
        sets: list[Side[Calls]] = []
        tags: list[Side[Calls]] = []
        for name in ("without", "with limits"):
            store = stack.enter_context(localtrack.Store.open(str(setting.folder / name), create=True))
            stack.callback(store.flush)  # else the folder is gone before the library has synced it
            if name != "without":
                store.set_quota(LIMITS, action="refuse")
            ours = stack.enter_context(store.start_run("bench"))
            wide = stack.enter_context(store.start_run("bench"))

            def log(value: float, step: int, ours: localtrack.ActiveRun = ours) -> None:
                ours.log_metric("loss", value, step=step)

            def log_set(value: float, step: int, wide: localtrack.ActiveRun = wide) -> None:
                wide.log_metrics({f"m{number}": value for number in range(50)}, step=step)

            def set_tag(value: float, step: int, ours: localtrack.ActiveRun = ours) -> None:
                ours.set_tag(f"t{step % 100}", value)

            scalar.append(_side(name, log, points))
            sets.append(_side(name, log_set, points[: len(points) // 5]))
            tags.append(_side(name, set_tag, points[: len(points) // 5]))
        for what, sides in (("log_metric", scalar), ("log_metrics of 50", sets), ("set_tag", tags)):
            what = f"median {what}"
            for side in sides:
                side.turn()  # the first calls make files and load modules
            turns = run_in_turns(sides, setting.round_count(25))
            medians = map_turns(turns, lambda calls: calls.quantile_s(0.5))
            result.add_turns(what, "s", medians)
            result.add_ratio(what, medians, "with limits", "without", BOUND)
    return result


def _side(name: str, log: object, points: list[float]) -> Side[Calls]:
    next_step = 0

    def turn() -> Calls:
        nonlocal next_step
        calls = time_calls(log, points, first_step=next_step)  # type: ignore[arg-type]
        next_step += len(points)
        return calls

    return Side(name, turn)
