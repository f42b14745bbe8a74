"""The model registry: MLflow's own, on an SQLite file `registry.db` inside the store, made when it is first written to.

Where a version's model lies is worked out when it is asked, not taken from the file: the store may have been moved.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Final
from urllib.parse import quote

from localtrack import reporting
from localtrack.api import environment
from localtrack.mlflow_plugin import host
from localtrack.mlflow_plugin.failures import raises_mlflow_errors
from localtrack.mlflow_plugin.locations import Locations
from localtrack.mlflow_plugin.opened import open_store
from localtrack.storage.locks import maintenance_lock

DATABASE: Final = "registry.db"
_CREATION_PATIENCE_S: Final = 120.0
_SEARCHES: Final = ("search_", "list_")
"""How the names of methods begin that find nothing where there is no registry yet."""


class LocaltrackRegistry(host.AbstractRegistry):
    """MLflow's SQL registry, opened when it is first needed.

    Args:
        store_uri: The `localtrack:` URI of the store.
        tracking_uri: Where the runs and models are that versions come from.
    """

    def __init__(self, store_uri: str, tracking_uri: str | None = None) -> None:
        super().__init__(store_uri, tracking_uri)
        self._storage = open_store(store_uri).store.storage
        self._locations = Locations(self._storage, store_uri, environment.served_artifact_root())
        self._sql: Any = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<LocaltrackRegistry {self._storage.path(DATABASE)}>"

    def sql_store(self) -> Any:
        """Return MLflow's registry on the file in the store, making the file if there is none.

        Raises:
            MlflowException: The store lies on an object store, where no database can be.
        """
        with self._lock:
            if self._sql is None:
                self._sql = self._open()
            return self._sql

    def get_model_version_download_uri(self, name: str, version: str) -> str:
        """Return where the model of a version lies now."""
        return self._locations.rebase(self.sql_store().get_model_version_download_uri(name, version))

    def has_database(self) -> bool:
        """Return whether anything was ever registered in this store."""
        return self._sql is not None or (self._storage.is_local and os.path.exists(self._storage.path(DATABASE)))

    def _open(self) -> Any:
        if not self._storage.is_local:
            raise host.refusal(
                f"A model registry needs a database, and {self._storage.uri} is no place for one. Name one with "
                "mlflow.set_registry_uri, or `mlflow server --registry-store-uri`.",
                "INVALID_PARAMETER_VALUE",
            )
        path = self._storage.path(DATABASE)
        medium = self._storage.capabilities
        if medium.is_shared:
            reporting.warn(
                "the model registry %s lies on a network drive (%s), where SQLite's locks do not hold: let one process "
                "at a time write to it, such as one `mlflow server`, or name another registry with "
                "mlflow.set_registry_uri. Runs and models are not concerned.",
                path,
                medium.medium,
            )
        # Processes that make the tables at the same time break each other.
        with maintenance_lock(self._storage, "registry", timeout_s=_CREATION_PATIENCE_S):
            return host.open_sql_registry(f"sqlite:///{quote(path)}")


def _answer(name: str) -> Any:
    def answer(self: LocaltrackRegistry, *args: Any, **kwargs: Any) -> Any:
        if name.startswith(_SEARCHES) and not self.has_database():
            return host.PagedList([], None)
        return getattr(self.sql_store(), name)(*args, **kwargs)

    answer.__name__ = answer.__qualname__ = name
    answer.__doc__ = f"See MLflow's registry store: {name}()."
    return answer


for _name in host.registry_methods():
    if _name not in vars(LocaltrackRegistry):
        setattr(LocaltrackRegistry, _name, _answer(_name))
raises_mlflow_errors(LocaltrackRegistry)
