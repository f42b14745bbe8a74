"""Nothing that a query says reaches a file, the network, the host, or a setting, and nothing can be changed."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pytest

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.query.connection import open_sealed
from localtrack.query.snapshot import RowSnapshot
from localtrack.query.sql.columns import MEANINGS, VIEWS
from localtrack.query.sql.guard import parse_query, views_of
from localtrack.query.sql.result import run_query
from localtrack.query.sql.source import Source

# What each attack would read, write or learn; {path} is a CSV file that is there, {folder} the folder it is in.
ATTACKS = [
    "COPY (SELECT 1) TO '{folder}/out.csv'",
    "COPY runs FROM '{path}'",
    "EXPORT DATABASE '{folder}/out'",
    "IMPORT DATABASE '{folder}'",
    "ATTACH '{folder}/other.db' AS other",
    "ATTACH ':memory:' AS other",
    "DETACH memory",
    "SELECT * FROM read_csv('{path}')",
    "SELECT * FROM read_csv_auto('{path}')",
    "SELECT * FROM read_text('{path}')",
    "SELECT * FROM read_blob('{path}')",
    "SELECT * FROM read_parquet('{path}')",
    "SELECT * FROM parquet_scan('{path}')",
    "SELECT * FROM parquet_metadata('{path}')",
    "SELECT * FROM read_json('{path}')",
    "SELECT * FROM read_duckdb('{path}')",
    "SELECT * FROM sniff_csv('{path}')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM '{path}'",
    'SELECT * FROM "{path}"',
    "FROM '{path}'",
    "SELECT (SELECT a FROM '{path}') FROM runs",
    "SELECT * FROM runs WHERE run_id IN (SELECT a FROM read_csv('{path}'))",
    "WITH x AS (SELECT * FROM read_text('{path}')) SELECT * FROM x",
    "WITH x AS MATERIALIZED (FROM '{path}') FROM x",
    "SELECT * FROM runs, LATERAL (SELECT * FROM read_text('{path}')) t",
    "SELECT 1 UNION ALL SELECT a FROM '{path}'",
    "DESCRIBE '{path}'",
    "SUMMARIZE '{path}'",
    "DESCRIBE SELECT * FROM read_csv('{path}')",
    "SELECT * FROM 'https://example.org/a.csv'",
    "SELECT * FROM read_csv('https://example.org/a.csv')",
    "SELECT * FROM 's3://bucket/a.parquet'",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('runs')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "PRAGMA version",
    "PRAGMA enable_profiling",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "CALL enable_logging()",
    "INSTALL httpfs",
    "FORCE INSTALL httpfs FROM 'https://example.org'",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET GLOBAL threads = 8",
    "SET VARIABLE x = 1",
    "RESET threads",
    "USE memory",
    "CREATE TABLE t AS SELECT 1",
    "CREATE TEMP VIEW v AS SELECT * FROM '{path}'",
    "CREATE MACRO m(a) AS TABLE SELECT * FROM read_csv(a)",
    "CREATE SECRET (TYPE s3)",
    "CREATE OR REPLACE TABLE runs AS SELECT 1",
    "INSERT INTO runs SELECT 1",
    "UPDATE runs SET status = 'x'",
    "DELETE FROM runs",
    "DROP VIEW runs",
    "ALTER TABLE runs RENAME TO x",
    "TRUNCATE runs",
    "WITH x AS (SELECT 1) INSERT INTO runs SELECT * FROM x",
    "BEGIN",
    "COMMIT",
    "CHECKPOINT",
    "VACUUM",
    "ANALYZE",
    "PREPARE q AS SELECT 1",
    "EXECUTE q",
    "DEALLOCATE q",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/out.csv'",
    "SELECT 1; COPY (SELECT 1) TO '{folder}/out.csv'",
    "SELECT getenv('HOME')",
    "SELECT main.getenv('HOME')",
    "SELECT current_setting('temp_directory')",
    "SELECT getvariable('x')",
    "SELECT current_query()",
    "SELECT sleep_ms(1)",
    "SELECT pg_sleep(1)",
    "SELECT write_log('x')",
    "SELECT inet_client_addr()",
    "SELECT [current_setting(x) FOR x IN ['threads']]",
    "SELECT list_transform(['threads'], lambda x: current_setting(x))",
    "SELECT max(run_id) FILTER (WHERE getenv('A') = 'b') FROM runs",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_functions()",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM pg_catalog.pg_settings",
    "SELECT * FROM pg_settings",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM duckdb_tables",
    "SELECT * FROM main.runs",
    "SELECT * FROM memory.main.runs",
    "SELECT * FROM temp.runs",
    "SHOW TABLES",
    "SHOW ALL TABLES",
    "SHOW DATABASES",
    "SELECT * FROM (SHOW TABLES)",
    "SELECT * FROM python_variable",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM pandas_scan(140000000)",
    "SELECT * FROM python_map_function()",
    "SELECT * FROM seq_scan('runs')",
    "SELECT * FROM runs AT (VERSION => 1)",
    "SELECT * FROM test_all_types()",
    "SELECT * FROM histogram('{path}', 'a')",
]

ANSWERED = {
    "SELECT 1 AS a": [{"a": 1}],
    "VALUES (1), (2)": [{"col0": 1}, {"col0": 2}],
    "TABLE runs": [],
    "FROM runs": [],
    "SELECT count(*) AS n FROM RUNS AS r": [{"n": 0}],
    'SELECT count(*) AS n FROM "runs"': [{"n": 0}],
    "SELECT 'DROP TABLE runs; --' AS a": [{"a": "DROP TABLE runs; --"}],
    "SELECT range AS a FROM range(2) ORDER BY a DESC": [{"a": 1}, {"a": 0}],
    "SELECT unnest([1, 2]) AS a": [{"a": 1}, {"a": 2}],
    "SELECT * FROM generate_series(1, 2) t(a)": [{"a": 1}, {"a": 2}],
    "WITH RECURSIVE t(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM t WHERE a < 2) SELECT * FROM t": [{"a": 1}, {"a": 2}],
    "WITH x AS (SELECT 1 AS a) SELECT * FROM X": [{"a": 1}],
    "WITH runs AS (SELECT 1 AS a) SELECT * FROM runs": [{"a": 1}],
    "SELECT DISTINCT ON (a) a FROM (VALUES (1), (1)) t(a) LIMIT 50%": [],
    "SELECT a, row_number() OVER (ORDER BY a) AS n FROM (VALUES (5)) t(a)": [{"a": 5, "n": 1}],
    "SELECT count(*) AS n FROM runs r LEFT JOIN params p USING (run_id) WHERE EXISTS (SELECT 1 FROM tags t)": [
        {"n": 0}
    ],
    "SELECT count(*) AS n FROM metrics ASOF JOIN metric_history h USING (run_id, step)": [{"n": 0}],
    "FROM (VALUES ('x', 1)) t(k, v) PIVOT (sum(v) FOR k IN ('x'))": [{"x": 1}],
    "SELECT 1 AS a INTERSECT SELECT 1 EXCEPT SELECT 2": [{"a": 1}],
    "SELECT a FROM (VALUES (1), (2)) t(a) GROUP BY GROUPING SETS ((a), ()) HAVING a IS NULL": [{"a": None}],
    "SELECT {'k': [1, 2]} AS a, MAP {'x': 1} AS b, DATE '2026-01-31' + INTERVAL 1 DAY > now() AS c": None,
    "SELECT a FROM (VALUES (1)) t(a) USING SAMPLE 100%": [{"a": 1}],
    "SELECT column_name FROM (DESCRIBE params)": [{"column_name": n} for n in ("run_id", "key", "value")],
}


def empty_source() -> Source:
    return Source(
        take_snapshot=lambda: RowSnapshot([], experiment_names={}),
        experiments=list,
        models=list,
        run_ids=list,
        points=lambda _run_id, _choose: None,
        artifacts=lambda _run_id: [],
    )


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_in_our_words(attack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python_variable = [1]  # what DuckDB would find in this frame
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "secret.csv"
    path.write_text("a\n1\n")
    text = attack.format(path=path, folder=tmp_path)
    with pytest.raises(InvalidInputError) as caught:
        run_query(text, None, empty_source()).to_arrow()
    assert caught.value.code == ErrorCode.INVALID_SQL
    assert "sql" in caught.value.hint or "failed" in caught.value.message
    assert os.listdir(tmp_path) == ["secret.csv"]
    assert path.read_text() == "a\n1\n"
    assert python_variable == [1]


def test_behind_the_guard_the_database_reaches_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "secret.csv"
    path.write_text("a\n424242\n")
    connection = open_sealed()
    for attack in ATTACKS:
        try:
            shown = str(connection.execute(attack.format(path=path, folder=tmp_path)).fetchall())
        except (duckdb.Error, RuntimeError):
            shown = ""
        assert "424242" not in shown, attack
        assert os.listdir(tmp_path) == ["secret.csv"], attack
    connection.close()


@pytest.mark.parametrize("query", ANSWERED)
def test_what_only_selects_is_answered(query: str) -> None:
    rows = run_query(query, None, empty_source()).to_arrow().to_pylist()
    if ANSWERED[query] is not None and "LIMIT 50%" not in query:
        assert rows == ANSWERED[query]


def test_a_name_given_by_with_does_not_open_the_catalog() -> None:
    connection = open_sealed()
    hidden = [n for (n,) in connection.execute("SELECT view_name FROM duckdb_views() WHERE internal").fetchall()]
    assert "sqlite_master" in hidden
    for name in hidden:
        query = f'SELECT * FROM (WITH "{name}" AS (SELECT 1) SELECT 1) t, "{name}"'
        with pytest.raises(InvalidInputError, match="WITH cannot use the name"):
            parse_query(connection, query)
    connection.close()


def test_only_the_views_that_a_query_names_are_made() -> None:
    connection = open_sealed()
    tree = parse_query(connection, "SELECT * FROM Tags t JOIN (SELECT * FROM params) p USING (run_id), metrics")
    connection.close()
    assert views_of(tree) == ["params", "metrics", "tags"]


@pytest.mark.parametrize("query", ["", ";", "   ", "-- nothing", "SELEC 1", "SELECT", "SELECT \0", "SELECT '\ud800'"])
def test_what_is_no_query_is_our_error(query: str) -> None:
    with pytest.raises(InvalidInputError):
        run_query(query, None, empty_source())


def test_a_query_too_long_or_too_deep_is_our_error() -> None:
    for query in ("SELECT " + "(" * 5_000 + "1" + ")" * 5_000, "SELECT " + "1+" * 600_000 + "1", 5):
        with pytest.raises(InvalidInputError):
            run_query(query, None, empty_source())  # type: ignore[arg-type]


def test_a_syntax_error_shows_the_place() -> None:
    with pytest.raises(InvalidInputError) as caught:
        run_query("SELECT 1 FROM runs WHEN", None, empty_source())
    *_, line, caret = caught.value.message.splitlines()
    assert line[caret.index("^") :].startswith("WHEN")


@pytest.mark.parametrize("rows", ["", " FROM range(3)"])
def test_a_message_that_cuts_a_character_is_our_error(rows: str) -> None:
    with pytest.raises(InvalidInputError, match="Malformed JSON") as caught:
        run_query(f"SELECT json_array_length(repeat('é', 3000)){rows}", None, empty_source()).to_arrow()
    assert caught.value.code == ErrorCode.INVALID_SQL


def test_the_columns_are_those_documented() -> None:
    assert set(VIEWS) == set(MEANINGS)
    for name, columns in VIEWS.items():
        answer = run_query(f"SELECT * FROM {name}", None, empty_source())
        assert dict(zip(answer.columns, answer.types, strict=True)) == columns, name
        assert answer.to_arrow().num_rows == 0


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("SELECT ?", {"a": 1}),
        ("SELECT $a", {}),
        ("SELECT $a", None),
        ("SELECT $a", {"a": 1, "b": 2}),
        ("SELECT ?", []),
        ("SELECT ?", [1, 2]),
        ("SELECT ?", "a"),
        ("SELECT ?", [object()]),
        ("SELECT ?", [{"a": 1}]),
        ("SELECT ?", [2**200]),
        ("SELECT ?", ["\ud800"]),
        ("SELECT $a, ?", {"a": 1}),
        ("SELECT 1", [1]),
    ],
)
def test_parameters_that_do_not_fit_are_our_error(query: str, parameters: object) -> None:
    with pytest.raises(InvalidInputError):
        run_query(query, parameters, empty_source()).to_arrow()  # type: ignore[arg-type]


def test_parameters_are_values_and_never_text_of_the_query() -> None:
    hostile = "x'; DROP VIEW runs; --"
    answer = run_query("SELECT $a AS a, $b AS b", {"a": hostile, "b": [1, 2]}, empty_source())
    assert list(answer) == [{"a": hostile, "b": [1, 2]}]
    assert run_query("SELECT ?::VARCHAR AS a", [None], empty_source()).to_arrow().to_pylist() == [{"a": None}]
