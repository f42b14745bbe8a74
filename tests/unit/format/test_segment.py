"""Segments: the table in memory, the file, and what other readers make of it."""

from __future__ import annotations

import array
import errno
import io
import math
import struct
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from localtrack.errors import InvalidInputError
from localtrack.format import segment, segment_write
from localtrack.format.segment import SegmentInfo
from localtrack.format.segment_info import encode_info, parse_info

INFO = SegmentInfo(run="0199a0b1c2d37e4f8a9b0c1d2e3f4a5b", writer="1f0e2d3c4b5a69788796", chunks=(3, 5))
BASE_MS = 1_790_000_000_000


def logged_in_turns(
    points_count: int, *, keys: int = 1, origin: str = "float32", same_time: bool = False, seed: int = 1
) -> pa.Table:
    """Make what a training run logs: each key every 10 ms or so, losses that fall, with noise."""
    rng = np.random.default_rng(seed)
    points_count -= points_count % keys
    steps_count = points_count // keys
    step = np.repeat(np.arange(steps_count), keys)
    gaps = np.rint(rng.normal(10, 2, (steps_count, 1 if same_time else keys))).astype(np.int64)
    timestamp_ms = np.broadcast_to(BASE_MS + np.cumsum(gaps.clip(0), axis=0), (steps_count, keys)).reshape(-1)
    value = 2 * np.exp(-3 * step / steps_count) * (1 + 0.05 * rng.standard_normal(points_count))
    if origin == "float32":
        value = value.astype(np.float32).astype(np.float64)
    elif origin == "four decimals":
        value = value.round(4)
    elif origin == "with NaN and inf":
        value = value.astype(np.float32).astype(np.float64)
        value[::97], value[1::997], value[2::997] = math.nan, math.inf, -math.inf
    return segment.build_table(
        [f"loss/{i:04d}" for i in range(keys)],
        np.tile(np.arange(keys, dtype=np.int32), steps_count),
        number=np.arange(points_count),
        step=step,
        timestamp_ms=timestamp_ms,
        value=value,
    )


def small_table(rows: list[tuple[str, int, int, int, float]]) -> pa.Table:
    names = [row[0] for row in rows]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * 5
    return segment.build_table(
        names,
        list(range(len(rows))),
        number=columns[1],
        step=columns[2],
        timestamp_ms=columns[3],
        value=columns[4],
    )


def written(*tables: pa.Table, info: SegmentInfo = INFO) -> io.BytesIO:
    sink = io.BytesIO()
    segment.write_segment(sink, tables, info)
    return sink


def rows_of(table: pa.Table) -> list[tuple[Any, ...]]:
    """Return the rows with values as their bits, so that NaN is itself and -0.0 is not 0.0."""
    values = table.column("value").combine_chunks()
    bits = (values if isinstance(values, pa.Array) else values.chunk(0)).view(pa.int64())
    names = ("key", "number", "step", "timestamp_ms")
    return list(zip(*(table.column(name).to_pylist() for name in names), bits.to_pylist(), strict=True))


# -- the table


def test_import_loads_no_pyarrow() -> None:
    code = "import sys, localtrack.format.segment; print(*{'pyarrow', 'numpy', 'pandas'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == ""


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(lambda code, items: list(items), id="list"),
        pytest.param(lambda code, items: array.array(code, items), id="array"),
        pytest.param(lambda code, items: memoryview(array.array(code, items)), id="memoryview"),
        pytest.param(lambda code, items: np.array(items, dtype=code), id="numpy"),
        pytest.param(lambda code, items: np.array(items * 2, dtype=code).reshape(2, -1).T[:, 0], id="numpy in strides"),
        pytest.param(lambda code, items: tuple(items), id="tuple"),
        pytest.param(lambda code, items: pa.array(items), id="arrow"),
        pytest.param(lambda code, items: pa.chunked_array([items[:1], items[1:]]), id="arrow in chunks"),
    ],
)
def test_build_table_takes_columns_of_any_kind(column: Any) -> None:
    table = segment.build_table(
        ["b", "a"],
        column("i", [0, 1, 0]),
        number=column("q", [7, 8, 9]),
        step=column("q", [-1, 2**62, -(2**63)]),
        timestamp_ms=column("q", [10, 11, 12]),
        value=column("d", [0.5, 1.5, 2.5]),
    )
    assert table.schema.equals(segment.segment_schema())
    assert table.to_pydict() == {
        "key": ["a", "b", "b"],
        "number": [8, 7, 9],
        "step": [2**62, -1, -(2**63)],
        "timestamp_ms": [11, 10, 12],
        "value": [1.5, 0.5, 2.5],
    }


