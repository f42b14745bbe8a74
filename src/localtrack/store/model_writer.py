"""What this process says of one logged model, as records. FORMAT.md section 6.6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from localtrack.format.documents import ExperimentDocument
from localtrack.format.modellog import ModelMetric, ModelState, encode_metric
from localtrack.store.site import Site
from localtrack.store.state_writer import StateWriter
from localtrack.store.subject import model_subject


class ModelWriter(StateWriter):
    """Appends to one logged model. Thread-safe; the child of a fork gets a log of its own.

    Args:
        site: The store.
        model_id: The model.
        experiment: Its experiment, for the header.
        known: What the model's other logs say, for a model that exists.
    """

    def __init__(
        self, site: Site, model_id: str, experiment: ExperimentDocument, known: ModelState | None = None
    ) -> None:
        super().__init__(site, model_subject(model_id, experiment), known)
        self.metrics_count = len(known.metrics) if known else 0
        """How many metrics the model has, those counted twice that were logged twice since this writer began."""

    def change(
        self,
        *,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str | None] | None = None,
        metrics: Sequence[ModelMetric] = (),
        info: Mapping[str, Any] | None = None,
    ) -> None:
        """Append what is given and checked already, in one write.

        Args:
            params: Params; those that have the same value are left out.
            tags: Tags; a value of None deletes.
            metrics: Metrics.
            info: The payload of an `info` record.

        Raises:
            InvalidInputError: A param has another value already; nothing was written.
        """
        with self._lock:
            fresh = self._new_params(params or {})
            state = [[kind, items] for kind, items in (("param", fresh), ("tag", tags), ("info", info)) if items]
            self._append_state(*state, *(["metric", encode_metric(metric)] for metric in metrics))
            self._remember(fresh, tags or {})
            self.metrics_count += len(metrics)
            self._sync_if_asked()

    def close(self) -> None:
        """Close the log of this process, if there is one. What it writes later goes to another."""
        with self._lock:
            if self._log is None:
                return
            if self._is_paused(self._clock()):
                self._prepare(self._clock(), for_points=False)
            file = self._close_log()
        self._let_go(file)
