from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import duckdb
import pytest
from tests.unit.query.rows import found, run

from localtrack.query.connection import cursor


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('{path}')",
        "COPY (SELECT 1) TO '{path}'",
        "ATTACH '{path}' AS other",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET threads = 64",
    ],
)
def test_the_database_reaches_nothing_outside(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a\n1\n")
    with cursor() as connection, pytest.raises(duckdb.Error):
        connection.execute(statement.format(path=path))
    assert path.read_text() == "a\n1\n"


def test_the_tables_of_one_search_are_not_seen_by_another() -> None:
    import pyarrow as pa

    with cursor() as one, cursor() as other:
        one.register("runs", pa.table({"row": [1]}))
        with pytest.raises(duckdb.CatalogException):
            other.execute("SELECT * FROM runs")


def test_threads_search_at_once_and_each_sees_its_own_rows() -> None:
    def search(number: int) -> list[str]:
        rows = [run(f"{number}-{place}", metrics={"x": float(place)}) for place in range(20)]
        return found(rows, "metrics.x >= 10", order_by=["metrics.x"])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(search, range(64)))
    assert answers == [[f"{number}-{place}" for place in range(10, 20)] for number in range(64)]


def _search_in_child(answers: SimpleQueue[list[str]]) -> None:
    with cursor() as connection:
        seen = connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE table_name = 'of_the_parent'"
        ).fetchall()
    answers.put(found([run("a", metrics={"x": 1.0})], "metrics.x = 1") + [name for (name,) in seen])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_a_forked_child_searches_in_a_database_of_its_own_and_ends() -> None:
    with cursor() as connection:
        connection.execute("CREATE OR REPLACE TABLE of_the_parent (x INTEGER)")
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_search_in_child, args=(answers,))
    try:
        child.start()
        child.join(60)
        if child.exitcode is None:
            child.kill()
        assert child.exitcode == 0
        assert answers.get() == ["a"]
    finally:
        with cursor() as connection:
            connection.execute("DROP TABLE of_the_parent")