def test_build_table_knows_names_that_repeat_or_go_unused() -> None:
    table = segment.build_table(
        ["b", "unused", "a", "b"],
        [3, 2, 0],
        number=[0, 1, 2],
        step=[0] * 3,
        timestamp_ms=[0] * 3,
        value=[0.0, 1.0, 2.0],
    )
    assert table.column("key").to_pylist() == ["a", "b", "b"]
    assert table.column("number").to_pylist() == [1, 0, 2]
    assert table.column("key").chunk(0).dictionary.to_pylist() == ["a", "b"]


def test_build_table_sorts_numbers_that_do_not_ascend() -> None:
    table = segment.build_table(
        ["b", "a"], [0, 1, 0, 1], number=[9, 4, 1, 3], step=[0] * 4, timestamp_ms=[0] * 4, value=[9.0, 4.0, 1.0, 3.0]
    )
    assert table.column("number").to_pylist() == [3, 4, 1, 9]
    assert table.column("value").to_pylist() == [3.0, 4.0, 1.0, 9.0]


def test_keys_are_in_the_order_of_their_utf8_bytes() -> None:
    names = ["z", "Z", "ä", "🙂", "ﬀ", "a/b", "a", "", "a\x00"]
    table = small_table([(name, i, 0, 0, 0.0) for i, name in enumerate(names)])
    assert table.column("key").to_pylist() == sorted(names, key=str.encode)
    assert segment.read_points(written(table)).equals(table)


@pytest.mark.parametrize(
    "change", [{"key_index": [0, 5]}, {"key_index": [0, -1]}, {"step": [1]}, {"value": [0.5, None]}, {"number": []}]
)
def test_build_table_refuses_columns_that_do_not_fit(change: dict[str, Any]) -> None:
    columns: dict[str, Any] = {
        "key_index": [0, 0], "number": [0, 1], "step": [0, 0], "timestamp_ms": [0, 0], "value": [0.5, 0.5],
    } | change  # fmt: skip
    with pytest.raises(InvalidInputError):
        segment.build_table(["a"], columns.pop("key_index"), **columns)


# -- the file


def test_what_is_written_is_read_back_bit_for_bit() -> None:
    values = [math.nan, -0.0, 0.0, math.inf, -math.inf, 5e-324, -1.7976931348623157e308]
    table = small_table([("k", i, 2**63 - 1 - i, -(2**63) + i, value) for i, value in enumerate(values)])
    assert rows_of(segment.read_points(written(table))) == rows_of(table)


@pytest.mark.parametrize("origin", ["float32", "full", "four decimals", "with NaN and inf"])
def test_all_readers_agree(origin: str, tmp_path: Any) -> None:
    polars = pytest.importorskip("polars")
    table = logged_in_turns(200_000, keys=50, origin=origin, same_time=True)
    path = tmp_path / "segment.parquet"
    path.write_bytes(written(table).getvalue())
    wanted = rows_of(table)
    assert rows_of(pq.read_table(path)) == wanted
    assert rows_of(duckdb.sql(f"select * from '{path}'").to_arrow_table()) == wanted
    assert rows_of(polars.read_parquet(path).to_arrow()) == wanted
    assert pq.read_schema(path).field("key").type == pa.string()


def test_footer_says_what_the_segment_holds() -> None:
    table = small_table(
        [("b", 4, 1, 10, 2.0), ("b", 5, 3, 11, math.nan), ("a", 6, 0, 12, -math.inf), ("a", 7, 0, 12, math.inf)]
    )
    source = written(table)
    info = segment.read_info(source)
    assert (info.run, info.writer, info.chunks) == (INFO.run, INFO.writer, (3, 5))
    assert (info.first, info.points, info.distinct) == (4, 4, True)
    assert pq.ParquetFile(source).metadata.metadata[b"localtrack"] == (
        b'{"chunks":[3,5],"distinct":true,"first":4,"format":1,"keys":'
        b'{"a":[2,"Infinity",0,12,"-Infinity","Infinity"],"b":[2,"NaN",3,11,2.0,2.0]},'
        b'"points":4,"run":"0199a0b1c2d37e4f8a9b0c1d2e3f4a5b","writer":"1f0e2d3c4b5a69788796"}'
    )


