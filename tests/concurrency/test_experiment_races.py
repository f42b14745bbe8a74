"""Two processes make the experiment of one name at once: whatever the interleaving, there is one experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localtrack.api.store import Store
from localtrack.errors import AlreadyExistsError
from localtrack.types import ViewType

OPERATIONS = ("entries", "exists", "read", "write", "create_log")


class Interleaving:
    """Lets somebody else act just before the n-th call of a store's storage."""

    def __init__(self, store: Store, at: int, act: Callable[[], object], patch: pytest.MonkeyPatch) -> None:
        self.calls_count = 0
        self._at = at
        self._act = act
        for name in OPERATIONS:
            patch.setattr(store.storage, name, self._wrapped(getattr(store.storage, name)))

    def _wrapped(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls_count += 1
            if self.calls_count == self._at:
                self._act()
            return real(*arguments, **options)

        return call


def create(store: Store) -> str:
    try:
        return store.create_experiment("e")
    except AlreadyExistsError:
        found = store.get_experiment_by_name("e")
        assert found is not None
        return found.experiment_id


def ensure(store: Store) -> str:
    return store.ensure_experiment("e").experiment_id


@pytest.mark.parametrize("make", [create, ensure])
def test_one_name_is_one_experiment(make: Callable[[Store], str], tmp_path: Path) -> None:
    at, is_reached = 0, True
    while is_reached:
        at += 1
        root = tmp_path / f"store{at}"
        with pytest.MonkeyPatch.context() as patch, Store.open(root) as one, Store.open(root) as other:
            interleaving = Interleaving(one, at, lambda other=other: other.ensure_experiment("e"), patch)
            made = make(one)
            is_reached = interleaving.calls_count >= at
        with Store.open(root) as store:
            experiments = store.list_experiments(ViewType.ALL)
            assert sorted(e.name for e in experiments) == ["Default", "e"], f"at call {at}"
            assert made in {e.experiment_id for e in experiments}
    assert at > 4
