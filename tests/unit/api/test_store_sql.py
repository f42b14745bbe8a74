"""`Store.sql`: what the views show, what is read for them, and what becomes of the answer."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from localtrack import Store
from localtrack.errors import InvalidInputError, StateError, StorageError
from localtrack.query.index_snapshot import IndexSnapshot
from localtrack.query.sql.output import write_result
from localtrack.types import Dataset, DatasetInput, InputTag, Metric

BASE_MS = 1_790_000_000_000
KEYS = ("acc", "loss", "ünï/x y")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("sql") / "store") as store:
        for number in range(6):
            with store.start_run(
                "a" if number < 4 else "b",
                run_name=f"run {number}",
                start_time=BASE_MS + number * 86_400_000,
                tags={"team": "x" if number % 2 else "y"},
                context=False,
            ) as run:
                run.log_params({"lr": 0.1 * number, "seed": number})
                for step in range(5):
                    run.log_metrics(
                        dict.fromkeys(KEYS, number + step / 10), step=step, timestamp=BASE_MS + step + number
                    )
                run.log_text("x" * number, "deep/er/note.txt")
        store.delete_run(_ids(store)[5])
        store.flush()  # or the library does so in the background, and opens files while a test counts them
        yield store


def _ids(store: Store) -> list[str]:
    answer = store.sql("SELECT run_id FROM runs ORDER BY run_name")
    return [row["run_id"] for row in answer]


class Opened:
    """Which runs' files this process opens."""

    def __init__(self) -> None:
        self.runs: set[str] = set()
        self.is_on = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.is_on and event == "open" and isinstance(arguments[0], str):
            parts = Path(arguments[0]).parts
            if "runs" in parts and len(parts) > parts.index("runs") + 3:
                self.runs.add(parts[parts.index("runs") + 2])

    def during(self, store: Store, query: str, parameters: Any = None) -> tuple[list[dict[str, Any]], set[str]]:
        self.runs, self.is_on = set(), True
        try:
            rows = store.sql(query, parameters).to_arrow().to_pylist()
        finally:
            self.is_on = False
        return rows, self.runs


@pytest.fixture(scope="module")
def opened() -> Opened:
    return Opened()  # an audit hook stays for good, so there is one


def test_the_views_hold_what_was_logged(store: Store) -> None:
    ids = _ids(store)
    assert len(ids) == 6
    one = store.sql("SELECT * FROM runs WHERE run_id = ?", [ids[4]]).to_arrow().to_pylist()[0]
    run = store.get_run(ids[4])
    assert (one["run_name"], one["experiment_name"], one["status"]) == ("run 4", "b", "FINISHED")
    assert one["start_time"].timestamp() * 1000 == run.info.start_time
    assert one["duration_ms"] == run.info.end_time - run.info.start_time
    assert list(store.sql("SELECT key, value FROM params WHERE run_id = ? ORDER BY key", [ids[2]])) == [
        {"key": "lr", "value": "0.2"},
        {"key": "seed", "value": "2"},
    ]
    metric = next(iter(store.sql("SELECT * FROM metrics WHERE run_id = $r AND key = 'loss'", {"r": ids[3]})))
    wanted = {"value": 3.4, "step": 4, "timestamp_ms": BASE_MS + 7, "min": 3.0, "max": 3.4, "count": 5}
    assert {name: metric[name] for name in wanted} == wanted
    assert next(iter(store.sql("SELECT count(*) AS n FROM tags WHERE key = 'team' AND value = 'x'"))) == {"n": 3}
    assert {row["name"] for row in store.sql("SELECT name FROM experiments")} == {"Default", "a", "b"}
    assert list(store.sql("SELECT path, size_bytes FROM artifacts WHERE run_id = ?", [ids[3]])) == [
        {"path": "deep/er/note.txt", "size_bytes": 3}
    ]
    assert list(store.sql("SELECT run_name FROM runs WHERE lifecycle_stage = 'deleted'")) == [{"run_name": "run 5"}]
    assert list(store.sql("SELECT run_name FROM runs WHERE start_time >= '2026-09-25' ORDER BY 1 LIMIT 1")) == [
        {"run_name": "run 4"}
    ]


