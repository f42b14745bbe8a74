"""Bodies of log-batch requests: by count and by bytes, never with half a point. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from localtrack.sync.distinct import to_target_value, value_bits
from localtrack.sync.limits import Limits


class SentPoint(NamedTuple):
    """One point on its way."""

    number: int
    key: str
    timestamp_ms: int
    step: int
    value: float
    """As the target keeps it."""


class Rows(NamedTuple):
    """Points of one writer, in the order of their numbers."""

    writer: str
    """Empty where the points are those of several."""
    end: int
    """The writer's points below this number are all in these rows or in earlier ones, or are not to be sent."""
    points: list[SentPoint]


@dataclass(slots=True)
class Batch:
    """One log-batch request."""

    points: Sequence[SentPoint] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    links: Mapping[Any, Mapping[str, str]] = field(default_factory=dict)
    """(key, timestamp, step, bits of the value) → the model and data set that the point belongs to, too."""

    @property
    def count(self) -> int:
        """Points, params and tags."""
        return len(self.points) + len(self.params) + len(self.tags)


Packed = tuple[Batch | None, str, int]
"""A request, or None; a writer; and up to which of its points all have been received once the request was."""


def pack_rows(
    run_id: str,
    limits: Limits,
    rows: Iterable[Rows],
    *,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    links: Mapping[Any, Mapping[str, str]],
) -> Iterator[Packed]:
    """Yield the requests that bring rows of points to a run, full ones as far as a writer goes on.

    Args:
        run_id: On the target.
        limits: Of the target.
        rows: Those of a writer one after the other.
        params: To log, too.
        tags: To set, too.
        links: As `Batch.links`.

    """
    rest: list[SentPoint] = []
    rest_writer, rest_end = "", 0
    for writer, end, points in rows:
        if rest and writer != rest_writer:
            for batch in plan_batches(run_id, limits, points=rest, links=links):
                yield batch, rest_writer, 0
            yield None, rest_writer, rest_end
            rest = []
        rest, rest_writer, rest_end = rest + points, writer, end
        if len(rest) >= limits.batch_metrics_count:
            batches = list(plan_batches(run_id, limits, points=rest, params=params, tags=tags, links=links))
            params, tags = {}, {}
            last = batches.pop() if len(batches[-1].points) < limits.batch_metrics_count else None
            # What is not full waits for the next rows, but not what carries params and tags.
            rest = list(last.points) if last is not None and not (last.params or last.tags) else []
            if last is not None and not rest:
                batches.append(last)
            for batch in batches:
                yield batch, writer, 0
        if not rest:
            yield None, writer, end
    for batch in plan_batches(run_id, limits, points=rest, params=params, tags=tags, links=links):
        yield batch, rest_writer if batch.points else "", 0
    yield None, rest_writer, rest_end


def plan_batches(
    run_id: str,
    limits: Limits,
    *,
    points: Sequence[SentPoint] = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    links: Mapping[Any, Mapping[str, str]] | None = None,
) -> Iterator[Batch]:
    """Yield the requests that bring these to a run, points in their order; the first ones carry params and tags, too.

    Args:
        run_id: On the target.
        limits: Of the target.
        points: In the order of their numbers.
        params: To log.
        tags: To set.
        links: As `Batch.links`.
    """
    open_params, open_tags = list((params or {}).items()), list((tags or {}).items())
    start = 0
    while start < len(points) or open_params or open_tags:
        some_params = dict(open_params[: limits.batch_params_count])
        some_tags = dict(open_tags[: limits.batch_tags_count])
        room = min(limits.batch_metrics_count, limits.batch_entities_count - len(some_params) - len(some_tags))
        batch = Batch(points[start : start + room], some_params, some_tags, links=links or {})
        _shrink(run_id, batch, limits)
        del open_params[: len(batch.params)], open_tags[: len(batch.tags)]
        start += len(batch.points)
        yield batch


def _shrink(run_id: str, batch: Batch, limits: Limits) -> None:
    """Give the batch its body, leaving out from the end what makes it too large."""
    while True:
        batch.body = encode_batch(run_id, batch)
        if len(batch.body) <= limits.batch_bytes or batch.count <= 1:
            return
        if len(batch.points) > 1 or (batch.points and (batch.params or batch.tags)):
            batch.points = batch.points[: len(batch.points) // 2]
        elif batch.tags:
            batch.tags = dict(list(batch.tags.items())[: len(batch.tags) // 2])
        else:
            batch.params = dict(list(batch.params.items())[: len(batch.params) // 2])


def encode_batch(run_id: str, batch: Batch) -> bytes:
    """Return the JSON body."""
    import orjson

    document: dict[str, Any] = {"run_id": run_id}
    if batch.points:
        document["metrics"] = [
            {"key": key, "value": encode_metric_value(value), "timestamp": timestamp_ms, "step": step}
            for _, key, timestamp_ms, step, value in batch.points
        ]
        if batch.links:
            for row, point in zip(document["metrics"], batch.points, strict=True):
                row.update(batch.links.get((point.key, point.timestamp_ms, point.step, value_bits(point.value)), {}))
    if batch.params:
        document["params"] = [{"key": key, "value": value} for key, value in batch.params.items()]
    if batch.tags:
        document["tags"] = [{"key": key, "value": value} for key, value in batch.tags.items()]
    return orjson.dumps(document)


def encode_metric_value(value: float) -> float | str:
    """Return a value as MLflow's JSON has it."""
    return value if value == value else "NaN"


def decode_metric_value(value: Any) -> float:
    """Return a value of MLflow's JSON as a target keeps it."""
    return to_target_value(float(value))
