"""The demo trains, tracks, searches and draws, and what it says at its end is true."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from localtrack import Run, Store

pytest.importorskip("sklearn", reason="the demo's extra is not installed")
pytest.importorskip("matplotlib", reason="the demo's extra is not installed")

REPOSITORY = Path(__file__).resolve().parents[2]
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
FAMILY_COUNT, TRIAL_COUNT, EPOCH_COUNT = 3, 2, 3
"""What `--quick` makes: families, trials of each, epochs of each."""


def run_demo(folder: Path) -> str:
    command = [sys.executable, str(REPOSITORY / "tools/demo"), str(folder), "--quick"]
    # One thread: the tests share the machine.
    environment = {**clean_environment(), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def clean_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOCALTRACK_", "MLFLOW_"))}
    return {**kept, "PYTHONPATH": str(REPOSITORY / "src")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A name that a shell would take apart, so that what is to be pasted has to be quoted.
    return tmp_path_factory.mktemp("demo") / "it's a place"


@pytest.fixture(scope="module")
def printed(folder: Path) -> str:
    return run_demo(folder)


@pytest.fixture(scope="module")
def runs(folder: Path, printed: str) -> list[Run]:
    with Store.open(folder / "ltruns", create=False) as store:
        return [row.to_run() for row in store.search_runs(experiment_names=["digits"])]


def test_trials_are_children_of_their_family(runs: list[Run]) -> None:
    parents = {run.info.run_id: run for run in runs if "mlflow.parentRunId" not in run.data.tags}
    children = [run for run in runs if run.info.run_id not in parents]

    assert len(parents) == FAMILY_COUNT
    assert len(children) == FAMILY_COUNT * TRIAL_COUNT
    for child in children:
        parent = parents[child.data.tags["mlflow.parentRunId"]]
        assert parent.data.tags["family"] == child.data.tags["family"] == child.data.params["family"]
    for parent in parents.values():
        own = [run for run in children if run.data.tags["mlflow.parentRunId"] == parent.info.run_id]
        best = max(run.data.metrics["valid_accuracy"] for run in own)
        assert parent.data.metrics["best_valid_accuracy"] == best
        assert parent.data.tags["best_run_id"] in {run.info.run_id for run in own}
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_each_epoch_and_file_is_logged(folder: Path, runs: list[Run]) -> None:
    with Store.open(folder / "ltruns", create=False) as store:
        for run in (run for run in runs if "mlflow.parentRunId" in run.data.tags):
            run_id = run.info.run_id
            for key in ("train_loss", "valid_loss", "train_accuracy", "valid_accuracy"):
                history = store.metric_history(run_id, key)
                assert sorted(history["step"].to_pylist()) == list(range(EPOCH_COUNT))
            plot = Path(store.download_artifacts(run_id, "plots/confusion.png")).read_bytes()
            assert plot.startswith(PNG_SIGNATURE)
            rows = list(
                csv.DictReader(io.StringIO(Path(store.download_artifacts(run_id, "predictions.csv")).read_text()))
            )
            right_count = sum(row["digit"] == row["predicted"] for row in rows)
            assert right_count / len(rows) == pytest.approx(run.data.metrics["valid_accuracy"])
            assert [file.path for file in store.list_artifacts(run_id, "model")] == ["model/model.joblib"]


def test_table_has_the_best_first(printed: str, runs: list[Run]) -> None:
    rows = re.findall(r"^([0-9a-f]{32}) .+? (0\.\d{4}) +(\d+\.\d{4}) +\d+\.\d$", printed, re.M)

    assert len(rows) == FAMILY_COUNT * TRIAL_COUNT
    shown = [(-float(accuracy), float(loss)) for _, accuracy, loss in rows]
    assert shown == sorted(shown)
    by_id = {run.info.run_id: run for run in runs}
    for run_id, accuracy, _ in rows:
        assert float(accuracy) == pytest.approx(by_id[run_id].data.metrics["valid_accuracy"], abs=1e-4)


def test_curves_are_drawn(folder: Path, printed: str) -> None:
    from matplotlib.image import imread

    pixels = imread(folder / "training-curves.png")[..., :3]

    assert pixels.shape[0] > 300
    assert pixels.shape[1] > 800
    colors = {tuple(round(float(channel) * 255) for channel in pixel) for row in pixels for pixel in row}
    assert {(0x2A, 0x6F, 0x97), (0xD1, 0x49, 0x5B), (0x3D, 0x83, 0x61)} <= colors, "a curve of each family"


def test_commands_work_when_pasted(printed: str, tmp_path: Path) -> None:
    lines = printed.partition("Try next (paste as it is):\n")[2].partition("Run the demo again")[0].splitlines()
    commands = [line.strip() for line in lines]
    assert sum(command.startswith("localtrack ") for command in commands) >= 5
    # The test environment may have no `localtrack` of its own; what is pasted looks there first.
    program = tmp_path / "localtrack"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m localtrack "$@"\n')
    program.chmod(0o755)
    environment = {**clean_environment(), "PATH": f"{os.environ['PATH']}:{tmp_path}"}

    script = "\n".join(f"{command} || echo FAILED: {command.split()[0]}" for command in commands)
    done = subprocess.run(
        ["sh", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert "FAILED" not in done.stdout
    assert "Error" not in done.stderr
    assert "network rate=" in done.stdout


def test_second_call_adds_to_the_first(tmp_path: Path) -> None:
    run_demo(tmp_path)
    printed = run_demo(tmp_path)

    assert f"the store: {2 * FAMILY_COUNT * (TRIAL_COUNT + 1)} runs" in printed
    with Store.open(tmp_path / "ltruns", create=False) as store:
        sweeps = [row.tags["sweep"] for row in store.search_runs()]
    assert sweeps.count("0") == sweeps.count("1") == len(sweeps) / 2


def test_folder_comes_from_argument_or_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from tools.demo.cli import build_parser

    monkeypatch.delenv("LOCALTRACK_DEMO_DIR", raising=False)
    assert build_parser().parse_args([]).folder == "localtrack-demo"
    monkeypatch.setenv("LOCALTRACK_DEMO_DIR", "elsewhere")
    assert build_parser().parse_args([]).folder == "elsewhere"
    assert build_parser().parse_args(["here"]).folder == "here"


def test_folder_that_cannot_be_made_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tools.demo.cli import main

    (tmp_path / "file").touch()

    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path / "file")])

    assert f"the folder {tmp_path}/file cannot be made: File exists" in capsys.readouterr().err


def test_script_explains_itself() -> None:
    done = subprocess.run(
        ["sh", str(REPOSITORY / "tools/demo.sh"), "--help"], capture_output=True, text=True, check=True
    )

    assert "sh tools/demo.sh [--quick] [FOLDER]" in done.stdout
    assert "LOCALTRACK_DEMO_DIR" in done.stdout


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="MLflow is not installed")
def test_training_program_is_mlflow_code(tmp_path: Path) -> None:
    program = """
