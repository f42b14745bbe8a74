"""The generator of stores for benchmarks makes what it says: whole runs, the same each time."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.library_reading import assert_agreement
from tests.property.index_world import assert_index_agrees
from tools.make_store.cli import main

from localtrack.api.store import Store


def run_files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.glob("runs/*/*/*.jsonl")}


def test_it_makes_whole_runs_always_the_same(tmp_path: Path) -> None:
    options = ["--runs", "30", "--active", "3", "--inbox-files", "5", "--sparse-keys", "12", "--quiet"]
    for name in ("a", "b"):
        assert main([str(tmp_path / name), *options]) == 0
    assert_agreement(tmp_path / "a")
    assert run_files(tmp_path / "a") == run_files(tmp_path / "b")
    with Store.open(tmp_path / "a") as store:
        assert_index_agrees(store)
        store.compact()
        assert_index_agrees(store)
        assert len(store.search_runs(filter_string="status = 'RUNNING'")) == 3


def test_an_index_without_runs_answers_like_the_runs(tmp_path: Path) -> None:
    query = {"filter_string": "metrics.metric3 < 0.5 AND params.param2 = '0.1'", "order_by": ["metrics.metric4"]}
    found = []
    for name, more in (("whole", []), ("index", ["--index-only"])):
        main([str(tmp_path / name), "--runs", "60", "--quiet", *more])
        with Store.open(tmp_path / name) as store:
            found.append([(row.info.run_id, dict(row.metrics)) for row in store.search_runs(**query)])  # type: ignore[arg-type]
    assert found[0] == found[1]
    assert found[0]


def test_wrong_options_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ([str(tmp_path)], [str(tmp_path / "x"), "--index-only", "--active", "1"]):
        with pytest.raises(SystemExit):
            main(options)
    assert "is there already" in capsys.readouterr().err
