"""A process that asks once gets the same answers as one that stays, and does not load what takes longer than it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localtrack.api.store import Store

SOURCE = Path(__file__).parents[3] / "src"
ASK = """
import json, sys
from localtrack.api.store import Store
root, searches = sys.argv[1], json.loads(sys.argv[2])
found = [[row.info.run_id for row in Store.open(root).search_runs(**search)] for search in searches]
heavy = {"pyarrow", "numpy", "sqlglot", "localtrack.api.run", "localtrack.store.runs", "localtrack.store.run_writer"}
print(json.dumps([found, sorted(heavy & sys.modules.keys())]))
"""
SEARCHES: list[dict[str, Any]] = [
    {},
    {"filter_string": "metrics.loss < 0.5 AND params.lr = '0.1'", "order_by": ["metrics.acc DESC"], "max_results": 3},
    {"filter_string": "MIN(metrics.loss) < 0.3 OR tags.note = 'it''s'", "order_by": ["run_name"]},
    {"filter_string": "NOT params.lr = '0.1' AND duration_ms >= 0", "order_by": ["metrics.loss", "user_id"]},
    {"filter_string": "metrics.nobody > 1"},
    {"run_view_type": 2},
    {"run_view_type": 3, "order_by": ["params.lr DESC", "metrics.loss"]},
]

REMOVE_INDEX = """
import shutil, sys
from localtrack.query import index_direct
real = index_direct.open_fenced
def open_late(folder):
    shutil.rmtree(folder)
    return real(folder)
index_direct.open_fenced = open_late
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with two segments, dead and deleted rows, and runs that no segment has."""
    root = tmp_path / "it's a store"
    with Store.open(root) as store:
        ids = []
        for number in range(12):
            with store.start_run("e", context=False, run_name=f"n{number % 5}") as run:
                for step, value in enumerate((number / 10, 0.05 * number)):
                    run.log_metrics({"loss": value, "acc": float("nan") if number == 3 else -value}, step=step)
                run.log_params({"lr": "0.1" if number % 2 else "0.2"})
            ids.append(run.run_id)
            if number == 8:
                store.compact()
        store.set_run_tags(ids[0], {"note": "it's"})
        store.delete_run(ids[1], ids[11])
        store.compact()
        store.set_run_tags(ids[5], {"note": "again"})
        store.start_run("e", context=False).log_metrics({"loss": 0.01})
    return root


def ask(root: Path, searches: list[dict[str, Any]], *, before: str = "") -> Any:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", before + ASK, str(root), json.dumps(searches)]
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def test_a_new_process_answers_alike_and_loads_little(root: Path) -> None:
    answers, loaded = ask(root, SEARCHES)
    assert loaded == ["sqlglot"], "for the doubled quote in one of the filters"
    assert ask(root, SEARCHES[:2])[1] == []
    with Store.open(root) as store:
        assert answers == [[row.info.run_id for row in store.search_runs(**search)] for search in SEARCHES]
    assert [len(found) for found in answers][4:6] == [0, 2]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what is open is read from /proc")
def test_a_store_that_is_closed_has_no_file_of_its_index_open(root: Path) -> None:
    def open_files() -> list[str]:
        links = [Path(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
        return [name for link in links if link.exists() and (name := os.readlink(link)).startswith(f"{root}/index")]

    with Store.open(root) as store:
        page = store.search_runs(filter_string="metrics.loss >= 0", max_results=2)
        assert open_files()
        assert store.sql("SELECT count(*) AS n FROM params").to_arrow()
    del page
    assert not open_files()
    assert store.search_runs(filter_string="metrics.loss >= 0"), "it can be searched all the same"


def test_damage_is_noticed_and_hides_nothing(root: Path) -> None:
    expected, _ = ask(root, SEARCHES[:2])
    path = next(iter(root.glob("index/v1/*.metrics.parquet")))
    path.write_bytes(path.read_bytes().replace(b"PAR1", b"PAR2"))
    assert ask(root, SEARCHES[:2])[0] == expected


def test_an_index_that_goes_while_it_is_asked_hides_nothing(root: Path) -> None:
    expected, _ = ask(root, SEARCHES[1:2])
    assert ask(root, SEARCHES[1:2], before=REMOVE_INDEX)[0] == expected