def test_info_is_read_back_as_it_was_written() -> None:
    sink = io.BytesIO()
    info = segment.write_segment(sink, [logged_in_turns(1_000, keys=7)], INFO)
    assert segment.read_info(sink) == info == parse_info(encode_info(info))
    assert info.keys == segment.fold_table(segment.read_points(sink))


@pytest.mark.parametrize(("keys", "kept"), [(10_000, True), (10_001, False)])
def test_folds_are_left_out_beyond_ten_thousand_keys(keys: int, kept: bool) -> None:
    info = segment.read_info(written(logged_in_turns(keys, keys=keys)))
    assert (info.keys is not None) is kept
    assert info.points == keys


def test_a_segment_may_be_empty() -> None:
    source = written()
    assert segment.read_info(source) == SegmentInfo(INFO.run, INFO.writer, INFO.chunks, keys={})
    table = segment.read_points(source)
    assert table.schema.equals(segment.segment_schema())
    assert table.num_rows == len(segment.points_to_pandas(table)) == 0
    assert list(segment.merge_segments([source])) == []


@pytest.mark.parametrize(("origin", "limit_bytes"), [("float32", 4.5), ("full", 8.5), ("four decimals", 3.0)])
@pytest.mark.parametrize("keys", [1, 10])
def test_a_million_points_are_small(origin: str, limit_bytes: float, keys: int) -> None:
    source = written(logged_in_turns(1_000_000, keys=keys, origin=origin))
    assert len(source.getvalue()) / 1_000_000 <= limit_bytes


def test_keys_with_the_same_times_pay_for_them_once() -> None:
    apart = written(logged_in_turns(200_000, keys=200, origin="four decimals"))
    together = written(logged_in_turns(200_000, keys=200, origin="four decimals", same_time=True))
    assert len(together.getvalue()) < len(apart.getvalue()) - 0.2 * 200_000


def row_groups(source: io.BytesIO) -> list[tuple[int, str, str]]:
    metadata = pq.ParquetFile(source).metadata
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    return [(g.num_rows, g.column(0).statistics.min, g.column(0).statistics.max) for g in groups]


def test_row_groups_end_with_a_key_where_that_is_cheap() -> None:
    assert row_groups(written(logged_in_turns(300_000, keys=3))) == [
        (100_000, f"loss/{i:04d}", f"loss/{i:04d}") for i in range(3)
    ]
    small_keys = row_groups(written(logged_in_turns(300_000, keys=300)))
    assert [rows for rows, _, _ in small_keys] == [131_000, 131_000, 38_000]
    assert [rows for rows, _, _ in row_groups(written(logged_in_turns(400_000)))] == [131_072] * 3 + [6_784]


def test_row_groups_do_not_depend_on_how_the_rows_arrive() -> None:
    table = logged_in_turns(300_000, keys=7)
    pieces = [table.slice(start, 9_999) for start in range(0, 300_000, 9_999)]
    assert written(*pieces).getvalue() == written(table).getvalue()


def test_the_writer_holds_little_at_a_time() -> None:
    table = logged_in_turns(2_000_000, keys=20)
    served = 0
    most_ahead = 0
    sink = io.BytesIO()

    def serve() -> Any:
        nonlocal served, most_ahead
        for start in range(0, table.num_rows, 50_000):
            served += 50_000
            if sink.tell() > 4:
                done = sink.tell() / 3.7  # bytes a point of this data, nearly
                most_ahead = max(most_ahead, int(served - done))
            yield table.slice(start, 50_000)

    segment.write_segment(sink, serve(), INFO)
    assert 0 < most_ahead < 700_000


@pytest.mark.parametrize(
    "tables",
    [
        pytest.param([[("b", 0, 0, 0, 0.0)], [("a", 1, 0, 0, 0.0)]], id="keys step back"),
        pytest.param([[("a", 1, 0, 0, 0.0)], [("a", 0, 0, 0, 0.0)]], id="numbers step back"),
        pytest.param([[("a", 1, 0, 0, 0.0), ("a", 1, 0, 0, 0.0)]], id="a number twice"),
    ],
)
@pytest.mark.parametrize("group_rows", [1, 131_072])
def test_unsorted_points_are_refused(tables: Any, group_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_write, "ROW_GROUP_ROWS_COUNT", group_rows)
    with pytest.raises(InvalidInputError):
        written(*map(small_table, tables))


