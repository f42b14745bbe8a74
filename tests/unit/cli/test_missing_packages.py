"""A command that needs a package that is not installed ends with one sentence, not as a bug."""

from __future__ import annotations

import sys

import pytest
from tests.unit.cli.conftest import Invoke, Place

from localtrack.errors import MissingPackageError


@pytest.mark.parametrize("arguments", [("sync", "--to"), ("pull", "--from")], ids=" ".join)
def test_a_server_needs_httpx(
    arguments: tuple[str, str], place: Place, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    answer = invoke(*arguments, "http://127.0.0.1:9", "--store", place.path)
    assert answer.exit_code == MissingPackageError.exit_code
    assert answer.stderr.count("\n") == 1
    assert "needs httpx, which is not installed. Install it with `pip install 'localtrack[sync]'`." in answer.stderr
