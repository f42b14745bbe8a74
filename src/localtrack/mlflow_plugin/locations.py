"""Where artifacts lie, computed whenever it is asked: no place is written into a store, so that it can be moved.

A store on local files shows clients that open it themselves plain paths, which MLflow's own repository for local files
reads and writes; one on an object store shows URIs of the plugin's repository. A server that serves artifacts shows
`mlflow-artifacts:/<key>`, and puts what it is sent for that key into the store.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from localtrack.format.layout import ARTIFACTS, MODELS, RUNS, model_folder, run_folder
from localtrack.mlflow_plugin import host
from localtrack.redaction import mask_url
from localtrack.storage.base import Storage

LOCATION_TAG: Final = "localtrack.artifactLocation"
"""Tag of an experiment for which the user named a place outside the store, as with `artifact_location=`."""

_PLAIN: Final = re.compile(r"[\w/.,+=@ ~-]*")
_OURS: Final = re.compile(rf".*?/(?P<key>(?P<folder>(?:runs|models)/[^/]+/[^/]+)/{ARTIFACTS}(?:/.*)?)")
_PROXIED: Final = ("mlflow-artifacts:", "http:", "https:")
_DEFAULT_WITHOUT_SERVING: Final = "./mlruns"
"""What `mlflow server --no-serve-artifacts` gives where the user gave nothing."""


class Locations:
    """Where the artifacts of one store lie, as one MLflow tracking store shows them.

    Args:
        storage: The store's bytes.
        store_uri: The tracking URI.
        artifact_uri: The artifact root that MLflow gives: nothing to clients, something else to a server.
    """

    def __init__(self, storage: Storage, store_uri: str, artifact_uri: str | None) -> None:
        self._storage = storage
        self._foreign_root: str | None = None
        self._root = _direct_root(storage, store_uri)
        if artifact_uri is not None and artifact_uri.startswith(_PROXIED):
            self._root = artifact_uri.rstrip("/")
        elif artifact_uri not in (None, _DEFAULT_WITHOUT_SERVING):
            self._foreign_root = host.resolve_uri_if_local(artifact_uri)

    @property
    def root(self) -> str:
        """The place of the store itself."""
        return self._root

    def choose(self, experiment_id: str, wanted: str | None) -> str | None:
        """Return the place outside the store where a new experiment's artifacts are to lie; None for inside."""
        if wanted:
            place: str = host.resolve_uri_if_local(wanted)
            host.validate_location_length(place)
            return None if self._is_inside(place) else place
        if self._foreign_root is not None:
            return str(host.append_to_uri_path(self._foreign_root, experiment_id))
        return None

    def of_experiment(self, tags: Mapping[str, str]) -> str:
        """Return what an experiment shows as its artifact location."""
        return tags.get(LOCATION_TAG) or self._join(RUNS)

    def of_run(self, run_id: str, experiment_tags: Mapping[str, str]) -> str:
        """Return the URI of a run's artifacts."""
        outside = experiment_tags.get(LOCATION_TAG)
        if outside:
            return str(host.append_to_uri_path(outside, run_id, ARTIFACTS))
        return self._join(f"{run_folder(run_id)}/{ARTIFACTS}")

    def of_model(self, model_id: str, experiment_tags: Mapping[str, str]) -> str:
        """Return the URI of a logged model's artifacts."""
        outside = experiment_tags.get(LOCATION_TAG)
        if outside:
            return str(host.append_to_uri_path(outside, MODELS, model_id, ARTIFACTS))
        return self._join(f"{model_folder(model_id)}/{ARTIFACTS}")

    def rebase(self, uri: str) -> str:
        """Return where an artifact of this store lies now, given where it lay when the URI was written down.

        The store may have been moved since, and a server writes down other URIs than a client.
        """
        match = _OURS.fullmatch(uri)
        if match is None or not self._storage.exists(match["folder"]):
            return uri
        return self._join(match["key"])

    def _join(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _is_inside(self, place: str) -> bool:
        return place == self._root or place.startswith(f"{self._root}/")


def _direct_root(storage: Storage, store_uri: str) -> str:
    if not storage.is_local:
        return mask_url(store_uri.rstrip("/"))  # shown as the place of every artifact
    path = storage.path("").rstrip("/")
    # MLflow takes `%41` in a plain path for an `A`, and what follows a `#` or `?` for another part of a URI.
    return path if _PLAIN.fullmatch(path) else PurePosixPath(path).as_uri()
