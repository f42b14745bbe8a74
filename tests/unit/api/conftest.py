"""A fresh fluent interface: no store, experiment or run chosen, in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localtrack.api import active, active_model, environment, fluent_experiments, fluent_models, fluent_store, location


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, empty; what fluent calls change is taken back at the end."""
    above = location.find_store_upward(tmp_path)
    assert above is None, f"the store {above} would take in what these tests log"
    monkeypatch.chdir(tmp_path)
    for variable in environment.VARIABLES:
        for name in filter(None, (variable.name, variable.twin)):
            monkeypatch.setenv(name, "")  # so that it is taken back even if the test sets it
    monkeypatch.setattr(fluent_store, "_stores", {})
    monkeypatch.setattr(fluent_store, "_chosen", None)
    monkeypatch.setattr(fluent_store, "_found", None)
    monkeypatch.setattr(fluent_experiments, "_active_experiment_id", None)
    monkeypatch.setattr(active, "_thread", active._ThreadRuns())
    monkeypatch.setattr(active, "_open", [])
    monkeypatch.setattr(active_model, "_thread", active_model._ThreadModel())
    monkeypatch.setattr(fluent_models, "_last", fluent_models._LastModel())
    monkeypatch.setattr(active, "_attached", {})
    yield tmp_path
    active.end_all()
    for store in fluent_store._stores.values():
        store.close()
