"""Which logged model the metrics of this thread are linked to."""

from __future__ import annotations

import threading
from dataclasses import fields
from types import TracebackType

from localtrack.api import environment
from localtrack.types import LoggedModel


class _ThreadModel(threading.local):
    def __init__(self) -> None:
        # As in MLflow the environment counts when a thread asks first, and not after that.
        self.model_id = environment.active_model_id()


_thread = _ThreadModel()
uses_count = 0
"""How often something made metrics belong to models in this process: while it is 0, logging one looks no further."""


class ActiveModel(LoggedModel):
    """A logged model that is the active one of its thread; as a context manager until the end of the block.

    Made by `set_active_model`.
    """

    def __init__(self, model: LoggedModel) -> None:
        super().__init__(**{field.name: getattr(model, field.name) for field in fields(LoggedModel)})
        note_use()
        object.__setattr__(self, "_before", _thread.model_id)
        _thread.model_id = model.model_id

    def __enter__(self) -> ActiveModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _thread.model_id = self._before  # type: ignore[attr-defined]  # set around the frozen fields


def note_use() -> None:
    """Say that metrics may belong to models from now on: a model is active, or a run has made one."""
    global uses_count
    uses_count += 1


def get_active_model_id() -> str | None:
    """Return the id of the active model of this thread, or None.

    Without `set_active_model`, what LOCALTRACK_ACTIVE_MODEL_ID or MLFLOW_ACTIVE_MODEL_ID named when the thread asked
    first.
    """
    return _thread.model_id


def clear_active_model() -> None:
    """Let the metrics of this thread belong to no model, whoever set the active one."""
    _thread.model_id = None
