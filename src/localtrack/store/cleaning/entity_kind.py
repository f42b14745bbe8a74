"""Where runs and logged models differ when they are removed for good."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, Generic, Literal, TypedDict, TypeVar

from localtrack.format.edits import EditsState, Tombstone
from localtrack.format.layout import model_folder, run_folder
from localtrack.storage.base import Storage
from localtrack.store.folder_reading import FolderReading
from localtrack.store.model_reading import ModelReading, read_model_folder
from localtrack.store.run_reading import RunReading, read_folder

Positions = Mapping[str, tuple[int, int]]
AnyReading = TypeVar("AnyReading", bound=FolderReading[Any, Any])


class Naming(TypedDict, total=False):
    """The field of a report that names a run or a model."""

    run_id: str
    model_id: str


class EntityKind(ABC, Generic[AnyReading]):
    """Runs, or logged models."""

    name: Literal["run", "model"]

    @abstractmethod
    def folder_of(self, entity_id: str) -> str:
        """Return the key of the folder of one."""

    @abstractmethod
    def read(self, storage: Storage, folder: str) -> AnyReading | None:
        """Return what is in a folder now, or None if there is nothing to show and nothing to report."""

    @abstractmethod
    def id_of(self, reading: AnyReading) -> str:
        """Return the id of one that was read."""

    @abstractmethod
    def positions_of(self, reading: AnyReading) -> Positions:
        """Return per writer how many bytes of its log, and how many points there are."""

    @abstractmethod
    def deleted_ms(self, edits: EditsState, reading: AnyReading) -> int | None:
        """Return when one was deleted; None if it is not."""

    @abstractmethod
    def tombstones(self, edits: EditsState) -> Mapping[str, Tombstone]:
        """Return all tombstones of the kind, by id."""

    def naming(self, entity_id: str) -> Naming:
        """Return the field of a report that names one."""
        return {"run_id": entity_id} if self.name == "run" else {"model_id": entity_id}

    def is_removed(self, edits: EditsState, reading: AnyReading) -> bool:
        """Return whether tombstones cover all there is of one, and nobody has restored it since."""
        tombstone = self.tombstones(edits).get(self.id_of(reading))
        return tombstone is not None and not tombstone.is_undone and tombstone.covers(self.positions_of(reading))


class _RunKind(EntityKind[RunReading]):
    name = "run"

    def folder_of(self, entity_id: str) -> str:
        return run_folder(entity_id)

    def read(self, storage: Storage, folder: str) -> RunReading | None:
        return read_folder(storage, folder)

    def id_of(self, reading: RunReading) -> str:
        return reading.state.run_id

    def positions_of(self, reading: RunReading) -> Positions:
        return reading.positions

    def deleted_ms(self, edits: EditsState, reading: RunReading) -> int | None:
        return edits.deleted_ms(reading.state.run_id, reading.state.experiment_id)

    def tombstones(self, edits: EditsState) -> Mapping[str, Tombstone]:
        return edits.tombstones


class _ModelKind(EntityKind[ModelReading]):
    name = "model"

    def folder_of(self, entity_id: str) -> str:
        return model_folder(entity_id)

    def read(self, storage: Storage, folder: str) -> ModelReading | None:
        return read_model_folder(storage, folder)

    def id_of(self, reading: ModelReading) -> str:
        return reading.state.model_id

    def positions_of(self, reading: ModelReading) -> Positions:
        return reading.positions

    def deleted_ms(self, edits: EditsState, reading: ModelReading) -> int | None:
        return edits.model_deleted_ms(reading.state.model_id)

    def tombstones(self, edits: EditsState) -> Mapping[str, Tombstone]:
        return edits.model_tombstones


RUN_KIND: Final[EntityKind[Any]] = _RunKind()
MODEL_KIND: Final[EntityKind[Any]] = _ModelKind()
