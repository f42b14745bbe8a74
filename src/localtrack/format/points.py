"""Points of metrics in columns: from records, and what they add up to. FORMAT.md sections 6.3 and 12.4."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from typing import Any, Final, NamedTuple, TypeVar

from localtrack.format.jsonlines import decode_json, decode_value
from localtrack.format.metric_fold import Folds, fold_points
from localtrack.format.point_stretch import PointStretch, gather_stretch
from localtrack.format.segment_info import MetricFold

_END: Final = 1 << 63
_STRETCH_COUNT: Final = 16
"""From so many points in a row on it pays to try to take them at once."""
_Number = TypeVar("_Number", int, float)


class KeySet(NamedTuple):
    """What a `k` record defines."""

    keys: tuple[str, ...]
    base_ms: int
    base_step: int


class PointColumns:
    """Points in the order in which they were logged, a column each."""

    __slots__ = ("_index", "key_index", "key_names", "step", "timestamp_ms", "value")

    def __init__(self) -> None:
        self.key_names: list[str] = []
        self.key_index = array("i")
        self.step = array("q")
        self.timestamp_ms = array("q")
        self.value = array("d")
        self._index: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[tuple[str, int, int, float]]:
        """Yield (key, step, timestamp_ms, value)."""
        names = self.key_names
        for key, step, timestamp_ms, value in zip(
            self.key_index, self.step, self.timestamp_ms, self.value, strict=True
        ):
            yield names[key], step, timestamp_ms, value

    def intern(self, key: str) -> int:
        """Return the index of a key, adding it if it is new."""
        index = self._index.get(key)
        if index is None:
            index = self._index[key] = len(self.key_names)
            self.key_names.append(key)
        return index

    def append(self, keys: KeySet, point: list[Any]) -> None:
        """Add one point record `[set, dt, ds, value, …]`; all of it or, raising `ValueError`, none."""
        dt, ds = point[1], point[2]
        if type(dt) is not int or type(ds) is not int or len(point) != len(keys.keys) + 3:
            raise ValueError("a point has another shape than its key set")
        values = [decode_value(value) for value in point[3:]]
        step, timestamp_ms = keys.base_step + ds, keys.base_ms + dt
        array("q", (step, timestamp_ms))  # raises OverflowError beyond 64 bits, before anything is added
        for key, value in zip(keys.keys, values, strict=True):
            self.key_index.append(self.intern(key))
            self.step.append(step)
            self.timestamp_ms.append(timestamp_ms)
            self.value.append(value)

    def extend(self, other: PointColumns) -> None:
        """Add all points of `other`."""
        to_here = [self.intern(key) for key in other.key_names]
        self.key_index.extend(array("i", map(to_here.__getitem__, other.key_index)))
        self.step.extend(other.step)
        self.timestamp_ms.extend(other.timestamp_ms)
        self.value.extend(other.value)

    def fold(self) -> Folds:
        """Return what the points of each key add up to."""
        return fold_points(self)


class PointReader:
    """Takes `k`, point and `p` records in order, and keeps the points."""

    def __init__(self, base_ms: int) -> None:
        self.columns = PointColumns()
        self.problems: list[str] = []
        self.base_ms = base_ms
        self._sets: dict[int, KeySet] = {}

    def take_points(self, records: Iterable[list[Any]]) -> list[list[Any]]:
        """Take every record that is about points, and return the others."""
        others: list[list[Any]] = []
        records = list(records)
        breaks = [place for place, record in enumerate(records) if type(record[0]) is not int]
        start = 0
        for end in (*breaks, len(records)):
            self._take_all(records[start:end])
            for record in records[end : end + 1]:
                if record[0] == "k":
                    self._take_keys(record)
                elif record[0] != "p":
                    others.append(record)
                elif type(record[1]) is PointStretch:
                    if not self.take_stretch(record[1]):
                        self._take_each(record[1].points())
                elif type(record[1]) is list:
                    self._take_all(record[1])
                else:
                    others.append(record)
            start = end + 1
        return others

    def _take_all(self, points: list[Any]) -> None:
        """Take points one after the other, those at once that have the same shape."""
        if len(points) < _STRETCH_COUNT or not {*map(type, points)} <= {list}:
            self._take_each(points)
            return
        for _, group in groupby(points, key=len):
            alike = list(group)
            stretch = gather_stretch(alike) if len(alike) >= _STRETCH_COUNT else None
            if stretch is None or not self.take_stretch(stretch):
                self._take_each(alike)

    def _take_each(self, points: Iterable[Any]) -> None:
        for point in points:
            self.take_point(point)

    def take_point(self, point: Any) -> None:
        """Take one `[set, dt, ds, value, …]`."""
        try:
            self.columns.append(self._sets[point[0]], point)
        except (ValueError, KeyError, IndexError, TypeError, OverflowError):
            self.problems.append(f"the point {str(point)[:60]} is damaged or has keys that are not defined")

    def add_to(self, folds: Folds, records: Iterable[list[Any]]) -> Folds | None:
        """Return folds with the points of a few records added, without a column for any.

        None, if one of the records is no point, or not as it should be: then nothing is added anywhere.
        """
        total = dict(folds)
        for record in records:
            keys = self._sets.get(record[0])
            if keys is None or len(record) != len(keys.keys) + 3:
                return None
            dt, ds = record[1], record[2]
            if type(dt) is not int or type(ds) is not int:
                return None
            step, timestamp_ms = keys.base_step + ds, keys.base_ms + dt
            if not (-_END <= step < _END and -_END <= timestamp_ms < _END):
                return None
            for key, value in zip(keys.keys, record[3:], strict=True):
                if type(value) is not float:
                    try:
                        value = decode_value(value)
                    except (ValueError, OverflowError):
                        return None
                fold = total.get(key)
                total[key] = (
                    MetricFold(1, value, step, timestamp_ms, value, value)
                    if fold is None
                    else fold.add_point(value, step, timestamp_ms)
                )
        return total

    def take_stretch(self, stretch: PointStretch) -> bool:
        """Take many points at once; return False, having taken nothing, if one of them needs a closer look."""
        try:
            sets = {number: self._sets[number] for number in set(stretch.sets)}
            width = len(stretch.values)
            if any(len(keys.keys) != width for keys in sets.values()):
                return False
            if len(sets) == 1:  # most often
                (keys,) = sets.values()
                base_step, base_ms = keys.base_step, keys.base_ms
                steps = array("q", [base_step + ds for ds in stretch.dss])
                times = array("q", [base_ms + dt for dt in stretch.dts])
            else:
                pairs = zip(stretch.sets, stretch.dss, strict=True)
                steps = array("q", [sets[number].base_step + ds for number, ds in pairs])
                pairs = zip(stretch.sets, stretch.dts, strict=True)
                times = array("q", [sets[number].base_ms + dt for number, dt in pairs])
            values = [_to_doubles(column) for column in stretch.values]
        except (ValueError, KeyError, TypeError, OverflowError):
            return False
        ranks = {number: [self.columns.intern(key) for key in keys.keys] for number, keys in sets.items()}
        if len(sets) == 1:
            (rank,) = ranks.values()
            key_index = array("i", rank) * len(steps)
        else:
            key_index = array("i", chain.from_iterable(map(ranks.__getitem__, stretch.sets)))
        self.columns.key_index.extend(key_index)
        self.columns.step.extend(_interleave([steps] * width))
        self.columns.timestamp_ms.extend(_interleave([times] * width))
        self.columns.value.extend(_interleave(values))
        return True

    def _take_keys(self, record: list[Any]) -> None:
        if (
            len(record) not in (3, 5)
            or type(record[1]) is not int
            or type(record[2]) is not list
            or not record[2]
            or any(type(key) is not str for key in record[2])
            or any(type(base) is not int for base in record[3:])
        ):
            self.problems.append(f"the key set {str(record)[:60]} is damaged")
            return
        if record[1] in self._sets:
            self.problems.append(f"the key set {record[1]} is defined twice; the first definition counts")
            return
        base_ms, base_step = record[3:] if len(record) == 5 else (self.base_ms, 0)
        self._sets[record[1]] = KeySet(tuple(record[2]), base_ms, base_step)


def _to_doubles(values: list[Any]) -> array[float]:
    try:
        return array("d", values)
    except TypeError:  # some have names, or are something else, which raises `ValueError`
        return array("d", map(decode_value, values))


def _interleave(columns: list[array[_Number]]) -> array[_Number]:
    """Return the first entry of each column, then the second of each, and so on."""
    if len(columns) == 1:
        return columns[0]
    merged = columns[0] * len(columns)
    for place, column in enumerate(columns):
        merged[place :: len(columns)] = column
    return merged


def count_points(lines: bytes) -> int:
    """Return how many points whole lines of a log hold."""
    count = 0
    for line in lines.splitlines():
        record = decode_json(line)
        points: list[list[Any]] = []
        if type(record[0]) is int:
            points = [record]
        elif record[0] == "p":
            points = record[1]
        elif record[0] == "batch":
            points = record[2].get("points", [])
        count += sum(len(point) - 3 for point in points)
    return count
