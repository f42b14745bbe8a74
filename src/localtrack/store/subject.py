"""What the logs in a folder are about: a run, or a logged model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from localtrack.format.documents import ExperimentDocument
from localtrack.format.layout import model_folder, run_folder
from localtrack.format.lines import LOG, MODEL


@dataclass(frozen=True, slots=True)
class Subject:
    """One run or logged model, as the headers of its logs name it."""

    kind: Literal["run", "model"]
    """Also the header's field for the id."""
    id: str
    folder: str
    """Key of its folder."""
    experiment: ExperimentDocument

    @property
    def header_kind(self) -> str:
        """The type of the header of its logs."""
        return LOG if self.kind == "run" else MODEL

    @property
    def header_fields(self) -> dict[str, Any]:
        """What the header of each log says of it."""
        return {
            self.kind: self.id,
            "experiment_id": self.experiment.experiment_id,
            "experiment_name": self.experiment.name,
            "generation": self.experiment.generation,
        }

    @property
    def noun(self) -> str:
        """What messages call it."""
        return "run" if self.kind == "run" else "logged model"


def run_subject(run_id: str, experiment: ExperimentDocument) -> Subject:
    """Return a run as what logs are about."""
    return Subject("run", run_id, run_folder(run_id), experiment)


def model_subject(model_id: str, experiment: ExperimentDocument) -> Subject:
    """Return a logged model as what logs are about."""
    return Subject("model", model_id, model_folder(model_id), experiment)
