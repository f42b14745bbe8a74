"""Comparison, groups and dashboards as users call them, and what they draw."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import localtrack
from localtrack import Store
from localtrack.errors import DamagedIndexError, InvalidInputError, NotFoundError
from localtrack.store.index.search_index import SearchIndex


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("analysis") / "store") as store:
        for experiment, lr in (("a", 0.1), ("b", 0.2)):
            for seed in range(3):
                with store.start_run(experiment, context=False, tags={"mlflow.user": f"user{seed}"}) as run:
                    run.log_params({"lr": lr, "seed": seed})
                    for step in range(3):
                        run.log_metrics({"loss": lr + seed + 1 / (step + 1)}, step=step)
        yield store


def test_runs_are_compared_by_id_or_as_a_search_found_them(store: Store) -> None:
    page = store.search_runs(order_by=["metrics.loss"])
    comparison = store.compare(page)
    assert comparison.run_ids == [row.info.run_id for row in page]
    assert comparison.metrics[0].best.index(True) == 0
    assert store.compare([row.to_run() for row in page]) == store.compare(comparison.run_ids) == comparison
    with pytest.raises(NotFoundError):
        store.compare(["0" * 32])
    with pytest.raises(InvalidInputError):
        store.compare(comparison.run_ids[0])


def test_groups_and_figures_take_the_scope_of_a_search(store: Store) -> None:
    frame = store.group_runs()
    assert frame.columns[:2] == ["params.lr", "runs"]
    assert [(row["params.lr"], row["runs"], row["metrics.loss.count"]) for row in frame] == [
        ("0.1", 3, 3),
        ("0.2", 3, 3),
    ]
    assert len(store.group_runs(experiment_names=["a"])) == 1
    assert len(store.group_runs(experiment_names=["nothing"])) == 0
    assert [row["runs"] for row in store.group_runs("params.lr = 0.2")] == [3]
    (best,) = store.best_per_day("loss")
    assert best["metrics.loss"] == pytest.approx(0.1 + 1 / 3)
    (best,) = store.best_per_day("loss", experiment_names=["b"], direction="max")
    assert best["metrics.loss"] == pytest.approx(0.2 + 2 + 1 / 3)
    assert [row["runs"] for row in store.runs_per_day()] == [2, 2, 2]
    assert [row["user"] for row in store.runs_per_day(user="user1")] == ["user1"]
    assert [row["runs"] for row in store.runs_per_month("metrics.loss < 1")] == [2]
    with pytest.raises(InvalidInputError):
        store.best_per_day("loss", "metrics.loss <")


def test_deleted_runs_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        with store.start_run(context=False) as run:
            run.log_metric("loss", 1.0)
        store.delete_run(run.run_id)
        assert len(store.best_per_day("loss")) == len(store.runs_per_day()) == len(store.group_runs()) == 0
        assert len(store.best_per_day("loss", run_view_type=localtrack.ViewType.ALL)) == 1


def test_charts_are_drawn_without_a_window(store: Store, tmp_path: Path) -> None:
    ids = [row.info.run_id for row in store.search_runs()]
    for number, chart in enumerate(
        [
            store.best_per_day("loss"),
            store.runs_per_day(),
            store.runs_per_month(),
            store.align_histories(ids, "loss"),
            store.best_per_day("loss", "metrics.loss > 99"),
            store.runs_per_day("metrics.loss > 99"),
            store.runs_per_month("metrics.loss > 99"),
            store.align_histories([], "loss"),
        ]
    ):
        figure = chart.plot()
        figure.savefig(tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")
    figure = Figure()
    axes = figure.add_subplot()
    assert store.runs_per_day().plot(axes) is figure
    assert axes.get_ylabel() == "runs"
    assert len(axes.patches) == 3  # a day of three users
    assert store.align_histories(ids, "loss").plot().axes[0].lines[0].get_xydata().shape == (3, 2)


def test_the_fluent_functions_ask_the_active_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALTRACK_TRACKING_URI", store.uri)
    localtrack.set_tracking_uri(store.uri)
    ids = [row.info.run_id for row in store.search_runs()]
    assert localtrack.compare(ids).run_ids == ids
    assert len(localtrack.group_runs(experiment_names=["a"], metrics=["loss"])) == 1
    assert len(localtrack.best_per_day("loss", days=None)) == len(localtrack.runs_per_month()) == 1
    assert len(localtrack.runs_per_day(user="user0")) == 1
    assert localtrack.metric_history(ids[0], "loss").num_rows == 3
    assert localtrack.align_histories(ids, "loss", by="elapsed", interval=1_000).columns[0] == "elapsed_ms"
    assert list(localtrack.sql("SELECT count(*) AS n FROM runs")) == [{"n": 6}]


def test_all_runs_come_in_batches_of_one_moment(store: Store) -> None:
    batches = store.iter_runs(batch_size=4)
    first = next(batches)
    with store.start_run("a", context=False) as late:
        pass
    second = next(batches)
    assert next(batches, None) is None
    store.delete_run(late.run_id)
    assert [len(first), len(second)] == [4, 2]
    assert [row.info.run_id for row in [*first, *second]] == [row.info.run_id for row in store.search_runs()]
    assert first.to_arrow().num_rows == 4
    assert [len(batch) for batch in store.iter_runs("params.lr = 0.2", experiment_names=["b"])] == [3]
    assert list(store.iter_runs("metrics.loss > 99")) == []
    with pytest.raises(InvalidInputError):
        store.iter_runs("metrics.loss >")
    with pytest.raises(InvalidInputError):
        store.iter_runs(batch_size=0)


def test_experiments_are_browsed_like_folders(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        for name in ("/Shared/team/churn", "/Shared/team/sales", "/Shared/x", "mine"):
            store.create_experiment(name)
        store.delete_experiment(store.create_experiment("/Shared/gone"))
        top = store.browse_experiments()
        assert [(folder.path, folder.experiments_count) for folder in top.folders] == [("/Shared", 3)]
        assert {experiment.name for experiment in top.experiments} == {"Default", "mine"}
        shared = store.browse_experiments("/Shared", localtrack.ViewType.ALL)
        assert [folder.path for folder in shared.folders] == ["/Shared/team"]
        assert [experiment.name for experiment in shared.experiments] == ["/Shared/gone", "/Shared/x"]
        assert store.search_experiments("name LIKE '/Shared/team/%'").to_pandas()["name"].nunique() == 2


QUESTIONS = {
    "sql": lambda store: store.sql("SELECT count(*) AS n FROM metrics WHERE key = 'loss'").to_arrow().to_pylist(),
    "stream": lambda store: [
        row["n"] for row in store.sql("SELECT count(*) AS n FROM params JOIN runs USING (run_id)")
    ],
    "groups": lambda store: list(store.group_runs(metrics=["loss"])),
    "best": lambda store: list(store.best_per_day("loss")),
    "day": lambda store: list(store.runs_per_day()),
    "month": lambda store: list(store.runs_per_month()),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_damaged_index_is_left_aside(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    wanted = QUESTIONS[question](store)
    store.flush()
    copy = tmp_path / "copy"
    shutil.copytree(store.uri, copy)
    with Store.open(copy) as copied:
        copied.compact()
    files = list((copy / "index").rglob("*.parquet"))
    assert files
    for path in files:
        data = bytearray(path.read_bytes())
        for place in range(4, len(data) - 4, 3):
            data[place] ^= 0x55
        path.write_bytes(data)
    told: list[str] = []
    original = SearchIndex.distrust

    def listen(self: SearchIndex, error: DamagedIndexError) -> None:
        told.append(str(error))
        original(self, error)

    monkeypatch.setattr(SearchIndex, "distrust", listen)
    with Store.open(copy) as damaged:
        assert QUESTIONS[question](damaged) == wanted
    assert told


def test_one_damaged_file_of_the_index_is_named_and_the_answer_is_whole(store: Store, tmp_path: Path) -> None:
    query = "SELECT run_id, key FROM params UNION ALL SELECT run_id, key FROM metrics"
    wanted = sorted((row["run_id"], row["key"]) for row in store.sql(query))
    store.flush()
    copy = tmp_path / "copy"
    shutil.copytree(store.uri, copy)
    with Store.open(copy) as copied:
        copied.compact()
    (path,) = (copy / "index").rglob("*.metrics.parquet")
    path.write_bytes(bytes(path.stat().st_size))
    with Store.open(copy) as damaged:
        answer = damaged.sql(query)  # params are handed out before metrics are read
        assert sorted((row["run_id"], row["key"]) for row in answer) == wanted
        assert any(path.name in finding.what for finding in answer.findings)


def test_batches_go_on_where_the_index_turns_out_to_be_damaged(store: Store, tmp_path: Path) -> None:
    store.flush()
    copy = tmp_path / "copy"
    shutil.copytree(store.uri, copy)
    with Store.open(copy) as copied:
        for _ in range(6):  # more than a buffer holds, or what was damaged would not be read again
            with copied.start_run("a", context=False) as run:
                run.log_params({"noise": os.urandom(2_500).hex()})
        copied.compact()
        expected = [row.info.run_id for row in copied.search_runs()]
    with Store.open(copy) as damaged:
        batches = damaged.iter_runs(batch_size=4)
        first = next(batches)
        (path,) = (copy / "index").rglob("*.rows")
        path.write_bytes(bytes(path.stat().st_size))
        gone = expected.pop()
        shutil.rmtree(next((copy / "runs").glob(f"*/{gone}")))
        others = list(batches)
    assert [row.info.run_id for page in [first, *others] for row in page] == expected
    assert not first.findings
    assert all(path.name in finding.what for page in others for finding in page.findings)
    assert others[-1].findings
