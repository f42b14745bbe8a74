"""The logged models of a store: make, change, delete, read. FORMAT.md section 6.6."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from localtrack import reporting
from localtrack.errors import ErrorCode, FormatError, InvalidInputError, NotFoundError, StorageError
from localtrack.format.documents import ExperimentDocument
from localtrack.format.edits import EditsState, ExperimentState
from localtrack.format.ids import RUN_RANDOM_BYTES, encode_model_id, parse_model_id
from localtrack.format.layout import ARTIFACTS, MODELS, model_folder
from localtrack.store.catalog import Catalog, require_active
from localtrack.store.folder_reading import NEWER_HINT, list_folders
from localtrack.store.run_quota import require_within
from localtrack.store.runs import document_of
from localtrack.store.site import Site, ensure_experiment_file
from localtrack.types import Finding, LoggedModel, LoggedModelMetric, LoggedModelStatus

if TYPE_CHECKING:  # a process that has nothing to do with models starts without these
    from localtrack.format.modellog import ModelMetric, ModelState
    from localtrack.store.model_reading import ModelReading
    from localtrack.store.model_writer import ModelWriter

MAX_OPEN_COUNT: Final = 32
"""How many models this process keeps a log open of, so that one after the other may be changed without a file each."""


class Models:
    """The logged models of one store. Thread-safe."""

    def __init__(self, site: Site, catalog: Catalog) -> None:
        self._site = site
        self._catalog = catalog
        self._lock = threading.Lock()
        self._writers: dict[str, ModelWriter] = {}
        """Least recently used first."""
        self._documents: dict[str, ExperimentDocument] = {}
        self._said: set[str] = set()  # limits of which it was said that they are exceeded
        _alive.add(self)

    # -- writing

    def create(
        self,
        experiment: ExperimentState,
        creation: Mapping[str, Any],
        *,
        model_id: str | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Make a logged model and return its id.

        Args:
            experiment: Where it belongs.
            creation: Name, source run and type, as the payload of the `model` record has them; also status and time
                of the creation, where they are not PENDING and now.
            model_id: Its id, if it must be a certain one; else a new one.
            params: First params, checked.
            tags: First tags, checked.

        Durability: the model is handed to the operating system on return, with its params and tags, in one write.
        """
        from localtrack.store.model_writer import ModelWriter

        self._site.require_open()
        require_active(experiment, error=InvalidInputError)
        now_ms = self._site.clock()
        if model_id is None:
            model_id = encode_model_id(max(now_ms, 0), os.urandom(RUN_RANDOM_BYTES))
        elif self._look(model_id) is not None:
            raise InvalidInputError(f"There is a logged model with the id {model_id} already.")
        document = document_of(experiment)
        self._admit_model(experiment)
        self._admit(model_id, params=(0, len(params or {})), tags=(0, len(tags or {})))
        ensure_experiment_file(self._site.storage, document)
        writer = ModelWriter(self._site, model_id, document)
        first: list[list[Any]] = [
            ["model", {"status": LoggedModelStatus.PENDING.value, "created_ms": now_ms, **creation}]
        ]
        first += [[kind, dict(items)] for kind, items in (("param", params), ("tag", tags)) if items]
        with self._lock:
            writer.begin(*first)
            writer.params.update(params or {})
            writer.tags.update(tags or {})
            self._keep(model_id, writer)
        return model_id

    def _admit_model(self, experiment: ExperimentState) -> None:
        """Raise `QuotaExceededError` if the store or an experiment may not have another logged model."""
        limits = self._catalog.known_quota()
        if not limits.keys() & {"store.logged_models", "experiment.logged_models"}:
            return
        owners = [document.experiment_id for document in self.documents()]
        for name, used, what in (
            ("store.logged_models", len(owners), f"The store {self._site.storage.uri}"),
            (
                "experiment.logged_models",
                owners.count(experiment.experiment_id),
                f"The experiment {experiment.name!r}",
            ),
        ):
            if name in limits:
                require_within(name, limits[name], used, used + 1, what=what, said=self._said)

    def _admit(self, model_id: str, **counts: tuple[int, int]) -> None:
        """Raise `QuotaExceededError` if a logged model may not have so many params, tags or metrics.

        Args:
            model_id: The model.
            counts: By the last part of a limit's name how many there are, and how many come.
        """
        for measure, (used, count) in counts.items():
            name = f"logged_model.{measure}"
            limit = self._catalog.known_quota().get(name)
            if limit is not None and count and used + count > limit.value:
                limit = self._catalog.read().quota.get(name)  # somebody may have raised it
            if limit is not None and count:
                require_within(name, limit, used, used + count, what=f"Logged model {model_id}", said=self._said)

    def _admit_change(self, model_id: str, writer: ModelWriter, changes: Mapping[str, Any]) -> None:
        """Raise `QuotaExceededError` if a change adds more to a logged model than it may have."""
        limits = self._catalog.known_quota()
        if not any(name.startswith("logged_model.") for name in limits):
            return
        metrics = changes.get("metrics") or ()
        limit = limits.get("logged_model.metrics")
        if metrics and limit is not None and writer.metrics_count + len(metrics) > limit.value - limit.value // 20:
            writer.metrics_count = len(self.read(model_id).state.metrics)  # others may have logged some
        new_tags = {key for key, value in (changes.get("tags") or {}).items() if value is not None} - writer.tags.keys()
        self._admit(
            model_id,
            params=(len(writer.params), len((changes.get("params") or {}).keys() - writer.params.keys())),
            tags=(len(writer.tags), len(new_tags)),
            metrics=(writer.metrics_count, len(metrics)),
        )

    def change(self, model_id: str, *, info: Mapping[str, Any] | None = None, **changes: Any) -> None:
        """Add to a logged model, whoever made it, deleted ones too, as in MLflow; all in one write.

        Args:
            model_id: The model.
            info: What changes of status and its message; the time is added.
            changes: As for `ModelWriter.change`.

        Raises:
            NotFoundError: There is no such model.
            InvalidInputError: A param has another value already; nothing was written.
        """
        self._site.require_open()
        with self._lock:
            writer = self._writers.pop(model_id, None)
            if writer is None:
                writer = self._open(model_id)
            elif changes.get("params"):
                writer.params.update(self.read(model_id).state.params)  # another process may have added some
            self._keep(model_id, writer)
            self._admit_change(model_id, writer, changes)
            if info is not None:
                info = {**info, "updated_ms": self._site.clock()}
            writer.change(info=info, **changes)

    def mark_deleted(self, model_id: str, *, is_deleted: bool, user: str = "") -> None:
        """Delete or restore a logged model; one that is so already has its time of update changed, as in MLflow.

        Raises:
            NotFoundError: There is no such model.
        """
        self.read(model_id)
        self._catalog.mark_models("deleted" if is_deleted else "restored", [model_id], user=user)
        if is_deleted:
            self.let_go_of_deleted()

    def let_go_of_deleted(self) -> None:
        """Close this process's logs of models that are deleted, or whose experiment is: open ones cannot be removed."""
        edits = self._catalog.read()
        with self._lock:
            for model_id, writer in list(self._writers.items()):
                experiment = edits.find_experiment(writer.subject.experiment.experiment_id)
                if edits.is_model_deleted(model_id) or (experiment is not None and experiment.is_deleted):
                    self._close(self._writers.pop(model_id))

    def note_artifact(self, model_id: str, path: str, bytes_count: int, sha256: str) -> None:
        """Record an artifact that is in place."""
        with self._lock:
            writer = self._writers.pop(model_id, None) or self._open(model_id)
            self._keep(model_id, writer)
            writer.note_artifact(path, bytes_count, sha256)

    def close(self) -> None:
        """Close the logs of this process."""
        with self._lock:
            while self._writers:
                self._close(self._writers.pop(next(iter(self._writers))))

    def forget_after_fork(self) -> None:
        """In the child of a fork: the lock may be held by a thread that does not exist here."""
        self._lock = threading.Lock()

    def _open(self, model_id: str) -> ModelWriter:
        from localtrack.store.model_writer import ModelWriter

        state = self.read(model_id).state
        document = _document_in(state)
        ensure_experiment_file(self._site.storage, document)
        return ModelWriter(self._site, model_id, document, state)

    def _keep(self, model_id: str, writer: ModelWriter) -> None:
        self._writers[model_id] = writer
        if len(self._writers) > MAX_OPEN_COUNT:
            self._close(self._writers.pop(next(iter(self._writers))))

    def _close(self, writer: ModelWriter) -> None:
        try:
            writer.close()
        except StorageError as error:  # all that was acknowledged is in the log, closed or not
            reporting.warn("the log of logged model %s stays open: %s", writer.subject.id, error)

    # -- reading

    def read(self, model_id: object, *, allow_deleted: bool = True) -> ModelReading:
        """Return a logged model as it is now.

        Raises:
            NotFoundError: There is none, or it is deleted and `allow_deleted` is False.
            FormatError: Only a newer version can read it, or none of its logs can be read.
        """
        model_id = parse_model_id(model_id)
        reading = self._look(model_id)
        if reading is None or (not allow_deleted and self._catalog.read().is_model_deleted(model_id)):
            raise NotFoundError(f"Logged model with ID '{model_id}' not found.", code=ErrorCode.MODEL_NOT_FOUND)
        if reading.is_newer:
            raise FormatError(
                f"Logged model {model_id} was written by a newer version of localtrack ({reading.why_newer}).",
                code=ErrorCode.NEWER_FORMAT,
                hint=NEWER_HINT,
            )
        if not reading.has_logs:
            first = reading.findings[0]
            raise FormatError(f"Logged model {model_id} cannot be read: {first.what} ({first.key}).")
        if reading.state.model_id != model_id:
            raise InvalidInputError(f"{model_id!r} is not the id of the logged model in {reading.folder}.")
        return reading

    def require(self, model_id: str) -> None:
        """Raise `NotFoundError` if there is no such model. Costs nothing for one that this process has open."""
        if model_id not in self._writers:
            self.read(model_id)

    def iterate(self, findings: list[Finding], *, experiment_ids: set[str] | None = None) -> Iterator[ModelReading]:
        """Yield every logged model that can be read, by folder; what cannot is added to `findings`."""
        from localtrack.store.model_reading import read_model_folder

        self._show_own_writes()
        edits = self._catalog.read()
        adopted: dict[str, ExperimentDocument] = {}
        for folder in list_folders(self._site.storage, MODELS):
            reading = read_model_folder(self._site.storage, folder)
            if reading is None:
                continue
            if not reading.has_logs or reading.is_newer:
                findings += reading.findings  # whose it is cannot be told, so everybody should know
                continue
            if reading.is_removed(edits):
                continue
            state = reading.state
            if state.experiment_id not in edits.experiments:
                adopted[state.experiment_id] = _document_in(state)
            if experiment_ids is None or state.experiment_id in experiment_ids:
                yield reading
                findings += reading.findings
        if adopted:
            self._catalog.adopt(adopted.values())

    def entity(self, reading: ModelReading, edits: EditsState | None = None) -> LoggedModel:
        """Return a logged model as users see it."""
        edits = edits or self._catalog.read()
        return _to_logged_model(reading.state, edits, location=self._site.storage.path(f"{reading.folder}/{ARTIFACTS}"))

    def documents(self) -> Iterator[ExperimentDocument]:
        """Yield the experiment that each model that is shown names.

        Folders that were looked into before cost nothing, but for those of which something was removed for good.
        """
        edits = self._catalog.read()
        buried = {model_folder(model_id) for model_id in edits.model_tombstones}
        for folder in list_folders(self._site.storage, MODELS):
            document = None if folder in buried else self._documents.get(folder)
            if document is None:
                from localtrack.store.model_reading import read_model_folder

                reading = read_model_folder(self._site.storage, folder)
                if reading is None or not reading.has_logs or reading.is_removed(edits):
                    continue
                document = self._documents[folder] = _document_in(reading.state)
            yield document

    def _show_own_writes(self) -> None:
        """On an object store, where what was written waits to be sent: send it, so that reading finds it."""
        if self._writers and not self._site.storage.can_append:
            failures = self._site.sync()
            if failures:
                raise failures[0]

    def _look(self, model_id: str) -> ModelReading | None:
        from localtrack.store.model_reading import read_model_folder

        self._show_own_writes()
        reading = read_model_folder(self._site.storage, model_folder(model_id))
        return None if reading is None or reading.is_removed(self._catalog.read()) else reading


