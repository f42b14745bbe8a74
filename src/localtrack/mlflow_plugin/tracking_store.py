"""The tracking store that MLflow gets for a `localtrack:` URI."""

from __future__ import annotations

from typing import Any, Final

from localtrack.mlflow_plugin import host
from localtrack.mlflow_plugin.experiments import MissedNames
from localtrack.mlflow_plugin.histories import HistoryMethods, PagedHistories
from localtrack.mlflow_plugin.locations import Locations
from localtrack.mlflow_plugin.logging_calls import LoggingMethods
from localtrack.mlflow_plugin.opened import open_store
from localtrack.mlflow_plugin.removal import RemovalMethods
from localtrack.types import DEFAULT_EXPERIMENT_ID


class LocaltrackStore(LoggingMethods, HistoryMethods, RemovalMethods, host.AbstractStore):
    """A localtrack store in MLflow's words.

    Args:
        store_uri: `localtrack:///path`, `localtrack://relative/path`, `localtrack+s3://bucket/path`.
        artifact_uri: The artifact root that an MLflow server was given; None in clients.

    Concurrency: one instance serves all threads of a process; any number of processes may have the same store open.
    """

    DEFAULT_EXPERIMENT_ID: Final = DEFAULT_EXPERIMENT_ID

    def __init__(self, store_uri: str, artifact_uri: str | None = None) -> None:
        opened = open_store(store_uri)
        self.store, self.writers = opened.store, opened.writers
        self.locations = Locations(self.store.storage, store_uri, artifact_uri)
        self.artifact_root_uri = self.locations.root
        self.histories = PagedHistories()
        self.missed_names = MissedNames()
        super().__init__()  # last: its queue of asynchronous calls begins to call this object

    def __repr__(self) -> str:
        return f"<LocaltrackStore {self.store.uri}>"

    def search_traces(self, *_: Any, **__: Any) -> tuple[list[Any], None]:
        """Return no traces, and no token: a localtrack store keeps none, and MLflow's pages ask."""
        return [], None


def _refuse(name: str) -> Any:
    def refuse(*_: Any, **__: Any) -> Any:
        raise host.not_tracked(
            f"A localtrack store keeps experiments, runs, their data, artifacts and models; it does not do {name}(). "
            "Use an MLflow server with a database for traces, assessments, scorers, evaluation data sets and gateways."
        )

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = f"Raise: a localtrack store does not do {name}()."
    return refuse


for _name in host.raising_methods():
    if getattr(LocaltrackStore, _name) is getattr(host.AbstractStore, _name):
        setattr(LocaltrackStore, _name, _refuse(_name))
