from __future__ import annotations

import math
import subprocess
import sys

import pytest
from tests.unit.query.rows import BASE_MS, data_set, found, metric, run

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.query.compile import compile_search
from localtrack.query.fields import RUNS
from localtrack.query.grammar import parse_filter, parse_order_by
from localtrack.query.relations import runs_relation, tall_relation
from localtrack.query.search import search_runs
from localtrack.types import ViewType


def test_a_missing_key_fulfils_nothing_but_is_null_and_not() -> None:
    rows = [run("a")]
    for condition in ("metrics.x != 1", "params.x != 'a'", "tags.x NOT LIKE 'a'", "params.x NOT IN (1)"):
        assert found(rows, condition) == []
        assert found(rows, f"NOT {condition}") == ["a"]
    assert found(rows, "metrics.x IS NULL AND params.x IS NULL AND NOT tags.x IS NOT NULL") == ["a"]


def test_nan_fulfils_only_unequal() -> None:
    rows = [run("a", metrics={"x": math.nan}, params={"x": "nan"})]
    for field in ("metrics.x", "MIN(metrics.x)", "params.x"):
        for condition in ("= 1", "> 1", "< 1", ">= 0", "<= 0", "IN (1)", "BETWEEN -inf AND inf", "NOT BETWEEN 1 AND 2"):
            assert found(rows, f"{field} {condition}") == [], condition
        for condition in ("!= 1", "NOT IN (1)", "IS NOT NULL"):
            assert found(rows, f"{field} {condition}") == ["a"], condition


def test_order_puts_nan_after_numbers_and_missing_last_in_both_directions() -> None:
    rows = [
        run(i, metrics=m) for i, m in {"none": {}, "nan": {"x": math.nan}, "one": {"x": 1}, "two": {"x": 2}}.items()
    ]
    assert found(rows, order_by=["metrics.x"]) == ["one", "two", "nan", "none"]
    assert found(rows, order_by=["metrics.x DESC"]) == ["two", "one", "nan", "none"]


def test_ties_are_broken_by_start_latest_first_then_by_id() -> None:
    rows = [run("b"), run("a"), run("z", start_time=BASE_MS + 1)]
    assert found(rows) == found(rows, order_by=["status"]) == ["z", "a", "b"]
    assert found(rows, order_by=["start_time ASC"]) == ["a", "b", "z"]


def test_params_are_compared_as_what_is_asked_for() -> None:
    rows = [run(v, params={"x": v}) for v in ("9", "10", "1e1", "True", "tree")]
    assert sorted(found(rows, "params.x > 9")) == ["10", "1e1"]
    assert sorted(found(rows, "params.x = 10")) == ["10", "1e1"]
    assert found(rows, "params.x = '10'") == ["10"]
    assert found(rows, "params.x = true") == ["True"]
    assert found(rows, "params.x != false") == ["True"]


def test_min_max_and_latest_are_those_of_the_summary() -> None:
    rows = [run("a", metrics={"x": metric(2.0, low=1.0, high=3.0)})]
    assert found(rows, "MIN(metrics.x) = 1 AND MAX(metrics.x) = 3 AND LATEST(metrics.x) = 2 AND metrics.x = 2") == ["a"]


def test_each_dataset_condition_may_find_another_data_set() -> None:
    rows = [run("a", datasets=(data_set("iris", "1", "train"), data_set("wine", "2")))]
    assert found(rows, "datasets.name = 'wine' AND datasets.context = 'train'") == ["a"]
    assert found(rows, "datasets.context != 'train'") == []
    assert found(rows, "datasets.name != 'iris'") == ["a"]


def test_the_view_type_holds_whatever_the_filter_says() -> None:
    rows = [run("a"), run("d", lifecycle_stage="deleted")]
    assert found(rows) == ["a"]
    assert found(rows, view_type=ViewType.DELETED_ONLY) == ["d"]
    assert sorted(found(rows, view_type=ViewType.ALL)) == ["a", "d"]
    assert found(rows, "lifecycle_stage = 'deleted'") == []
    with pytest.raises(InvalidInputError, match="view type"):
        search_runs(rows, view_type=4)


def test_experiments_are_found_by_name_and_id() -> None:
    rows = [run("a", experiment_id="1"), run("b", experiment_id="2")]
    names = {"1": "/Shared/churn"}
    assert found(rows, "experiment_name LIKE '%churn'", experiment_names=names) == ["a"]
    assert found(rows, "experiment_name IS NULL", experiment_names=names) == ["b"]
    assert found(rows, "experiment_id IN (2, '3')", experiment_names=names) == ["b"]