def _document_in(state: ModelState) -> ExperimentDocument:
    return ExperimentDocument(state.experiment_id, state.experiment_name, state.generation)


def _to_logged_model(state: ModelState, edits: EditsState, *, location: str) -> LoggedModel:
    lifecycle = edits.models.get(state.model_id)
    return LoggedModel(
        experiment_id=state.experiment_id,
        model_id=state.model_id,
        name=state.name,
        artifact_location=location,
        creation_timestamp=state.created_ms,
        last_updated_timestamp=max(state.updated_ms, 0 if lifecycle is None else lifecycle.time_ms),
        model_type=state.model_type,
        source_run_id=state.source_run,
        status=LoggedModelStatus(state.status),
        status_message=state.status_message,
        tags=state.tags,
        params=state.params,
        metrics=tuple(_to_metric(metric, state.model_id) for metric in state.metrics),
        lifecycle_stage="deleted" if edits.is_model_deleted(state.model_id) else "active",
    )


def _to_metric(metric: ModelMetric, model_id: str) -> LoggedModelMetric:
    name, digest = metric.dataset or (None, None)
    return LoggedModelMetric(
        metric.key, metric.value, metric.timestamp_ms, metric.step, model_id, name, digest, metric.run_id
    )


_alive: weakref.WeakSet[Models] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for models in list(_alive):
        models.close()


def _forget_after_fork() -> None:
    for models in list(_alive):
        models.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
