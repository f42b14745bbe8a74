"""Whatever happens to the bytes of a log: what was whole is read, what is damaged is reported, and nothing raises."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path
from random import Random
from threading import Lock
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

import localtrack.format.lines as lines_module
import localtrack.format.points as points_module
from localtrack.errors import FormatError, StorageError
from localtrack.format.documents import parse_experiment, parse_store
from localtrack.format.edits import fold_edits, read_edits
from localtrack.format.headers import WriterIdentity, encode_closed, encode_header, select_resent
from localtrack.format.jsonlines import decode_json, encode_record
from localtrack.format.layout import RunFile
from localtrack.format.lines import EDITS, HEADERS, LOG, POINTS, Lines, encode_span, read_lines
from localtrack.format.metric_fold import parse_folds
from localtrack.format.run_fold import fold_run
from localtrack.format.runlog import RunLog, read_run_log
from localtrack.storage.locallog import LocalLog
from localtrack.store.sealing import read_chunk

WRITER = "0123456789abcdef0123"
IDENTITY = WriterIdentity("node", "boot", "pidns", 7, "11", "test")
DOCUMENT_FIELDS = ["format", "store", "created_ms", "created_by", "id", "name", "generation"]
RUN = {"run": "r1", "experiment_id": "1", "experiment_name": "e", "generation": 0}
CHUNK = {"run": "r1", "chunk": 0, "first": 0}

floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | floats
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
values = st.recursive(
    scalars | texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
unknown_kinds = st.sampled_from(["later", "x", "möglich"])
records = st.lists(values, max_size=3).flatmap(
    lambda rest: st.tuples(unknown_kinds, values).map(lambda head: [*head, *rest])
)
kinds = ["k", "p", "batch", "run", "info", "param", "tag", "artifact", "experiment", "runs", "tombstone", "c", "torn"]
WORDS = (
    "id op time_ms user name generation tags runs run positions params points status start_ms end_ms path bytes sha256 "
    "crc chunks points_all fold"
)
payloads = st.dictionaries(
    st.sampled_from(WORDS.split(" ")),
    values | st.sampled_from(["created", "renamed", "tagged", "deleted", "restored", "r1"]),
    max_size=5,
)
odd_records = st.one_of(
    values,
    st.lists(values, max_size=5),
    st.tuples(st.sampled_from([*kinds, "Closed", "Later"]), values, payloads | values).map(list),
    st.tuples(st.sampled_from(kinds), payloads | st.lists(st.lists(values, max_size=4), max_size=3)).map(list),
    st.lists(st.integers(-3, 3), min_size=1, max_size=6),
)


def header(kind: str, more: dict[str, Any] | None = None) -> bytes:
    return encode_header(kind, IDENTITY, writer=WRITER, base_ms=1_000, stamp=1_000, flock=False, more=more)


def closed(data: bytes, *, points: int = 0) -> bytes:
    more = {"chunks": 0, "points_all": points, "fold": None}
    return data + encode_closed(99, bytes_count=len(data), crc=zlib.crc32(data), points=points, more=more)


def plain(lines: Lines) -> list[Any]:
    return json.loads(json.dumps(lines.records))


@given(st.lists(records, max_size=8), st.booleans())
def test_what_is_written_is_read(content: list[Any], is_closed: bool) -> None:
    data = header(LOG, RUN) + b"".join(map(encode_record, content))
    data += encode_span(0, len(data), zlib.crc32(data))
    lines = read_lines(closed(data) if is_closed else data, LOG)
    assert lines.problems == []
    assert plain(lines) == [decode_json(encode_record(record)) for record in content]
    assert (lines.closed is not None) == is_closed
    assert lines.header is not None
    assert lines.header["writer"] == WRITER


@given(st.lists(records, max_size=6), st.booleans(), st.data())
def test_a_log_cut_anywhere_holds_its_first_records(content: list[Any], is_closed: bool, data: st.DataObject) -> None:
    whole = header(LOG, RUN) + b"".join(map(encode_record, content))
    whole = closed(whole) if is_closed else whole
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    lines = read_lines(cut, LOG)
    assert lines.problems == []
    whole_lines = cut.count(b"\n")
    assert (lines.header is None) == (whole_lines == 0)
    assert plain(lines) == [decode_json(encode_record(record)) for record in content[: max(0, whole_lines - 1)]]
    assert lines.whole_bytes_count == cut.rfind(b"\n") + 1


@given(st.lists(records, max_size=6), st.data())
def test_a_flipped_byte_in_a_closed_log_is_reported(content: list[Any], data: st.DataObject) -> None:
    before = header(LOG, RUN) + b"".join(map(encode_record, content))
    whole = bytearray(closed(before))
    place = data.draw(st.integers(0, len(before) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    lines = read_lines(bytes(whole), LOG)
    assert lines.problems
    if lines.header is not None:
        sound = [decode_json(encode_record(record)) for record in content]
        assert sum(record not in sound for record in plain(lines)) <= 2, "the damage took more than its lines along"


@given(st.data())
def test_a_flipped_byte_in_the_closing_record_counts_for_nothing_else(data: st.DataObject) -> None:
    before = header(LOG, RUN) + encode_record(["tag", 7, {"a": "b"}])
    whole = bytearray(closed(before))
    place = data.draw(st.integers(len(before), len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    log = read_run_log(bytes(whole), writer=WRITER)
    assert isinstance(log, RunLog)
    assert [change.payload for change in log.changes] == [{"a": "b"}]


def long_log(random: Random) -> bytearray:
    """Return a log most of which are points: of one set or several, alone or in turns, with other records between."""
    content: list[list[Any]] = [["k", 0, ["a"]], ["k", 1, ["b", "c"], 5_000, 70], ["k", 2, ["b"], -5, 0]]
    point_values = [
        lambda: random.random(),
        lambda: random.randrange(-9, 9),
        lambda: random.choice(["NaN", -0.0, 1e300]),
    ]
    for _ in range(random.randrange(1, 4)):
        sets = random.choice([[0], [0, 2], [1], [0, 1, 2]])
        value = random.choices(point_values, [8, 1, 1])[0]
        for step in range(random.randrange(20, 150)):
            number = random.choice(sets)
            content.append([number, random.randrange(-99, 10**6), step, *(value() for _ in range(1 + (number == 1)))])
        content.append(
            random.choice([["tag", 1, {"a": "b"}], ["k", 9, ["z"]], ["x", [1], "[0,1,2]"], ["p", [[0, 1, 2, 3.0]]]])
        )
    data = header(LOG, RUN) + b"".join(map(encode_record, content))
    return bytearray(closed(data, points=0) if random.random() < 0.5 else data)


@pytest.mark.parametrize("seed", range(150))
def test_what_is_read_at_once_is_what_is_read_line_by_line(seed: int) -> None:
    random = Random(seed)
    data = long_log(random)
    for _ in range(random.randrange(4)):
        place = random.randrange(data.find(b"\n"), len(data))
        new = random.choice([b"", b"]\n[", b"null", b"true", *(bytes([code]) for code in b'\n[],5.-e" ')])
        data[place : place + random.randrange(3)] = new
    at_once = read_run_log(bytes(data), writer=WRITER)
    with (
        patch.object(lines_module, "_decode_at_once", lambda *_: None),
        patch.object(points_module, "_STRETCH_COUNT", 10**9),
    ):
        slowly = read_run_log(bytes(data), writer=WRITER)
    if isinstance(at_once, Lines) or isinstance(slowly, Lines):  # the header was hit
        assert at_once == slowly
        return
    assert str(list(at_once.points)) == str(list(slowly.points))
    assert (at_once.changes, at_once.problems) == (slowly.changes, slowly.problems)
    assert (at_once.lines.closed, at_once.lines.newer) == (slowly.lines.closed, slowly.lines.newer)


class _Disk:
    """An `os.write` that does what a schedule says: the bytes to take of each call before it fails, None for all."""

    def __init__(self, schedule: list[int | None]) -> None:
        self._schedule = schedule
        self._write = os.write

    def __call__(self, fd: int, data: bytes) -> int:
        take = self._schedule.pop(0) if self._schedule else None
        if take is None or take >= len(data):
            return self._write(fd, data)
        if take == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(fd, data[:take])


@given(
    st.lists(st.tuples(st.integers(1, 3), st.text('ab[]\\"', max_size=12)), min_size=1, max_size=8),
    st.lists(st.none() | st.integers(0, 40), max_size=20),
)
def test_after_writes_that_fail_anywhere_all_that_was_acknowledged_is_read(
    batches: list[tuple[int, str]], schedule: list[int | None]
) -> None:
    acknowledged: list[list[Any]] = []
    tried: list[list[Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"{WRITER}.jsonl")
        log = LocalLog.create("log", path, folder, Lock())
        log.append(header(LOG, RUN))
        with patch.object(os, "write", _Disk(schedule)):
            for number, (count, text) in enumerate(batches):
                batch = [["x", [number, n], text] for n in range(count)]
                tried += batch
                try:
                    log.append(b"".join(map(encode_record, batch)))
                except StorageError:
                    continue
                acknowledged += batch
        end = ["x", -1, "the end"]
        log.append(encode_record(end))
        log.close()
        data = Path(path).read_bytes()
    assert (log.size, log.checksum()) == (len(data), zlib.crc32(data))
    lines = read_lines(data, LOG)
    assert lines.problems == []
    assert [record for record in lines.records if record in [*acknowledged, end]] == [*acknowledged, end]
    assert [record for record in [*tried, end] if record in lines.records] == lines.records, "nobody wrote that"
    again = [decode_json(line) for line in select_resent(data).splitlines()]
    assert [record for record in again if record in [*acknowledged, end]] == [*acknowledged, end]


@given(st.binary(max_size=200), st.sampled_from(sorted(HEADERS)))
def test_reading_arbitrary_bytes_never_raises(data: bytes, kind: str) -> None:
    read_everything(data, kind)


@given(st.lists(odd_records, max_size=6), st.sampled_from([LOG, POINTS, EDITS]), st.booleans())
def test_reading_records_of_any_shape_never_raises(content: list[Any], kind: str, is_closed: bool) -> None:
    data = header(kind, {LOG: RUN, POINTS: CHUNK}.get(kind)) + b"".join(map(encode_record, content))
    read_everything(closed(data) if is_closed else data, kind)


@given(payloads, st.sampled_from([LOG, POINTS, EDITS]), st.data())
def test_reading_headers_of_any_shape_never_raises(more: dict[str, Any], kind: str, data: st.DataObject) -> None:
    fields = decode_json(header(kind, {LOG: RUN, POINTS: CHUNK}.get(kind)))[1]
    for name in data.draw(st.lists(st.sampled_from(sorted(fields)), max_size=3)):
        fields[name] = data.draw(values)
    read_everything(encode_record([kind, {**fields, **more}]) + encode_record(["k", 0, ["a"]]) + b"[0,1,2,3]\n", kind)


def read_everything(data: bytes, kind: str) -> None:
    read_lines(data, kind)
    log = read_run_log(data, writer=WRITER)
    if isinstance(log, RunLog):
        fold_run([log])
        log.points.fold()
    edits, _ = read_edits(data, writer=WRITER)
    fold_edits(edits, {})
    read_chunk(data, RunFile("chunk", "chunk", WRITER))
    for parse in (parse_store, parse_experiment):
        with suppress(FormatError):
            parse(data, where="file")


@given(values | st.dictionaries(texts, st.lists(values, min_size=6, max_size=6), max_size=2))
def test_a_fold_of_any_shape_is_one_or_refused(payload: Any) -> None:
    with suppress(ValueError):
        parse_folds(payload)


@pytest.mark.parametrize("parse", [parse_store, parse_experiment])
@given(fields=st.dictionaries(st.sampled_from(DOCUMENT_FIELDS), values))
def test_a_document_of_any_shape_is_one_or_refused(parse: Any, fields: dict[str, Any]) -> None:
    data = json.dumps({"format": 1, **fields}).encode()
    with suppress(FormatError):
        parse(data, where="file")
