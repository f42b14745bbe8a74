"""The files of logged models, as users call them. Same rules as for artifacts of runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from localtrack.storage.base import Storage
from localtrack.types import FileInfo

if TYPE_CHECKING:
    from localtrack.store.models import Models
    from localtrack.store.runs import Runs


class ModelArtifactCalls:
    """What a `Store` offers for the files of logged models."""

    storage: Storage
    _models: Models
    _runs: Runs

    def log_model_artifact(
        self, model_id: str, local_path: str | os.PathLike[str], artifact_path: str | None = None
    ) -> None:
        """Copy a file, or a folder with all that it holds, into the artifacts of a logged model.

        Args:
            model_id: The model.
            local_path: What to copy.
            artifact_path: The folder among the artifacts to put it in; the topmost by default.

        Raises:
            NotFoundError: There is no such model.
            InvalidInputError: It is no file or folder, or holds a name that artifacts cannot have; nothing was copied.
        """
        from localtrack.store.artifacts import plan_source

        self.put_model_files(model_id, plan_source(local_path, artifact_path, store_root=self.storage.uri))

    def log_model_artifacts(
        self, model_id: str, local_dir: str | os.PathLike[str], artifact_path: str | None = None
    ) -> None:
        """Copy what a folder holds into the artifacts of a logged model, all names checked before the first byte."""
        from localtrack.store.artifacts import plan_folder

        self.put_model_files(model_id, plan_folder(local_dir, artifact_path, store_root=self.storage.uri))

    def list_logged_model_artifacts(self, model_id: str, path: str | None = None) -> list[FileInfo]:
        """Return the files and folders among a logged model's artifacts, or in a folder of them, one level, by path."""
        from localtrack.store.artifacts import list_artifacts

        return list_artifacts(self.storage, self._models.read(model_id).folder, path)

    def download_logged_model_artifacts(
        self, model_id: str, path: str = "", dst: str | os.PathLike[str] | None = None
    ) -> str:
        """Return a local path of an artifact of a logged model, or of a folder of them.

        Args:
            model_id: The model.
            path: Which; all of them by default.
            dst: The folder to copy it to. Without it the path inside the store where that is local, else a new
                temporary folder.

        Raises:
            NotFoundError: There is no such model or artifact.
        """
        from localtrack.store.artifacts import download

        return download(self.storage, self._models.read(model_id).folder, path, None if dst is None else os.fspath(dst))

    def put_model_files(self, model_id: str, plan: Sequence[tuple[str, str]]) -> None:
        """Copy files into the artifacts of a logged model, and note each in its log.

        Args:
            model_id: The model.
            plan: Local path and name among the artifacts of each.

        Raises:
            NotFoundError: There is no such model.
            QuotaExceededError: Its experiment or the store may not have so many more; nothing was copied.
        """
        from localtrack.store.artifacts import measure_planned, put_file, require_places

        reading = self._models.read(model_id)
        folder = reading.folder
        require_places(self.storage, folder, [path for _, path in plan])
        self._runs.admit_model_files(reading.state.experiment_id, lambda: measure_planned(self.storage, folder, plan))
        for local_path, artifact_path in plan:
            record = put_file(self.storage, folder, local_path, artifact_path)
            self._models.note_artifact(model_id, record.path, record.bytes, record.sha256)