def test_a_full_disk_is_reported_as_it_is() -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() > 100_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    sink = Full()
    with pytest.raises(OSError, match="No space") as caught:
        segment.write_segment(sink, [logged_in_turns(200_000)], INFO)
    assert caught.value.errno == errno.ENOSPC
    assert not sink.closed


# -- reading a part


def test_one_key_is_read_without_the_rest() -> None:
    source = CountingSource(written(logged_in_turns(1_000_000, keys=10)).getvalue())
    parts = segment.read_key(source, "loss/0004")
    assert history_of(parts) == history_of([rows_of_key(logged_in_turns(1_000_000, keys=10), "loss/0004")])
    # The row group is read twice: once for its checksum.
    assert source.read_bytes < 0.25 * len(source.getvalue())


def test_a_key_over_several_row_groups_is_read_whole() -> None:
    table = logged_in_turns(400_000, keys=2)
    parts = segment.read_key(written(table), "loss/0001")
    assert len(parts) > 1
    assert history_of(parts) == history_of([rows_of_key(table, "loss/0001")])


def test_other_readers_can_skip_row_groups(tmp_path: Any) -> None:
    path = tmp_path / "segment.parquet"
    path.write_bytes(written(logged_in_turns(500_000, keys=5)).getvalue())
    plan = duckdb.sql(f"explain analyze select sum(value) from '{path}' where key = 'loss/0003'").fetchall()[0][1]
    assert "Row Groups Scanned: 1 / 5" in plan


def test_points_from_a_number_on() -> None:
    table = logged_in_turns(3_000, keys=3)
    source = written(table)
    wanted = table.filter(pc.greater_equal(table.column("number"), 2_500))
    assert rows_of(segment.read_points(source, from_number=2_500)) == rows_of(wanted)
    assert segment.read_points(source, from_number=3_000).num_rows == 0
    later = rows_of_key(wanted, "loss/0001")
    assert 0 < later.num_rows < 1_000
    assert history_of(segment.read_key(source, "loss/0001", from_number=2_500)) == history_of([later])


@pytest.mark.parametrize("key", ["lost", "zzz", "", "loss/00015"])
def test_a_key_that_is_not_there_has_no_points(key: str) -> None:
    for count in (1, 3):  # with one key the statistics say which it is
        assert history_of(segment.read_key(written(logged_in_turns(3_000, keys=count)), key)) == []


def rows_of_key(table: pa.Table, key: str) -> pa.Table:
    return table.filter(pc.equal(table.column("key").cast(pa.string()), key))


def history_of(parts: Iterable[pa.Table]) -> list[tuple[Any, ...]]:
    """Return the points of one key, with values as their bits."""
    rows: list[tuple[Any, ...]] = []
    for part in parts:
        columns = [part.column(name).to_pylist() for name in ("step", "timestamp_ms", "value")]
        rows += [
            (step, timestamp_ms, struct.pack("<d", value)) for step, timestamp_ms, value in zip(*columns, strict=True)
        ]
    return rows


class CountingSource(io.BytesIO):
    """Counts the bytes that are read."""

    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.read_bytes += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer)
        self.read_bytes += count
        return count


# -- pandas


def test_pandas_gets_what_duckdb_would_give(tmp_path: Any) -> None:
    path = tmp_path / "segment.parquet"
    path.write_bytes(written(logged_in_turns(20_000, keys=4, origin="with NaN and inf")).getvalue())
    with path.open("rb") as source:
        frame = segment.points_to_pandas(segment.read_points(source))
    pd.testing.assert_frame_equal(frame, duckdb.sql(f"select * from '{path}'").df())


def test_a_frame_may_be_changed_and_the_table_stays() -> None:
    table = small_table([("k", i, i, i, float(i)) for i in range(3)])
    frame = segment.points_to_pandas(table)
    for name in ("number", "step", "timestamp_ms", "value"):
        frame.loc[0, name] = 41
    frame.loc[0, "key"] = "other"
    assert frame.iloc[0].tolist() == ["other", 41, 41, 41, 41.0]
    assert table.slice(0, 1).to_pylist() == [{"key": "k", "number": 0, "step": 0, "timestamp_ms": 0, "value": 0.0}]
