"""`localtrack import`: what it prints and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Invoke

RUN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def mlruns(tmp_path: Path) -> Path:
    folder = tmp_path / "mlruns"
    run = folder / "1" / RUN
    for part in ("params", "metrics", "artifacts"):
        (run / part).mkdir(parents=True)
    (folder / "1" / "meta.yaml").write_text("name: churn\ncreation_time: 1700000000000\n")
    (run / "meta.yaml").write_text("status: 3\nstart_time: 1700000000000\nend_time: 1700000000001\nuser_id: ada\n")
    (run / "params" / "lr").write_text("0.1")
    (run / "metrics" / "loss").write_text("1700000000000 0.5 0\n1700000000001 0.25 1\n")
    (run / "artifacts" / "a.txt").write_text("text")
    return folder


def test_it_says_what_it_did(mlruns: Path, tmp_path: Path, invoke: Invoke) -> None:
    arguments = ("import", str(mlruns), "--store", str(tmp_path / "store"))
    answer = invoke(*arguments)
    assert answer.exit_code == 0
    assert answer.stdout.splitlines() == [
        f"{mlruns}: 1 runs added, 0 extended, 0 unchanged; 1 experiments added",
        "2 points, 1 params, 0 inputs and outputs, 0 logged models, 1 artifacts (4 B) added",
    ]
    assert answer.stderr == ""
    answer = invoke(*arguments)
    assert answer.stdout.startswith(f"{mlruns}: 0 runs added, 0 extended, 1 unchanged; 0 experiments added")


def test_a_dry_run_makes_no_store(mlruns: Path, tmp_path: Path, invoke: Invoke) -> None:
    answer = invoke("import", str(mlruns), "--store", str(tmp_path / "store"), "--dry-run")
    assert "1 runs would be added" in answer.stdout
    assert not (tmp_path / "store").exists()


def test_what_was_left_out_is_a_warning_and_an_exit_code(mlruns: Path, tmp_path: Path, invoke: Invoke) -> None:
    path = mlruns / "1" / RUN / "metrics" / "loss"
    path.write_text(path.read_text() + "17000")
    arguments = ("import", str(mlruns), "--store", str(tmp_path / "store"))
    answer = invoke(*arguments)
    assert answer.exit_code == 12
    assert answer.stderr == (
        f"Warning: 1/{RUN}/metrics/loss: 1 of its lines are no points: line 3 ('17000'): it is torn\n"
    )
    answer = invoke(*arguments, "--json")
    assert answer.exit_code == 12
    document = json.loads(answer.stdout)
    assert (document["complete"], document["runs_unchanged"], len(document["findings"])) == (False, 1, 1)
    assert document["findings"][0]["severity"] == "warning"


def test_json_has_the_fields_that_are_promised(mlruns: Path, tmp_path: Path, invoke: Invoke) -> None:
    from localtrack.cli.documents import FIELDS

    answer = invoke("import", str(mlruns), "--store", str(tmp_path / "store"), "--json")
    assert ", ".join(json.loads(answer.stdout)) == FIELDS["import"]


def test_what_is_no_source_is_an_error(tmp_path: Path, invoke: Invoke) -> None:
    answer = invoke("import", str(tmp_path / "nowhere"), "--store", str(tmp_path / "store"))
    assert (answer.exit_code, answer.stdout) == (3, "")
    answer = invoke("import", "postgresql://host/db", "--store", str(tmp_path / "store"))
    assert answer.exit_code == 2
