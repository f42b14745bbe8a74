"""Any text whatsoever as a query gives an answer or one kind of error, and leaves the store as it was."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from localtrack import Store
from localtrack.errors import ErrorCode, InvalidInputError

WORDS = [
    *("SELECT", "*", "FROM", "WHERE", "runs", "metrics", "metric_history", "params", "artifacts", "r", "h", "run_id"),
    *("key", "value", "step", "JOIN", "LEFT", "USING", "(", ")", "(run_id)", "ON", "=", "<", "IN", "NOT", "NULL", "IS"),
    *("AND", "OR", ",", ".", "'loss'", "1", "count(*)", "max(value)", "GROUP BY", "ALL", "ORDER BY", "LIMIT", "UNION"),
    *("WITH", "x", "AS", "range(3)", "unnest([1])", "read_csv('x')", "'x.csv'", "getenv('A')", "main.", "::", "INT"),
    *("INSERT INTO", "DELETE", "DROP", "COPY", "TO", "ATTACH", "SET", "PRAGMA", ";", "--", "/*", "*/", "$p", "?", "\0"),
    *('"', "'", "`", "{", "}", "->", "x -> x", "[1, 2]", "\ud800", "é", "🦉", "DISTINCT", "EXISTS", "LATERAL", "PIVOT"),
]
near_queries = st.lists(st.sampled_from(WORDS), max_size=12).map(lambda words: " ".join(["SELECT", *words]))
joined = st.tuples(
    st.sampled_from(["*", "h.value", "count(*)", "r.run_name, h.step"]),
    st.sampled_from(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN", ",", "POSITIONAL JOIN"]),
    st.sampled_from(["", "USING (run_id)", "ON r.run_id = h.run_id", "ON r.start_time IS NOT NULL"]),
    st.lists(st.sampled_from(WORDS), max_size=5),
).map(lambda parts: f"SELECT {parts[0]} FROM metric_history h {parts[1]} runs r {parts[2]} {' '.join(parts[3])}")
anything = st.text(st.characters(codec=None), max_size=40) | near_queries | joined


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store.open(tmp_path_factory.mktemp("fuzz") / "store")
    for number in range(2):
        with store.start_run(context=False, run_name=f"r{number}") as run:
            run.log_params({"p": number})
            run.log_metric("loss", number, step=number)
    store.sql("SELECT count(*) FROM runs").to_arrow()  # what search writes for itself is there
    store.flush()
    return store


def digest(store: Store) -> dict[str, str]:
    root = Path(store.uri)
    kept = [root / "runs", root / "experiments", root / "edits"]
    files = sorted(path for folder in kept for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def ask(store: Store, query: str, values: Any = None) -> tuple[InvalidInputError | None, list[dict[str, Any]]]:
    try:
        return None, store.sql(query, values).to_arrow().to_pylist()
    except InvalidInputError as error:
        return error, []


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=anything)
@example(query="SELECT " + "(" * 3_000 + "1" + ")" * 3_000)
@example(query="SELECT * FROM metric_history WHERE run_id IN (" + ",".join(f"'{n}'" for n in range(20_000)) + ")")
@example(query="SELECT " + " + ".join(["1"] * 5_000))
@example(query="WITH " + ", ".join(f"x{n} AS (SELECT 1)" for n in range(500)) + " SELECT 1")
@example(query="SELECT * FROM metric_history WHERE run_id IN (SELECT run_id FROM runs) AND key = '\ud800'")
def test_any_text_is_a_query_or_refused(store: Store, query: str) -> None:
    before = digest(store)
    refused, _ = ask(store, query)
    assert refused is None or refused.code == ErrorCode.INVALID_SQL
    assert digest(store) == before


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.text(st.characters(codec=None), max_size=20), min_size=2, max_size=2))
@example(values=["' OR 1 = 1 --", "'); DROP TABLE runs; --"])
def test_a_parameter_is_never_more_than_a_value(store: Store, values: list[str]) -> None:
    query = "SELECT ? AS a, count(*) AS n FROM metric_history WHERE run_id = ?"
    refused, rows = ask(store, query, values)
    if refused is None:
        assert rows == [{"a": values[0], "n": 0}]
    else:
        assert refused.code == ErrorCode.INVALID_SQL
        assert any("\ud800" <= char <= "\udfff" or char == "\0" for value in values for char in value)
