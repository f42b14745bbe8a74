"""Each point once, as the target keeps it: beside a set that remembers everything."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from localtrack import Store
from localtrack.format.segment_table import build_table, concat_points
from localtrack.store.point_blocks import iter_point_blocks
from localtrack.store.run_reading import read_run
from localtrack.sync.distinct import Distinct, to_target_value, value_bits, with_target_values
from localtrack.sync.history_rows import RunHistory
from localtrack.sync.limits import MLFLOW
from localtrack.sync.options import Thinning

POINTS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.integers(0, 3),
        st.integers(0, 3),
        st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf, 1.7976931348623157e308, -math.inf]),
    ),
    max_size=40,
)


def table_of(points: list[tuple[str, int, int, float]], first: int) -> pa.Table:
    names = ["a", "b", "c"]
    return build_table(
        names,
        [names.index(point[0]) for point in points],
        number=list(range(first, first + len(points))),
        step=[point[1] for point in points],
        timestamp_ms=[point[2] for point in points],
        value=[point[3] for point in points],
    )


@given(POINTS, st.integers(1, 7))
def test_it_keeps_what_a_set_would_keep(points: list[tuple[str, int, int, float]], size: int) -> None:
    blocks = [table_of(points[first : first + size], first) for first in range(0, len(points), size)]
    current = 0

    def read_before(key: str) -> Iterator[pa.Table]:
        for block in blocks[:current]:
            kept = with_target_values(block)
            yield kept.filter(pa.array([name == key for name in kept.column("key").to_pylist()], pa.bool_()))

    distinct = Distinct(read_before)
    kept: list[int] = []
    for current, block in enumerate(blocks):  # noqa: B007 - read_before looks at it
        kept += distinct.take(with_target_values(block)).column("number").to_pylist()
    seen: set[tuple[object, ...]] = set()
    wanted = []
    for number, (key, step, timestamp_ms, value) in enumerate(points):
        identity = (key, step, timestamp_ms, value_bits(to_target_value(value)))
        if identity not in seen:
            seen.add(identity)
            wanted.append(number)
    assert sorted(kept) == wanted
    assert sum(distinct.counts.values()) == len(wanted)


def test_blocks_hold_all_points_of_logs_segments_and_chunks_once(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        store._site.log_points_bytes, store._site.chunk_bytes = 1_000, 3_000
        with store.start_run("e", context=False) as run:
            for step in range(1000):
                run.log_metrics({"a": step, "b": -step}, step=step, timestamp=step)
        with store.start_run(run_id=run.run_id) as run:
            run.log_metric("a", 5.0, step=5000, timestamp=5000)
            reading = read_run(store.storage, run.run_id)
            assert reading is not None
            for window in (7, 333, 100_000):
                blocks = list(iter_point_blocks(reading, window=window))
                numbers = [(b.writer, n) for b in blocks for n in b.table.column("number").to_pylist()]
                assert sorted(numbers) == sorted(set(numbers))
                assert len(numbers) == 2001
                for block in blocks:
                    inside = block.table.column("number").to_pylist()
                    assert all(block.first <= number < block.end for number in inside)
            stop = {writer: points // 2 for writer, (_, points) in reading.positions.items()}
            head = list(iter_point_blocks(reading, stop=stop))
            rest = list(iter_point_blocks(reading, start=stop))
            assert concat_points(b.table for b in head).num_rows + concat_points(b.table for b in rest).num_rows == 2001
            assert concat_points(b.table for b in iter_point_blocks(reading, key="b", window=50)).num_rows == 1000


def test_what_was_received_of_any_writer_comes_before_what_is_new(tmp_path: Path) -> None:
    """A point that equals one that was received is not new, whichever writer's comes first by name."""
    with Store.open(tmp_path / "store") as store:
        with store.start_run("e", context=False) as run:
            run.log_metric("a", 1.0, step=1, timestamp=1)
        first = read_run(store.storage, run.run_id)
        assert first is not None
        acked = {writer: points for writer, (_, points) in first.positions.items()}
        for _ in range(6):  # writers are named at random
            with store.start_run(run_id=run.run_id) as again:
                again.log_metric("a", 1.0, step=1, timestamp=1)
        reading = read_run(store.storage, run.run_id)
        assert reading is not None
        history = RunHistory(reading, Thinning(), MLFLOW, has_ended=True)
        assert [point for rows in history.iter_rows(acked) for point in rows.points] == []
        assert history.counts == {"a": 1}
