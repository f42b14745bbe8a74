"""A run that this process writes to."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

from localtrack import reporting
from localtrack.api import environment
from localtrack.api.active_model import note_use
from localtrack.api.argument_types import explain_wrong_types_of, raise_if_wrong
from localtrack.api.run_links import RunLinks
from localtrack.errors import InvalidInputError, LocaltrackError, QuotaExceededError, StorageError
from localtrack.format.names import (
    MAX_PARAM_VALUE_CHARS,
    MAX_TAG_VALUE_CHARS,
    validate_artifact_path,
    validate_key,
    validate_value,
)
from localtrack.format.scalars import to_step, to_timestamp_ms, to_value
from localtrack.storage.credentials import with_password
from localtrack.store.run_writer import RunWriter
from localtrack.types import Metric, Param, RunData, RunInfo, RunStatus, RunTag

if TYPE_CHECKING:
    from localtrack.api.store import Store

OnError = Literal["raise", "warn"]

MAX_BACKLOG_COUNT: Final = 200_000
"""With `on_error="warn"`: how many calls are kept in memory while the store cannot be written to."""


@explain_wrong_types_of("log_metric", "log_metrics")
class ActiveRun(RunLinks):
    """A run to log to. As a context manager it ends FINISHED, or FAILED when an exception passes through.

    Concurrency: any thread may log, and so may forked children, each of which gets a log file of its own.

    Durability: what a logging call has acknowledged survives `kill -9` of the process; with the store's durability
        `call` also the death of the host.
    """

    def __init__(
        self,
        store: Store,
        writer: RunWriter,
        *,
        on_error: OnError,
        has_context: bool = False,
        put_off: Sequence[tuple[StorageError, Callable[[], object]]] = (),
    ) -> None:
        self._store = store
        self._writer = writer
        self._on_error = on_error
        self._has_context = has_context
        self._forget_backlog()
        self._lost_count = 0
        self._has_warned = False
        self._refused: set[str] = set()
        self._owner_pid = os.getpid()
        self._at_end: list[Callable[[], object]] = []
        if on_error == "raise":
            # Nothing has to be done around the writer's own method then, and a call less is 5 % of the hottest path.
            self.log_metric = writer.log_point  # type: ignore[method-assign]
        if writer.model_outputs:  # of a run that is resumed
            note_use()
        self.run_id = writer.run_id
        self.experiment_id = writer.experiment.experiment_id
        for error, call in put_off:  # the start of the run itself, where the store is away
            self._fail(error, call)

    def __repr__(self) -> str:
        return f"<ActiveRun {self.run_id} of experiment {self.experiment_id}>"

    # -- metrics

    def log_metric(self, key: str, value: float, step: int | None = None, timestamp: int | None = None) -> None:
        """Log one point of a metric.

        Args:
            key: Name of the metric.
            value: A number; NaN and infinities are kept. NumPy and PyTorch scalars are taken too.
            step: Any integer of 64 bits; 0 by default.
            timestamp: Milliseconds since 1970, UTC; now by default.

        Raises:
            InvalidInputError: Key, value, step or timestamp break a rule; nothing was written.
            StorageError: It could not be written. Logging it again later is safe.
        """
        try:
            if self._backlog:
                self._catch_up()
            self._writer.log_point(key, value, 0 if step is None else step, timestamp)
        except LocaltrackError as error:
            at_ms = self._store.clock() if timestamp is None else timestamp  # a later try must not move the point
            self._fail(error, lambda: self._writer.log_point(key, value, 0 if step is None else step, at_ms))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None, timestamp: int | None = None) -> None:
        """Log one point of each of several metrics, all with one step and time, as one record.

        There as a whole or not at all.
        """
        try:
            if self._backlog:
                self._catch_up()
            self._writer.log_set(metrics, 0 if step is None else step, timestamp)
        except LocaltrackError as error:
            kept, at_ms = dict(metrics), self._store.clock() if timestamp is None else timestamp
            self._fail(error, lambda: self._writer.log_set(kept, 0 if step is None else step, at_ms))
        except (AttributeError, TypeError) as error:
            raise_if_wrong(ActiveRun.log_metrics, error, self, metrics, step, timestamp)
            raise

    # -- params and tags

    def log_param(self, key: str, value: Any) -> Any:
        """Log a param, and return its value. The same value again changes nothing.

        Raises:
            InvalidInputError: It has another value already, or key or value break a rule.
        """
        self.log_params({key: value})
        return value

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log params: all of them, or, if one is refused, none."""
        kept = dict(params)  # a later try must not log what the caller has made of it
        self._do(lambda: self._writer.set_params(self._checked_params(kept.items())))

    def set_tag(self, key: str, value: Any) -> None:
        """Set a tag. The last value counts."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags: all of them, or, if one is refused, none."""
        kept = dict(tags)
        self._do(lambda: self._writer.set_tags(self._checked_tags(kept.items())))

    def delete_tag(self, key: str) -> None:
        """Delete a tag.

        Raises:
            NotFoundError: The run has no such tag.
        """
        self._store.require_tag(self.run_id, key, known=self._writer.tags)
        self._do(lambda: self._writer.set_tags({key: None}))

    def log_batch(
        self, metrics: Iterable[Metric] = (), params: Iterable[Param] = (), tags: Iterable[RunTag] = ()
    ) -> None:
        """Log metrics, params and tags at once. A refused batch leaves nothing.

        A metric with a `model_id` becomes one of that logged model too, with its data set if it names one.

        Raises:
            NotFoundError: A metric names a logged model that is not there.
        """
        metrics = list(metrics)
        points = [
            (
                validate_key(m.key, "metric"),
                to_value(m.value, m.key),
                to_timestamp_ms(m.timestamp),
                to_step(m.step),
            )
            for m in metrics
        ]
        pairs = [(p.key, p.value) for p in params]
        if len({key for key, _ in pairs}) != len(pairs):
            doubled = next(key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n]))
            raise InvalidInputError(f"Param {doubled!r} stands twice in one batch.")
        checked_params = self._checked_params(pairs)
        checked_tags = self._checked_tags((t.key, t.value) for t in tags)
        if any(getattr(m, "model_id", None) is not None for m in metrics):
            points = list(dict.fromkeys(points))  # one that belongs to several models is one point
            self._log_linked(metrics, lambda: self._writer.log_batch(points, checked_params, checked_tags))
        else:
            self._do(lambda: self._writer.log_batch(points, checked_params, checked_tags))

    # -- artifacts

    def log_artifact(self, local_path: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Copy a file, or a folder with all that it holds, into the run's artifacts.

        Args:
            local_path: What to copy.
            artifact_path: The folder among the artifacts to put it in; the topmost by default.
        """
        from localtrack.store.artifacts import plan_source

        plan = plan_source(local_path, artifact_path, store_root=self._store.root)
        self._do(lambda: self._put_files(plan))

    def log_artifacts(self, local_dir: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Copy what a folder holds into the run's artifacts. Names are checked before the first byte is copied."""
        from localtrack.store.artifacts import plan_folder

        plan = plan_folder(local_dir, artifact_path, store_root=self._store.root)
        self._do(lambda: self._put_files(plan))

    def log_text(self, text: str, artifact_file: str) -> None:
        """Write a text as an artifact, in UTF-8."""
        from localtrack.api.artifact_content import encode_text

        validate_artifact_path(artifact_file)
        self._put_content(lambda: encode_text(text), artifact_file)

    def log_dict(self, dictionary: Any, artifact_file: str) -> None:
        """Write a dict or list as an artifact: YAML if the name ends so, else JSON."""
        from localtrack.api.artifact_content import encode_dict

        validate_artifact_path(artifact_file)
        self._put_content(lambda: encode_dict(dictionary, artifact_file), artifact_file)

    def log_figure(self, figure: Any, artifact_file: str, *, save_kwargs: dict[str, Any] | None = None) -> None:
        """Write a Matplotlib or Plotly figure as an artifact, in the format that the name's ending says."""
        from localtrack.api.artifact_content import encode_figure

        validate_artifact_path(artifact_file)
        self._put_content(lambda: encode_figure(figure, artifact_file, save_kwargs=save_kwargs), artifact_file)

    def log_image(
        self,
        image: Any,
        artifact_file: str | None = None,
        *,
        key: str | None = None,
        step: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Write a PIL image or an array as an artifact.

        Under a name, or under a key and step as MLflow's pages show series of images.
        """
        from localtrack.api.artifact_content import LOGGED_IMAGES_TAG, encode_images

        def put() -> None:
            for path, data in encode_images(image, artifact_file, key=key, step=step, timestamp_ms=timestamp):
                self._put_bytes(data, path)
            if key is not None:
                self._writer.set_tags({LOGGED_IMAGES_TAG: "True"})

        self._do(put)

    def log_table(self, data: Any, artifact_file: str) -> None:
        """Write a table (a dict of columns or a DataFrame) as an artifact, in the JSON that MLflow reads.

        Rows are added to a table that is there.
        """
        from localtrack.api.artifact_content import LOGGED_ARTIFACTS_TAG, add_logged_table, encode_table_files

        validate_artifact_path(artifact_file)

        def put() -> None:
            for path, content in encode_table_files(data, self._read_artifact(artifact_file), artifact_file):
                self._put_bytes(content, path)
            known = self._store.get_run(self.run_id).data.tags.get(LOGGED_ARTIFACTS_TAG)
            self._writer.set_tags({LOGGED_ARTIFACTS_TAG: add_logged_table(known, artifact_file)})

        self._do(put)

    # -- the run itself

    @property
    def info(self) -> RunInfo:
        """The run as the store has it now."""
        return self._store.get_run(self.run_id).info

    @property
    def data(self) -> RunData:
        """Params, tags and last metrics as the store has them now, those of other writers included."""
        return self._store.get_run(self.run_id).data

    @property
    def is_ended(self) -> bool:
        """Whether this object has ended its run."""
        return self._writer.is_closed

    def next_step(self, key: str | None = None) -> int:
        """Return the greatest step logged so far, by any writer, plus one: where a resumed run goes on.

        0 if there is none.

        Args:
            key: The metric to look at; all of them by default.
        """
        return self._store.next_step(self.run_id, key)

    def flush(self) -> None:
        """Return when everything that this process has logged to the store is on the disk.

        Raises:
            StorageError: It is not.
        """
        self._do(lambda: self._store.flush())

    def end(self, status: str = "FINISHED", end_time: int | None = None) -> None:
        """End the run: record status and time, close its log, seal its points. Does nothing if it has ended.

        Args:
            status: FINISHED, FAILED or KILLED.
            end_time: Milliseconds since 1970, UTC; now by default.

        Durability: handed to the operating system on return, on the disk within seconds.
        """
        if self._writer.is_closed:
            return
        RunStatus.from_string(status)
        for call in self._at_end:
            call()
        info = {
            "status": status,
            "end_ms": self._store.clock() if end_time is None else to_timestamp_ms(end_time),
        }
        if self._has_context:
            self._add_late_context()
        try:
            if self._backlog:
                self._catch_up()
            self._store.end_writer(self._writer, info)
        except StorageError as error:
            if self._on_error == "raise":
                raise
            self._lost_count += len(self._backlog)
            reporting.complain(
                "the end of run %s could not be recorded, and %d logging calls are lost: %s",
                self.run_id,
                self._lost_count,
                error,
            )
        else:
            if self._lost_count:
                reporting.complain("%d logging calls of run %s are lost.", self._lost_count, self.run_id)

    def call_at_end(self, call: Callable[[], object]) -> None:
        """Call something just before this object ends its run, as for others who write to the run meanwhile."""
        self._at_end.append(call)

    def detach(self) -> None:
        """Let go of the run without ending it. Does nothing if it has ended. See `Store.attach_run`."""
        if self._writer.is_closed:
            return
        if self._backlog:
            self._catch_up()
        self._store.end_writer(self._writer, None)

    def hand_over(self, metric_prefix: str = "") -> dict[str, str]:
        """Return the environment variables with which other processes write to this run: workers, children, ranks.

        There `localtrack.start_run()` joins the run instead of starting one, and its end only lets go. A pickled run
        does the same without variables, as an argument of a spawned process or a Ray or Spark task.

        Args:
            metric_prefix: Put in front of the keys of metrics there, as `worker3/`.

        Returns:
            The variables. A password that stood in the URL of the store is in them, as in a pickled run: do not print
            them.
        """
        self._show_to_others()
        return environment.hand_over(with_password(self._store.uri), self.run_id, metric_prefix)

    def __reduce__(self) -> tuple[Any, ...]:
        from localtrack.api.rank_runs import join_run

        self._show_to_others()
        return join_run, (with_password(self._store.uri), self.run_id, getattr(self, "prefix", ""), self._store.options)

    def __enter__(self) -> ActiveRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.getpid() == self._owner_pid:  # a forked child that leaves the block does not end its parent's run
            self.end("FINISHED" if kind is None else "FAILED")

    # -- behind the calls

    def _show_to_others(self) -> None:
        """Have the run be there for a process that joins it; in a place without append it waits to be sent."""
        if not self._store.storage.can_append and not self._writer.is_closed:
            self.flush()

    def _do(self, call: Callable[[], object]) -> None:
        try:
            if self._backlog:
                self._catch_up()
            call()
        except LocaltrackError as error:
            self._fail(error, call)

    def _fail(self, error: LocaltrackError, call: Callable[[], object]) -> None:
        """Raise, or, where training must go on, say so once and keep the call for later."""
        if self._on_error == "raise":
            raise error
        if isinstance(error, QuotaExceededError):
            if _limit_in(error) not in self._refused:  # of each limit once, not at each call
                self._refused.add(_limit_in(error))
                reporting.warn("a logging call of run %s was refused, as all like it will be: %s", self.run_id, error)
            return
        if not isinstance(error, StorageError):
            reporting.warn("a logging call of run %s was refused: %s", self.run_id, error)
            return
        if not self._has_warned:
            self._has_warned = True
            reporting.warn("run %s cannot be logged for now, training goes on: %s", self.run_id, error)
        if len(self._backlog) < MAX_BACKLOG_COUNT:
            self._backlog.append(call)
        else:
            self._lost_count += 1

    def _catch_up(self) -> None:
        """Make the calls that failed before, in order; raises when the store still cannot be written to."""
        if os.getpid() != self._backlog_pid:  # what the parent could not log is left to the parent
            self._forget_backlog()
        with self._backlog_lock:
            while self._backlog:
                try:
                    self._backlog[0]()
                except StorageError:
                    raise
                except LocaltrackError as error:
                    reporting.warn("a logging call of run %s was refused: %s", self.run_id, error)
                self._backlog.popleft()
            self._has_warned = False

    def _forget_backlog(self) -> None:
        self._backlog: deque[Callable[[], object]] = deque()
        self._backlog_lock = threading.Lock()  # held by whoever catches up; new calls are added without it
        self._backlog_pid = os.getpid()

    def _add_late_context(self) -> None:
        from localtrack.api.context import dirty_tags

        tags = dirty_tags(timeout_s=0.02)
        if tags:
            self._do(lambda: self._writer.set_tags(tags))

    def _checked_params(self, params: Iterable[tuple[str, Any]]) -> dict[str, str]:
        truncate = self._store.truncates
        return {
            validate_key(key, "param"): validate_value(value, "param", key, MAX_PARAM_VALUE_CHARS, truncate=truncate)
            for key, value in params
        }

    def _checked_tags(self, tags: Iterable[tuple[str, Any]]) -> dict[str, str | None]:
        truncate = self._store.truncates
        return {
            validate_key(key, "tag"): validate_value(value, "tag", key, MAX_TAG_VALUE_CHARS, truncate=truncate)
            for key, value in tags
        }

    def _put_files(self, plan: Sequence[tuple[str, str]]) -> None:
        from localtrack.store.artifacts import put_file, require_places

        require_places(self._store.storage, self._writer.folder, [path for _, path in plan])
        if self._writer.quota is not None:
            self._writer.admit_artifacts([(path, os.path.getsize(local_path)) for local_path, path in plan])
        for local_path, artifact_path in plan:
            record = put_file(self._store.storage, self._writer.folder, local_path, artifact_path)
            self._writer.note_artifact(record.path, record.bytes, record.sha256)

    def _put_content(self, encode: Callable[[], bytes], artifact_path: str) -> None:
        """Encode now, since a later try must not store what the caller has made of it, and put it in place."""
        try:
            data = encode()
        except LocaltrackError as error:
            self._fail(error, encode)
            return
        self._do(lambda: self._put_bytes(data, artifact_path))

    def _put_bytes(self, data: bytes, artifact_path: str) -> None:
        from localtrack.store.artifacts import put_bytes

        self._writer.admit_artifacts([(artifact_path, len(data))])
        record = put_bytes(self._store.storage, self._writer.folder, data, artifact_path)
        self._writer.note_artifact(record.path, record.bytes, record.sha256)

    def _read_artifact(self, artifact_path: str) -> bytes | None:
        from localtrack.store.artifacts import read_artifact

        return read_artifact(self._store.storage, self._writer.folder, artifact_path)


def _limit_in(error: QuotaExceededError) -> str:
    """Return the name of the limit that an error is about."""
    return error.message.partition(" its limit ")[2].partition(" ")[0]
