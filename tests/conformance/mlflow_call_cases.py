"""Cases for `test_mlflow_calls`: calls on a tracking store, each noted on MLflow's SQL store and on the plugin."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

from mlflow.entities import ExperimentTag, Metric, Param, RunStatus, RunTag, ViewType
from tests.conformance.mlflow_pair import Case, World

KEYS = [
    "a", "a.b", "a/b", "a b", "a:b", "Ä", "a" * 250, "a" * 251, "", ".", "..", "/a", "a/", "a//b", "a/../b", "a,b",
    "a'b", "a`b", "a=b", "a\nb", "a%b", " ",
]  # fmt: skip
VALUES: list[Any] = [
    0.0, 1.5, -1.5, 1e308, -1e308, 5e-324, 0.1 + 0.2, 1, 2**53, -(2**63), float("nan"), None, True, "1.5", "x", [1],
]  # fmt: skip
STEPS: list[Any] = [0, 1, -1, 2**31, -(2**31), 2**62, -(2**62), None, "1", 1.0]
TIMES: list[Any] = [0, 1, 10**11, -1, None, "1", 2**62]
TEXTS: list[Any] = ["", " ", "x", "Ä\n数", "x" * 6000, "x" * 6001, "x" * 8001, "'\"`", "null", None]


def cases() -> Iterator[tuple[str, Case]]:
    for n, key in enumerate(KEYS):
        yield f"metric-key-{n}", partial(log_metric_key, key=key)
        yield f"param-key-{n}", partial(log_param_key, key=key)
        yield f"tag-key-{n}", partial(set_tag_key, key=key)
        yield f"batch-key-{n}", partial(batch_key, key=key)
        yield f"experiment-tag-key-{n}", partial(experiment_tag_key, key=key)
    for n, value in enumerate(VALUES):
        yield f"metric-value-{n}", partial(log_value, value=value)
    for n, step in enumerate(STEPS):
        yield f"metric-step-{n}", partial(log_value, step=step)
    for n, timestamp in enumerate(TIMES):
        yield f"metric-time-{n}", partial(log_value, timestamp=timestamp)
    for n, text in enumerate(TEXTS):
        yield f"param-value-{n}", partial(param_value, text=text)
        yield f"tag-value-{n}", partial(tag_value, text=text)
    points = [(1.0, 1, 5), (2.0, 5, 1), (3.0, 5, 5), (float("nan"), 5, 5)]
    for n, order in enumerate(list(itertools.permutations(points))[::3]):
        yield f"latest-{n}", partial(latest, points=order)
    for first, second in itertools.product(LIFE_CYCLES, repeat=2):
        yield f"life-cycle-{first}-{second}", partial(life_cycle, steps=[first, second])
    for status in ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"):
        yield f"update-{status}", partial(update_info, status=status)
    for n, (count, limit) in enumerate(itertools.product([0, 1, 3, 11], [1, 2, 3])):
        yield f"interval-{n}", partial(interval, count=count, max_results=limit)
        yield f"interval-one-step-{n}", partial(interval, count=count, max_results=limit, one_step=True)
    for n, (start, end) in enumerate([(-3, 3), (0, 0), (5, 1), (-100, 100), (None, 3), (3, None), (100, 200)]):
        yield f"interval-range-{n}", partial(interval, count=11, max_results=4, start=start, end=end)
    for limit in (1, 2, 3, 7, None):
        yield f"history-pages-{limit}", partial(history_pages, limit=limit)
    yield from ((case.__name__, case) for case in SINGLE)


# -- keys and values


def log_metric_key(world: World, *, key: str) -> None:
    run_id = world.run()
    world.note(lambda: world.store.log_metric(run_id, Metric(key, 1.0, 10, 0)))
    world.note_run(run_id)
    world.note_history(run_id, key)


def log_param_key(world: World, *, key: str) -> None:
    run_id = world.run()
    world.note(lambda: world.store.log_param(run_id, Param(key, "x")))
    world.note_run(run_id)


def set_tag_key(world: World, *, key: str) -> None:
    run_id = world.run()
    world.note(lambda: world.store.set_tag(run_id, RunTag(key, "x")))
    world.note_run(run_id)
    world.note(lambda: world.store.delete_tag(run_id, key))
    world.note_run(run_id)


def batch_key(world: World, *, key: str) -> None:
    run_id = world.run()
    batches: list[tuple[list[Any], list[Any], list[Any]]] = [
        ([Metric("good", 1.0, 1, 1), Metric(key, 1.0, 1, 1)], [Param("p", "1")], [RunTag("t", "1")]),
        ([Metric("fine", 1.0, 1, 1)], [Param("q", "1"), Param(key, "1")], [RunTag("u", "1")]),
        ([Metric("well", 1.0, 1, 1)], [Param("r", "1")], [RunTag("v", "1"), RunTag(key, "1")]),
    ]
    for metrics, params, tags in batches:
        world.note(lambda m=metrics, p=params, t=tags: world.store.log_batch(run_id, m, p, t))
        world.note_run(run_id)


def experiment_tag_key(world: World, *, key: str) -> None:
    experiment_id = world.experiment()
    world.note(lambda: world.store.set_experiment_tag(experiment_id, ExperimentTag(key, "x")))
    world.note(lambda: world.store.get_experiment(experiment_id))
    world.note(lambda: world.store.delete_experiment_tag(experiment_id, key))
    world.note(lambda: world.store.get_experiment(experiment_id))


def log_value(world: World, *, value: Any = 1.0, step: Any = 3, timestamp: Any = 10) -> None:
    run_id = world.run()
    world.note(lambda: world.store.log_metric(run_id, Metric("m", value, timestamp, step)))
    world.note_run(run_id)
    world.note_history(run_id, "m")
    other_id = world.run()
    batch = [Metric("ok", 1.0, 1, 1), Metric("m", value, timestamp, step)]
    world.note(lambda: world.store.log_batch(other_id, batch, [], []))
    world.note_run(other_id)
    world.note_history(other_id, "m")


def param_value(world: World, *, text: Any) -> None:
    run_id = world.run()
    world.note(lambda: world.store.log_param(run_id, Param("p", text)))
    world.note(lambda: world.store.log_batch(run_id, [], [Param("q", text)], []))
    world.note_run(run_id)


def tag_value(world: World, *, text: Any) -> None:
    run_id = world.run()
    world.note(lambda: world.store.set_tag(run_id, RunTag("p", text)))
    world.note(lambda: world.store.log_batch(run_id, [], [], [RunTag("q", text)]))
    world.note_run(run_id)
    experiment_id = world.experiment()
    world.note(lambda: world.store.set_experiment_tag(experiment_id, ExperimentTag("p", text)))
    world.note(lambda: world.store.get_experiment(experiment_id))


def latest(world: World, *, points: Any) -> None:
    run_id = world.run()
    for value, step, timestamp in points:
        world.store.log_metric(run_id, Metric("m", value, timestamp, step))
    world.note_run(run_id)
    other_id = world.run()
    world.store.log_batch(other_id, [Metric("m", v, t, s) for v, s, t in points], [], [])
    world.note_run(other_id)


# -- life cycles

LIFE_CYCLES = ["delete_run", "restore_run", "delete_experiment", "restore_experiment"]


def life_cycle(world: World, *, steps: list[str]) -> None:
    experiment_id = world.experiment()
    run_id, other_id = world.run(experiment_id), world.run(experiment_id, name="other")
    store = world.store
    for step in steps:
        target = run_id if step.endswith("run") else experiment_id
        world.note(lambda step=step, target=target: getattr(store, step)(target))
    world.note(lambda: store.get_experiment(experiment_id))
    for identity in (run_id, other_id):
        world.note_run(identity)
        world.note(lambda identity=identity: store.log_metric(identity, Metric("m", 1.0, 1, 1)))
        world.note(lambda identity=identity: store.log_batch(identity, [], [Param("p", "1")], []))
        world.note(lambda identity=identity: store.set_tag(identity, RunTag("t", "1")))
        world.note(lambda identity=identity: store.update_run_info(identity, RunStatus.FINISHED, 5000, None))
        world.note_run(identity)
    world.note(lambda: store.create_run(experiment_id, "ada", 1, [], "late").info.run_name)
    world.note(lambda: store.set_experiment_tag(experiment_id, ExperimentTag("a", "b")))
    world.note(lambda: store.delete_experiment_tag(experiment_id, "a"))
    world.note(lambda: store.rename_experiment(experiment_id, f"{world.name}-renamed"))
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
        world.note(lambda view=view: store.search_runs([experiment_id], "run_name = 'run'", view))


def update_info(world: World, *, status: str) -> None:
    run_id = world.run()
    number = RunStatus.from_string(status)
    for arguments in [(number, None, None), (number, 5000, ""), (None, None, "new"), (None, 6000, None)]:
        world.note(lambda arguments=arguments: world.store.update_run_info(run_id, *arguments))
        world.note_run(run_id)
    world.store.log_metric(run_id, Metric("m", 1.0, 1, 1))
    world.note(lambda: world.store.update_run_info(run_id, RunStatus.RUNNING, None, None))
    world.note_run(run_id)


# -- histories


def _with_history(world: World, count: int, *, one_step: bool = False) -> str:
    run_id = world.run()
    points = [Metric("m", float(n % 4), 100 + n, 0 if one_step else n - 3) for n in range(count)]
    world.store.log_batch(run_id, [*points, Metric("other", 1.0, 1, 1)], [], [])
    return run_id


def interval(
    world: World, *, count: int, max_results: int, one_step: bool = False, start: Any = None, end: Any = None
) -> None:
    ids = [_with_history(world, count, one_step=one_step), _with_history(world, 2)]
    world.note(lambda: world.store.get_metric_history_bulk_interval(ids, "m", max_results, start, end))
    world.note(lambda: world.store.get_metric_history_bulk_interval(ids[:1], "none", max_results, start, end))


def history_pages(world: World, *, limit: int | None) -> None:
    run_id = _with_history(world, 7)
    token = None
    while True:
        page = world.note(lambda token=token: world.store.get_metric_history(run_id, "m", limit, token))
        token = page.token
        if token is None:
            break


def history_of_nothing(world: World) -> None:
    run_id = world.run()
    world.note_history("f" * 32, "m")
    world.note_history(run_id, "m")
    world.note(lambda: world.store.get_metric_history(run_id, "m", 10, "nonsense"))
    world.note(lambda: world.store.get_metric_history_bulk_interval([], "m", 10, None, None))
    world.note(lambda: world.store.get_max_step_for_metric(run_id, "m"))


def history_bulk(world: World) -> None:
    ids = [_with_history(world, 5), _with_history(world, 3)]
    for limit in (1, 5, 6, 100):
        found = world.store.get_metric_history_bulk(ids, "m", limit)
        # Ids are random in MLflow, and so is their order.
        world.notes.append(len(found))
    world.note(lambda: world.store.get_metric_history_bulk([ids[0]], "m", 3))
    world.note(lambda: world.store.get_metric_history_bulk_interval_from_steps(ids[0], "m", [-3, 0, 99, 1], 2))
    world.note(lambda: world.store.get_max_step_for_metric(ids[0], "m"))


def identical_points(world: World) -> None:
    run_id = world.run()
    point = Metric("m", 1.0, 10, 1)
    for _ in range(3):
        world.store.log_metric(run_id, point)
    world.store.log_batch(run_id, [point, point, Metric("m", float("nan"), 10, 1)], [], [])
    world.store.log_batch(run_id, [Metric("m", float("nan"), 10, 1)] * 2, [], [])
    world.note_history(run_id, "m")
    world.note_run(run_id)


# -- experiments


def experiment_names(world: World) -> None:
    for name in ("", None, "x" * 501, 5, f"{world.name}-é", f"/Shared/{world.name}", f"{world.name} b"):
        experiment_id = world.note(lambda name=name: world.store.create_experiment(name) and "made")
        if experiment_id:
            world.note(lambda name=name: world.store.get_experiment_by_name(name).name)
            world.note(lambda name=name: world.store.create_experiment(name))
    world.note(lambda: world.store.get_experiment_by_name(f"{world.name}-unknown"))


def experiment_ids(world: World) -> None:
    for identity in ("99999999", "abc", "", None, 0, "0", "-5"):
        world.note(lambda identity=identity: world.store.get_experiment(identity).name)
    for call in ("delete_experiment", "restore_experiment"):
        for identity in ("99999999", "abc"):
            world.note(lambda call=call, identity=identity: getattr(world.store, call)(identity))
    world.note(lambda: world.store.rename_experiment("99999999", "x"))
    world.note(lambda: world.store.set_experiment_tag("99999999", ExperimentTag("a", "b")))
    world.note(lambda: world.store.delete_experiment_tag("99999999", "a"))
    world.note(lambda: world.store.create_run("99999999", "ada", 1, [], "x"))


def experiment_renaming(world: World) -> None:
    first, second = world.experiment("-a"), world.experiment("-b")
    store = world.store
    world.note(lambda: store.rename_experiment(first, f"{world.name}-c"))
    world.note(lambda: store.get_experiment(first))
    world.note(lambda: store.get_experiment_by_name(f"{world.name}-a"))
    world.note(lambda: store.rename_experiment(second, ""))
    world.note(lambda: store.rename_experiment(first, f"{world.name}-c"))
    world.note(lambda: store.create_experiment(f"{world.name}-c"))
    world.experiment("-a")
    world.note(lambda: store.get_experiment_by_name(f"{world.name}-a"))


def experiment_renaming_to_a_taken_name(world: World) -> None:
    first, _ = world.experiment("-a"), world.experiment("-b")
    world.note(lambda: world.store.rename_experiment(first, f"{world.name}-b"))


def experiment_of_deleted_name(world: World) -> None:
    experiment_id = world.experiment()
    world.store.delete_experiment(experiment_id)
    world.note(lambda: world.store.create_experiment(world.name))
    world.note(lambda: world.store.get_experiment_by_name(world.name))


def experiment_tags(world: World) -> None:
    tags = [ExperimentTag("a", "1"), ExperimentTag("b", "x" * 20_000)]
    experiment_id = world.experiment(tags=tags)
    world.note(lambda: world.store.get_experiment(experiment_id).tags["a"])
    world.note(lambda: world.store.set_experiment_tag(experiment_id, ExperimentTag("a", "2")))
    world.note(lambda: world.store.set_experiment_tag(experiment_id, ExperimentTag("c", "x" * 20_001)))
    world.note(lambda: world.store.get_experiment(experiment_id).tags["a"])
    world.note(lambda: world.store.delete_experiment_tag(experiment_id, "a"))
    world.note(lambda: world.store.delete_experiment_tag(experiment_id, "a"))


# -- runs


def runs_that_are_not_there(world: World) -> None:
    store, nobody = world.store, "f" * 32
    world.note(lambda: store.get_run(nobody))
    world.note(lambda: store.delete_run(nobody))
    world.note(lambda: store.restore_run(nobody))
    world.note(lambda: store.update_run_info(nobody, RunStatus.FINISHED, 1, None))
    world.note(lambda: store.log_metric(nobody, Metric("m", 1.0, 1, 1)))
    world.note(lambda: store.log_param(nobody, Param("p", "1")))
    world.note(lambda: store.set_tag(nobody, RunTag("t", "1")))
    world.note(lambda: store.delete_tag(nobody, "t"))
    world.note(lambda: store.log_batch(nobody, [Metric("m", 1.0, 1, 1)], [], []))
    for identity in ("", "../x", "a b", "x" * 300):
        world.note(lambda identity=identity: store.log_batch(identity, [], [], []))


def run_names(world: World) -> None:
    experiment_id = world.experiment()
    named = [RunTag("mlflow.runName", "tagged")]
    for tags, name in [(named, None), (named, ""), (named, "tagged"), (named, "other"), ([], "given"), (None, "none")]:
        world.note(lambda t=tags, n=name: world.store.create_run(experiment_id, "ada", 1, t, n).data.tags)
    run_id = world.run(experiment_id, name="first")
    world.note(lambda: world.store.set_tag(run_id, RunTag("mlflow.runName", "second")))
    world.note_run(run_id)
    world.note(lambda: world.store.log_batch(run_id, [], [], [RunTag("mlflow.runName", "third")]))
    world.note_run(run_id)
    world.note(lambda: world.store.update_run_info(run_id, None, None, "fourth"))
    world.note_run(run_id)


def params_that_change(world: World) -> None:
    run_id = world.run(params={"a": "x", "b": "y"})
    store = world.store
    world.note(lambda: store.log_param(run_id, Param("a", "x")))
    world.note(lambda: store.log_batch(run_id, [], [Param("c", "3"), Param("b", "9"), Param("a", "8")], []))
    world.note(lambda: store.log_batch(run_id, [Metric("m", 1.0, 1, 1)], [Param("a", "7")], [RunTag("t", "1")]))
    world.note(lambda: store.log_batch(run_id, [], [Param("d", "1"), Param("d", "1")], []))
    world.note(lambda: store.log_batch(run_id, [], [Param("d", "1"), Param("d", "2")], []))
    world.note_run(run_id)


def param_that_changes(world: World) -> None:
    run_id = world.run(params={"a": "1"})
    world.note(lambda: world.store.log_param(run_id, Param("a", "2")))
    world.note_run(run_id)


def tags_that_change(world: World) -> None:
    run_id = world.run(tags={"a": "1"})
    store = world.store
    world.note(lambda: store.set_tag(run_id, RunTag("a", "2")))
    world.note(lambda: store.log_batch(run_id, [], [], [RunTag("a", "3"), RunTag("a", "4"), RunTag("b", "5")]))
    world.note_run(run_id)
    world.note(lambda: store.delete_tag(run_id, "a"))
    world.note(lambda: store.delete_tag(run_id, "a"))
    world.note(lambda: store.set_tag(run_id, RunTag("a", "6")))
    world.note_run(run_id)


def batch_limits(world: World) -> None:
    run_id = world.run()
    store = world.store
    world.note(lambda: store.log_batch(run_id, [Metric(f"m{n}", 1.0, 1, 1) for n in range(1001)], [], []))
    world.note(lambda: store.log_batch(run_id, [], [Param(f"p{n}", "1") for n in range(101)], []))
    world.note(lambda: store.log_batch(run_id, [], [], [RunTag(f"t{n}", "1") for n in range(101)]))
    many = [Metric(f"m{n}", 1.0, 1, 1) for n in range(950)]
    world.note(lambda: store.log_batch(run_id, many, [Param(f"p{n}", "1") for n in range(51)], []))
    world.note_run(run_id)
    world.note(lambda: store.log_batch(run_id, many, [Param(f"p{n}", "1") for n in range(50)], []))
    world.note_run(run_id)
    world.note(lambda: store.log_batch(run_id, [], [], []))


def history_with_nan(world: World) -> None:
    run_id = world.run(metrics=[("m", float("nan"), 1, 1), ("m", 3.0, 1, 1), ("m", -3.0, 1, 1)])
    world.note_history(run_id, "m")


def infinities(world: World) -> None:
    run_id = world.run(metrics=[("m", float("inf"), 1, 1), ("n", float("-inf"), 1, 1)])
    world.note_run(run_id)


def an_ended_run_goes_on(world: World) -> None:
    run_id = world.run()
    store = world.store
    store.update_run_info(run_id, RunStatus.FINISHED, 5000, None)
    world.note(lambda: store.log_metric(run_id, Metric("m", 1.0, 1, 1)))
    world.note(lambda: store.log_batch(run_id, [], [Param("p", "1")], [RunTag("t", "1")]))
    world.note_run(run_id)
    store.update_run_info(run_id, RunStatus.RUNNING, None, None)
    store.log_metric(run_id, Metric("m", 2.0, 2, 2))
    store.update_run_info(run_id, RunStatus.FAILED, 9000, None)
    world.note_run(run_id)
    world.note_history(run_id, "m")


def users_and_times(world: World) -> None:
    experiment_id = world.experiment()
    for user, start in [("", 0), ("Ä b", 5), ("x" * 200, 10**11)]:
        world.note(lambda u=user, s=start: world.store.get_run(world.run(experiment_id, user=u, start=s)))


SINGLE = [
    history_of_nothing, history_bulk, identical_points, experiment_names, experiment_ids, experiment_renaming,
    experiment_renaming_to_a_taken_name, experiment_of_deleted_name, experiment_tags, runs_that_are_not_there,
    run_names, params_that_change, param_that_changes, tags_that_change, batch_limits, infinities, history_with_nan,
    an_ended_run_goes_on, users_and_times,
]  # fmt: skip
