"""Segments that are not what was written: each is refused with one clear error, and never read as something else."""

from __future__ import annotations

import errno
import io
import json
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from localtrack.errors import ErrorCode, FormatError
from localtrack.format import segment, segment_crc, segment_table
from localtrack.format.segment import SegmentInfo

INFO = SegmentInfo(run="0199a0b1c2d37e4f8a9b0c1d2e3f4a5b", writer="1f0e2d3c4b5a69788796", chunks=(0, 1))
READERS: list[Callable[[io.BytesIO], Any]] = [
    segment.read_info,
    segment.read_points,
    lambda source: segment.read_key(source, "a"),
    lambda source: list(segment.merge_segments([source])),
]


def points(count: int = 400) -> pa.Table:
    return segment.build_table(
        ["b", "a"],
        [i % 2 for i in range(count)],
        number=list(range(count)),
        step=[i // 2 for i in range(count)],
        timestamp_ms=[1_790_000_000_000 + 7 * i for i in range(count)],
        value=[1 / (i + 1) for i in range(count)],
    )


def sound() -> bytes:
    sink = io.BytesIO()
    segment.write_segment(sink, [points()], INFO)
    return sink.getvalue()


def with_metadata(entries: dict[str, str], table: pa.Table | None = None) -> bytes:
    """Write a Parquet file with right checksums and any metadata at all."""
    sink = io.BytesIO()
    guarded = segment_crc.ChecksumSink(sink)
    table = points() if table is None else table
    with pq.ParquetWriter(guarded, table.schema, store_schema=False) as writer:
        guarded.begin_group()
        writer.write_table(table)
        guarded.end_group()
        writer.add_key_value_metadata(entries | {segment_crc.CHECKSUMS_KEY: guarded.begin_footer()})
    guarded.write_footer()
    return sink.getvalue()


def document(**change: Any) -> dict[str, str]:
    fields = {
        "format": 1, "run": "r", "writer": "w", "chunks": [0, 1], "first": 0, "points": 400, "distinct": True,
        "keys": {"a": [200, 0.5, 1, 2, 0.5, 0.5], "b": [200, "NaN", 1, 2, "NaN", "NaN"]},
    } | change  # fmt: skip
    return {"localtrack": json.dumps({name: value for name, value in fields.items() if value is not ...})}


def test_the_files_made_here_are_sound_but_for_what_each_test_breaks() -> None:
    assert segment.read_points(io.BytesIO(with_metadata(document()))).equals(points())
    assert segment.read_info(io.BytesIO(with_metadata(document(keys=...)))).keys is None


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"PAR1", id="four bytes"),
        pytest.param(b"PAR1PAR1PAR1", id="no footer"),
        pytest.param(b"\x00" * 5_000, id="zeros, as a crashed host leaves them"),
        pytest.param(b"PAR1" + b"\xff\xff\xff\xffPAR1", id="a footer longer than the file"),
        pytest.param(b"PK\x03\x04" + b"x" * 100, id="something else"),
    ],
)
def test_no_segment_at_all(data: bytes, reader: Callable[[io.BytesIO], Any]) -> None:
    with pytest.raises(FormatError) as caught:
        reader(io.BytesIO(data))
    assert caught.value.code == ErrorCode.DAMAGED


@pytest.mark.parametrize("reader", READERS)
def test_another_parquet_file_is_no_segment(reader: Callable[[io.BytesIO], Any]) -> None:
    sink = io.BytesIO()
    pq.write_table(points(), sink)
    with pytest.raises(FormatError, match="not a segment"):
        reader(sink)


def test_every_cut_is_noticed() -> None:
    data = sound()
    for size_bytes in range(0, len(data), 11):
        for reader in READERS:
            with pytest.raises(FormatError):
                reader(io.BytesIO(data[:size_bytes]))


def test_every_changed_byte_is_noticed() -> None:
    """PyArrow alone ends the process, or returns other numbers, on some of these."""
    data = sound()
    assert len(data) > 3_000
    for at in range(len(segment_crc._MAGIC), len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 8)
        with pytest.raises(FormatError) as caught:
            segment.read_points(io.BytesIO(changed))
        assert caught.value.code == ErrorCode.DAMAGED, at


