"""Artifacts of a Databricks workspace: the Files API first, then URLs that the workspace signs.

Source: `mlflow/store/artifact/databricks_run_artifact_repo.py`, `databricks_sdk_artifact_repo.py` and
`databricks_artifact_repo.py` of MLflow 3.17. Never tried on a real workspace.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, urlsplit

from localtrack.errors import RefusedError, SyncError, ThrottledError, UnsureError
from localtrack.sync.artifact_places import (
    ArtifactPlace,
    LocalFile,
    put_elsewhere,
    put_stream,
    read_elsewhere,
    read_stream,
)
from localtrack.sync.http import Http

_FILES: Final = "/api/2.0/fs/files"
_ROOT: Final = "/WorkspaceInternal/Mlflow/Artifacts"
_RUN: Final = re.compile(r"databricks/mlflow-tracking/(?P<experiment>[^/]+)/(?P<run>[^/]+)(?P<rest>/.*)?$")
_MODEL: Final = re.compile(
    r"databricks/mlflow-tracking/(?P<experiment>[^/]+)/logged_models/(?P<model>[^/]+)(?P<rest>/.*)?$"
)


def open_dbfs_place(http: Http, uri: str) -> ArtifactPlace:
    """Return the place of a `dbfs:` URI.

    Raises:
        SyncError: It is none that runs have.
    """
    path = urlsplit(uri).path.strip("/")
    if path.startswith("Volumes/"):
        return VolumePlace(http, f"/{path}")
    model = _MODEL.search(path)
    if model is not None:
        root = f"{_ROOT}/{model['experiment']}/LoggedModels/{model['model']}{model['rest'] or ''}"
        return WorkspacePlace(http, root, model_id=model["model"])
    run = _RUN.search(path)
    if run is not None:
        root = f"{_ROOT}/{run['experiment']}/Runs/{run['run']}{run['rest'] or ''}"
        return WorkspacePlace(http, root, run_id=run["run"])
    raise SyncError(f"Artifacts at {uri!r} cannot be written.", hint="Push with --skip-artifacts.")


class VolumePlace:
    """A folder that the Files API reaches."""

    def __init__(self, http: Http, root: str) -> None:
        self._http = http
        self._root = root.rstrip("/")

    def put(self, file: LocalFile) -> None:
        """See `ArtifactPlace.put`."""
        put_stream(self._http, self._url(file.path), file, params={"overwrite": "true"})

    def read(self, path: str) -> Iterator[bytes]:
        """See `ArtifactPlace.read`."""
        yield from read_stream(self._http, self._url(path))

    def _url(self, path: str) -> str:
        return _FILES + quote(posixpath.join(self._root, path))


class WorkspacePlace(VolumePlace):
    """The artifacts of a run or model that the workspace keeps itself."""

    def __init__(self, http: Http, root: str, *, run_id: str = "", model_id: str = "") -> None:
        super().__init__(http, root)
        self._run_id = run_id
        self._model_id = model_id

    def put(self, file: LocalFile) -> None:
        """See `ArtifactPlace.put`."""
        try:
            super().put(file)
        except (RefusedError, UnsureError):
            # Not every workspace lets these paths through; MLflow falls back on any error, too.
            credential = self._credential("write", "upload", file.path)
            put_elsewhere(
                self._http, credential["signed_uri"], lambda: _read_all(file), _headers(credential), size=file.size
            )

    def read(self, path: str) -> Iterator[bytes]:
        """See `ArtifactPlace.read`."""
        try:
            yield from super().read(path)
        except (RefusedError, UnsureError, ThrottledError):
            credential = self._credential("read", "download", path)
            yield from read_elsewhere(self._http, credential["signed_uri"], _headers(credential))

    def _credential(self, run_word: str, model_word: str, path: str) -> dict[str, Any]:
        if self._model_id:
            answer = self._http.post(
                f"/api/2.0/mlflow/logged-models/{self._model_id}/artifacts/credentials-for-{model_word}",
                {"paths": [path]},
            )
            found = [item["credential_info"] for item in answer.get("credentials", [])]
        else:
            answer = self._http.post(
                f"/api/2.0/mlflow/artifacts/credentials-for-{run_word}", {"run_id": self._run_id, "path": [path]}
            )
            found = answer.get("credential_infos", [])
        if not found:
            raise SyncError("The workspace gave no signed URL for an artifact.")
        return dict(found[0])


def _headers(credential: dict[str, Any]) -> dict[str, str]:
    headers = {row["name"]: row["value"] for row in credential.get("headers", [])}
    if str(credential.get("type", "")).startswith("AZURE"):
        headers.setdefault("x-ms-blob-type", "BlockBlob")
    return headers


def _read_all(file: LocalFile) -> Iterator[bytes]:
    with file.open() as source:
        while block := source.read(1 << 20):
            yield block
