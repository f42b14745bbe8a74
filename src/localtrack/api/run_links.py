"""What a run reads and makes: data sets and logged models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from localtrack.api.active_model import note_use
from localtrack.types import LoggedModelOutput, Metric, RunInputs, RunOutputs

if TYPE_CHECKING:
    from localtrack.api.store import Store
    from localtrack.store.run_writer import RunWriter


class RunLinks:
    """What an `ActiveRun` offers for its inputs and outputs."""

    run_id: str
    _store: Store
    _writer: RunWriter
    _do: Callable[[Callable[[], object]], None]
    log_batch: Callable[..., None]

    @property
    def inputs(self) -> RunInputs:
        """What the run reads, as the store has it now, that of other writers included."""
        return self._store.get_run(self.run_id).inputs

    @property
    def outputs(self) -> RunOutputs:
        """What the run made, as the store has it now, that of other writers included."""
        return self._store.get_run(self.run_id).outputs

    def log_inputs(self, datasets: Iterable[Any] | None = None, models: Iterable[Any] | None = None) -> None:
        """Log what the run reads. A data set of the same name and digest again changes nothing, as in MLflow.

        Args:
            datasets: `DatasetInput`, localtrack's or MLflow's.
            models: `LoggedModelInput`, or ids of logged models.

        Raises:
            InvalidInputError: One of them breaks a rule; nothing was written.
        """
        from localtrack.api.store_models import checked_inputs

        payloads, model_ids = checked_inputs(datasets, models)
        self._do(lambda: self._writer.log_inputs(payloads, model_ids))

    def log_outputs(self, models: Iterable[Any]) -> None:
        """Log logged models that the run made.

        Args:
            models: `LoggedModelOutput`, or ids of logged models, whose step then is 0.
        """
        from localtrack.api.store_models import checked_outputs

        outputs = checked_outputs(models)
        note_use()
        self._do(lambda: self._writer.log_outputs(outputs))

    def log_linked(
        self,
        metrics: Mapping[str, Any],
        step: int | None = None,
        timestamp: int | None = None,
        *,
        model_id: str | None = None,
        dataset: Any = None,
    ) -> None:
        """Log metrics that were measured on a logged model or a data set.

        As in MLflow the run then names both among what it reads, unless it has made the model; and a metric without a
        model belongs to those that the run made at that step.

        Args:
            metrics: Value by key.
            step: Of all of them; 0 by default.
            timestamp: Of all of them, milliseconds since 1970, UTC; now by default.
            model_id: The logged model.
            dataset: An `mlflow.data` data set, or anything with name, digest and source. Kept with a model only.

        Raises:
            NotFoundError: There is no such model; nothing was written.
        """
        from localtrack.api.dataset_inputs import describe_dataset

        read = None if dataset is None else describe_dataset(dataset, None, None)
        step = 0 if step is None else step
        made = self.model_outputs
        used = [model_id] if model_id is not None and all(output.model_id != model_id for output in made) else []
        if model_id is not None:
            self._do(lambda: self._store.require_logged_models([model_id]))
        if read is not None or used:
            self.log_inputs([] if read is None else [read], used)
        models: list[str | None] = [model_id]
        if model_id is None:
            models = [output.model_id for output in made if output.step == step] or [None]
        name, digest = (None, None) if read is None else (read.dataset.name, read.dataset.digest)
        at_ms = self._store.clock() if timestamp is None else timestamp
        self.log_batch(
            [Metric(key, value, at_ms, step, model, name, digest) for model in models for key, value in metrics.items()]
        )

    @property
    def has_model_outputs(self) -> bool:
        """Whether the run names logged models that it made, as far as this process knows."""
        return bool(self._writer.model_outputs)

    @property
    def model_outputs(self) -> list[LoggedModelOutput]:
        """The logged models that the run made, as far as this process knows."""
        return [LoggedModelOutput(model_id, step) for model_id, step in self._writer.model_outputs]

    def _log_linked(self, metrics: Sequence[Metric], log_points: Callable[[], object]) -> None:
        """Log the run's part of a batch, then that of the models. Both may be done again after one of them failed."""
        from localtrack.api.store_models import checked_model_metric

        by_model: dict[str, list[Any]] = {}
        for metric in metrics:
            model_id = getattr(metric, "model_id", None)
            if model_id is not None:
                by_model.setdefault(model_id, []).append(checked_model_metric(metric)._replace(run_id=self.run_id))

        def log() -> None:
            self._store.require_logged_models(by_model)
            log_points()
            for model_id, model_metrics in by_model.items():
                self._store.add_model_metrics(model_id, model_metrics)

        self._do(log)
