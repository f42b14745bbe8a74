"""Small programs in MLflow's fluent words, as people write them. `show` notes a value, `attempt` whether a call fails.

Times that are compared are small numbers; those of the clock are shown as "now". Runs are given names, except where
the random name is the point; no two runs of a program that differ otherwise have the same.
"""

from __future__ import annotations

from textwrap import dedent
from typing import Final

PROGRAMS: Final[dict[str, str]] = {
    name: dedent(source)
    for name, source in {
        "first_log_starts_a_run": """
            show(mlflow.active_run() is None)
            mlflow.set_tag("mlflow.runName", "auto")
            mlflow.log_metric("loss", 0.5, timestamp=10)
            show(mlflow.active_run() is not None)
        """,
        "each_first_call_starts_a_run": """
            for number, call in enumerate([
                lambda: mlflow.log_param("p", 1),
                lambda: mlflow.log_params({"p": 2}),
                lambda: mlflow.log_metrics({"m": 3}, timestamp=5),
                lambda: mlflow.set_tag("t", 4),
                lambda: mlflow.set_tags({"t": 5}),
                lambda: mlflow.get_artifact_uri(),
                lambda: mlflow.log_text("a", "a.txt"),
            ]):
                call()
                mlflow.set_tag("mlflow.runName", f"run {number}")
                mlflow.end_run()
        """,
        "what_calls_return": """
            with mlflow.start_run(run_name="r"):
                show(mlflow.log_param("a", 0.25))
                show(mlflow.log_params({"b": None}))
                show(mlflow.log_metric("m", 1, timestamp=1))
                show(mlflow.log_metrics({"m": 2}, timestamp=2))
                show(mlflow.set_tag("t", True))
                show(mlflow.set_tags({"u": 1.5}))
                show(mlflow.delete_tag("u"))
                for call in (
                    lambda: mlflow.log_param("c", 1, synchronous=False),
                    lambda: mlflow.log_params({"d": 2}, synchronous=False),
                    lambda: mlflow.log_metric("n", 1, timestamp=1, synchronous=False),
                    lambda: mlflow.log_metrics({"n": 2}, timestamp=2, synchronous=False),
                    lambda: mlflow.set_tag("v", 1, synchronous=False),
                    lambda: mlflow.set_tags({"w": 1}, synchronous=False),
                ):
                    operations = call()
                    show(type(operations).__name__)
                    show(operations.wait())
            show(mlflow.end_run())
        """,
        "values_of_all_kinds": """
            import numpy
            with mlflow.start_run(run_name="r"):
                mlflow.log_params({"none": None, "list": [1, "a"], "text": "é 1", "bool": True, "float": 1e-7})
                mlflow.log_param("long", "x" * 7000)
                mlflow.set_tags({"none": None, "dict": {"a": 1}, "long": "y" * 9000, "empty": ""})
                for value in (1, True, numpy.float32(0.5), numpy.int64(7), "2.5", float("nan"), -0.0):
                    mlflow.log_metric("m", value, timestamp=3)
                attempt(lambda: mlflow.log_metric("m", "much"))
                attempt(lambda: mlflow.log_metric("m", None))
        """,
        "steps_and_times": """
            with mlflow.start_run(run_name="r"):
                for step in (3, 1, 2, -5, None, 0, 1):
                    mlflow.log_metric("m", float(step or 0), step=step, timestamp=100)
                mlflow.log_metric("last", 1.0, step=2, timestamp=5)
                mlflow.log_metric("last", 9.0, step=1, timestamp=9)
                mlflow.log_metric("last", 4.0, step=2, timestamp=4)
                mlflow.log_metric("zero", 1.0, timestamp=0)
                mlflow.log_metrics({"a": 1, "b": 2}, step=4, timestamp=7)
        """,
        "refused_values": """
            with mlflow.start_run(run_name="r"):
                mlflow.log_param("p", 1)
                attempt(lambda: mlflow.log_param("p", 1))
                attempt(lambda: mlflow.log_param("p", 2))
                attempt(lambda: mlflow.log_params({"q": 1, "p": 3}))
                attempt(lambda: mlflow.log_param("../x", 2))
                attempt(lambda: mlflow.log_metric("a//b", 2))
                attempt(lambda: mlflow.log_metrics({"fine": 1, "k" * 300: 2}))
                attempt(lambda: mlflow.set_tag("", 2))
                attempt(lambda: mlflow.delete_tag("no such tag"))
        """,
        "nesting": """
            with mlflow.start_run(run_name="outer") as outer:
                attempt(lambda: mlflow.start_run())
                with mlflow.start_run(run_name="inner", nested=True) as inner:
                    mlflow.log_param("depth", 1)
                    with mlflow.start_run(run_name="innermost", nested=True) as innermost:
                        mlflow.log_param("depth", 2)
                    show(mlflow.active_run().info.run_id == inner.info.run_id)
                show(mlflow.active_run().info.run_id == outer.info.run_id)
                mlflow.log_param("depth", 0)
            show(mlflow.active_run())
            show(mlflow.get_parent_run(innermost.info.run_id).info.run_name)
            show(mlflow.get_parent_run(outer.info.run_id))
            attempt(lambda: mlflow.get_parent_run("0" * 32))
        """,
        "parent_by_id": """
            with mlflow.start_run(run_name="parent") as parent:
                pass
            with mlflow.start_run(run_name="child", parent_run_id=parent.info.run_id):
                attempt(lambda: mlflow.start_run(nested=True, parent_run_id=parent.info.run_id))
            attempt(lambda: mlflow.start_run(parent_run_id="0" * 32))
            attempt(lambda: mlflow.start_run(parent_run_id="no id/"))
            mlflow.delete_run(parent.info.run_id)
            attempt(lambda: mlflow.start_run(parent_run_id=parent.info.run_id))
            show(mlflow.active_run())
        """,
        "statuses": """
            for status in ("FINISHED", "FAILED", "KILLED"):
                mlflow.start_run(run_name=status)
                mlflow.end_run(status)
            mlflow.start_run(run_name="default")
            mlflow.end_run()
            mlflow.end_run()
        """,
        "with_and_exceptions": """
            for error in (ValueError, KeyboardInterrupt, SystemExit):
                try:
                    with mlflow.start_run(run_name=error.__name__):
                        mlflow.log_param("before", 1)
                        raise error
                except BaseException:
                    show(mlflow.active_run())
            with mlflow.start_run(run_name="ended inside"):
                mlflow.end_run("KILLED")
                show(mlflow.active_run())
            try:
                with mlflow.start_run(run_name="outer fails"):
                    with mlflow.start_run(run_name="inner is fine", nested=True):
                        pass
                    raise ValueError
            except ValueError:
                pass
        """,
        "open_at_exit": """
            mlflow.start_run(run_name="open")
            mlflow.log_param("p", 1)
        """,
        "uncaught_exception_outside_of_with": """
            mlflow.start_run(run_name="open")
            raise ValueError("nobody catches this")
        """,
        "uncaught_exception_inside_of_with": """
            with mlflow.start_run(run_name="open"):
                raise ValueError("nobody catches this")
        """,
        "exit_inside_of_with": """
            import sys
            with mlflow.start_run(run_name="open"):
                sys.exit(3)
        """,
        "last_active_run": """
            show(mlflow.last_active_run())
            with mlflow.start_run(run_name="first") as first:
                show(mlflow.last_active_run().info.run_id == first.info.run_id)
            show(mlflow.last_active_run().info.run_name)
            show(mlflow.last_active_run().info.status)
            with mlflow.start_run(run_name="second"):
                with mlflow.start_run(run_name="nested", nested=True):
                    pass
                show(mlflow.last_active_run().info.status)
            show(mlflow.last_active_run().info.run_name)
        """,
        "resume": """
            with mlflow.start_run(run_name="r", tags={"a": 1}) as run:
                mlflow.log_metric("m", 1, step=0, timestamp=1)
            with mlflow.start_run(run_id=run.info.run_id) as again:
                show(again.info.run_id == run.info.run_id)
                show(again.info.status)
                mlflow.log_metric("m", 2, step=1, timestamp=2)
            with mlflow.start_run(run_id=run.info.run_id, run_name="renamed", tags={"b": 2}, description="text"):
                mlflow.log_param("p", 1)
                attempt(lambda: mlflow.log_param("p", 2))
            show(mlflow.get_run(run.info.run_id).info.run_name)
            attempt(lambda: mlflow.start_run(run_id="0" * 32))
            mlflow.delete_run(run.info.run_id)
            attempt(lambda: mlflow.start_run(run_id=run.info.run_id))
            mlflow.restore_run(run.info.run_id)
        """,
        "resume_from_the_environment": """
            import os
            with mlflow.start_run(run_name="first") as run:
                pass
            os.environ["MLFLOW_RUN_ID"] = run.info.run_id
            with mlflow.start_run(run_name="taken for the first", nested=False) as again:
                show(again.info.run_id == run.info.run_id)
                show("MLFLOW_RUN_ID" in os.environ)
            with mlflow.start_run(run_name="new") as other:
                show(other.info.run_id == run.info.run_id)
            os.environ["MLFLOW_RUN_ID"] = run.info.run_id
            with mlflow.start_run(run_id=os.environ["MLFLOW_RUN_ID"]):
                show("MLFLOW_RUN_ID" in os.environ)
            with mlflow.start_run(run_name="another") as other:
                show(other.info.run_id == run.info.run_id)
            os.environ["MLFLOW_RUN_ID"] = "0" * 32
            attempt(lambda: mlflow.start_run())
        """,
        "experiment_of_a_resumed_run": """
            with mlflow.start_run(run_name="in Default") as run:
                pass
            mlflow.set_experiment("other")
            try:
                mlflow.start_run(run_id=run.info.run_id)
            except Exception as error:
                show("does not match" in str(error) or "belongs to" in str(error))
            show(mlflow.active_run())
        """,
        "experiment_precedence": """
            import os
            a = mlflow.create_experiment("by argument")
            b = mlflow.create_experiment("by id")
            def start(name, **arguments):
                with mlflow.start_run(run_name=name, **arguments):
                    pass
            start("nothing set")
            os.environ["MLFLOW_EXPERIMENT_ID"] = b
            start("id in the environment")
            os.environ.pop("MLFLOW_EXPERIMENT_ID")
            os.environ["MLFLOW_EXPERIMENT_NAME"] = "made by name"
            start("name in the environment")
            start("name in the environment, again")
            start("argument over name", experiment_id=a)
            show(mlflow.set_experiment("set").name)
            start("set over name")
            start("argument over set", experiment_id=a)
        """,
        "experiment_contradictions": """
            import os
            a = mlflow.create_experiment("a")
            os.environ["MLFLOW_EXPERIMENT_NAME"] = "a"
            os.environ["MLFLOW_EXPERIMENT_ID"] = a
            with mlflow.start_run(run_name="both the same"):
                pass
            os.environ["MLFLOW_EXPERIMENT_ID"] = "0"
            attempt(lambda: mlflow.start_run())
            os.environ.pop("MLFLOW_EXPERIMENT_NAME")
            os.environ["MLFLOW_EXPERIMENT_ID"] = "123456"
            attempt(lambda: mlflow.start_run())
            attempt(lambda: mlflow.start_run(experiment_id="123456"))
            attempt(lambda: mlflow.start_run(experiment_id=1.5))
            attempt(lambda: mlflow.set_experiment())
            attempt(lambda: mlflow.set_experiment("a", a))
            attempt(lambda: mlflow.set_experiment(experiment_id="123456"))
            mlflow.start_run(run_name="id as a number", experiment_id=0)
        """,
        "experiments": """
            a = mlflow.create_experiment("a", tags={"k": "v"})
            attempt(lambda: mlflow.create_experiment("a"))
            show(mlflow.get_experiment_by_name("a").experiment_id == a)
            show(mlflow.get_experiment_by_name("b"))
            show(mlflow.get_experiment(a).name)
            attempt(lambda: mlflow.get_experiment("99999"))
            mlflow.set_experiment("a")
            mlflow.set_experiment_tag("one", 1)
            mlflow.set_experiment_tags({"two": 2, "three": None})
            mlflow.delete_experiment_tag("k")
            attempt(lambda: mlflow.delete_experiment_tag("k"))
            mlflow.set_experiment(experiment_id=mlflow.create_experiment("/Shared/team/churn"))
            with mlflow.start_run(run_name="in churn"):
                pass
            show(sorted(e.name for e in mlflow.search_experiments()))
            show([e.name for e in mlflow.search_experiments(filter_string="name LIKE '/Shared/%'")])
            show([e.name for e in mlflow.search_experiments(order_by=["name ASC"], max_results=2)])
            mlflow.delete_experiment(a)
            attempt(lambda: mlflow.set_experiment("a"))
            attempt(lambda: mlflow.set_experiment(experiment_id=a))
            attempt(lambda: mlflow.create_experiment("a"))
            attempt(lambda: mlflow.start_run(experiment_id=a))
            show(sorted(e.name for e in mlflow.search_experiments(view_type=2)))
            mlflow.restore_experiment(a)
        """,
        "runs_of_a_deleted_experiment": """
            experiment = mlflow.set_experiment("gone")
            with mlflow.start_run(run_name="r"):
                pass
            mlflow.delete_experiment(experiment.experiment_id)
            attempt(lambda: mlflow.start_run())
        """,
        "descriptions_and_tags": """
            with mlflow.start_run(run_name="r", description="about it", tags={"a": 1, "b": 2.5}):
                pass
            attempt(lambda: mlflow.start_run(description="x", tags={"mlflow.note.content": "y"}))
            with mlflow.start_run(run_name="x", tags={"mlflow.runName": "y"}):
                pass
            with mlflow.start_run(tags={"mlflow.runName": "named by tag"}) as run:
                show(run.info.run_name)
                mlflow.set_tag("mlflow.runName", "renamed by tag")
            show(mlflow.get_run(run.info.run_id).info.run_name)
            show(mlflow.active_run())
        """,
        "delete_and_restore_runs": """
            with mlflow.start_run(run_name="kept") as kept:
                pass
            with mlflow.start_run(run_name="deleted") as deleted:
                pass
            mlflow.delete_run(deleted.info.run_id)
            mlflow.delete_run(kept.info.run_id)
            mlflow.restore_run(kept.info.run_id)
            show([r.info.run_name for r in mlflow.search_runs(output_format="list")])
            show([r.info.run_name for r in mlflow.search_runs(output_format="list", run_view_type=2)])
            attempt(lambda: mlflow.delete_run("0" * 32))
            attempt(lambda: mlflow.get_run("0" * 32))
            attempt(lambda: mlflow.log_metric("m", 1, run_id=deleted.info.run_id))
        """,
        "logging_by_run_id": """
            with mlflow.start_run(run_name="first") as first:
                with mlflow.start_run(run_name="second", nested=True):
                    mlflow.log_metric("m", 1, timestamp=1, run_id=first.info.run_id)
                    mlflow.log_metrics({"n": 2}, timestamp=1, run_id=first.info.run_id)
                    mlflow.log_params({"p": 3}, run_id=first.info.run_id)
            mlflow.log_metric("m", 2, step=1, timestamp=2, run_id=first.info.run_id)
            mlflow.log_text("text", "a/b.txt", run_id=first.info.run_id)
            show(mlflow.active_run())
            show(mlflow.get_run(first.info.run_id).info.status)
            attempt(lambda: mlflow.log_metric("m", 1, run_id="0" * 32))
            attempt(lambda: mlflow.log_params({"p": 4}, run_id=first.info.run_id))
        """,
        "threads": """
            import threading
            with mlflow.start_run(run_name="main") as main:
                def work(number):
                    assert mlflow.active_run() is None
                    assert mlflow.last_active_run() is None
                    with mlflow.start_run(run_name=f"thread {number}"):
                        mlflow.log_param("number", number)
                    mlflow.log_metric("m", number, step=number, timestamp=1, run_id=main.info.run_id)
                threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
                for thread in threads: thread.start()
                for thread in threads: thread.join()
                show(mlflow.active_run().info.run_id == main.info.run_id)
        """,
        "forks": """
            import os
            with mlflow.start_run(run_name="parent") as run:
                mlflow.log_param("p", 1)
                if os.fork() == 0:
                    assert mlflow.active_run() is None and mlflow.last_active_run() is None
                    with mlflow.start_run(run_name="child"):
                        mlflow.log_param("p", 2)
                    mlflow.log_params({"in the child": True}, run_id=run.info.run_id)
                    os._exit(0)
                os.wait()
                show(mlflow.active_run().info.run_id == run.info.run_id)
        """,
        "search": """
            mlflow.set_experiment("a")
            for number in range(5):
                with mlflow.start_run(run_name=f"a{number}"):
                    mlflow.log_param("p", number)
                    mlflow.log_metric("m", number * 0.5, timestamp=1)
            mlflow.set_experiment("b")
            with mlflow.start_run(run_name="b0"):
                mlflow.set_tag("t", "x")
            a, b = (mlflow.get_experiment_by_name(name).experiment_id for name in "ab")
            def names(**arguments):
                show(sorted(r.info.run_name for r in mlflow.search_runs(output_format="list", **arguments)))
            names()
            names(search_all_experiments=True)
            names(experiment_ids=[a])
            names(experiment_ids=[a, b])
            names(experiment_names=["a"])
            names(experiment_names=["a", "none such"])
            names(experiment_names=["none such"])
            names(experiment_ids=[a], filter_string="metrics.m > 1 and params.p != '4'")
            names(experiment_ids=[a], order_by=["metrics.m DESC"], max_results=2)
            attempt(lambda: names(experiment_ids=[a], experiment_names=["b"]))
            attempt(lambda: names(filter_string="metrics.m >"))
            attempt(lambda: names(filter_string="nonsense"))
            attempt(lambda: mlflow.search_runs(output_format="csv"))
            frame = mlflow.search_runs(experiment_ids=[a], order_by=["metrics.m DESC"])
            show([c for c in frame.columns if not c.startswith("tags.")])
            show(frame["params.p"].tolist())
            show(frame["metrics.m"].tolist())
            show(list(mlflow.search_runs(experiment_names=["none such"]).columns))
        """,
        "a_fork_that_ends_as_an_interpreter_does": """
            import os, sys
            mlflow.start_run(run_name="parent")
            if os.fork() == 0:
                mlflow.start_run(run_name="child")
                sys.exit()
            os.wait()
            show(mlflow.get_run(mlflow.active_run().info.run_id).info.status)
        """,
        "artifacts": """
            import os
            os.mkdir("made")
            open("made/a.txt", "w").write("a")
            with mlflow.start_run(run_name="r"):
                mlflow.log_artifact("made/a.txt")
                mlflow.log_artifact("made/a.txt", "sub/folder")
                mlflow.log_artifacts("made", "whole")
                mlflow.log_text("text", "text.txt")
                mlflow.log_dict({"a": [1, 2]}, "dict.json")
                mlflow.log_table({"x": [1, 2]}, "table.json")
                attempt(lambda: mlflow.log_text("x", "../out.txt"))
                attempt(lambda: mlflow.log_artifact("nowhere.txt"))
                root = mlflow.get_artifact_uri()
                show(mlflow.get_artifact_uri("sub/folder") == root + "/sub/folder")
            root = root.removeprefix("file://")
            found = {}
            for folder, _, files in os.walk(root):
                for file in files:
                    path = os.path.join(folder, file)
                    found[os.path.relpath(path, root)] = open(path).read()
            show(found)
        """,
    }.items()
}
