"""The fluent logging calls, where it is not as in MLflow or MLflow cannot be asked. The rest: tests/conformance."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import localtrack
from localtrack.errors import InvalidInputError, NotFoundError
from localtrack.types import RunInputs


@pytest.mark.parametrize(
    "call", [lambda **a: localtrack.log_metric("m", 1, **a), lambda **a: localtrack.log_metrics({"m": 1}, **a)]
)
def test_links_that_cannot_be_kept_are_refused(folder: Path, call: Callable[..., object]) -> None:
    for arguments, error in (({"model_id": "m-1"}, NotFoundError), ({"dataset": object()}, InvalidInputError)):
        with pytest.raises(error):
            call(**arguments)
    run = localtrack.active_run()
    assert run is not None
    assert (run.data.metrics, run.inputs) == ({}, RunInputs())


def test_a_time_is_now_or_what_is_given(folder: Path) -> None:
    before_ms = time.time_ns() // 1_000_000
    with localtrack.start_run() as run:
        localtrack.log_metric("given", 1, timestamp=123)
        localtrack.log_metric("none", 1)
        localtrack.log_metrics({"zero": 1}, timestamp=0)
    after_ms = time.time_ns() // 1_000_000
    with localtrack.Store.open("ltruns") as store:
        times = {p["key"]: p["timestamp_ms"] for p in store.metric_history(run.run_id).to_pylist()}
    assert times.pop("given") == 123
    assert len(times) == 2
    assert all(before_ms <= moment <= after_ms for moment in times.values())


def test_a_failing_call_starts_no_second_run(folder: Path) -> None:
    for _ in range(3):
        with pytest.raises(InvalidInputError):
            localtrack.log_metric("m", "much")  # type: ignore[arg-type]
    assert len(localtrack.search_runs(output_format="list")) == 1


def test_artifacts_by_all_calls(folder: Path) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    images = pytest.importorskip("PIL.Image")
    (folder / "made").mkdir()
    (folder / "made" / "a.txt").write_text("a")
    with localtrack.start_run() as run:
        localtrack.log_artifact(folder / "made" / "a.txt")
        localtrack.log_artifacts("made", "whole")
        localtrack.log_text("é", "text.txt")
        localtrack.log_dict({"a": 1}, "dict.yaml")
        localtrack.log_table({"x": [1]}, "table.json")
        localtrack.log_figure(figures.Figure(), "figure.png", save_kwargs={"dpi": 20})
        localtrack.log_image(images.new("RGB", (4, 4)), "image.png")
        localtrack.log_image(images.new("RGB", (4, 4)), key="series", step=3)
    with localtrack.Store.open("ltruns") as store:
        names = [file.path for file in store.list_artifacts(run.run_id)]
        text = Path(store.download_artifacts(run.run_id, "text.txt")).read_text(encoding="utf-8")
    assert {"a.txt", "whole", "text.txt", "dict.yaml", "table.json", "figure.png", "image.png", "images"} <= set(names)
    assert text == "é"
