"""What this process logs to one run, as records. FORMAT.md section 6.

The path of one point (`log_point`) is the hottest of the package: one dictionary look-up, one format, one `write`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from localtrack.format.documents import ExperimentDocument
from localtrack.format.jsonlines import encode_record, encode_value, line_encoder
from localtrack.format.metric_fold import Folds, combine_folds
from localtrack.format.names import MAX_INT64, MIN_INT64, validate_key
from localtrack.format.run_fold import RunState
from localtrack.format.scalars import to_step, to_timestamp_ms, to_value
from localtrack.store.inbox import Inbox
from localtrack.store.open_log import FAR_BACK, SHORT_DS, SHORT_DT_MS, OpenLog, Point
from localtrack.store.site import STILL_THERE_MS, Site, wall_clock_ms
from localtrack.store.state_writer import StateWriter
from localtrack.store.subject import run_subject


class RunWriter(StateWriter):
    """Appends to one run. Thread-safe; the child of a fork gets logs of its own.

    Args:
        site: The store.
        run_id: The run.
        experiment: Its experiment, for the header.
        inbox: Where the notice goes that must come before the first write.
        known: What the run's other logs say, for a run that exists.
    """

    def __init__(
        self, site: Site, run_id: str, experiment: ExperimentDocument, inbox: Inbox, known: RunState | None = None
    ) -> None:
        super().__init__(site, run_subject(run_id, experiment), known)
        self.run_id = run_id
        self.experiment = experiment
        self.datasets: dict[tuple[str, str], dict[str, Any]] = dict(known.datasets) if known else {}
        self.model_inputs: dict[str, None] = dict(known.model_inputs) if known else {}
        self.model_outputs: dict[tuple[str, int], None] = dict(known.model_outputs) if known else {}
        self.opened_count = 0
        """How often the inbox was told that this process is about to write."""
        self._inbox = inbox
        self._clock_ns = time.time_ns if site.clock is wall_clock_ms else lambda: site.clock() * 1_000_000
        self._dumps, self._dump_options = line_encoder()

    @property
    def links(self) -> dict[str, Any]:
        """Data sets and logged models of the run, as far as this writer knows them; nothing for what it has none of."""
        links: dict[str, list[Any]] = {
            "datasets": list(self.datasets.values()),
            "inputs": list(self.model_inputs),
            "outputs": [list(pair) for pair in self.model_outputs],
        }
        return {name: items for name, items in links.items() if items}

    def _announce(self) -> None:
        self._inbox.notice_open(self.run_id, self.experiment.experiment_id)
        self.opened_count += 1

    # -- points

    def log_point(self, key: str, value: Any, step: Any = None, timestamp: Any = None) -> None:
        """Append one point. See `ActiveRun.log_metric`, for which this stands in."""
        if type(key) is not str:
            key = validate_key(key, "metric")
        if type(value) is not float:
            value = to_value(value, key)
        if type(step) is not int or not MIN_INT64 <= step <= MAX_INT64:
            step = to_step(step)
        with self._lock:
            now_ms = self._clock_ns() // 1_000_000
            if timestamp is None:
                timestamp = now_ms
            elif type(timestamp) is not int or not 0 <= timestamp <= MAX_INT64:
                timestamp = to_timestamp_ms(timestamp)
            if self._is_due or not 0 <= now_ms - self._last_ms < STILL_THERE_MS:
                if self.quota is not None and not self._admit([(key, value, timestamp, step)]):
                    return
                self._prepare(now_ms)
            self._last_ms = now_ms
            found = self._sets.get(key)
            if found is None or value - value != 0.0:
                self._append_points([(key, value, timestamp, step)])
                return
            number, base_ms, base_step, until = found
            dt, ds = timestamp - base_ms, step - base_step
            if (not FAR_BACK < ds < SHORT_DS or dt >= SHORT_DT_MS) and (self._points_count >= until or ds <= FAR_BACK):
                del self._sets[key]
                self._append_points([(key, value, timestamp, step)])
                return
            # A copy of the line: the encoder's own would keep a block of 1 KiB in memory until the next sync.
            line = b"%b" % self._dumps((number, dt, ds, value), None, self._dump_options)
            is_time_to_look = self._append(line)
            self._points_count += 1
            if is_time_to_look or self._is_careful:
                self._look_at_size()
                self._sync_if_asked()

    def log_set(self, metrics: Mapping[str, Any], step: Any = None, timestamp_ms: Any = None) -> None:
        """Append one point for each key, all with the same step and time, as one record."""
        keys, values = tuple(metrics), list(metrics.values())
        if not keys:
            return
        if set(map(type, values)) != {float}:
            values = [to_value(value, str(key)) for key, value in metrics.items()]
        if type(step) is not int or not MIN_INT64 <= step <= MAX_INT64:
            step = to_step(step)
        if timestamp_ms is not None:
            timestamp_ms = to_timestamp_ms(timestamp_ms)
        with self._lock:
            quota = self.quota
            if quota is not None and (self._is_due or self._points_count + len(keys) > quota.granted):
                at_ms = self._clock() if timestamp_ms is None else timestamp_ms
                if not self._admit([(key, value, at_ms, step) for key, value in zip(keys, values, strict=True)]):
                    return
            target, now_ms = self._prepared_target()
            if timestamp_ms is None:
                timestamp_ms = now_ms
            lines: list[bytes] = []
            name = keys[0] if len(keys) == 1 else keys
            found = target.sets.get(name)
            if found is None or found.is_far_from(timestamp_ms, step, self._points_count):
                for key in keys:
                    validate_key(key, "metric")
                if quota is not None:
                    quota.admit_keys(keys)
                found = target.define(keys, timestamp_ms, step, points_count=self._points_count, lines=lines)
            point = [found.number, timestamp_ms - found.base_ms, step - found.base_step, *values]
            total = sum(values)
            if total - total != 0.0:  # a value that is not finite, or a sum that overflows
                point[3:] = map(encode_value, values)
            lines.append(encode_record(point))
            self._append_lines(lines)
            if len(lines) > 1:
                target.remember({name: found}, lines[:-1])
            self._points_count += len(keys)
            self._sync_if_asked()

    def _prepared_target(self) -> tuple[OpenLog, int]:
        """Return the file that points go to, ready to be written to, and the time."""
        now_ms = self._clock()
        if self._is_due or self._is_paused(now_ms):
            self._prepare(now_ms)
        self._last_ms = now_ms
        assert self._points_log is not None
        return self._points_log, now_ms

    def _admit(self, points: Sequence[Point]) -> bool:
        """Return whether points may be written as they are; if they have to be thinned, that is done.

        Raises:
            QuotaExceededError: They may not be written.
        """
        assert self.quota is not None
        if self.quota.admit_points(self._points_count, len(points)):
            if not self._is_due:
                self._is_due = self.quota.is_near(self._points_count)
            return True
        assert self.quota.thinner is not None
        for point in points:
            validate_key(point[0], "metric")
        self.quota.admit_keys(point[0] for point in points)
        kept = [kept for point in points for kept in self.quota.thinner.take(point)]
        if kept:
            self._append_points(kept)
        return False

    def write_held_points(self) -> None:
        """Write what a limit on points has held back, before the run ends or this process lets go of it."""
        with self._lock:
            quota = self.quota
            if quota is not None and quota.thinner is not None:
                self.quota = None  # what is left to be written is never refused
                try:
                    if held := quota.thinner.held():
                        self._append_points(held)
                    quota.tell(self._points_count)
                except BaseException:  # whatever stopped it, also an interrupt: nothing held may be lost
                    self.quota = quota  # the next try writes all of it again, which changes nothing
                    raise

    def admit_artifacts(self, planned: Iterable[tuple[str, int]]) -> None:
        """Raise `QuotaExceededError` if artifacts may not be added to the run.

        Args:
            planned: Path and size of each.
        """
        if self.quota is not None:
            with self._lock:
                self.quota.admit_artifacts(planned)

    def _append_points(self, points: Sequence[Point]) -> None:
        if self.quota is not None:
            self.quota.admit_keys(point[0] for point in points)
        target, _ = self._prepared_target()
        lines: list[bytes] = []
        encoded, fresh = target.encode_points(points, points_count=self._points_count, lines=lines)
        lines.append(encode_record(encoded[0] if len(encoded) == 1 else ["p", encoded]))
        self._append_lines(lines)
        target.remember(fresh, lines[:-1])
        self._points_count += len(points)
        self._sync_if_asked()

    def _append_lines(self, lines: list[bytes]) -> None:
        if self._append(lines[0] if len(lines) == 1 else b"".join(lines)) or self._is_careful:
            self._look_at_size()

    # -- state

    def set_params(self, params: Mapping[str, str]) -> None:
        """Append params that are checked already, but for those that have the same value.

        Raises:
            InvalidInputError: One has another value already; nothing was written.
        """
        self.log_batch((), params, {})

    def set_tags(self, tags: Mapping[str, str | None]) -> None:
        """Append tags that are checked already; a value of None deletes."""
        self.log_batch((), {}, tags)

    def log_inputs(self, datasets: Sequence[Mapping[str, Any]], model_ids: Sequence[str]) -> None:
        """Append data sets and logged models that the run reads, but for those that it names already.

        Args:
            datasets: Payloads of `dataset` records, checked.
            model_ids: Ids of logged models.
        """
        with self._lock:
            fresh: dict[tuple[str, str], dict[str, Any]] = {}
            for payload in datasets:
                key = payload["name"], payload["digest"]
                if key not in self.datasets:
                    fresh.setdefault(key, dict(payload))
            inputs = [model_id for model_id in dict.fromkeys(model_ids) if model_id not in self.model_inputs]
            if self.quota is not None:
                self.quota.admit_bytes()
            self._append_state(
                *(["dataset", payload] for payload in fresh.values()),
                *(["input", {"model": model_id}] for model_id in inputs),
            )
            self.datasets.update(fresh)
            self.model_inputs.update(dict.fromkeys(inputs))
            self._sync_if_asked()

    def log_outputs(self, models: Sequence[tuple[str, int]]) -> None:
        """Append logged models that the run made, as pairs of id and step, but for those that it names already."""
        with self._lock:
            outputs = [pair for pair in dict.fromkeys(models) if pair not in self.model_outputs]
            self._append_state(*(["output", {"model": model_id, "step": step}] for model_id, step in outputs))
            self.model_outputs.update(dict.fromkeys(outputs))
            self._sync_if_asked()

    def log_batch(self, points: Sequence[Point], params: Mapping[str, str], tags: Mapping[str, str | None]) -> None:
        """Append metrics, params and tags that are checked already.

        While the points of a run stay in its log, a batch is one record: there as a whole or not at all, whatever
        happens.

        Raises:
            InvalidInputError: A param has another value already; nothing was written.
        """
        with self._lock:
            params, quota = self._new_params(params), self.quota
            if quota is not None:
                quota.spare_state -= len(params) + len(tags)
                if quota.spare_state < 0:
                    new_tags = len({key for key, value in tags.items() if value is not None} - self.tags.keys())
                    quota.admit_state(len(self.params), len(params), len(self.tags), new_tags)
                if points:
                    quota.admit_keys(point[0] for point in points)
                    if not self._admit(points):
                        points = ()
            state = [[kind, items] for kind, items in (("param", params), ("tag", tags)) if items]
            if points and state and self._prepared_target()[0] is self._log:
                self._append_batch(points, params, tags)
            else:
                if points:
                    self._append_points(points)
                self._append_state(*state)
            self._remember(params, tags)
            self._sync_if_asked()

    def _append_batch(self, points: Sequence[Point], params: Mapping[str, str], tags: Mapping[str, str | None]) -> None:
        target, now_ms = self._prepared_target()
        lines: list[bytes] = []
        encoded, fresh = target.encode_points(points, points_count=self._points_count, lines=lines)
        payload: dict[str, Any] = {"points": encoded}
        payload.update({name: items for name, items in (("params", params), ("tags", tags)) if items})
        lines.append(encode_record(["batch", self._next_stamp(now_ms), payload]))
        self._append_lines(lines)
        target.remember(fresh, lines[:-1])
        self._points_count += len(points)

    # -- end

    def close(self, *records: list[Any], sealed: Folds | None = None) -> tuple[int, Folds | None]:
        """Append last records and the `Closed` record, in one write, and let go of the log.

        Args:
            records: State records without their stamps.
            sealed: What the points in chunks add up to, if there are chunks and it is known.

        Returns:
            The log's size in bytes, and what all points of this writer add up to, if that is known.
        """
        with self._lock:
            if self._chunk is not None:
                self._close_chunk()
                sealed = None  # points came after `close_points`, and nobody knows what they add up to
            if self.quota is not None:
                self.quota.tell(self._points_count)
            now_ms = self._clock()
            if self._log is None or self._is_paused(now_ms):
                self._prepare(now_ms, for_points=False)
            log = self._log
            assert log is not None
            log.file.settle()
            folds = self._fold(log, sealed)
            file = self._close_log(*records, folds=folds)
            size = file.size
        if not self.site.storage.can_append:
            self._inbox.sync()  # the notice before what it tells of
        self._let_go(file)
        return size, folds

    def _fold(self, log: OpenLog, sealed: Folds | None) -> Folds | None:
        """Return what this writer's points add up to; None if its chunks are not known."""
        if self._chunks_count and sealed is None:
            return None
        own = log.fold(self.site) if self._points_count else {}
        # After a failed sync these files are those of a new writer, and what was sealed is another's.
        return combine_folds([own, sealed]) if sealed and self._chunks_count else own