def test_data_sets_are_told_whole(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        march = Dataset("march", "9a", "local", "march.csv", schema='{"a": "long"}', profile='{"rows": 2}')
        read = [
            DatasetInput(march, (InputTag("mlflow.data.context", "training"), InputTag("why", "best"))),
            DatasetInput(Dataset("april", "b1", "s3", "s3://x/april.csv")),
        ]
        with store.start_run("a", run_name="reader", context=False) as run:
            run.log_inputs(read)
        rows = store.sql("SELECT * FROM datasets ORDER BY name").to_arrow().to_pylist()
        assert [{**row, "tags": dict(row["tags"])} for row in rows] == [
            {
                "run_id": run.run_id,
                **d.dataset.to_dictionary(),
                "context": d.context,
                "tags": {t.key: t.value for t in d.tags},
            }
            for d in reversed(read)
        ]
        for condition in (
            "schema IS NULL",
            "profile IS NULL AND source_type = 's3'",
            "context IS NULL",
            "tags['why'] IS NULL",
            "cardinality(tags) = 0",
            "source LIKE 's3:%'",
            "name = 'april' AND digest IN ('b1', 'b2')",
        ):
            assert list(store.sql(f"SELECT name FROM datasets WHERE {condition}")) == [{"name": "april"}], condition
        found = store.sql(
            "SELECT run_name, tags['why'] AS why FROM datasets JOIN runs USING (run_id) WHERE digest = '9a'"
        )
        assert list(found) == [{"run_name": "reader", "why": "best"}]


def test_data_sets_of_which_only_the_name_is_asked_for_take_no_whole_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    rows = IndexSnapshot.rows
    monkeypatch.setattr(IndexSnapshot, "rows", lambda self, numbers: read.extend(numbers) or rows(self, numbers))
    with Store.open(tmp_path / "store") as store:
        for name in ("march", "april"):
            with store.start_run("a", context=False) as run:
                run.log_inputs([DatasetInput(Dataset(name, "9", "local", f"{name}.csv"))])
        assert list(store.sql("SELECT count(*) AS n FROM datasets WHERE name LIKE 'm%'")) == [{"n": 1}]
        assert not read
        assert list(store.sql("SELECT source FROM datasets WHERE name = 'march'")) == [{"source": "march.csv"}]
        assert len(read) == 1


def test_columns_of_runs_that_nobody_asks_for_are_not_made(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[list[str]] = []
    runs = IndexSnapshot.runs
    monkeypatch.setattr(IndexSnapshot, "runs", lambda self, columns: made.append(list(columns)) or runs(self, columns))
    assert list(store.sql("SELECT count(*) AS n FROM runs WHERE status = 'FINISHED'")) == [{"n": 6}]
    assert list(store.sql("SELECT run_name FROM runs WHERE end_time IS NULL")) == []
    assert list(store.sql("SELECT count(*) AS n FROM params WHERE key = 'lr'")) == [{"n": 6}]
    assert made == [["run_id", "status"], ["run_name", "end_time"], ["run_id"]]


def test_what_a_segment_has_of_runs_that_changed_since_is_nobody_elses(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        for number in range(4):
            with store.start_run("a", run_name=str(number), context=False) as run:
                run.log_params({"n": number})
                run.log_metrics({"m": float(number)})
                run.set_tags({"n": number})
                run.log_inputs([DatasetInput(Dataset(str(number), "9", "local", "x"))])
        ids = _ids(store)
        store.compact()
        store.set_run_tags(ids[1], {"late": "yes"})  # two rows of the segment count no more
        shutil.rmtree(next((tmp_path / "store" / "runs").glob(f"*/{ids[0]}")))
        answer = store.sql(
            "SELECT run_name, p.value AS p, t.value AS t, m.value AS m, d.name AS d FROM runs "
            "JOIN params p USING (run_id) JOIN metrics m USING (run_id) JOIN datasets d USING (run_id) "
            "JOIN (SELECT * FROM tags WHERE key = 'n') t USING (run_id) ORDER BY 1"
        )
        assert list(answer) == [{"run_name": n, "p": n, "t": n, "m": float(n), "d": n} for n in "123"]


def test_logged_models_and_tags_of_experiments_are_there(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        experiment_id = store.create_experiment("churn", tags={"team": "red"})
        model = store.create_logged_model(experiment_id, "net", tags={"t": "1"}, params={"p": "2"}, model_type="agent")
        points = [Metric("acc", value, 5, step, model.model_id) for step, value in enumerate((0.9, 0.7))]
        store.log_logged_model_metrics(model.model_id, points)
        store.finalize_logged_model(model.model_id, "READY")
        gone = store.create_logged_model(experiment_id, "gone")
        store.delete_logged_model(gone.model_id)
        assert list(store.sql("SELECT name FROM experiments WHERE tags['team'] = 'red'")) == [{"name": "churn"}]
        (row,) = store.sql("SELECT * FROM models WHERE lifecycle_stage = 'active'")
        assert (row["model_id"], row["name"], row["status"], row["model_type"]) == (
            *(model.model_id, "net", "READY", "agent"),
        )
        assert (dict(row["metrics"]), dict(row["params"]), dict(row["tags"])) == ({"acc": 0.7}, {"p": "2"}, {"t": "1"})
        assert row["creation_time"].timestamp() * 1000 == model.creation_timestamp
        sink = io.BytesIO()
        write_result(
            store.sql("SELECT params, metrics['acc'] AS acc FROM models ORDER BY name DESC LIMIT 1"), sink, "json"
        )
        assert json.loads(sink.getvalue()) == {"params": {"p": "2"}, "acc": 0.7}


def test_the_history_view_holds_each_point_once(store: Store) -> None:
    rows = store.sql("SELECT * FROM metric_history").to_arrow().to_pylist()
    wanted = [
        {"run_id": run_id, **{name: point[name] for name in ("key", "step", "timestamp_ms", "value")}}
        for run_id in _ids(store)
        for point in store.metric_history(run_id).to_pylist()
    ]

    def order(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in ("run_id", "key", "step"))

    assert len(rows) == 6 * 3 * 5
    assert sorted(rows, key=order) == sorted(wanted, key=order)


@pytest.mark.parametrize(
    ("condition", "reads"),
    [
        ("run_id = '{0}'", {0}),
        ("run_id = '{0}' AND key = 'loss'", {0}),
        ("run_id = '{0}' AND key = 'loss' AND step > 2 AND value < 99", {0}),
        ("run_id IN ('{1}', '{3}', 'nobody')", {1, 3}),
        ("run_id IN ('{1}', '{3}') AND step IN (1, 2)", {1, 3}),
        ("run_id = '{1}' OR run_id = '{2}'", {1, 2}),
        ("(run_id = '{1}' AND value > 1) OR (run_id = '{2}' AND step = 1)", {1, 2}),
        ("run_id >= '{4}'", {4, 5}),
        ("run_id BETWEEN '{1}' AND '{2}'", {1, 2}),
        ("run_id = 'nobody'", set()),
        ("run_id = '{0}' AND run_id = '{1}'", set()),
        ("run_id = '{0}' OR key = 'loss'", {0, 1, 2, 3, 4, 5}),
        ("run_id = '{0}' OR step = 1", {0, 1, 2, 3, 4, 5}),
        ("run_id = '{0}' AND step IS NOT NULL", None),
        ("key = 'loss'", {0, 1, 2, 3, 4, 5}),
        ("value IS NULL", None),
        ("step IS NOT NULL AND value IS NOT NULL", None),
        ("NOT (run_id = '{0}')", None),
        ("run_id != '{0}' AND key LIKE 'a%'", None),
        ("TRUE", {0, 1, 2, 3, 4, 5}),
    ],
)
def test_only_runs_that_the_conditions_leave_room_for_are_opened(
    store: Store, opened: Opened, condition: str, reads: set[int] | None
) -> None:
    ids = _ids(store)
    text = condition.format(*ids)
    rows, runs = opened.during(store, f"SELECT * FROM metric_history WHERE {text}")
    if reads is not None:
        assert runs == {ids[number] for number in reads}
    # The same condition over all points at once, for DuckDB to judge by itself.
    everything = store.sql("SELECT * FROM metric_history").to_arrow()
    import duckdb

    wanted = duckdb.sql(f"SELECT * FROM everything WHERE {text}").to_arrow_table().to_pylist()
    assert everything.num_rows == 90

    def order(row: dict[str, Any]) -> str:
        return json.dumps(row)

    assert sorted(rows, key=order) == sorted(wanted, key=order)


def test_parameters_prune_as_constants_do(store: Store, opened: Opened) -> None:
    ids = _ids(store)
    query = "SELECT count(*) AS n FROM metric_history WHERE run_id IN ($a, $b) AND key = $k"
    rows, runs = opened.during(store, query, {"a": ids[1], "b": ids[2], "k": "loss"})
    assert rows == [{"n": 10}]
    assert runs == {ids[1], ids[2]}


def test_artifacts_of_one_run_do_not_list_the_others(store: Store, opened: Opened) -> None:
    rows, runs = opened.during(store, "SELECT path FROM artifacts WHERE run_id = ?", [_ids(store)[1]])
    assert rows == [{"path": "deep/er/note.txt"}]
    assert runs == {_ids(store)[1]}


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("SELECT * FROM metrics WHERE key = 'loss'", ["loss"]),
        ("SELECT * FROM metrics WHERE key IN ('loss', 'acc') AND value > 1", ["acc", "loss"]),
        ("SELECT * FROM metrics WHERE key = 'loss' OR key = 'acc'", ["acc", "loss"]),
        ("SELECT * FROM metrics WHERE key = $k", ["acc"]),
        ("SELECT * FROM metrics WHERE run_id = 'loss' AND key = 'acc'", ["acc"]),
        ("SELECT * FROM metrics WHERE key = 'ünï/x y'", ["ünï/x y"]),
        ("SELECT * FROM metrics WHERE key = 'key' OR key = 'loss'", None),
        ("SELECT * FROM metrics WHERE key = 'lo' || 'ss'", None),
        ("SELECT * FROM metrics WHERE key IN ('acc', lower('LOSS'))", None),
        ("SELECT * FROM metrics WHERE key = 'acc' OR key = concat('lo', 'ss')", None),
        ("SELECT * FROM metrics WHERE key IN ('acc', 'a\"b', 'c\nd', 'loss')", None),
        (f"SELECT * FROM metrics WHERE key IN ('loss', {', '.join(map(repr, map(str, range(40))))})", None),
        ("SELECT * FROM metrics WHERE key >= 'loss'", None),
        ("SELECT * FROM metrics WHERE key >= 'b' AND key != 'loss' AND run_id = 'loss'", None),
        ("SELECT * FROM metrics WHERE key = 'loss' OR value > 3", None),
        ("SELECT * FROM metrics WHERE key LIKE 'lo_s%'", None),
        ("SELECT * FROM metrics WHERE key IS NOT NULL", None),
        ("SELECT * FROM metrics", None),
    ],
)
def test_only_the_keys_that_are_named_are_asked_for(
    store: Store, monkeypatch: pytest.MonkeyPatch, query: str, keys: list[str] | None
) -> None:
    asked: list[Any] = []
    table = IndexSnapshot.table

    def listen(self: IndexSnapshot, relation: str, *, keys: Any = None) -> Any:
        if relation == "metrics":
            asked.append(None if keys is None else sorted(keys))
        return table(self, relation, keys=keys)

    parameters = {"k": "acc"} if "$k" in query else None
    monkeypatch.setattr(IndexSnapshot, "table", listen)
    rows = store.sql(query, parameters).to_arrow()
    assert asked == [keys]
    monkeypatch.undo()
    import duckdb

    everything = store.sql("SELECT * FROM metrics").to_arrow()
    wanted = duckdb.sql(query.replace("FROM metrics", "FROM everything"), params=parameters).to_arrow_table()
    assert everything.num_rows == 18
    assert sorted(map(str, rows.to_pylist())) == sorted(map(str, wanted.to_pylist()))


def test_a_limit_stops_the_reading(store: Store, opened: Opened) -> None:
    rows, runs = opened.during(store, "SELECT * FROM metric_history LIMIT 3")
    assert len(rows) == 3
    assert len(runs) < 6


def test_an_answer_is_a_stream_once_or_a_table_again_and_again(store: Store) -> None:
    answer = store.sql("SELECT * FROM metric_history")
    batches = list(answer.batches(20))
    assert sum(batch.num_rows for batch in batches) == 90
    assert len(batches) > 1
    with pytest.raises(StateError):
        answer.to_arrow()
    answer = store.sql("SELECT run_id, value FROM metric_history")
    assert answer.to_arrow().num_rows == len(answer.to_pandas()) == answer.to_polars().height == len(list(answer)) == 90
    assert list(answer.to_pandas().columns) == answer.columns == answer.to_polars().columns
    with store.sql("SELECT 1") as closed:
        pass
    with pytest.raises(StateError):
        closed.to_arrow()


def test_sums_of_whole_numbers_are_whole_numbers(store: Store) -> None:
    answer = store.sql("SELECT sum(count) AS n FROM metrics")
    assert answer.to_pandas()["n"].dtype == "int64"
    with pytest.raises(InvalidInputError):
        store.sql("SELECT 170141183460469231731687303715884105727::HUGEINT").to_arrow()


@pytest.mark.parametrize(
    "query", ["SELECT * FROM nothing_here", "SELECT nothing FROM runs", "SELECT 'x'::INT FROM runs"]
)
def test_a_query_without_meaning_is_our_error(store: Store, query: str) -> None:
    with pytest.raises(InvalidInputError):
        store.sql(query).to_arrow()


def test_files_hold_the_rows_exactly(store: Store, tmp_path: Path) -> None:
    query = """SELECT run_id, value, step, start_time, run_name, lifecycle_stage = 'active' AS is_active,
        CASE WHEN step > 0 THEN value END AS "maybe", [step, 2] AS both, 'NaN'::DOUBLE AS nan, 'a,"b"' AS quoted
        FROM metric_history JOIN runs USING (run_id) WHERE key = 'loss' ORDER BY run_id, step"""
    rows = store.sql(query).to_arrow().to_pylist()
    files = {}
    for kind in ("csv", "json", "parquet"):
        sink = io.BytesIO()
        assert write_result(store.sql(query), sink, kind) == 30  # type: ignore[arg-type]
        files[kind] = sink.getvalue()
    table = pq.read_table(io.BytesIO(files["parquet"]))
    assert str(table.to_pylist()) == str(rows)
    documents = [json.loads(line) for line in files["json"].decode().splitlines()]
    read = list(csv.DictReader(io.StringIO(files["csv"].decode(), newline="")))
    assert len(documents) == len(read) == 30
    for row, document, line in zip(rows, documents, read, strict=True):
        for name in ("run_id", "value", "step", "is_active", "maybe", "both", "quoted"):
            assert document[name] == row[name]
        assert document["start_time"] == line["start_time"] == row["start_time"].isoformat()
        assert document["nan"] == line["nan"].replace("nan", "NaN") == "NaN"
        assert (float(line["value"]), int(line["step"]), line["quoted"]) == (row["value"], row["step"], 'a,"b"')
        assert line["maybe"] == ("" if row["maybe"] is None else repr(row["maybe"]))
        assert json.loads(line["both"]) == row["both"]


def test_a_damaged_run_is_reported_and_the_others_answer(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        ids = []
        for value in (1.0, 2.0):
            with store.start_run(context=False) as run:
                run.log_metric("loss", value)
                ids.append(run.run_id)
        (log,) = tmp_path.glob(f"store/runs/*/{ids[0]}/*.jsonl")
        log.write_bytes(b"\xff" + log.read_bytes()[1:])
        answer = store.sql("SELECT value FROM metric_history")
        assert [row["value"] for row in answer] == [2.0]
        assert [finding.key for finding in answer.findings if ids[0] in finding.key]


def test_what_the_file_system_refuses_is_told_as_it_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: object, _run_id: object) -> None:
        raise StorageError("The disk is gone.")

    monkeypatch.setattr(type(store._runs), "read", refuse)
    with pytest.raises(StorageError, match="The disk is gone"):
        store.sql("SELECT * FROM metric_history").to_arrow()


def test_an_answer_half_read_does_not_hinder_the_end_of_the_process(store: Store) -> None:
    code = f"""
import localtrack
answer = localtrack.Store.open({store.uri!r}).sql("SELECT * FROM metric_history h, range(100000)")
print(next(iter(answer.batches(10))).num_rows > 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_maps_are_dicts_in_python(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        store.create_experiment("churn", tags={"team": "red"})
        query = "SELECT tags, [map([1], [tags])] AS deep FROM experiments WHERE name = 'churn'"
        assert list(store.sql(query)) == [{"tags": {"team": "red"}, "deep": [{1: {"team": "red"}}]}]
