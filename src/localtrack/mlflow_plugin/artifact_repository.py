"""The artifacts of a store as MLflow's artifact repository: for stores on object stores, and for servers.

Everything that is put in place goes through the store, so that it is there whole and has its record. Only artifact
folders can be reached; the logs of a store cannot, whatever path a client of a server sends.
"""

from __future__ import annotations

import os
import posixpath
import re
from typing import Any, Final, NamedTuple

from mlflow.entities import FileInfo

from localtrack.format.layout import ARTIFACTS
from localtrack.mlflow_plugin import host
from localtrack.mlflow_plugin.failures import raises_mlflow_errors
from localtrack.mlflow_plugin.opened import open_store
from localtrack.storage.base import Storage
from localtrack.store import artifacts
from localtrack.store.model_reading import read_model_folder
from localtrack.store.run_reading import read_folder
from localtrack.store.run_writer import RunWriter

_PLACE: Final = re.compile(rf"(?P<folder>(?P<kind>runs|models)/[^/]+/[^/]+)/{ARTIFACTS}(?:/(?P<path>.*))?")
_IN_URI: Final = re.compile(rf"(?P<store>.+?)/(?P<key>(?:runs|models)/[^/]+/[^/]+/{ARTIFACTS}(?:/.*)?)")


class Place(NamedTuple):
    """An artifact, or a folder of them, inside a store."""

    folder: str
    """Key of the folder of the run or model."""
    kind: str
    """`runs` or `models`."""
    path: str
    """Below the artifact folder; empty for that folder itself."""


@raises_mlflow_errors
class LocaltrackArtifactRepository(host.ArtifactRepository):
    """Reads and writes artifacts below a `localtrack:` URI.

    Args:
        artifact_uri: The URI of a store; paths then begin with the key of a run or model. Or the URI of a place in it.
        uris: `tracking_uri` and `registry_uri`, as far as this version of MLflow knows them.
    """

    def __init__(self, artifact_uri: str, **uris: Any) -> None:
        super().__init__(artifact_uri, **host.known_repository_arguments(uris))
        match = _IN_URI.fullmatch(artifact_uri.rstrip("/"))
        self._key = match["key"] if match else ""
        self._opened = open_store(match["store"] if match else artifact_uri, create=False)

    @property
    def _storage(self) -> Storage:
        return self._opened.store.storage

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Put a file in place under its own name."""
        host.verify_artifact_path(artifact_path)
        self._put([(os.fspath(local_file), os.path.basename(local_file))], artifact_path)

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Put all files of a folder and those below in place."""
        host.verify_artifact_path(artifact_path)
        self._put(artifacts.plan_folder(local_dir, store_root=self._opened.store.root), artifact_path)

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """Return what a folder of artifacts holds, one level; nothing for a file."""
        place = self._find(path)
        if place is None:
            return []
        prefix = path.strip("/").removesuffix(place.path).rstrip("/") if path else ""
        return [
            FileInfo(posixpath.join(prefix, self._below(info.path)), info.is_dir, info.file_size)
            for info in artifacts.list_artifacts(self._storage, place.folder, place.path)
        ]

    def get_local_path(self, artifact_path: str) -> str | None:
        """Return the path of an artifact that this machine can open; None if the store is elsewhere."""
        if not self._storage.is_local:
            return None
        place = self._require(artifact_path)
        return self._storage.path(artifacts.resolve(self._storage, place.folder, place.path))

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        place = self._require(remote_file_path)
        with (
            artifacts.open_artifact(self._storage, place.folder, place.path) as source,
            open(local_path, "wb") as sink,
        ):
            while chunk := source.read(artifacts.COPY_BYTES):
                sink.write(chunk)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Remove an artifact, or a folder of them; nothing happens if there is none."""
        place = self._find(artifact_path)
        if place is None:
            return
        infos = list(artifacts.iter_files(self._storage, place.folder, place.path))
        for path in [info.path for info in infos] or [place.path]:
            self._storage.remove(posixpath.join(place.folder, ARTIFACTS, path))

    # -- places

    def _put(self, files: list[tuple[str, str]], artifact_path: str | None) -> None:
        place = self._require(artifact_path)
        planned = [(local_path, posixpath.join(place.path, name)) for local_path, name in files]
        if place.kind == "models":
            model = read_model_folder(self._storage, place.folder)
            if model is None or not model.has_logs:
                raise host.refusal(f"There is no logged model in {place.folder}.", "RESOURCE_DOES_NOT_EXIST")
            self._opened.store.put_model_files(model.state.model_id, planned)
            return
        artifacts.require_places(self._storage, place.folder, [path for _, path in planned])
        reading = read_folder(self._storage, place.folder)
        if reading is None or not reading.is_run:
            raise host.refusal(f"There is no run in {place.folder}.", "RESOURCE_DOES_NOT_EXIST")

        def put(writer: RunWriter) -> None:
            writer.admit_artifacts([(path, os.path.getsize(local_path)) for local_path, path in planned])
            for local_path, path in planned:
                record = artifacts.put_file(self._storage, writer.folder, local_path, path)
                writer.note_artifact(record.path, record.bytes, record.sha256)

        self._opened.writers.use(reading.state.run_id, put)

    def _find(self, path: str | None) -> Place | None:
        key = posixpath.join(self._key, (path or "").strip("/")).rstrip("/")
        match = _PLACE.fullmatch(key)
        if match is None or ".." in key.split("/"):
            return None
        return Place(match["folder"], match["kind"], match["path"] or "")

    def _require(self, path: str | None) -> Place:
        place = self._find(path)
        if place is None:
            raise host.refusal(
                f"{path!r} is no place for artifacts of a localtrack store: they lie in folders of runs and models.",
                "INVALID_PARAMETER_VALUE",
            )
        return place

    def _below(self, path: str) -> str:
        """Return a path below the artifact folder as one below this repository's own place."""
        match = _PLACE.fullmatch(self._key)
        inner = match["path"] if match else None
        return path.removeprefix(f"{inner}/") if inner else path
