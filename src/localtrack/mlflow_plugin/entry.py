"""What the entry points name. MLflow loads this module while it is being imported: it is quick, and must not fail."""

from __future__ import annotations

from typing import Any

from localtrack.api import environment


def open_tracking_store(store_uri: str, artifact_uri: str | None = None) -> Any:
    """Return the tracking store of a `localtrack:` URI, for MLflow's registry of tracking stores."""
    from localtrack.mlflow_plugin.tracking_store import LocaltrackStore

    return LocaltrackStore(store_uri, artifact_uri)


def open_registry_store(store_uri: str, tracking_uri: str | None = None) -> Any:
    """Return the model registry of a `localtrack:` URI, for MLflow's registry of model registries."""
    from localtrack.mlflow_plugin.registry import LocaltrackRegistry

    return LocaltrackRegistry(store_uri, tracking_uri)


def open_artifact_repository(artifact_uri: str, **uris: Any) -> Any:
    """Return the artifact repository of a `localtrack:` URI, for MLflow's registry of artifact repositories.

    Args:
        artifact_uri: The URI of a store, or of a place inside it.
        uris: `tracking_uri`, `registry_uri`: which of them MLflow gives depends on its version.
    """
    from localtrack.mlflow_plugin.artifact_repository import LocaltrackArtifactRepository

    return LocaltrackArtifactRepository(artifact_uri, **uris)


# Here, and not when the store is opened: a server's worker may be asked for an artifact before anything else.
environment.serve_artifacts_from_store()
