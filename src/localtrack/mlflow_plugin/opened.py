"""The stores that this process has opened for MLflow: one each, shared by tracking, registry and artifacts."""

from __future__ import annotations

import atexit
import os
import threading
from dataclasses import dataclass

from localtrack.api.location import parse_store_uri
from localtrack.api.store import Store
from localtrack.mlflow_plugin import host
from localtrack.mlflow_plugin.run_writers import RunWriters


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened store with this process's writers in it."""

    store: Store
    writers: RunWriters


_opened: dict[str, Opened] = {}
_lock = threading.Lock()


def open_store(uri: str, *, create: bool = True) -> Opened:
    """Return the store of a URI, opening it with the first call.

    Raises:
        NotFoundError: There is no store, and `create` is False.
        InvalidInputError: The URI names no place for one.
    """
    path = parse_store_uri(uri)
    with _lock:
        found = _opened.get(path)
        if found is None:
            store = Store.open(path, create=create, on_error="raise")
            found = _opened[path] = Opened(store, RunWriters(store))
            # After the store's own handlers were registered, so before they run: MLflow's runs end first, then the
            # writers close, then the store says goodbye.
            atexit.register(found.writers.close)
            host.end_active_runs_first()
        return found


def _start_anew_in_child() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_in_child)