def test_a_run_that_goes_on_has_no_end_and_no_duration() -> None:
    rows = [run("a"), run("b", end_time=None)]
    assert found(rows, "end_time IS NULL") == found(rows, "duration_ms IS NULL") == ["b"]
    assert found(rows, "duration_ms = 1s") == ["a"]
    assert found(rows, "end_time != 5") == ["a"]


def test_the_rows_handed_out_are_those_handed_in() -> None:
    rows = [run("a", params={"k": "v" * 10_000})]
    assert search_runs(iter(rows))[0] is rows[0]


def test_pages_end_with_no_token() -> None:
    rows = [run(str(n)) for n in range(4)]
    first = search_runs(rows, max_results=2)
    assert len(first) == 2
    second = search_runs(rows, max_results=2, page_token=first.token)
    assert [r.info.run_id for r in first + second] == ["0", "1", "2", "3"]
    assert second.token is None
    assert search_runs(rows, max_results=None).token is None


@pytest.mark.parametrize("max_results", [0, -1, 50_001, 1.5, "10", True])
def test_other_page_lengths_are_refused(max_results: object) -> None:
    with pytest.raises(InvalidInputError, match="from 1 to 50000") as caught:
        search_runs([], max_results=max_results)  # type: ignore[arg-type]
    assert caught.value.code == ErrorCode.INVALID_VALUE


def test_texts_of_any_kind_are_kept_apart_from_the_statement() -> None:
    hostile = "x' OR 1=1; DROP TABLE runs; -- \" $p0 \0 {} %s"
    rows = [run("a", tags={hostile: hostile}), run("b")]
    key, value = f"tags.`{hostile}`", "'" + hostile.replace("'", "''") + "'"
    assert found(rows, f"{key} = {value}", order_by=[f"{key} DESC"]) == ["a"]
    expression = parse_filter(f"{key} LIKE {value} OR metrics.`{hostile}` > 1", RUNS)
    order = parse_order_by([f"params.`{hostile}`"], RUNS)
    statement = compile_search(RUNS, expression, order, stages=["active"], limit=1)
    assert "DROP" not in statement.sql
    read = {(field.relation, field.key) for field in statement.fields.values()}
    assert read == {(name, hostile) for name in ("tags", "metrics", "params")}
    assert all(name.isalnum() for name in statement.fields)


def test_only_the_relations_and_keys_that_are_asked_for_are_read() -> None:
    expression = parse_filter("metrics.a > 1 AND datasets.name = 'x' AND run_name = 'y'", RUNS)
    statement = compile_search(RUNS, expression, parse_order_by(["metrics.b"], RUNS), stages=["active"], limit=None)
    read = {(field.relation, field.key, field.column) for field in statement.fields.values()}
    assert read == {("metrics", "a", "value"), ("metrics", "b", "value"), ("tags", "mlflow.runName", "value")}
    assert statement.has_datasets
    assert statement.columns == frozenset()


def test_relations_have_the_shape_that_they_promise() -> None:
    rows = [
        run("a", metrics={"x": metric(1.0, low=0.5, high=2.0), "y": 2.0}, params={"p": "1"}),
        run("b", end_time=None, datasets=(data_set("d", "1"),)),
    ]
    narrow = runs_relation(rows, experiment_names={})
    assert narrow.column("row").to_pylist() == [0, 1]
    assert narrow.column("duration_ms").to_pylist() == [1_000, None]
    expected = {"row": 0, "key": "x", "value": 1.0, "step": 3, "timestamp": BASE_MS, "min": 0.5, "max": 2.0, "count": 7}
    assert tall_relation("metrics", rows, keys=["x"]).to_pylist() == [expected]
    assert tall_relation("metrics", rows).column("key").to_pylist() == ["x", "y"]
    assert tall_relation("params", rows).to_pylist() == [{"row": 0, "key": "p", "value": "1"}]
    assert tall_relation("tags", rows).column("value").to_pylist() == ["name-a", "name-b"]
    assert tall_relation("datasets", rows).to_pylist() == [{"row": 1, "name": "d", "digest": "1", "context": None}]
    assert tall_relation("params", []).num_columns == 3


def test_importing_search_loads_none_of_the_libraries() -> None:
    modules = "localtrack.query.search, localtrack.query.experiments, localtrack.query.frames"
    heavy = "{'duckdb', 'pyarrow', 'sqlglot', 'pandas', 'polars', 'numpy'}"
    code = f"import sys, {modules}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_one_order_key_may_stand_for_a_list_and_a_number_may_not() -> None:
    rows = [run("r1", metrics={"a": 2.0}), run("r2", metrics={"a": 1.0})]
    assert found(rows, order_by="metrics.a") == ["r2", "r1"]
    with pytest.raises(InvalidInputError, match="list of texts, not '5'"):
        found(rows, order_by=5)
    with pytest.raises(InvalidInputError, match="An order key is a text, not int"):
        found(rows, order_by=[5])
