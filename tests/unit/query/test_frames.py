from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from tests.unit.query.rows import BASE_MS, run

from localtrack.api.pages import ExperimentPage, LoggedModelPage
from localtrack.errors import ErrorCode, MissingPackageError
from localtrack.query.frames import to_arrow, to_pandas, to_polars
from localtrack.types import Experiment, LoggedModel, LoggedModelMetric, RunRow

ROWS = [
    run("a", metrics={"z": 1.5, "b": 2.0}, params={"p": "1"}, tags={"t": "x"}),
    run("b", metrics={"a": float("nan")}, end_time=None),
]
COLUMNS = [
    *("run_id", "experiment_id", "status", "artifact_uri", "start_time", "end_time"),
    *("metrics.a", "metrics.b", "metrics.z", "params.p", "tags.mlflow.runName", "tags.t"),
]


def test_arrow_tells_a_missing_metric_from_nan() -> None:
    table = to_arrow(ROWS)
    assert table.column_names == COLUMNS
    assert table.column("metrics.z").to_pylist() == [1.5, None]
    missing, nan = table.column("metrics.a").to_pylist()
    assert missing is None
    assert nan != nan
    assert str(table.schema.field("start_time").type) == "timestamp[ms, tz=UTC]"
    assert [None if t is None else t.timestamp() * 1000 for t in table.column("end_time").to_pylist()] == [
        BASE_MS + 1_000,
        None,
    ]


def test_pandas_has_the_same_columns() -> None:
    frame = to_pandas(ROWS)
    assert list(frame.columns) == COLUMNS
    assert frame["metrics.z"].tolist()[0] == 1.5
    assert frame["params.p"].isna().tolist() == [False, True]


def test_polars_has_the_same_columns_and_values() -> None:
    frame = to_polars(ROWS)
    assert frame.columns == COLUMNS
    assert frame["metrics.z"].to_list() == [1.5, None]
    assert frame["params.p"].to_list() == ["1", None]
    assert to_polars([]).columns == COLUMNS[:6]


def test_an_empty_answer_keeps_the_six_columns_and_their_arrow_types() -> None:
    assert to_arrow([]).schema == to_arrow(ROWS).select(COLUMNS[:6]).schema


@pytest.mark.parametrize(("package", "convert"), [("pandas", to_pandas), ("polars", to_polars)])
def test_a_missing_library_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, package: str, convert: Callable[[list[RunRow]], object]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=f"(?i)needs {package}, which is not installed") as caught:
        convert(ROWS)
    assert caught.value.code == ErrorCode.MISSING_EXTRA
    assert caught.value.hint == f"Install it with `pip install 'localtrack[{package}]'`."


def test_experiments_have_a_frame_of_their_own() -> None:
    rows = [
        Experiment("1", "a", "/x", creation_time=BASE_MS, last_update_time=BASE_MS + 1, tags={"team": "red"}),
        Experiment("0", "Default", "/x", "deleted"),
    ]
    page = ExperimentPage(rows)
    columns = ["experiment_id", "name", "artifact_location", "lifecycle_stage", "creation_time", "last_update_time"]
    assert page.to_arrow().column_names == [*columns, "tags.team"]
    frame = page.to_pandas()
    assert list(frame.columns) == page.to_polars().columns == [*columns, "tags.team"]
    assert frame["creation_time"][0].timestamp() * 1000 == BASE_MS
    assert page.to_arrow().column("tags.team").to_pylist() == ["red", None]
    assert ExperimentPage().to_pandas().shape == (0, 6)
    assert ExperimentPage().to_polars().columns == columns


def test_logged_models_have_the_latest_of_each_metric() -> None:
    points = tuple(
        LoggedModelMetric("acc", value, timestamp, step, "m-1", "r")
        for value, timestamp, step in ((0.5, 2, 0), (0.7, 2, 1), (0.9, 1, 5))
    )
    models = [
        LoggedModel("0", "m-1", "net", "/x", BASE_MS, BASE_MS, params={"p": "1"}, metrics=points),
        LoggedModel("0", "m-2", "net", "/x", BASE_MS, BASE_MS, model_type="agent", tags={"t": "2"}),
    ]
    table = LoggedModelPage(models).to_arrow()
    assert table.column_names[-3:] == ["metrics.acc", "params.p", "tags.t"]
    assert table.column("metrics.acc").to_pylist() == [0.7, None]
    assert table.column("status").to_pylist() == ["READY", "READY"]
    assert table.column("model_type").to_pylist() == [None, "agent"]
    assert LoggedModelPage(models).to_polars().shape == (2, table.num_columns)
    assert LoggedModelPage().to_arrow().num_rows == 0
