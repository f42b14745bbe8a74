from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sync.front import Front
from tests.sync.stand_in import StandIn


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials, no profile and no state folder of whoever runs the tests."""
    for name in (
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "DATABRICKS_HOST",
        "DATABRICKS_TOKEN",
        "DATABRICKS_CONFIG_PROFILE",
    ):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home" / "state"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(params=[False, True], ids=["keeps points once", "appends duplicates"])
def stand_in(request: pytest.FixtureRequest) -> StandIn:
    return StandIn(appends_duplicates=request.param)


@pytest.fixture
def front(stand_in: StandIn) -> Iterator[Front]:
    with Front(stand_in) as front:
        yield front