def test_damage_in_one_key_leaves_the_others_readable() -> None:
    table = segment.build_table(
        ["a", "b"],
        [i // 40_000 for i in range(80_000)] + [1] * 60_000,
        number=list(range(140_000)),
        step=list(range(140_000)),
        timestamp_ms=list(range(140_000)),
        value=[0.5] * 140_000,
    )
    sink = io.BytesIO()
    info = segment.write_segment(sink, [table], INFO)
    data = bytearray(sink.getvalue())
    data[pq.ParquetFile(sink).metadata.row_group(1).column(4).data_page_offset + 1] ^= 0x10
    source = io.BytesIO(data)
    assert segment.read_info(source) == info
    assert sum(part.num_rows for part in segment.read_key(source, "a")) == 40_000
    with pytest.raises(FormatError):
        segment.read_key(source, "b")
    with pytest.raises(FormatError):
        list(segment.merge_segments([source]))


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param({}, id="none"),
        pytest.param({"localtrack": ""}, id="empty"),
        pytest.param({"localtrack": "[1]"}, id="a list"),
        pytest.param({"localtrack": "[" * 100_000}, id="nested without end"),
        pytest.param({"localtrack": '{"format":1'}, id="cut"),
        pytest.param(document(format="1"), id="format of another type"),
        pytest.param(document(format=0), id="format 0"),
        pytest.param(document(run=...), id="no run"),
        pytest.param(document(writer=7), id="writer of another type"),
        pytest.param(document(chunks=[1]), id="one chunk number"),
        pytest.param(document(chunks=[2, 1]), id="chunks backwards"),
        pytest.param(document(chunks=[-1, 1]), id="chunks negative"),
        pytest.param(document(first=-1), id="first negative"),
        pytest.param(document(first=0.5), id="first of another type"),
        pytest.param(document(points=399), id="other points"),
        pytest.param(document(points=True), id="points of another type"),
        pytest.param(document(distinct=1), id="distinct of another type"),
        pytest.param(document(keys=[]), id="keys of another type"),
        pytest.param(document(keys={"a": [1, 2]}), id="a fold too short"),
        pytest.param(document(keys={"a": [400, "nan", 1, 2, 0.5, 0.5]}), id="a number spelled otherwise"),
        pytest.param(document(keys={"a": [400, True, 1, 2, 0.5, 0.5]}), id="a truth value as value"),
        pytest.param(document(keys={"a": [400, 0.5, 1.0, 2, 0.5, 0.5]}), id="a step with a point"),
        pytest.param(document(keys={"a": [399, 0.5, 1, 2, 0.5, 0.5]}), id="keys that do not add up"),
    ],
)
def test_metadata_that_is_not_sound(entries: dict[str, str]) -> None:
    for reader in READERS:
        with pytest.raises(FormatError) as caught:
            reader(io.BytesIO(with_metadata(entries)))
        assert caught.value.code == ErrorCode.DAMAGED
        assert "\n" not in caught.value.message


def test_a_newer_format_says_so_whatever_else_is_new() -> None:
    other = pa.table({"points": [1, 2, 3]})
    for data in (
        with_metadata(document(format=2)),
        with_metadata({"localtrack": '{"format":2,"news":[]}'}, other),
    ):
        for reader in READERS:
            with pytest.raises(FormatError) as caught:
                reader(io.BytesIO(data))
            assert caught.value.code == ErrorCode.NEWER_FORMAT


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(points().drop_columns(["step"]), id="a column short"),
        pytest.param(points().append_column("more", pa.array([1] * 400)), id="a column more"),
        pytest.param(points().set_column(4, "value", pa.array([0.5] * 400, pa.float32())), id="another type"),
        pytest.param(points().select(["number", "key", "step", "timestamp_ms", "value"]), id="another order"),
    ],
)
def test_other_columns(table: pa.Table) -> None:
    for reader in READERS:
        with pytest.raises(FormatError, match="columns"):
            reader(io.BytesIO(with_metadata(document(), table)))


def test_errors_of_the_medium_are_not_taken_for_damage() -> None:
    class Broken(io.BytesIO):
        reads_left = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.reads_left -= 1
            if self.reads_left < 0:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    seen = 0
    for reads_left in range(100):
        source = Broken(sound())
        source.reads_left = reads_left
        try:
            segment.read_points(source)
        except OSError as error:
            assert error.errno == errno.EIO  # noqa: PT017  # which read fails differs, that it is this error does not
            seen += 1
        else:
            break
    assert seen >= 3  # the footer, a row group for its checksum, and again for its columns


def test_a_key_that_looks_like_the_checksums_is_just_a_key() -> None:
    key = "localtrack.crc32\x18\x10" + "0" * 16
    table = segment.build_table([key], [0, 0], number=[0, 1], step=[0, 1], timestamp_ms=[0, 1], value=[0.5, 1.5])
    sink = io.BytesIO()
    segment.write_segment(sink, [table], INFO)
    assert segment.read_points(sink).equals(table)
    assert segment.read_key(sink, key)[0].equals(table.select(segment_table.HISTORY_COLUMNS))


def test_checksums_are_what_the_format_says() -> None:
    """Checks them the way an independent reader would."""
    data = sound()
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata
    digits = metadata.metadata[b"localtrack.crc32"]
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
    assert zlib.crc32(footer.replace(digits, b"0" * 8 + digits[8:])) == int(digits[:8], 16)
    group = metadata.row_group(0)
    start = group.column(0).dictionary_page_offset
    size_bytes = sum(group.column(i).total_compressed_size for i in range(5))
    assert zlib.crc32(data[start : start + size_bytes]) == int(digits[8:], 16)
