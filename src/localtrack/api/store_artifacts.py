"""The artifacts of runs, as users call them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from localtrack.format.layout import ARTIFACTS
from localtrack.storage.base import Storage
from localtrack.types import FileInfo

if TYPE_CHECKING:
    from localtrack.store.runs import Runs


class ArtifactCalls:
    """What a `Store` offers for artifacts."""

    storage: Storage
    _runs: Runs

    def list_artifacts(self, run_id: str, path: str | None = None) -> list[FileInfo]:
        """Return the files and folders of a run's artifacts, or of a folder among them, one level, sorted by path."""
        from localtrack.store.artifacts import list_artifacts

        return list_artifacts(self.storage, self._runs.read(run_id).folder, path)

    def download_artifacts(self, run_id: str, path: str = "", dst: str | os.PathLike[str] | None = None) -> str:
        """Return a local path of an artifact, or of a folder of them.

        Args:
            run_id: The run.
            path: Which; all of them by default.
            dst: The folder to copy it to. Without it the path inside the store where that is local, else a new
                temporary folder.

        Raises:
            NotFoundError: There is no such artifact.
        """
        from localtrack.store.artifacts import download

        return download(self.storage, self._runs.read(run_id).folder, path, None if dst is None else os.fspath(dst))

    def artifact_uri(self, run_id: str, path: str | None = None) -> str:
        """Return where a run's artifacts, or one of them, lie: a path, or a URL."""
        from localtrack.format.names import validate_artifact_path

        folder = f"{self._runs.read(run_id).folder}/{ARTIFACTS}"
        return self.storage.path(f"{folder}/{validate_artifact_path(path)}" if path else folder)
