from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.unit.cli.conftest import Invoke, Place


def test_a_table_is_printed(place: Place, invoke: Invoke) -> None:
    query = (
        "SELECT run_name, value, NULL AS nothing FROM runs JOIN metrics USING (run_id) WHERE key = 'loss' ORDER BY 2"
    )
    answer = invoke("sql", query, "--store", place.path)
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout.splitlines()[:3] == [
        "run_name  value  nothing",
        "gone          0  -",
        "better     0.25  -",
    ]


def test_what_names_hold_cannot_steer_the_terminal(place: Place, invoke: Invoke) -> None:
    answer = invoke("sql", "SELECT run_name FROM runs WHERE run_name LIKE '%red%'", "--store", place.path)
    assert "\x1b" not in answer.stdout
    assert "\\x1b" in answer.stdout


def test_parameters_are_texts(place: Place, invoke: Invoke) -> None:
    query = "SELECT count(*) AS n FROM params WHERE key = $key AND value::DOUBLE < $limit::DOUBLE"
    answer = invoke("sql", query, "-p", "key=lr", "-p", "$limit=0.05", "--json", "--store", place.path)
    assert answer.documents == [{"n": 1}]
    assert invoke("sql", query, "-p", "key", "--store", place.path).exit_code == 2
    assert invoke("sql", query, "-p", "key=lr", "--store", place.path).exit_code == 2


def test_long_tables_are_cut_and_say_so(place: Place, invoke: Invoke) -> None:
    answer = invoke("sql", "FROM range(30)", "-n", 3, "--store", place.path)
    assert answer.stdout.split() == ["range", "0", "1", "2"]
    assert "first 3 rows" in answer.stderr
    assert len(invoke("sql", "FROM range(30)", "-f", "csv", "-n", 3, "--store", place.path).stdout.split()) == 31


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_file_is_written_whole_or_not_at_all(place: Place, invoke: Invoke, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"out.{suffix}"
    answer = invoke("sql", "SELECT 7 AS n, 'é' AS t", "-o", target, "--store", place.path)
    assert (answer.exit_code, answer.stdout) == (0, "")
    assert "1 rows written" in answer.stderr
    if suffix == "csv":
        assert target.read_bytes() == "n,t\n7,é\n".encode()
    elif suffix == "jsonl":
        assert json.loads(target.read_text("utf-8")) == {"n": 7, "t": "é"}
    else:
        assert pq.read_table(target).to_pylist() == [{"n": 7, "t": "é"}]
    before = target.read_bytes()
    broken = "SELECT CASE WHEN range > 90000 THEN 'x'::INT ELSE 1 END AS n FROM range(100000)"
    assert invoke("sql", broken, "-o", target, "--store", place.path).exit_code == 2
    assert target.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [target.name]
    assert invoke("sql", "SELECT 1", "-f", "csv", "-o", tmp_path / "no" / "x", "--store", place.path).exit_code == 2


@pytest.mark.parametrize(
    "arguments", [["-f", "parquet"], ["-o", "x.txt"], ["-f", "table", "-o", "x.csv"], ["-f", "xml"]], ids=str
)
def test_formats_that_make_no_sense_are_refused(place: Place, invoke: Invoke, arguments: list[str]) -> None:
    answer = invoke("sql", "SELECT 1", *arguments, "--store", place.path)
    assert answer.exit_code == 2


def test_a_query_that_is_refused_says_why(place: Place, invoke: Invoke) -> None:
    answer = invoke("sql", "DELETE FROM runs", "--store", place.path)
    assert answer.exit_code == 2
    assert "A query is a SELECT, not DELETE" in answer.stderr


def test_the_examples_of_the_help_page_run(place: Place, invoke: Invoke) -> None:
    page = invoke("help", "sql").stdout
    examples = page[page.index("  SELECT") :].partition("\n\n")[0].replace("\n    ", " ").splitlines()
    assert len(examples) == 4
    for example in examples:
        given = ["-p", f"run={place.ids.good}"] if "$run" in example else []
        answer = invoke("sql", example, *given, "--json", "--store", place.path)
        assert answer.exit_code == 0, answer.stderr
        assert answer.documents
