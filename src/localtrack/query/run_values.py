"""Many runs of an index as plain values, column by column: no row is ever put together.

What whoever shows many runs looks at: attributes, and the value of each metric, param and tag.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from localtrack.query.index_frames import places_of
from localtrack.store.index.view import IndexView
from localtrack.types import LifecycleStage

if TYPE_CHECKING:
    import pyarrow as pa

FEW_KEYS: Final = 600
"""Up to so many keys whole columns are less work than whole rows: of each the runs are looked through that have it."""


class RunValues(NamedTuple):
    """What is shown of a run in a list of many."""

    run_id: str
    experiment_id: str
    run_name: str
    user_id: str
    status: str
    start_time: int
    end_time: int | None
    lifecycle_stage: LifecycleStage
    metrics: dict[str, float]
    """Last values."""
    params: dict[str, str]
    tags: dict[str, str]


def have_few_keys(view: IndexView) -> bool:
    """Return whether the runs of a view have so few keys that reading columns pays."""
    return sum(len(view.keys(group)) for group in ("metrics", "params", "tags")) <= FEW_KEYS


def view_to_values(view: IndexView, numbers: Sequence[int]) -> list[RunValues]:
    """Return runs of a view.

    Args:
        view: The runs.
        numbers: Which, in order.
    """
    places = places_of(numbers)
    count = len(numbers)
    texts = ("run_id", "experiment_id", "run_name", "user_id", "status")
    attributes = [_to_values(view.narrow(name).take(places)) for name in (*texts, "start_time", "end_time")]
    attributes.append(_to_values(view.narrow("lifecycle_stage").take(places)))
    by_group = []
    for group in ("metrics", "params", "tags"):
        found: list[dict[str, Any]] = [{} for _ in range(count)]
        for key, has_it, values in _columns(view, group, places):
            if has_it is None:
                for data, value in zip(found, values, strict=True):
                    data[key] = value
            else:
                for place, value in zip(has_it, values, strict=True):
                    found[place][key] = value
        by_group.append(found)
    return list(map(RunValues._make, zip(*attributes, *by_group, strict=True)))


def _columns(view: IndexView, group: str, places: pa.Array[Any]) -> Iterator[tuple[str, list[int] | None, list[Any]]]:
    """Yield each key of a group, in order: which runs have it, None for all, and their values."""
    import pyarrow.compute as pc

    for key in view.keys(group):
        column = view.key_column(group, key, "value").take(places)
        if column.null_count == 0:
            yield key, None, _to_values(column)
        elif column.null_count < len(column):
            yield key, _numbers(pc.indices_nonzero(column.is_valid())), _to_values(column.drop_null())


def _to_values(column: pa.ChunkedArray[Any]) -> list[Any]:
    """Return the values of a column; a text that repeats is one object."""
    import pyarrow as pa

    values: list[Any] = []
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type):
            words = chunk.dictionary.to_pylist()  # type: ignore[attr-defined]
            places = _numbers(chunk.indices)  # type: ignore[attr-defined]
            values += [None if place is None else words[place] for place in places]
        elif pa.types.is_string(chunk.type):
            values += chunk.to_pylist()
        else:
            values += _numbers(chunk)
    return values


def _numbers(column: pa.Array[Any]) -> list[Any]:
    if column.null_count:
        return list(column.to_pylist())
    return list(column.to_numpy(zero_copy_only=False).tolist())
