"""What a logged model's folder says to somebody who did not write it. FORMAT.md sections 6.6 and 12."""

from __future__ import annotations

from localtrack.format.edits import EditsState
from localtrack.format.layout import MODELS, model_folder, parse_run_file
from localtrack.format.lines import Lines
from localtrack.format.modellog import ModelState, fold_model, read_model_log
from localtrack.format.state_records import StateLog
from localtrack.storage.base import Entry, Storage
from localtrack.store.folder_reading import FolderReading, list_folders, read_steadily


class ModelReading(FolderReading[StateLog, ModelState]):
    """A logged model as its folder was at one moment."""

    def _load(self, entries: list[Entry]) -> None:
        # A model has no chunks and no segments: files of such names are nobody's here.
        super()._load([e for e in entries if (file := parse_run_file(e.name)) is None or file.kind == "log"])

    def _parse(self, data: bytes, writer: str) -> StateLog | Lines:
        return read_model_log(data, writer=writer)

    def _place(self, log: StateLog) -> str:
        return model_folder(log.header["model"])

    def _fold(self) -> ModelState:
        return fold_model(self.logs.values())

    @property
    def positions(self) -> dict[str, tuple[int, int]]:
        """Per writer how many bytes of its log there are, and no points."""
        return {writer: (self.log_bytes.get(writer, 0), 0) for writer in self.writers}

    def is_removed(self, edits: EditsState) -> bool:
        """Return whether tombstones cover all there is of the model."""
        return self.has_logs and edits.is_model_removed(self.state.model_id, self.positions)


def read_model_folder(storage: Storage, folder: str) -> ModelReading | None:
    """Return the logged model in a folder as it is now, or None if it holds none."""
    return read_steadily(storage, folder, ModelReading)


def list_model_folders(storage: Storage) -> list[str]:
    """Return the keys of all folders that may hold a logged model, in order."""
    return list_folders(storage, MODELS)
