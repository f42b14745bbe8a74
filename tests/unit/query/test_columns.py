from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from localtrack.format.arrow_columns import ColumnType, column

ROOT = Path(__file__).parents[3]

CASES: list[tuple[ColumnType, pa.DataType, list[object]]] = [
    ("int32", pa.int32(), [0, -1, None, 2**31 - 1]),
    ("int64", pa.int64(), [None, -(2**63), 2**63 - 1]),
    ("double", pa.float64(), [0.5, None, float("inf"), -0.0, 7]),
    ("string", pa.large_string(), ["", None, "日本 🦉", "a\0b", "x" * 1_000]),
]


@pytest.mark.parametrize(("kind", "arrow_type", "values"), CASES)
@pytest.mark.parametrize("times", [0, 1, 2, 3, 8, 33])
def test_columns_are_those_of_pyarrow(
    kind: ColumnType, arrow_type: pa.DataType, values: list[object], times: int
) -> None:
    made = column(kind, values * times)
    made.validate(full=True)
    assert made.equals(pa.array(values * times, arrow_type))
    assert made.null_count == times


def test_columns_may_be_without_nulls_or_nothing_but_nulls() -> None:
    for values in (["a", "b"], [None] * 9):
        made = column("string", values)
        made.validate(full=True)
        assert made.to_pylist() == values


def test_half_a_character_does_not_hide_the_other_rows() -> None:
    assert column("string", ["a", "\ud800"]).to_pylist() == ["a", "?"]


def test_a_search_does_not_import_pandas() -> None:
    code = "import sys; from tests.unit.query.rows import found, run; rows = [run('a', metrics={'x': 1.0})]; "
    code += "assert found(rows, 'metrics.x = 1') == ['a']; print('pandas' in sys.modules, 'duckdb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.split() == ["False", "True"], done.stderr
