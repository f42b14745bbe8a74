from __future__ import annotations

import math

import pytest
from tests.unit.query.rows import run

from localtrack.errors import InvalidInputError
from localtrack.query.comparison import compare_rows
from localtrack.query.directions import choose_direction, guess_direction, require_direction

ROWS = [
    run("a", params={"lr": "0.1", "opt": "adam", "same": "1"}, metrics={"loss": 0.5, "acc": 0.9, "odd": math.nan}),
    run("b", params={"lr": "0.2", "same": "1"}, metrics={"loss": 0.25, "acc": 0.9, "odd": 1.0, "only": 3.0}),
    run("c", params={"lr": "0.1", "opt": "adam", "same": "1"}, metrics={"loss": 0.25, "odd": 2.0}),
]


def test_only_params_that_differ_are_shown_and_a_missing_one_differs() -> None:
    comparison = compare_rows(ROWS)
    assert [(row.key, row.values) for row in comparison.params] == [
        ("lr", ("0.1", "0.2", "0.1")),
        ("opt", ("adam", None, "adam")),
    ]
    assert comparison.same_params_count == 1
    assert comparison.params_frame().to_arrow().to_pydict() == {
        "key": ["lr", "opt"],
        "a": ["0.1", "adam"],
        "b": ["0.2", None],
        "c": ["0.1", "adam"],
    }


def test_metrics_are_held_against_the_baseline_and_the_best_is_marked() -> None:
    metrics = {row.key: row for row in compare_rows(ROWS, baseline="b", maximize=["odd"]).metrics}
    assert list(metrics) == ["acc", "loss", "odd", "only"]
    assert metrics["loss"].direction == "min"
    assert metrics["loss"].deltas == (0.25, 0.0, 0.0)
    assert metrics["loss"].best == (False, True, True)  # a tie
    assert metrics["acc"].direction == "max"
    assert metrics["acc"].deltas == (0.0, 0.0, None)
    assert metrics["acc"].best == (False, False, False)  # all are equal
    assert metrics["odd"].best == (False, False, True)  # NaN is never best
    assert metrics["only"].direction is None
    assert metrics["only"].best == (False, False, False)
    assert metrics["only"].values == (None, 3.0, None)


def test_the_frame_of_metrics_is_long() -> None:
    frame = compare_rows(ROWS, metrics=["loss", "only"]).metrics_frame()
    assert frame.columns == ["key", "direction", "run_id", "run_name", "value", "delta", "is_best"]
    assert [tuple(row.values()) for row in frame] == [
        ("loss", "min", "a", "name-a", 0.5, 0.0, False),
        ("loss", "min", "b", "name-b", 0.25, -0.25, True),
        ("loss", "min", "c", "name-c", 0.25, -0.25, True),
        ("only", None, "b", "name-b", 3.0, None, False),
    ]
    assert frame.to_pandas()["is_best"].dtype == "bool"
    assert frame.to_polars().shape == (4, 7)


def test_runs_without_params_and_metrics_can_be_compared() -> None:
    comparison = compare_rows([run("a"), run("b")])
    assert (comparison.params, comparison.metrics, comparison.same_params_count) == ((), (), 0)
    assert len(comparison.metrics_frame()) == len(comparison.params_frame()) == 0
    assert comparison.params_frame().columns == ["key", "a", "b"]


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ([], {}),
        (ROWS, {"baseline": "z"}),
        (ROWS, {"metrics": ["nothing"]}),
        (ROWS, {"minimize": ["nothing"]}),
        (ROWS, {"minimize": ["loss"], "maximize": ["loss"]}),
    ],
)
def test_what_cannot_be_compared_is_an_error(rows: list[object], options: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        compare_rows(rows, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "direction"),
    [
        ("loss", "min"),
        ("val_loss", "min"),
        ("valLoss", "min"),
        ("eval/RMSE", "min"),
        ("mean_absolute_error", "min"),
        ("neg_mean_squared_error", "max"),
        ("neg_log_loss", "max"),
        ("accuracy", "max"),
        ("val/acc top1", "max"),
        ("F1", "max"),
        ("train.ROC_AUC", "max"),
        ("epoch", None),
        ("glossary", None),
        ("loss_score", None),
        ("", None),
    ],
)
def test_names_tell_which_way_is_better(key: str, direction: str | None) -> None:
    assert guess_direction(key) == direction


def test_what_was_said_wins_over_the_name() -> None:
    assert choose_direction("loss", maximize=["loss"]) == "max"
    assert choose_direction("epoch", minimize=["epoch"]) == "min"
    assert require_direction("epoch", "max") == require_direction("acc", None) == "max"
    with pytest.raises(InvalidInputError, match="cannot be told"):
        require_direction("epoch", None)
    with pytest.raises(InvalidInputError, match="no direction"):
        require_direction("loss", "up")