import sys
sys.path[0] = sys.argv[1]
import mlflow
sys.modules["localtrack"] = mlflow
from tools.demo.digits import read_digits
from tools.demo.families import FAMILIES
from tools.demo.train import train_family
mlflow.set_tracking_uri("sqlite:///" + sys.argv[2] + "/mlflow.db")
mlflow.create_experiment("digits", artifact_location=sys.argv[2] + "/artifacts")
mlflow.set_experiment("digits")
train_family(FAMILIES[2], read_digits(), trials=FAMILIES[2].trials()[:1], epoch_count=2, sweep=0)
runs = mlflow.search_runs()
print(sorted(runs["tags.mlflow.runName"]), runs["metrics.best_valid_accuracy"].notna().sum())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(REPOSITORY), str(tmp_path)],
        env=clean_environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['network grid', 'network rate=0.001 hidden=16'] 1"


def test_the_dashboard_is_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "dashboard.png"
    command = [sys.executable, "-m", "tools.demo.dashboard", str(tmp_path / "store"), str(picture)]
    done = subprocess.run(command, cwd=REPOSITORY, env=clean_environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert picture.read_bytes().startswith(PNG_SIGNATURE)
    with Store.open(tmp_path / "store", create=False) as store:
        count = len(store.search_runs(max_results=None))
        assert done.stdout.startswith(f"{count} runs in ")
        assert sum(row["runs"] for row in store.runs_per_month()) == count > 100
